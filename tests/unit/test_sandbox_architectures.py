"""Functions for another kind of machine: run by an emulator, or refused, never taken for native."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from boda.sandbox.architectures import own, runs_here
from support.lambda_world import package, world

OPEN = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize(("said", "name"), [("aarch64", "arm64"), ("x86_64", "x86_64")])
def test_a_machine_runs_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, name: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: said)
    assert own() == name
    assert runs_here("python3.12", name, tmp_path)
    other = {"arm64": "x86_64", "x86_64": "arm64"}[name]
    assert not runs_here("python3.12", other, tmp_path)


@pytest.mark.parametrize(
    ("registered", "runs"),
    [
        (OPEN, True),
        (OPEN.replace("OCF", "OC"), False),  # its file would not be found in a sandbox
        (OPEN.replace("enabled", "disabled"), False),
        (None, False),
    ],
)
def test_another_kind_runs_where_an_emulator_is_open(
    machine: None, tmp_path: Path, registered: str | None, runs: bool
) -> None:
    if registered is not None:
        (tmp_path / "qemu-aarch64").write_text(registered)
    assert runs_here("provided.al2023", "arm64", tmp_path) is runs
    assert not runs_here("python3.12", "arm64", tmp_path)


async def test_what_does_not_run_here_is_kept_and_refused_when_it_is_invoked(
    machine: None, tmp_path: Path
) -> None:
    async with world(tmp_path) as here:
        made = await here.create("f", Architectures=["arm64"])
        assert made["Architectures"] == ["arm64"]
        for _ in range(2):
            error = await here.error("Invoke", FunctionName="f")
            assert (error.code, error.status) == ("InvalidRuntimeException", 502)
            assert "is for arm64 and this machine is x86_64" in error.message
        assert here.invoker.calls == []
        await here.call(
            "UpdateFunctionCode", FunctionName="f", ZipFile=package(), Architectures=["x86_64"]
        )
        await here.settle()
        await here.call("Invoke", FunctionName="f")
        assert len(here.invoker.calls) == 1
