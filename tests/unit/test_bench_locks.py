"""What the benchmarks install for comparison is pinned, hashed, and bound to no registry."""

from __future__ import annotations

import json
import re

from bench import peers
from bench.peers.install import NodeHome

PACKAGE = peers.ROOT / "bench" / "peers" / "node" / "package.json"


def _packages() -> dict[str, dict[str, object]]:
    found = json.loads(NodeHome.lock.read_text())["packages"]
    assert len(found) > 100
    return dict(found)


def test_the_node_lock_names_no_registry() -> None:
    for name, about in _packages().items():
        assert "resolved" not in about, name


def test_every_node_package_is_pinned_with_a_strong_hash() -> None:
    for name, about in _packages().items():
        if name:
            assert about["version"], name
            assert str(about["integrity"]).startswith("sha512-"), name


def test_the_node_lock_belongs_to_its_package_file() -> None:
    wanted = json.loads(PACKAGE.read_text())
    root = _packages()[""]
    assert root["dependencies"] == wanted["dependencies"]
    assert root["engines"] == wanted["engines"]
    for name in wanted["dependencies"]:
        assert f"node_modules/{name}" in _packages()


def test_workerd_is_locked_for_every_platform_it_is_published_for() -> None:
    packages = _packages()
    for name in packages["node_modules/workerd"]["optionalDependencies"]:  # type: ignore[attr-defined]
        assert f"node_modules/{name}" in packages


def test_the_python_lock_has_every_server() -> None:
    named = re.findall(
        r"^[a-z-]+$", (peers.PYTHON.lock.with_suffix(".in")).read_text(), re.MULTILINE
    )
    assert {"fastapi", "flask", "functions-framework", "gunicorn", "uvicorn"} <= set(named)
    assert set(named) <= set(peers.PYTHON.versions())


def test_the_emulators_lock_has_it() -> None:
    assert "ministack" in peers.MINISTACK_HOME.versions()
