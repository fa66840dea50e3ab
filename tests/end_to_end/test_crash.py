"""kill -9 at any moment: what was acknowledged is there."""

from __future__ import annotations

from pathlib import Path

from bench import crash


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    report = crash.run(tmp_path, kills=2, seconds=1.5)
    assert report["acknowledged_objects"] > 20
    assert report["acknowledged_events"] > 20
    assert report["lost_objects"] == 0
    assert report["lost_events"] == 0
