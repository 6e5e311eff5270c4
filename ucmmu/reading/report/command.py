# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the page, the pictures and the JSON that were asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import JsonOutput, check_target, write_whole
from ucmmu.reading.report.curve import Curve
from ucmmu.reading.report.figures import Figures
from ucmmu.reading.report.gather import figures_of
from ucmmu.reading.source import extra
from ucmmu.text import printable


def report(
    files: Sequence[str], *, output: str | None, png: str | None, json_target: str | None
) -> int:
    """Read the traces and write what is asked for; 0. Raises Failure (BAD_TRACE, NO_OUTPUT,
    NO_EXTRA).
    """
    with JsonOutput(json_target) as json_output:
        if output is not None or png is not None:
            for module in ("matplotlib", "jinja2"):
                extra(module, wanted_by="`ucmmu report`", extra="plots")
        if output is not None:
            check_target("--output", output)
        if png is not None:
            _make(png)
        runs = _named_apart([figures_of(file) for file in files])
        if output is not None or png is not None:
            _draw(runs, output, png)
        json_output.write([as_json(run) for run in runs])
    return 0


def _draw(runs: Sequence[Figures], output: str | None, png: str | None) -> None:
    from ucmmu.reading.report.page import render
    from ucmmu.reading.report.plots import plots_of

    plots = plots_of(runs)
    if output is not None:
        write_whole("--output", output, render(runs, plots).encode())
    if png is not None:
        for plot in plots:
            write_whole("--png", str(Path(png, f"{plot.name}.png")), plot.png())


def _make(folder: str) -> None:
    try:
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise ValueError("is no directory: --png takes one")
        os.makedirs(folder, exist_ok=True)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(ExitCode.NO_OUTPUT, f"--png {printable(folder)}: {text}") from None


def _named_apart(runs: list[Figures]) -> list[Figures]:
    """Runs of one policy are told apart by the names of their files, then by number."""
    for names in ([os.path.basename(run.path) for run in runs], [run.path for run in runs]):
        labels = [run.label for run in runs]
        for run, name in zip(runs, names, strict=True):
            if labels.count(run.label) > 1:
                run.label = printable(name)
    seen: dict[str, int] = {}
    for run in runs:
        seen[run.label] = seen.get(run.label, 0) + 1
        if seen[run.label] > 1:
            run.label = f"{run.label} ({seen[run.label]})"
    return runs


def as_json(run: Figures) -> dict[str, Any]:
    """The data behind a run's part of the page."""
    data = {
        name: value
        for name, value in vars(run).items()
        if not isinstance(value, Curve) and name not in ("peak", "last", "lives")
    }
    for name in ("arrays", "functions", "cpus"):
        data[name] = [asdict(row) for row in data[name]]
    data["processes"] = {f"{mm:#x}": name for mm, name in run.processes.items()}
    for name in ("peak", "last", "lives"):
        data[name] = [asdict(row) for row in getattr(run, name)]
    for name in ("size", "rss", "pte"):
        times, values = getattr(run, name).points()
        data[name] = {"time": times.tolist(), "kB": values.tolist()}
    return data
