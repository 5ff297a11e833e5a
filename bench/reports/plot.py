"""Draws the README's picture from a benchmark's results.

`python -m bench.reports.plot [RESULTS.json] [FOLDER]`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot

ROOT = Path(__file__).resolve().parents[2]
LABELS = {
    "pool": "Emberbox, ready in a pool",
    "clone": "Emberbox, cloned for the call",
    "command": "Emberbox, the whole command",
    "gvisor": "gVisor",
    "cold": "cold boot of a microVM",
    "bubblewrap": "bubblewrap (shared kernel)",
    "process": "no sandbox",
}
OURS, OTHERS, INK = "#e4572e", "#a9b0b7", "#3a4149"


def main(source: Path, folder: Path) -> None:
    """Read the results and write bench.svg and bench.png to `folder`."""
    results = json.loads(source.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"svg.hashsalt": "bench", "font.family": "DejaVu Sans", "font.size": 10})
    figure = draw(results)
    figure.savefig(folder / "bench.svg", metadata={"Date": None})
    figure.savefig(folder / "bench.png", dpi=160)


def draw(results: dict[str, Any]) -> Any:
    """Return the figure: one bar for each latency, the longest on top, a whisker up to p95."""
    summaries = {
        name: results["latencies"][name]["summary"] for name in LABELS if name in results["latencies"]
    }
    names = sorted(summaries, key=lambda name: summaries[name]["median"])
    medians = [summaries[name]["median"] for name in names]
    tails = [max(0.0, summaries[name]["p95"] - summaries[name]["median"]) for name in names]
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(names) + 1.3), layout="constrained")
    colours = [OURS if "Emberbox" in LABELS[name] else OTHERS for name in names]
    axes.barh(range(len(names)), medians, color=colours, height=0.66)
    axes.errorbar(
        medians,
        range(len(names)),
        xerr=[[0] * len(names), tails],
        fmt="none",
        ecolor=INK,
        elinewidth=1,
        capsize=2.5,
    )
    for position, name in enumerate(names):
        value = summaries[name]["median"]
        text = f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"
        axes.text(max(value, summaries[name]["p95"]) * 1.08, position, text, va="center", color=INK)
    axes.set_yticks(range(len(names)), [LABELS[name] for name in names])
    axes.set_xscale("log")
    axes.set_xlim(min(medians) / 2, max(summaries[name]["p95"] for name in names) * 2.2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("milliseconds, logarithmic", color=INK)
    host = results["host"]
    machine = f"{host['cpu']}, {host['cores']} cores, {host['accelerator']}"
    axes.set_title(
        f'print("hello world") in Python: median, whisker to p95\n{machine}',
        loc="left",
        fontsize=10,
        color=INK,
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", which="major", alpha=0.3)
    axes.set_axisbelow(True)
    return figure


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    main(
        given[0] if given else ROOT / "bench/results/latest.json",
        given[1] if len(given) > 1 else ROOT / "docs",
    )
