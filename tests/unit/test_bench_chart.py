"""The comparison's picture says what was measured, and reads on any page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from bench import chart, peers
from bench.compare import INVOKE, URL

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def _figures(per_second: float, p50_ms: float, cold_ms: float) -> dict[str, Any]:
    return {
        "x16": {"per_second": per_second, "server_cpu_us": 170},
        "x1": {"p50_ms": p50_ms},
        "cold_start_ms": cold_ms,
    }


REPORT = {
    "servers": {
        INVOKE: _figures(9_100, 0.31, 12.2),
        URL: _figures(12_345, 0.22, 11),
        "a <server> & its kin": _figures(15_000, 0.1, 1400),
    }
}


def _texts(svg: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_every_server_has_its_figures_with_units_in_order_of_throughput() -> None:
    drawn = chart.svg(REPORT, "a note")
    texts = [one.text for one in _texts(drawn)]
    names = [text for text in texts if text in REPORT["servers"]]
    assert names == ["a <server> & its kin", URL, INVOKE]
    assert {"15,000", "12,345", "9,100", "0.10", "0.31", "1,400", "12", "a note"} <= set(texts)
    assert "requests/s; more is better" in texts
    assert "ms; less is better" in texts


def test_lengths_are_in_proportion() -> None:
    drawn = ElementTree.fromstring(chart.svg(REPORT))
    bars = [one for one in drawn.iter(f"{SVG}rect") if one.get("class") in ("bar", "boda")]
    first, second, third = (float(one.get("width", 0)) for one in bars[:3])
    assert abs(second / first - 12_345 / 15_000) < 0.01
    assert abs(third / first - 9_100 / 15_000) < 0.01
    dots = [float(one.get("cx", 0)) for one in drawn.iter(f"{SVG}circle")]
    assert dots[0] > dots[2] > dots[1]


def test_it_is_read_aloud_too() -> None:
    about = ElementTree.fromstring(chart.svg(REPORT)).find(f"{SVG}desc")
    assert about is not None
    assert about.text is not None
    assert f"{INVOKE}: Warm, 16 connections 9,100 requests/s" in about.text


def test_nothing_is_loaded_and_both_schemes_are_there() -> None:
    drawn = chart.svg(REPORT).replace("http://www.w3.org/2000/svg", "", 1)
    assert not re.search(r"https?:|url\(|@import|@font-face|<script|href", drawn)
    assert "prefers-color-scheme: dark" in drawn


def test_texts_are_legible_on_their_ground_in_both_schemes() -> None:
    light, _, dark = chart.STYLE.partition("@media")
    for style in (light, dark):
        ground = _luminance(re.findall(r"\.ground \{ fill: #(\w+)", style)[0])
        for selector in ("text", ".soft", ".boda"):
            ink = _luminance(
                re.findall(rf"(?m)^\s*{re.escape(selector)} \{{.*?fill: #(\w+)", style)[0]
            )
            darker, lighter = sorted((ground, ink))
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, selector


def _luminance(color: str) -> float:
    """Relative luminance, WCAG 2.1."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_names_and_titles_keep_to_their_columns() -> None:
    wide = 7.4  # pixels of a letter at 13 px, on average, in a generous font
    for peer in peers.PEERS:
        assert chart.MARGIN + wide * len(peer.name) < chart.NAMES, peer.name
    for panel in chart.PANELS:
        assert 7.4 * len(panel.title) < chart.PANEL + chart.VALUE + 10
        assert 6.6 * len(f"{panel.unit}; {panel.better}") < chart.PANEL + chart.VALUE + 10
    assert chart.NAMES + 4 * (chart.PANEL + chart.VALUE) + 30 <= chart.WIDTH


def test_the_committed_picture_is_one_of_these_and_is_shown() -> None:
    drawn = (ROOT / "docs" / "peers.svg").read_text()
    texts = {one.text for one in _texts(drawn)}
    assert {INVOKE, URL, *(peer.name for peer in peers.PEERS)} <= texts
    assert chart.STYLE in drawn
    assert "](peers.svg)" in (ROOT / "docs" / "performance.md").read_text()
    assert "](docs/peers.svg)" in (ROOT / "README.md").read_text()
