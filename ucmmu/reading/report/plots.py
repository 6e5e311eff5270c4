# SPDX-License-Identifier: GPL-2.0-or-later
"""The plots of a report, each drawn once by matplotlib, for the page (SVG) and for files (PNG).

In the page, ink follows the page's colours: what is drawn in INK, PAPER or one of COLOURS becomes a
CSS variable.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ucmmu.reading.report.figures import Figures

INK: Final = "#010203"
PAPER: Final = "#fdfefc"
FAINT: Final = "#7a7b7c"
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind people can tell apart."""

_STYLE: Final = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_MAX_LIVES = 400
"""Bars of the plot of lives: those that lived longest, if there are more."""


@dataclass(frozen=True)
class Plot:
    """A plot: the name of its file, what it shows in a sentence, and how it is drawn."""

    name: str
    title: str
    figure: Figure

    def svg(self) -> str:
        """The plot as an element of a page."""
        out = io.StringIO()
        with mpl.rc_context({**_STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        text = out.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        for colour, variable in (
            (INK, "ink"),
            (PAPER, "paper"),
            (FAINT, "faint"),
            *((colour, f"c{n}") for n, colour in enumerate(COLOURS)),
        ):
            text = text.replace(colour, f"var(--{variable})")
        text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        return re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', self._opening, text, count=1)

    def _opening(self, match: re.Match[str]) -> str:
        return (
            f'<svg viewBox="{match[1]}" role="img" aria-label="{html.escape(self.title)}"'
            ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        )

    def png(self) -> bytes:
        """The plot as a picture, 200 pixels an inch."""
        out = io.BytesIO()
        self.figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
        return out.getvalue()


def plots_of(runs: Sequence[Figures]) -> list[Plot]:
    """Every plot for which these runs have something to show."""
    with mpl.rc_context(_STYLE):
        plots = [
            _curves("vmpte", "VmPTE over time", runs, lambda run: run.pte),
            _curves("vmrss", "VmRSS over time", runs, lambda run: run.rss),
            _curves("vmsize", "VmSize over time", runs, lambda run: run.size),
            _lives(runs),
            _life_times(runs),
            _arrays(runs),
            _functions(runs),
            _shootdowns(runs),
        ]
    return [plot for plot in plots if plot is not None]


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, figure.add_subplot()


def _time_unit(end: int) -> tuple[str, float]:
    """The unit in which times up to ``end`` nanoseconds are shown, and its nanoseconds."""
    units = (("s", 1e9), ("ms", 1e6), ("µs", 1e3))
    return next((unit for unit in units if end >= 2 * unit[1]), ("ns", 1.0))


def _size_unit(most: float) -> tuple[str, int]:
    """The unit in which sizes up to ``most`` kB are shown, and its kB."""
    units = (("GiB", 1 << 20), ("MiB", 1 << 10))
    return next((unit for unit in units if most >= 4 * unit[1]), ("kB", 1))


def _curves(
    name: str, title: str, runs: Sequence[Figures], of: Callable[[Figures], Any]
) -> Plot | None:
    if not any(of(run).peak for run in runs):
        return None
    figure, axes = _figure(3)
    unit, nanoseconds = _time_unit(max(run.end for run in runs))
    size_unit, kb = _size_unit(max(of(run).peak for run in runs))
    for number, run in enumerate(runs):
        times, values = of(run).points()
        if len(times):
            times = np.append(times, run.end)
            values = np.append(values, values[-1])
        style = ("-", "--", "-.", ":")[number // len(COLOURS) % 4]
        axes.step(
            times / nanoseconds,
            values / kb,
            where="post",
            label=run.label,
            lw=1.6,
            ls=style,
            color=COLOURS[number % len(COLOURS)],
        )
    axes.set_xlabel(f"virtual time, {unit}")
    axes.set_ylabel(size_unit)
    axes.set_ylim(bottom=0)
    if len(runs) > 1:
        axes.legend(loc="best")
    return Plot(name, title, figure)


def _lives(runs: Sequence[Figures]) -> Plot | None:
    """Bars of the first run's tables, in the order in which they were installed."""
    run = runs[0]
    if not run.lives:
        return None
    lives = sorted(run.lives, key=lambda life: (life.unhooked or run.end) - life.installed)
    lives = sorted(lives[-_MAX_LIVES:], key=lambda life: life.installed)
    figure, axes = _figure(3.4)
    unit, scale = _time_unit(run.end)
    for at, life in enumerate(lives):
        installed = life.installed / scale
        unhooked = (run.end if life.unhooked is None else life.unhooked) / scale
        freed = unhooked if life.freed is None else life.freed / scale
        axes.broken_barh([(installed, unhooked - installed)], (at, 0.9), color=COLOURS[0], lw=0)
        if freed > unhooked:
            axes.broken_barh([(unhooked, freed - unhooked)], (at, 0.9), color=COLOURS[4], lw=0)
    axes.set_xlabel(f"virtual time, {unit}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("PTE table")
    some = f", the {_MAX_LIVES} that lived longest" if len(run.lives) > _MAX_LIVES else ""
    return Plot("lives", f"PTE tables of {run.label} from installing to freeing{some}", figure)


def _life_times(runs: Sequence[Figures]) -> Plot | None:
    ended = [
        [max(life.unhooked - life.installed, 1) for life in run.lives if life.unhooked is not None]
        for run in runs
    ]
    if not any(ended):
        return None
    most = max(max(times, default=1) for times in ended)
    edges = [float(10**n) for n in range(len(str(most)) + 1)]
    figure, axes = _figure(2.6)
    axes.hist(
        ended,
        bins=edges,
        label=[run.label for run in runs],
        color=[COLOURS[n % len(COLOURS)] for n in range(len(runs))],
    )
    axes.set_xscale("log")
    _plain_numbers(axes)
    axes.set_xlabel("virtual nanoseconds from installing to taking out")
    axes.set_ylabel("PTE tables")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if len(runs) > 1:
        axes.legend()
    return Plot("life-times", "How long PTE tables lived", figure)


def _bars(
    name: str,
    title: str,
    labels: Iterable[str],
    groups: Sequence[tuple[str, Sequence[float]]],
    axis: str,
    *,
    log: bool = False,
) -> Plot | None:
    """Horizontal bars, the first at the top: a group of one for each run or kind at each label."""
    labels = list(labels)
    if not labels or not any(any(values) for _, values in groups):
        return None
    figure, axes = _figure(0.9 + 0.24 * len(labels) * max(1.0, 0.7 * len(groups)))
    thick = 0.8 / len(groups)
    for number, (label, values) in enumerate(groups):
        axes.barh(
            [at + number * thick for at in range(len(labels))],
            values,
            thick,
            label=label,
            color=COLOURS[number % len(COLOURS)],
        )
    middle = (len(groups) - 1) * thick / 2
    axes.set_yticks([at + middle for at in range(len(labels))], labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    if log:
        axes.set_xscale("symlog", linthresh=1)
        _plain_numbers(axes)
        axes.set_xlim(left=0)
    axes.set_xlabel(axis)
    if len(groups) > 1:
        axes.legend(loc="best")
    return Plot(name, title, figure)


def _arrays(runs: Sequence[Figures]) -> Plot | None:
    """Of all accesses, which part each array answered; the rest walked."""
    names = list(dict.fromkeys(array.name for run in runs for array in run.arrays))
    groups = []
    for run in runs:
        hits = {array.name: array.hits for array in run.arrays}
        total = sum(hits.values()) + run.misses
        if total:
            values = [hits.get(name, 0) for name in names] + [run.misses]
            groups.append((run.label, [100 * value / total for value in values]))
    if not groups:
        return None
    labels = [*names, "page walk"]
    return _bars("arrays", "Who answered translations", labels, groups, "% of look-ups", log=True)


def _functions(runs: Sequence[Figures]) -> Plot | None:
    run = runs[0]
    rows = [row for row in run.functions if row.misses]
    misses = [float(row.misses) for row in rows]
    title = f"Functions of {run.label} by TLB misses"
    return _bars(
        "functions",
        title,
        [_short(row.name) for row in rows],
        [("", misses)],
        "TLB misses",
        log=True,
    )


def _shootdowns(runs: Sequence[Figures]) -> Plot | None:
    run = runs[0]
    groups = [
        ("function calls sent", [float(cpu.sent) for cpu in run.cpus]),
        ("handled", [float(cpu.received) for cpu in run.cpus]),
    ]
    return _bars(
        "shootdowns",
        f"Function calls between the CPUs of {run.label}",
        [f"CPU {cpu.cpu}" for cpu in run.cpus],
        groups,
        "calls",
    )


def _plain_numbers(axes: Any) -> None:
    """Powers of ten as numbers: nothing in a plot is read as a formula."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:,g}"))


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}…"
