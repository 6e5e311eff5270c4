# SPDX-License-Identifier: GPL-2.0-or-later
"""VmPTE over instructions, for each program a figure, for each allocator a plot in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.allocators.runs import POLICIES, progress

COLOURS: Final = {"never": "#b03030", "scan": "#c09020", "refcount": "#206090"}
WIDTHS: Final = {"never": 2.4, "scan": 1.8, "refcount": 1.2}


def plot_name(program: str) -> str:
    """The file name of a program's figure."""
    return f"{program}.png"


def write_plots(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the figures into ``folder``; where matplotlib is not installed, say so."""
    try:
        import matplotlib as mpl
    except ImportError:
        progress("no plots: matplotlib is not here (pip install '.[plots]')")
        return
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    for program, its_rows in groupby(rows, key=lambda row: row["program"]):
        _write_figure(program, list(its_rows), folder / plot_name(program))


def _write_figure(program: str, rows: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib import pyplot as plt

    allocators = list(dict.fromkeys(row["allocator"] for row in rows))
    figure, axes = plt.subplots(
        2, (len(allocators) + 1) // 2, figsize=(11, 5.5), sharey=True, squeeze=False
    )
    most = max(sample[2] for row in rows for sample in row["samples"])
    for axis in axes.flat[len(allocators) :]:
        axis.set_visible(False)
    for axis, allocator in zip(axes.flat, allocators, strict=False):
        for policy in POLICIES:
            for row in rows:
                if (row["allocator"], row["policy"]) == (allocator, policy):
                    _draw(axis, row)
        axis.set_title(allocator, fontsize=9)
        axis.grid(alpha=0.3)
        axis.set_ylim(0, 1.05 * most)
    axes[0][0].legend(fontsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("VmPTE, kB")
    for axis in axes[-1]:
        axis.set_xlabel("million instructions")
    figure.suptitle(program)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _draw(axis: Any, row: dict[str, Any]) -> None:
    policy = row["policy"]
    axis.plot(
        [sample[0] / 1e6 for sample in row["samples"]],
        [sample[2] for sample in row["samples"]],
        label=policy,
        color=COLOURS[policy],
        linewidth=WIDTHS[policy],
        drawstyle="steps-post",
    )
