# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``ucmmu race`` shows: the list, the table of results, and a failing order as columns."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ucmmu.race.campaign import Result
from ucmmu.race.notes import FAILS
from ucmmu.race.program import Kind, Step, format_schedule
from ucmmu.race.run import Failure
from ucmmu.race.scenario import Scenario
from ucmmu.race.setting import Setting
from ucmmu.text import printable

_STYLE = {"passed": "green", "failed": "bold red", "UNFINISHED": "yellow"}


def scenario_list(scenarios: Iterable[Scenario], width: int) -> Text:
    """The scenarios, in lines of no more than ``width`` columns: name and operations, what each is
    about, and its rules.
    """
    text = Text()
    for scenario in scenarios:
        text.append(scenario.name, style="bold")
        text.append(f": {' | '.join(scenario.operations)}\n")
        about = f"{scenario.about} ({scenario.rules})"
        for line in textwrap.wrap(about, max(width - 4, 20)):
            text.append(f"    {line}\n", style="dim")
    return text


def scenario_json(scenario: Scenario) -> dict[str, Any]:
    """One scenario, for ``--json``."""
    return {
        "name": scenario.name,
        "operations": list(scenario.operations),
        "about": scenario.about,
        "rules": scenario.rules.split(", "),
        "policies": [policy.label for policy in scenario.policies],
        "invlpgb": scenario.invlpgb,
    }


class ResultRows:
    """The table of results, row by row: ``settings`` are those that it will have, so that its
    columns are wide enough for all.
    """

    _SCHEDULES: Final = 11
    _PREEMPTIONS: Final = 13

    def __init__(self, settings: Sequence[Setting]) -> None:
        self._widths = [
            max(len(name), *(len(str(getattr(setting, name))) for setting in settings))
            for name in ("scenario", "policy", "model")
        ]

    def head(self) -> Text:
        """The names of the columns, and a line below them."""
        names = ("scenario", "policy", "model", "schedules", "preemptions", "result")
        first = self._line(names)
        return Text(f"{first}\n{'─' * len(first)}")

    def row(self, result: Result) -> Text:
        """One setting."""
        setting, verdict = result.setting, result.verdict
        cells = (setting.scenario, setting.policy, setting.model, f"{result.schedules:,}")
        line = Text(self._line((*cells, bound_text(result), "")))
        line.append(verdict, style=_STYLE[verdict])
        more = "then" if result.failure is None else "number"
        return line.append(f", {more} {result.drawn:,} at random" if result.drawn else "")

    def _line(self, cells: Sequence[str]) -> str:
        schedules, preemptions, result = cells[3:]
        padded = [f"{cell:{width}}" for cell, width in zip(cells, self._widths, strict=False)]
        last = (f"{schedules:>{self._SCHEDULES}}", f"{preemptions:{self._PREEMPTIONS}}", result)
        return "   ".join((*padded, *last))


def bound_text(result: Result) -> str:
    """Up to how many preemptions all orders passed: ``all``, ``0 to 2``, ``random``."""
    if result.at_random:
        return "random"
    if result.complete:
        return "all"
    done = "none" if result.bound is None else f"0 to {result.bound}" if result.bound else "0"
    if result.verdict == "UNFINISHED":
        wanted = "all" if result.wanted is None else str(result.wanted)
        return f"{done} (of {wanted})"
    return done


def result_json(result: Result) -> dict[str, Any]:
    """One result, for ``--json``."""
    setting, failure = result.setting, result.failure
    return {
        "scenario": setting.scenario,
        "policy": setting.policy,
        "model": setting.model,
        "variant": setting.variant,
        "fine": setting.fine,
        "points": list(setting.points),
        "schedules": result.schedules,
        "preemptions": result.bound,
        "complete": result.complete,
        "drawn": result.drawn,
        "result": result.verdict,
        "seconds": round(result.seconds, 3),
        "failure": None
        if failure is None
        else {
            "kind": failure.kind,
            "reason": failure.text,
            "schedule": format_schedule(failure.schedule),
            "command": replay_command(result),
            "steps": [{"actor": str(step.actor), "at": step.label} for step in failure.steps],
        },
    }


def replay_command(result: Result) -> str:
    """The command that runs a failing order again."""
    setting, failure = result.setting, result.failure
    words = ["ucmmu", "race", "--free-tables", setting.policy, "--model", setting.model]
    if setting.variant is not None:
        words += ["--variant", setting.variant]
    if setting.fine:
        words.append("--fine")
    if setting.points:
        words += ["--points", ",".join(setting.points)]
    if failure is not None:
        words += ["--replay", format_schedule(failure.schedule)]
    return shlex.join([*words, setting.scenario])


def failure_text(failure: Failure) -> list[str]:
    """What failed, in lines."""
    first, *more = failure.text.strip().splitlines() or [""]
    return [f"  {failure.kind}: {printable(first)}", *(f"  {printable(line)}" for line in more)]


def steps_table(result: Result, steps: Sequence[Step]) -> Table:
    """An order as columns, one for each CPU: time runs downwards. Where a CPU is left, the point is
    named that it stands before.
    """
    operations = result.setting.found.operations
    cpus = sorted({step.actor.cpu for step in steps} | set(range(len(operations))))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("steps", justify="right", style="dim")
    for cpu in cpus:
        what = f": {operations[cpu]}" if cpu < len(operations) else ""
        table.add_column(f"CPU {cpu}{what}")
    first = 1
    for cpu, block in groupby(steps, key=lambda step: step.actor.cpu):
        part = list(block)
        last = first + len(part) - 1
        cells = [""] * len(cpus)
        cells[cpus.index(cpu)] = "\n".join(_lines(part))
        table.add_row(f"{first}" if first == last else f"{first}-{last}", *map(Text, cells))
        first = last + 1
    return table


def _lines(steps: Sequence[Step]) -> list[str]:
    """What one CPU did in some steps in a row, and where it stands then."""
    lines: list[str] = []
    for step in steps:
        if step.actor.kind is Kind.INTERRUPT:
            lines.append("interrupt:")
        elif step.actor.kind is Kind.DRAIN:
            lines.append("a store of its buffer is seen by all")
        elif step.actor.kind is Kind.GRACE_PERIOD:
            lines.append("(a grace period ends)")
        lines += [f"  {note}" if lines[-1:] == ["interrupt:"] else note for note in _notes(step)]
    lines = [_times(line, sum(1 for _ in same)) for line, same in groupby(lines)]
    last = steps[-1]
    if last.label == FAILS:
        return [*lines, "fails"]
    if last.actor.kind is Kind.CPU:
        lines.append("(ends)" if last.label == "ended" else f"(before {last.label})")
    return lines


def _times(line: str, times: int) -> str:
    return line if times == 1 else f"{line}  ({times} times)"


def _notes(step: Step) -> list[str]:
    return [note for note in step.note.split("; ") if note]
