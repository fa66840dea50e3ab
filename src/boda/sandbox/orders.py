"""The orders that inits receive: how to prepare a sandbox, and which runtime process to start.

See ``guest/zygote.py`` and ``guest/init.py`` for their formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boda.core.urls import InsideEndpoint
from boda.sandbox import plan
from boda.sandbox.cgroups.contract import Cgroup
from boda.sandbox.contract import Interpreter, SandboxSpec
from boda.sandbox.host import HostFacts
from boda.sandbox.mode import IsolationMode
from boda.sandbox.zygote import Zygote


class SandboxOrders:
    """Makes the orders of one platform.

    catalogue: runtimes by name. first_uid: of the range of user ids for sandboxes. state: a folder
    for the /tmp folders of plain processes.
    """

    def __init__(
        self,
        mode: IsolationMode,
        host: HostFacts,
        endpoint: InsideEndpoint,
        catalogue: Mapping[str, Interpreter],
        first_uid: int,
        state: Path,
    ) -> None:
        self._mode = mode
        self._endpoint = endpoint
        self._catalogue = catalogue
        self._first_uid = first_uid
        self._state = state
        self._common = plan.prepared(host) if mode.isolated else []
        self._preparations: dict[tuple[str, ...], bytes] = {}

    def preparation(self, names: tuple[str, ...]) -> bytes:
        """Return the order to a zygote to fork an init. names: of the descriptors that go along."""
        known = self._preparations.get(names)
        if known is None:
            isolated = self._mode.isolated
            order = {
                "isolated": isolated,
                "change_uid": self._mode.privileged,
                "hostname": "sandbox",
                "steps": plan.wire(self._common),
                "listen": [["127.0.0.1", 0], ["127.0.0.1", 0]] if not isolated else self._listen(),
                "fds": names,
            }
            known = self._preparations[names] = json.dumps(order).encode()
        return known

    def _listen(self) -> list[list[Any]]:
        """Return the addresses in an isolated sandbox: of the Runtime API and the AWS endpoint."""
        endpoint = self._endpoint
        return [["127.0.0.1", plan.RUNTIME_API_PORT], [endpoint.address, endpoint.port]]

    def steps(self, spec: SandboxSpec, volume: bool) -> list[plan.MountStep]:
        """Return the mounts of a function, which follow those of the preparation."""
        if not self._mode.isolated:
            return []
        return plan.environment(
            spec.code_dir.resolve(),
            [folder.resolve() for folder in spec.layer_dirs],
            spec.ephemeral_mb,
            volume=volume,
            recursive=not self._mode.privileged,
        )

    def describe_step(self, steps: list[plan.MountStep], index: int) -> str:
        """Describe a step of the preparation, or of the steps that follow it."""
        return [*self._common, *steps][index].describe()

    def start(
        self,
        spec: SandboxSpec,
        zygote: Zygote,
        group: Cgroup,
        steps: list[plan.MountStep],
        number: int,
        *,
        image_bytes: int | None,
        memory_limited: bool,
    ) -> dict[str, Any]:
        """Return the order to an init to start the runtime process.

        number: of the sandbox, for its user id. image_bytes: the size of the template's image that
        it becomes, if it is forked from a template. memory_limited: whether the cgroup limits it.
        """
        isolated = self._mode.isolated
        limits = plan.ResourceLimits(open_files=spec.open_files, processes=spec.processes).wire()
        if isolated:
            task, runtime, opt = "/var/task", "/var/runtime", ["/opt"]
            stdlib = "/var/lang"
        else:
            task, runtime = str(spec.code_dir.resolve()), str(zygote.library)
            opt = [str(folder.resolve()) for folder in reversed(spec.layer_dirs)]
            stdlib = str(zygote.runtime.prefix)
            del limits["processes"]  # would count every process of this user
        if not memory_limited:
            # Better than nothing: each process on its own. A fork begins with what it copies.
            limits["data_bytes"] = (spec.memory_mb + plan.BOOTSTRAP_MB + 48) * plan.MIB
            limits["data_bytes"] += image_bytes or 0
        kind: str = self._catalogue[spec.runtime].kind
        if spec.template:
            kind = "template"
        elif image_bytes is not None:
            kind = "fork"
        if kind == "provided":
            argv = [f"{folder}/bootstrap" for folder in (task, *opt)]
        else:
            argv = [zygote.interpreter, f"{runtime}/_boda/fresh.py"]
        uid = self._first_uid + number if self._mode.privileged else 0
        return {
            "steps": plan.wire(steps),
            "first_step": len(self._common),
            "named": [
                f"127.0.0.1:{plan.RUNTIME_API_PORT}",
                self._endpoint.url,
            ],
            "cgroups": list(group.entries),
            "thawed": group.thawed,
            "environ": self.environ(spec, zygote, spec.environment),
            "defaults": {"LD_LIBRARY_PATH": plan.LIBRARY_PATH},
            "limits": limits,
            "uid": uid,
            "gid": uid,
            "kind": kind,
            "argv": argv,
            "task": task,
            "runtime": runtime,
            "opt": opt,
            "stdlib": [stdlib],
            "name": kind if kind == "provided" else zygote.runtime.name,
        }

    def environ(
        self, spec: SandboxSpec, zygote: Zygote, environ: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the variables of a runtime process. Without a root of its own they name the real
        paths of its folders."""
        if self._mode.isolated:
            return dict(environ)
        tmp = self.tmp(spec)
        tmp.mkdir(parents=True, exist_ok=True, mode=0o700)
        library = str(zygote.library)
        return {
            **environ,
            "LAMBDA_TASK_ROOT": str(spec.code_dir.resolve()),
            "LAMBDA_RUNTIME_DIR": library,
            "PYTHONPATH": environ.get("PYTHONPATH", library).replace("/var/runtime", library),
            "TMPDIR": str(tmp),
        }

    def tmp(self, spec: SandboxSpec) -> Path:
        """Return the folder that a plain process has for /tmp."""
        return self._state / "tmp" / spec.sandbox_id
