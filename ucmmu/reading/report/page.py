# SPDX-License-Identifier: GPL-2.0-or-later
"""The page: one HTML file with all that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from ucmmu.reading.report.figures import Figures
from ucmmu.reading.report.plots import Plot
from ucmmu.reading.report.space import MAX_CELLS, SPARSE, spaces
from ucmmu.sizes import format_kb
from ucmmu.text import printable

_KEY = (
    ("empty", "no entry"),
    ("sparse", f"fewer than {SPARSE} of 512"),
    ("partly", "more"),
    ("full", "all 512"),
)


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,}"


def _kb(value: Any) -> str:
    return "–" if value is None else format_kb(value)


_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("VmSize at its peak", "VmPeak", _kb),
    ("VmRSS at its peak", "VmHWM", _kb),
    ("VmPTE at the end", "VmPTE", _kb),
    ("VmPTE at its peak", "VmPTE_peak", _kb),
    ("PTE tables allocated", "pte_tables_allocated", _number),
    ("freed before exit", "pte_tables_freed_before_exit", _number),
    ("page faults", "page_faults", _number),
    ("instructions", "instructions", _number),
)
_PARAMETERS = (
    ("fidelity", "fidelity"),
    ("engine", "engine"),
    ("TLB", "tlb"),
    ("CPUs", "cpus"),
    ("seed", "seed"),
)


def _subtitle(runs: Sequence[Figures]) -> str:
    """The parameters: of all runs, or of each if they differ."""
    told = [_parameters(run) for run in runs]
    if len(set(told)) == 1:
        return told[0]
    return "; ".join(f"{run.label}: {words}" for run, words in zip(runs, told, strict=True))


def render(runs: Sequence[Figures], plots: Sequence[Plot]) -> str:
    """The page about these runs, the first of which is the one looked at most closely."""
    environment = Environment(autoescape=True, trim_blocks=True)
    by_name = {plot.name: plot for plot in plots}
    template = environment.from_string(
        files("ucmmu.reading.report").joinpath("page.html").read_text("utf-8")
    )
    moments = [
        (run, [(name, spaces(tables, run.processes)) for name, tables in _moments(run)])
        for run in runs
    ]
    return template.render(
        title=title_of(runs),
        subtitle=_subtitle(runs),
        warnings=[f"{run.path}: {run.torn}" for run in runs if run.torn],
        runs=runs,
        rows=[*_table(runs), ("events", [_number(run.nr_events) for run in runs])],
        key=_KEY,
        maps=moments,
        grouped=any(len(run.peak) > MAX_CELLS for run in runs),
        figures=lambda names: Markup("").join(
            _figure(by_name[name]) for name in names if name in by_name
        ),
        counts=lambda title, of: _counts(runs, title, of),
        reasons=[run.reasons for run in runs],
        pages=[run.pages_flushed for run in runs],
        faults=[run.faults for run in runs],
    )


def title_of(runs: Sequence[Figures]) -> str:
    """The command that was run."""
    head = runs[0].head
    words = [str(head.get("program", "?")), *map(str, head.get("args", ()))]
    return printable(" ".join(words))


def _parameters(run: Figures) -> str:
    return ", ".join(
        f"{name} {run.head[key]}" for name, key in _PARAMETERS if run.head.get(key) is not None
    )


def _moments(run: Figures) -> list[tuple[str, list[Any]]]:
    return [
        (f"when VmPTE was highest, at {run.peak_time:,} ns", run.peak),
        ("before the end", run.last),
    ]


def _table(runs: Sequence[Figures]) -> list[tuple[str, list[str]]]:
    rows = []
    for name, key, form in _ROWS:
        values = [None if run.summary is None else run.summary.get(key) for run in runs]
        rows.append((name, [form(value) for value in values]))
    return rows


def _figure(plot: Plot) -> Markup:
    return Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(
        plot.title, Markup(plot.svg())
    )


def _counts(runs: Sequence[Figures], title: str, of: Sequence[Mapping[str, int]]) -> Markup:
    """A table of counts by name, a column for each run."""
    names = list(dict.fromkeys(name for counts in of for name in counts))
    if not names:
        return Markup('<p class="note">no {}</p>').format(title)
    head = Markup("").join(Markup("<th>{}</th>").format(run.label) for run in runs)
    rows = [
        Markup("<tr><td>{}</td>{}</tr>").format(
            name,
            Markup("").join(
                Markup("<td>{}</td>").format(_number(counts.get(name, 0))) for counts in of
            ),
        )
        for name in names
    ]
    return Markup(
        '<div class="scroll"><table><thead><tr><th>{}</th>{}</tr></thead><tbody>{}</tbody>'
        "</table></div>"
    ).format(title, head, Markup("").join(rows))
