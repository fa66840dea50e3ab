"""Findings about isolation on a machine, and the conclusions from them."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "namespace of "
SANDBOX = "sandbox"
"""The name of the finding about whether sandboxes are isolated at all."""
WITH_SANDBOX = "comes with the sandbox above"
AS_ROOT = "run boda as root"
"""A remedy, or the beginning of one: alternatives follow behind ``, or ``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one promise.

    enforced: how it is kept. missing: what is not kept; remedy: how to get it. required: whether
    boda refuses to start without it.
    """

    name: str
    ok: bool
    enforced: str = ""
    missing: str = ""
    remedy: str = ""
    required: bool = True


def strong_enough(findings: list[Finding]) -> bool:
    """Whether all required promises hold."""
    return all(finding.ok or not finding.required for finding in findings)


def can_isolate(findings: list[Finding]) -> bool:
    """Whether sandboxes have namespaces and a root of their own here, or are plain processes."""
    return any(finding.name == SANDBOX and finding.ok for finding in findings)


def can_start(findings: list[Finding]) -> bool:
    """Whether functions run here at all, isolated or not."""
    return len(findings) > 1


def missing(findings: list[Finding]) -> str:
    """List the required promises that do not hold, in words; "" if all hold."""
    names = [one.name for one in findings if one.required and not one.ok]
    if len(names) > 1 and SANDBOX in names:
        names.remove(SANDBOX)  # its consequences are among the other names
    spaces = [name for name in names if name.startswith(NAMESPACE)]
    if len(spaces) > 1:
        kinds = ", ".join(name.removeprefix(NAMESPACE) for name in spaces)
        names[names.index(spaces[0])] = f"namespaces ({kinds})"
        names = [name for name in names if name not in spaces]
    return ", ".join(names)


def remedies(findings: list[Finding]) -> list[str]:
    """How to get what is missing, each remedy once; all alternatives to root together are one."""
    found = [one.remedy for one in findings if one.required and not one.ok]
    parts = dict.fromkeys(part for remedy in found for part in remedy.split("; "))
    single = [part for part in parts if not part.startswith(f"{AS_ROOT}, or ")]
    others = [part.removeprefix(f"{AS_ROOT}, or ") for part in parts if part not in single]
    if others and not any(part.startswith(AS_ROOT) for part in single):
        single.insert(0, f"{AS_ROOT}, or {' and '.join(others)}")
    return [remedy for remedy in single if remedy not in ("", WITH_SANDBOX)]
