"""Draws the runs of a benchmark as a PNG: every run a dot, every median a bar, targets as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.workload import WORKLOADS, Push, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.report import Comparison

_OURS = "#1f6f8b"
_PEERS = "#b0b7bf"
_WIDTH = 0.38


def draw(pushes: Sequence[Push], comparisons: Sequence[Comparison], path: Path) -> None:
    """Write the plot to ``path``: one panel a workload, one group of bars a backend."""
    figure = Figure(figsize=(5 * len(WORKLOADS), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(WORKLOADS), squeeze=False)[0]
    for axes, workload in zip(panels, WORKLOADS, strict=True):
        _panel(
            axes,
            workload,
            [push for push in pushes if push.workload == workload.name],
            [row for row in comparisons if row.workload == workload.name],
        )
    figure.suptitle("skopeo push: Moorage and docker-registry on the same backend")
    figure.savefig(path, dpi=120)


def _panel(
    axes: Axes, workload: Workload, pushes: Sequence[Push], rows: Sequence[Comparison]
) -> None:
    for place, row in enumerate(rows):
        bars = (
            (-_WIDTH / 2, "moorage", row.moorage_seconds, _OURS),
            (_WIDTH / 2, "docker-registry", row.peer_seconds, _PEERS),
        )
        for shift, registry, seconds, colour in bars:
            label = registry if place == 0 else None
            axes.bar(place + shift, seconds, _WIDTH, color=colour, label=label)
            dots = [
                push.seconds
                for push in pushes
                if (push.backend, push.registry) == (row.backend, registry)
            ]
            axes.plot([place + shift] * len(dots), dots, "o", color="black", markersize=3)
        limit = row.peer_seconds * row.target
        # A leading underscore keeps a label out of the legend.
        target = f"target: {row.target:g} x the peer" if place == 0 else "_"
        axes.hlines(limit, place - _WIDTH, place + _WIDTH, "firebrick", "dashed", label=target)
        axes.annotate(
            f"ratio {row.ratio:.2f}",
            (place, max(row.moorage_seconds, row.peer_seconds, limit)),
            ha="center",
            va="bottom",
        )
    axes.set_title(f"{workload.layers} x {workload.size / 1e6:g} MB")
    axes.set_xticks(range(len(rows)), [row.backend for row in rows])
    axes.set_ylabel("seconds, median and every run")
    axes.margins(y=0.15)
    axes.legend(fontsize="small")
