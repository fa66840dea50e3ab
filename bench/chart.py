"""The comparison as a picture: ``python -m bench.chart`` draws docs/peers.svg.

Plain SVG with a ground of its own, so that it reads on any page, in light and in dark; no script,
no font but the reader's. Four panels share their rows, one server each, boda's in colour.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

WIDTH = 984
ROW = 28
TOP = 92
NAMES = 260
PANEL = 110
VALUE = 60  # room for a value beside a bar
MARGIN = 16

STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .soft { font-size: 12px; fill: #57606a; }
  .line { stroke: #d0d7de; stroke-width: 1; }
  .bar { fill: #9aa4b0; }
  .boda { fill: #c2410c; }
  text.boda { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #15181d; stroke: #3a4048; }
    text { fill: #e6e8eb; }
    .soft { fill: #a5adb8; }
    .line { stroke: #3a4048; }
    .bar { fill: #6f7985; }
    .boda { fill: #ff8f52; }
  }
"""


@dataclass(frozen=True)
class Panel:
    """``value`` of a server's figures; ``better`` says which way."""

    title: str
    unit: str
    better: str
    value: Callable[[dict[str, Any]], float]
    show: Callable[[float], str]
    logarithmic: bool = False


PANELS = (
    Panel(
        "Warm, 16 connections",
        "requests/s",
        "more is better",
        lambda one: float(one["x16"]["per_second"]),
        lambda value: f"{value:,.0f}",
    ),
    Panel(
        "Warm, 1 connection",
        "ms",
        "less is better",
        lambda one: float(one["x1"]["p50_ms"]),
        lambda value: f"{value:.2f}",
    ),
    Panel(
        "Server's CPU per request",
        "µs",
        "less is better",
        lambda one: float(one["x16"]["server_cpu_us"]),
        lambda value: f"{value:,.0f}",
    ),
    Panel(
        "Cold start",
        "ms, log",
        "less is better",
        lambda one: float(one["cold_start_ms"]),
        lambda value: f"{value:,.0f}",
        logarithmic=True,
    ),
)


def draw(report: dict[str, Any], path: Path, note: str = "") -> None:
    """report: the figures of `bench.compare`. note: a line under the picture."""
    path.write_text(svg(report, note))


def svg(report: dict[str, Any], note: str = "") -> str:
    servers = sorted(
        report["servers"].items(), key=lambda item: -float(item[1]["x16"]["per_second"])
    )
    bottom = TOP + ROW * len(servers)
    height = bottom + (44 if note else 20)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title about">',
        '<title id="title">boda beside other servers, with the same handler</title>',
        f'<desc id="about">{escape(_in_words(servers))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        _text(MARGIN, 30, "The same handler, JSON in and out", "title"),
    ]
    for row, (name, _) in enumerate(servers):
        parts.append(_text(MARGIN, TOP + ROW * row + 19, name, _class(name)))
    for at, panel in enumerate(PANELS):
        left = NAMES + at * (PANEL + VALUE + 10)
        parts += _panel(panel, left, servers, bottom)
    if note:
        parts.append(_text(MARGIN, bottom + 28, note, "soft"))
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    panel: Panel, left: int, servers: list[tuple[str, dict[str, Any]]], bottom: int
) -> list[str]:
    values = [panel.value(one) for _, one in servers]
    length = _scale(values, panel.logarithmic)
    parts = [
        _text(left, 52, panel.title, ""),
        _text(left, 69, f"{panel.unit}; {panel.better}", "soft"),
        f'<line class="line" x1="{left}" y1="{TOP - 8}" x2="{left}" y2="{bottom}"/>',
    ]
    for row, (name, _) in enumerate(servers):
        y, width = TOP + ROW * row, length(values[row])
        shape = _class(name) or "bar"
        if panel.logarithmic:
            # A bar's length would claim a proportion that a logarithm does not have.
            x = left + width
            parts.append(
                f'<line class="line" x1="{left}" y1="{y + 14}" x2="{x:.1f}" y2="{y + 14}"/>'
            )
            parts.append(f'<circle class="{shape}" cx="{x:.1f}" cy="{y + 14}" r="5"/>')
        else:
            parts.append(
                f'<rect class="{shape}" x="{left}" y="{y + 5}" '
                f'width="{width:.1f}" height="18" rx="2"/>'
            )
        end = left + width + (10 if panel.logarithmic else 6)
        parts.append(_text(end, y + 19, panel.show(values[row]), _class(name)))
    return parts


def _scale(values: list[float], logarithmic: bool) -> Callable[[float], float]:
    """A value's length in pixels."""
    most = max(values)
    if not logarithmic:
        return lambda value: PANEL * value / most
    least = 10 ** math.floor(math.log10(min(values)))
    span = math.log10(most / least) or 1.0
    return lambda value: PANEL * math.log10(value / least) / span


def _class(name: str) -> str:
    return "boda" if name.startswith("boda") else ""


def _text(x: float, y: float, text: str, kind: str) -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{of}>{escape(text)}</text>'


def _in_words(servers: list[tuple[str, dict[str, Any]]]) -> str:
    """The same for those who hear it read."""
    return " ".join(
        f"{name}: "
        + ", ".join(
            f"{panel.title} {panel.show(panel.value(one))} {panel.unit}" for panel in PANELS
        )
        + "."
        for name, one in servers
    )


def note_of(part: dict[str, Any]) -> str:
    """part: what `.bench/results.json` keeps of the comparison."""
    machine, figures = part["machine"], part["figures"]
    return (
        f"{machine['cores']} cores ({machine['processor']}), the load generator among them; "
        f"medians of {figures['rounds']} rounds in turns; {part['at'][:10]}, "
        f"with a load of {machine['load_before']:.1f} on the machine before"
    )


if __name__ == "__main__":
    file = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "peers.svg"
    compared = json.loads((ROOT / ".bench" / "results.json").read_text())["parts"]["compare"]
    draw(compared["figures"], file, note_of(compared))
    print(f"drawn: {file}")
