# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy of one's own under stress. Threads of the host cannot run its Python code at once: the
race explorer's orders at random stand in for them, of all scenarios, in both memory models, at the
kernel's points and at fine ones; seeds counted up, until the time is over or one fails.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mmu.events import MM_COUNTER_ID
from mmu.linux.free_tables import FreeTablesPolicy
from ucmmu.policy_file import load_policy
from ucmmu.race.campaign import Result, Search, run
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.models import MODELS
from ucmmu.race.notes import annotated
from ucmmu.race.report import failure_text, replay_command, steps_table
from ucmmu.race.scenario import COUNTED, UNCOUNTED, Scenario
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.setting import Setting
from ucmmu.streams import STDOUT
from ucmmu.terminal import rendered

ORDERS = 8
"""Of one setting from one seed; then the next setting has its turn."""


@dataclass(frozen=True)
class PolicyRun:
    """``policy`` is FILE.py:CLASS; ``seed`` the first one; ``jobs`` processes, None: one for each
    CPU of the host.
    """

    policy: str
    seconds: float
    seed: int
    jobs: int | None = None


@dataclass
class Tally:
    """What was done, in all orders together."""

    orders: int = 0
    tables_allocated: int = 0
    tables_freed: int = 0
    operations: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add what another process did."""
        self.orders += other.orders
        self.tables_allocated += other.tables_allocated
        self.tables_freed += other.tables_freed
        self.operations += other.operations

    def note(self, setting: Setting, program: KernelProgram) -> None:
        """An order came to its end, where all was checked."""
        world = program.world
        self.orders += 1
        self.operations.update(setting.found.operations)
        for mm in (world.mm, *world.children):
            self.tables_allocated += mm.c.counter[MM_COUNTER_ID["pte_tables_allocated"]]
            self.tables_freed += mm.c.counter[MM_COUNTER_ID["pte_tables_freed"]]


def settings_of(policy: str) -> list[Setting]:
    """All that is run under it. Raises Failure if the file cannot be used."""
    found = load_policy(policy)
    return [
        Setting(name, policy, model, fine=fine)
        for fine in (False, True)
        for model in MODELS
        for name, scenario in SCENARIOS.items()
        if _is_for(scenario, found)
    ]


def _is_for(scenario: Scenario, policy: type[FreeTablesPolicy]) -> bool:
    """Whether the scenario holds under one of ours that counts as this one does."""
    return any(ours in scenario.policies for ours in (COUNTED if policy.counts else UNCOUNTED))


def some_orders(setting: Setting, seed: int) -> tuple[Result, Tally]:
    """Run ORDERS of one setting, from that seed."""
    tally = Tally()
    programs: list[KernelProgram] = []

    def on_run(_: int) -> bool:
        tally.note(setting, programs[-1])
        return True

    def on_program(program: KernelProgram) -> None:
        programs[:] = [program]

    result = run(setting, Search(schedules=ORDERS, seed=seed), on_run, on_program)
    return result, tally


def stress_policy(wanted: PolicyRun) -> dict[str, Any]:
    """One run's report, as stress() gives one of ours. Raises ucmmu's Failure."""
    settings = settings_of(wanted.policy)
    started = time.monotonic()
    tally, met, failed, seed = Tally(), set[Setting](), None, wanted.seed
    for result, more in _all_orders(wanted, settings, started + wanted.seconds):
        tally.add(more)
        met.add(result.setting)
        if result.failure is not None:
            failed = result
            break
    return {
        "free_tables": wanted.policy,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 3),
        "operations": {**dict(sorted(tally.operations.items())), "total": tally.operations.total()},
        "orders": tally.orders,
        "settings": len(settings),
        "settings_run": len(met),
        "tables_allocated": tally.tables_allocated,
        "tables_freed": tally.tables_freed,
        "defects": int(failed is not None),
        "defect": None if failed is None else _told(failed),
        "replay": None if failed is None else replay_command(failed),
    }


def _told(result: Result) -> str:
    """The failing order in columns, what was wrong there, and in which setting."""
    assert result.failure is not None
    setting, failure = result.setting, result.failure
    steps, _ = annotated(setting, failure.schedule)
    table = rendered(STDOUT, [steps_table(result, steps)])
    where = f"{setting.scenario}, {setting.model}{', fine' if setting.fine else ''}"
    return "\n".join([f"{where} fails", "", table.rstrip("\n"), "", *failure_text(failure)])


def _turns(wanted: PolicyRun, settings: list[Setting]) -> Iterator[tuple[Setting, int]]:
    """Each setting in each round, the seed one more from round to round."""
    for seed in count(wanted.seed):
        turn = list(settings)
        random.Random(seed).shuffle(turn)
        yield from ((setting, seed) for setting in turn)


def _all_orders(
    wanted: PolicyRun, settings: list[Setting], end: float
) -> Iterator[tuple[Result, Tally]]:
    """What the processes come to, until the time is over; who asks no more ends them."""
    jobs = wanted.jobs or len(os.sched_getaffinity(0))
    turns = _turns(wanted, settings)
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(jobs, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    running: set[Future[tuple[Result, Tally]]] = set()
    try:
        while time.monotonic() < end:
            while len(running) < 2 * jobs:
                running.add(pool.submit(some_orders, *next(turns)))
            left = max(end - time.monotonic(), 0)
            done, running = wait(running, timeout=left, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        yield from (future.result() for future in running)
    finally:
        pool.shutdown(cancel_futures=True)


def show_policy(report: dict[str, Any]) -> None:
    """The table of one report, and the failing order."""
    from rich import box
    from rich.table import Table

    from ucmmu.terminal import Console

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"seed {report['seed']}")
    table.add_column(report["free_tables"], justify="right")
    for operation, done in report["operations"].items():
        if operation != "total":
            table.add_row(operation, f"{done:,}")
    table.add_section()
    table.add_row("operations", f"{report['operations']['total']:,}")
    table.add_row("orders at random", f"{report['orders']:,}")
    table.add_row("settings run", f"{report['settings_run']} of {report['settings']}")
    table.add_row("tables allocated", f"{report['tables_allocated']:,}")
    table.add_row("tables freed", f"{report['tables_freed']:,}")
    table.add_row("defects", f"{report['defects']}")
    Console(sys.stdout).print(table)
    if report["defect"]:
        print(f"{report['free_tables']}: {report['defect']}\n  again: {report['replay']}")
