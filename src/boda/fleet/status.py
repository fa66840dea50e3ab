"""The state of environments and templates, as ``boda ps`` shows it."""

from __future__ import annotations

from dataclasses import dataclass

from boda.runtime.function import FunctionVersion


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """One environment or template at one moment.

    state: an environment's state, or ``template`` (``template-init`` until it can be forked).
    memory_bytes: in use now. memory_mb: the function's limit. pid: of the sandbox's init, or 0.
    """

    id: str
    account: str
    region: str
    function: str
    version: str
    state: str
    frozen: bool
    memory_bytes: int
    memory_mb: int
    age_s: float
    invocations: int
    pid: int

    @classmethod
    def of(
        cls,
        version: FunctionVersion,
        *,
        id: str,  # noqa: A002
        state: str,
        memory_bytes: int,
        age_s: float,
        pid: int,
        frozen: bool = False,
        invocations: int = 0,
    ) -> EnvironmentStatus:
        """Fill in the fields that the function version determines."""
        return cls(
            id,
            version.account,
            version.region,
            version.name,
            version.version,
            state,
            frozen,
            memory_bytes,
            version.memory_mb,
            age_s,
            invocations,
            pid,
        )
