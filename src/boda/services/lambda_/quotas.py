"""Lambda's limits, as data (Lambda developer guide, "gettingstarted-limits")."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Quotas:
    """The limits of one account in one region. Sizes in bytes unless the name says otherwise."""

    zipped_bytes: int = 50 * MIB
    unzipped_bytes: int = 250 * MIB
    code_storage_bytes: int = 300 * 1024 * MIB
    concurrent_executions: int = 1000
    unreserved_minimum: int = 100
    requests_per_environment: int = 10
    """Synchronous requests a second for each unit of concurrency; 0: no limit."""

    scale_rate: int = 1000
    """Environments by which a function may grow in 10 seconds; 0: no limit."""

    memory_mb: int = 10_240
    timeout_s: int = 900
    ephemeral_mb: int = 10_240
    environment_bytes: int = 4096
    function_name_length: int = 64
    layers: int = 5
    tags: int = 50
    policy_bytes: int = 20 * 1024
    client_context_bytes: int = 3583
    page: int = 50
    entries: int = 100_000
    """Files in one package. AWS publishes no number; this one bounds memory and inodes."""

    sync_payload_bytes: int = 6 * MIB + 100
    """AWS enforces 100 bytes more than the published 6 MB."""

    async_payload_bytes: int = MIB


def adjusted(changes: Iterable[str]) -> Quotas:
    """Return AWS's quotas with changes, ``name=value`` each. Raises ValueError."""
    names = {item.name for item in dataclasses.fields(Quotas)}
    wanted: dict[str, int] = {}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in names:
            raise ValueError(f"{name} is no quota; they are {', '.join(sorted(names))}")
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"the quota {name} needs a whole number, not {value!r}")
        wanted[name] = int(value)
    return Quotas(**wanted)
