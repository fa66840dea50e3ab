"""Answers held against recorded ones, with the recordings' placeholders."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from support.golden import golden

_TOKEN = re.compile(r"<[a-zA-Z0-9_-]+(?::\d+)?>")
_ANY = {"date", "datetime", "<location>", "last-modified", "last--modified", "host-id", "i-d",
        "owner-id", "display-name", "request-id", "sequencer", "object-sequencer", "version-id",
        "amz-id", "amz-request-id", "x-amz-id-2", "x-amz-request-id", "bucket"}  # fmt: skip


def recorded(service: str, name: str, case: str) -> dict[str, Any]:
    """The steps of one recorded case; skips when the recordings are not here."""
    snapshots = json.loads(golden(f"recorded/{service}/{name}.snapshot.json").read_text())
    for full_name, snapshot in snapshots.items():
        if full_name.endswith("::" + case):
            content: dict[str, Any] = snapshot["recorded-content"]
            return content
    raise KeyError(case)


class Held:
    """Compares values; a placeholder stands for one value throughout."""

    def __init__(self) -> None:
        self._bound: dict[str, str] = {}

    def differences(self, wanted: Any, found: Any, where: str = "") -> list[str]:
        if isinstance(wanted, dict) and isinstance(found, dict):
            out = []
            for key in sorted(wanted.keys() | found.keys()):
                here = f"{where}.{key}"
                if key not in found:
                    out.append(f"{here}: missing, recorded {wanted[key]!r}")
                elif key not in wanted:
                    out.append(f"{here}: not recorded, found {found[key]!r}")
                else:
                    out += self.differences(wanted[key], found[key], here)
            return out
        if isinstance(wanted, list) and isinstance(found, list):
            if len(wanted) != len(found):
                return [f"{where}: recorded {len(wanted)} items, found {len(found)}: {found!r}"]
            return [
                line
                for index, (one, other) in enumerate(zip(wanted, found, strict=True))
                for line in self.differences(one, other, f"{where}[{index}]")
            ]
        if isinstance(wanted, str) and self._fits(wanted, found):
            return []
        return [] if wanted == found else [f"{where}: recorded {wanted!r}, found {found!r}"]

    def _fits(self, wanted: str, found: Any) -> bool:
        if wanted in _ANY or (isinstance(found, datetime) and _TOKEN.fullmatch(wanted)):
            return True
        if not isinstance(found, str):
            return False
        found = found.replace("arn:aws:", "arn:<partition>:").replace("000000000000", "1" * 12)
        pattern, tokens = "", []
        rest = wanted
        while match := _TOKEN.search(rest):
            pattern += re.escape(rest[: match.start()])
            token = match.group()
            rest = rest[match.end() :]
            if token == "<partition>":
                pattern += re.escape(token)
            elif token in self._bound:
                pattern += re.escape(self._bound[token])
            elif token in tokens:
                pattern += f"(?P=t{tokens.index(token)})"
            else:
                pattern += f"(?P<t{len(tokens)}>.+?)"
                tokens.append(token)
        fit = re.fullmatch(pattern + re.escape(rest), found, re.DOTALL)
        if fit is None:
            return False
        for index, token in enumerate(tokens):
            if re.search(r":\d+>$", token):
                self._bound[token] = fit.group(f"t{index}")
        return True
