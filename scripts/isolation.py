"""Say whether `boda up` could start here, before anything is installed: standard library only."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from boda.sandbox.doctor.examine import examine
from boda.sandbox.doctor.findings import missing, remedies, strong_enough


def main() -> int:
    """Return 0 if this machine gives full isolation; else print what is missing and return 1."""
    with tempfile.TemporaryDirectory() as folder:
        findings = examine(Path(folder), thorough=False)
    if strong_enough(findings):
        return 0
    print(
        "setup: this machine does not give all the isolation that boda promises (missing: "
        f"{missing(findings)}). Either {'; or '.join(remedies(findings))}; or, since the "
        "demonstration's code can be trusted: BODA_ISOLATION=process make demo",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
