"""Draws a benchmark's runs and counts as PNGs: every run a mark, every median a dot."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.counting import IMAGES
from bench.growth import SERIES, medians, slope
from bench.measure import PUSH, SCENARIOS, STEPS
from bench.registries import MOORAGE, PEER
from bench.targets import CLOUD, ratio_of, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.counting import Asked
    from bench.growth import Point
    from bench.measure import Run

TIMES, REQUESTS, GROWTH = (f"performance-{name}.png" for name in ("times", "requests", "growth"))
_COLOURS = {MOORAGE: "#1f6f8b", PEER: "#c4762b"}
_GREY = "#8a9199"


def draw(
    runs: Sequence[Run], asked: Sequence[Asked], points: Sequence[Point], folder: Path
) -> None:
    """Write the plots below `folder`."""
    _draw_growth(points).savefig(folder / GROWTH, dpi=110)
    _draw_times(runs).savefig(folder / TIMES, dpi=110)
    _draw_requests(asked).savefig(folder / REQUESTS, dpi=110)


def _draw_times(runs: Sequence[Run]) -> Figure:
    """Draw a panel for each image: a row a step, both registries on one line of time."""
    scenarios = [
        scenario.name
        for scenario in SCENARIOS
        if any(run.scenario == scenario.name for run in runs if run.slowed)
    ]
    rows = max(1, (len(scenarios) + 1) // 2)
    figure = _figure((11, 1.3 + 2.6 * rows))
    panels = figure.subplots(rows, 2, squeeze=False).flat
    for axes, scenario in zip(panels, scenarios, strict=False):
        for row, step in enumerate(STEPS):
            _draw_step(axes, runs, scenario, step, row)
        axes.set_title(scenario, loc="left", fontsize=11)
        axes.set_yticks(range(len(STEPS)), STEPS)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g} s")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.2, y=0.12)
    for unused in list(figure.axes)[len(scenarios) :]:
        unused.set_visible(False)
    labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(
        "Time of each step, S3 and DynamoDB as slow as on AWS: medians (dots), and all runs.\n"
        "The figure is Moorage's median over the peer's.",
        fontsize=11,
    )
    return figure


def _draw_step(axes: Axes, runs: Sequence[Run], scenario: str, step: str, row: int) -> None:
    times = {
        registry: seconds(runs, CLOUD, scenario, step, registry, slowed=True)
        for registry in (MOORAGE, PEER)
    }
    if not all(times.values()):
        return
    middles = {registry: median(each) for registry, each in times.items()}
    axes.plot(list(middles.values()), [row, row], color=_GREY, linewidth=1, zorder=1)
    for registry, each in times.items():
        # A leading underscore keeps a label out of the legend.
        label = registry if row == 0 else "_"
        axes.plot(each, [row] * len(each), "|", color=_COLOURS[registry], markersize=9)
        axes.plot(middles[registry], row, "o", color=_COLOURS[registry], label=label)
    axes.annotate(
        f"{ratio_of(times[MOORAGE], times[PEER]):.2f}",
        (max(max(each) for each in times.values()), row),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
    )


def _draw_requests(asked: Sequence[Asked]) -> Figure:
    """Draw what a first push asks: a bar a registry and client, its services side by side."""
    images = [image.name for image in IMAGES if image.layers]
    pushes = [
        each
        for image in images
        for each in asked
        if each.step == PUSH and each.scenario.startswith(f"{image},")
    ]
    figure = _figure((11, 1.2 + 0.42 * len(pushes)))
    axes = figure.subplots()
    parts = (
        ("S3, the registry's", "#1f6f8b"),
        ("S3, the client's by a signed URL", "#7fb5c7"),
        ("DynamoDB", "#d8b365"),
    )
    for row, each in enumerate(pushes):
        counts = (
            each.aws.requests("s3", by_url=False),
            each.aws.requests("s3", by_url=True),
            each.aws.requests("dynamodb"),
        )
        left = 0
        for (label, colour), count in zip(parts, counts, strict=True):
            name = label if row == 0 else "_"
            axes.barh(row, count, left=left, color=colour, label=name)
            left += count
        words = f"S3 {counts[0] + counts[1]}" + (f", DynamoDB {counts[2]}" if counts[2] else "")
        axes.annotate(words, (left, row), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(pushes)), [f"{each.scenario}, {each.registry}" for each in pushes])
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.legend(loc="upper right", fontsize="small", frameon=False)
    axes.set_title("Requests of a first push, counted on the wire", loc="left", fontsize=11)
    return figure


def _draw_growth(points: Sequence[Point]) -> Figure:
    """Draw a panel for each series, both axes by powers: a straight line is a power of x."""
    figure = _figure((11, 3.8))
    panels = figure.subplots(1, len(SERIES))
    for axes, series in zip(panels, SERIES, strict=True):
        for registry, colour in _COLOURS.items():
            times = medians(points, series, registry)
            if len(times) > 1:
                label = f"{registry}, slope {slope(times):.2f}"
                axes.plot(*zip(*times.items(), strict=True), "o-", color=colour, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g} s")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(series, loc="left", fontsize=10)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small", frameon=False)
        axes.margins(0.1, 0.25)
    return figure


def _figure(size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
