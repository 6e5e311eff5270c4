# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``ucmmu race`` does: choose, explore, show."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import closing

from mmu.errors import MmuError
from mmu.linux.policy import FreeTables
from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.garbage import collect_garbage
from ucmmu.output import JsonOutput, check_target
from ucmmu.policy_file import find_policy
from ucmmu.progress import Progress
from ucmmu.race.campaign import BOUNDS, Result, Search, Task, run_all
from ucmmu.race.exploration import NotDeterministic
from ucmmu.race.models import MODELS
from ucmmu.race.notes import annotated, recorded
from ucmmu.race.program import Schedule, parse_schedule
from ucmmu.race.report import (
    ResultRows,
    failure_text,
    replay_command,
    result_json,
    scenario_json,
    scenario_list,
    steps_table,
)
from ucmmu.race.run import Impossible
from ucmmu.race.scenario import COUNTED, UNCOUNTED, Scenario
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.setting import Setting
from ucmmu.race.variant import functions_of, load_variant
from ucmmu.streams import STDERR, STDOUT, columns, say
from ucmmu.supervise import stops_noted
from ucmmu.terminal import rendered
from ucmmu.text import did_you_mean, printable

FAILED, UNFINISHED = 1, 2
"""Exit codes of its own."""


def race(arguments: argparse.Namespace) -> int:
    """Do what the command line asks; the exit code. Raises Failure."""
    if arguments.list:
        return _list(arguments)
    collect_garbage()  # each order's world is some
    settings = settings_of(arguments)
    if arguments.trace == "-":
        raise Failure(ExitCode.USAGE, "argument --trace: the result is on stdout: give a FILE")
    if arguments.trace is not None:
        check_target("--trace", arguments.trace)
    if arguments.replay is not None:
        return _replay(arguments, settings)
    tasks = [(setting, _search(arguments, setting)) for setting in settings]
    jobs = min(arguments.jobs or len(os.sched_getaffinity(0)), len(tasks))
    with JsonOutput(arguments.json) as output:
        fd = STDERR if output.to_stdout else STDOUT
        results, stops = _explore(tasks, jobs, arguments.seconds, fd)
        output.write([result_json(result) for result in results])
        say(fd, _text(fd, results))
        if arguments.trace is not None:
            _record(arguments.trace, results, fd)
    if stops:
        return SIGNALLED + stops[0]
    verdicts = {result.verdict for result in results}
    if verdicts == {"passed"}:
        _check_points(arguments.points, results)
        _check_variant(arguments.variant, results)
    return FAILED if "failed" in verdicts else UNFINISHED if "UNFINISHED" in verdicts else 0


def _list(arguments: argparse.Namespace) -> int:
    scenarios = _chosen(arguments) if arguments.names else list(SCENARIOS.values())
    with JsonOutput(arguments.json) as output:
        output.write([scenario_json(scenario) for scenario in scenarios])
        if not output.to_stdout:
            say(
                STDOUT,
                rendered(STDOUT, [scenario_list(scenarios, columns(STDOUT))]).rstrip() + "\n",
            )
    return 0


# What is asked for.


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.all and arguments.names:
        raise Failure(ExitCode.USAGE, "argument --all: it takes no NAME")
    if arguments.all:
        return list(SCENARIOS.values())
    if not arguments.names:
        raise Failure(
            ExitCode.USAGE, "no NAME of a scenario given: `ucmmu race --list` names them, or --all"
        )
    for name in arguments.names:
        if name not in SCENARIOS:
            raise Failure(
                ExitCode.USAGE,
                f"no scenario {printable(name)!r}{did_you_mean(name, SCENARIOS)}"
                " (`ucmmu race --list` names them)",
            )
    return [SCENARIOS[name] for name in dict.fromkeys(arguments.names)]


def settings_of(arguments: argparse.Namespace) -> list[Setting]:
    """What the command line asks to be explored. Raises Failure (USAGE)."""
    models = list(MODELS) if arguments.model == "both" else [arguments.model]
    variant_policies: Sequence[FreeTables] = tuple(FreeTables)
    if arguments.variant is not None:
        try:
            variant_policies = load_variant(arguments.variant).policies
        except MmuError as error:
            raise Failure(ExitCode.USAGE, f"argument --variant: {error}") from None
    settings = [
        Setting(scenario.name, policy, model, arguments.variant, arguments.fine, arguments.points)
        for scenario in _chosen(arguments)
        for policy in _policies(arguments, scenario, variant_policies)
        for model in models
    ]
    if not settings:
        raise Failure(ExitCode.USAGE, "no scenario given is for such a policy (--list --json -)")
    return settings


def _policies(
    arguments: argparse.Namespace, scenario: Scenario, possible: Sequence[FreeTables]
) -> list[str]:
    usual = [policy.label for policy in scenario.policies if policy in possible]
    if not arguments.free_tables:
        return usual
    chosen = []
    for word in dict.fromkeys(arguments.free_tables):
        try:
            policy = find_policy(word)
        except Failure as failure:
            raise Failure(failure.code, f"argument {failure.line}") from None
        if not isinstance(policy, FreeTables):
            if arguments.variant is not None:
                line = "argument --variant: it is of one of our policies, not of yours"
                raise Failure(ExitCode.USAGE, line)
            if any(ours in scenario.policies for ours in (COUNTED if policy.counts else UNCOUNTED)):
                chosen.append(word)
            continue
        if word in usual:
            chosen.append(word)
        elif len(arguments.names) == 1:
            raise Failure(
                ExitCode.USAGE,
                f"argument --free-tables: {scenario.name} is for {', '.join(usual) or 'none'}",
            )
    return chosen


def _search(arguments: argparse.Namespace, setting: Setting) -> Search:
    bound: int | None = BOUNDS[setting.nr_operations]
    if arguments.bound is not None:
        bound = None if arguments.bound < 0 else arguments.bound
    schedules = arguments.schedules
    if arguments.seed is not None and schedules is None and arguments.seconds is None:
        raise Failure(ExitCode.USAGE, "argument --seed: say how many with --schedules or --seconds")
    if arguments.seed is not None and arguments.bound is not None:
        raise Failure(ExitCode.USAGE, "argument --bound: orders at random (--seed) have none")
    return Search(bound, schedules, None, arguments.seed)


# Exploring.


class _Meter:
    """Counts orders as they are run, and shows how many."""

    def __init__(
        self, progress: Progress, nr_tasks: int, stops: Sequence[int], seconds: float | None
    ) -> None:
        self._progress = progress
        self._seconds = seconds
        self._stops = stops
        self._nr_tasks = nr_tasks
        self._started = time.monotonic()
        self._schedules = 0
        self.done = 0

    def __call__(self, more: int) -> bool:
        """See campaign.OnProgress."""
        self._schedules += more
        passed = time.monotonic() - self._started
        rate = self._schedules / max(passed, 1e-6)
        left = "" if self._seconds is None else f", {max(self._seconds - passed, 0):,.0f} s left"
        self._progress.show(
            f"{self.done} of {self._nr_tasks} done, {self._schedules:,} schedules, {rate:,.0f}/s"
            f"{left}"
        )
        return not self._stops


def _explore(
    tasks: Sequence[Task], jobs: int, seconds: float | None, fd: int
) -> tuple[list[Result], list[int]]:
    """The results, each of which has its row on ``fd`` as soon as it is known, and the signals by
    which the user ended it: what was not done then is unfinished. ``seconds`` are for all.
    """
    results: list[Result] = []
    rows = ResultRows([setting for setting, _ in tasks])
    say(fd, rendered(fd, [rows.head()]))
    with stops_noted() as stops, Progress("race") as progress:
        meter = _Meter(progress, len(tasks), stops, seconds)
        with closing(run_all(tasks, jobs, meter, seconds)) as coming:
            for result in coming:
                results.append(result)
                meter.done += 1
                progress.clear()
                say(fd, rendered(fd, [rows.row(result)]))
    order = {setting: number for number, (setting, _) in enumerate(tasks)}
    results.sort(key=lambda result: order[result.setting])
    return results, stops


def _check_points(wanted: Sequence[str], results: Sequence[Result]) -> None:
    """Raises Failure (USAGE) if no order came to one of the points: passing says nothing then."""
    met = {name for result in results for name in result.met}
    for name in wanted:
        if name not in met:
            others = ", ".join(sorted(met)) or "none"
            line = f"argument --points: no order came to {name!r}, but to {others}"
            raise Failure(ExitCode.USAGE, f"{line}{did_you_mean(name, met)}")


def _check_variant(spec: str | None, results: Sequence[Result]) -> None:
    """Raises Failure (USAGE) if no order came to a function of the variant."""
    if spec is not None and not any(result.called for result in results):
        names = ", ".join(f"{name}()" for name in functions_of(load_variant(spec)))
        raise Failure(ExitCode.USAGE, f"argument --variant: no order came to {names}")


def _text(fd: int, results: Sequence[Result]) -> str:
    text = ""
    for result in results:
        if result.failure is not None:
            text += _failed(fd, result)
    count = {
        name: sum(result.verdict == name for result in results)
        for name in ("passed", "failed", "UNFINISHED")
    }
    schedules = sum(result.schedules for result in results)
    total = ", ".join(f"{nr} {name}" for name, nr in count.items() if nr)
    drawn = sum(result.drawn for result in results)
    more = f", and {drawn:,} at random" if drawn else ""
    return f"{text}\n{total}: {schedules:,} schedule{'s' if schedules != 1 else ''}{more}\n"


def _failed(fd: int, result: Result) -> str:
    assert result.failure is not None
    setting, failure = result.setting, result.failure
    head = f"\n{setting.scenario}, {setting.policy}, {setting.model}: fails\n\n"
    if failure.kind == NotDeterministic.__name__:  # no order would show it
        return head + rendered(fd, [], failure_text(failure))
    try:
        steps, _ = annotated(setting, failure.schedule)
    except Impossible:  # it does otherwise each time it is run
        steps = [*failure.steps]
    lines = ["", *failure_text(failure), f"  again: {replay_command(result)}"]
    return head + rendered(fd, [steps_table(result, steps)], lines)


def _record(path: str, results: Sequence[Result], fd: int) -> None:
    failed = next((result for result in results if result.failure is not None), None)
    if failed is None or failed.failure is None:
        say(fd, "nothing failed: nothing was recorded\n")
        return
    recorded(path, failed.setting, failed.failure.schedule)
    say(fd, f"the failing order of {failed.setting.scenario} is in {printable(path)}\n")


# One order.


def _replay(arguments: argparse.Namespace, settings: Sequence[Setting]) -> int:
    for name in ("bound", "schedules", "seconds", "seed", "jobs"):
        if getattr(arguments, name) is not None:
            line = f"argument --{name}: it is about many orders: --replay runs one"
            raise Failure(ExitCode.USAGE, line)
    if len(settings) != 1:
        raise Failure(
            ExitCode.USAGE,
            "argument --replay: give one NAME, --free-tables and --model: it is of one world",
        )
    try:
        schedule: Schedule = parse_schedule(arguments.replay)
    except ValueError as error:
        raise Failure(ExitCode.USAGE, f"argument --replay: {error}") from None
    setting = settings[0]
    with JsonOutput(arguments.json) as output:
        started = time.monotonic()
        try:
            steps, failure = annotated(setting, schedule)
        except Impossible as error:
            raise Failure(ExitCode.USAGE, f"argument --replay: {error}") from None
        seconds = time.monotonic() - started
        result = Result(setting, 1, None, None, seconds, failure, at_random=True)
        output.write([result_json(result)])
        fd = STDERR if output.to_stdout else STDOUT
        lines = ["", *(failure_text(failure) if failure else ["  it passes"])]
        say(fd, rendered(fd, [steps_table(result, steps)], lines))
        if arguments.trace is not None:
            recorded(arguments.trace, setting, schedule)
    return FAILED if failure else 0
