"""One examination of this machine: the sandboxes that are examined, and the findings so far."""

from __future__ import annotations

from pathlib import Path

from boda.sandbox.contract import Sandbox, SandboxSpec
from boda.sandbox.doctor.findings import Finding
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.mode import IsolationMode
from boda.sandbox.reach import Reach


class Examination:
    """Starts sandboxes to be examined, and collects findings.

    thorough: limits are tried by running into them. reach: the networks that are opened to
    functions. why_plain: why sandboxes are plain processes, or "".
    """

    def __init__(
        self,
        sandboxes: LinuxSandboxes,
        code: Path,
        *,
        thorough: bool,
        reach: Reach,
        why_plain: str,
    ) -> None:
        self.sandboxes = sandboxes
        self.mode: IsolationMode = sandboxes.mode
        self.thorough = thorough
        self.reach = reach
        self.why_plain = why_plain
        self.findings: list[Finding] = []
        self._code = code
        self._count = 0

    async def start(self, memory_mb: int, processes: int = 1024) -> Sandbox:
        self._count += 1
        return await self.sandboxes.start(
            SandboxSpec(
                f"doctor-{self._count}",
                "python",
                self._code,
                memory_mb=memory_mb,
                ephemeral_mb=64,
                processes=processes,
            )
        )

    def add(
        self,
        name: str,
        ok: bool,
        enforced: str,
        missing: str = "",
        remedy: str = "",
        *,
        required: bool = True,
    ) -> None:
        """Add a finding: ``enforced`` if it is ok, else ``missing`` and ``remedy``."""
        if ok:
            self.findings.append(Finding(name, True, enforced, required=required))
        else:
            self.findings.append(Finding(name, False, "", missing, remedy, required))
