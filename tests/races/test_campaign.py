# SPDX-License-Identifier: GPL-2.0-or-later
"""Time that some rows leave goes to those that are not done; what was found of a row is kept."""

from __future__ import annotations

import pickle
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ucmmu.race import campaign
from ucmmu.race.campaign import Exploring, Result, Search, run_all
from ucmmu.race.explore import Explorer, Found
from ucmmu.race.happens import Masks
from ucmmu.race.report import ResultRows, result_json
from ucmmu.race.scenarios import SCENARIOS
from ucmmu.race.setting import Setting
from ucmmu.race.wakeup import Branch, flattened, grown

LARGE = "fault-fault-fault"
NEEDED = {"fault-zap": 1.0, "fault-fault": 38.0, "zap-zap": 1.0, "zap-visit": 1000.0}
"""Seconds that each row takes to its end."""


class Clock:
    """What time it is, while rows take as long as they need, or have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.given: defaultdict[str, list[float]] = defaultdict(list)
        self.last: list[bool] = []
        monkeypatch.setattr("ucmmu.race.campaign.time.monotonic", lambda: self.now)

        def run(exploring: Exploring, has: float, _asked: object, *, last: bool) -> Result:
            return self.run(exploring, has, last)

        monkeypatch.setattr(Exploring, "run", run)

    def run(self, exploring: Exploring, has: float, last: bool) -> Result:
        """See Exploring.run(): with a tenth of what it needs a row comes to one preemption."""
        setting, before = exploring.setting, exploring.result
        needs = NEEDED.get(setting.scenario, 1000.0)
        self.given[setting.scenario].append(has)
        self.last.append(last)
        took = min(has, needs - before.seconds)
        self.now += took
        total = before.seconds + took
        bound = 3 if total == needs else 1 if total >= needs / 10 else None
        stopped = total < needs
        exploring.result = Result(setting, int(total), bound, 3, total, stopped=stopped)
        return exploring.result


def test_time_that_is_left_goes_to_those_that_are_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(3)) for name in NEEDED]
    results = {result.setting.scenario: result for result in run_all(tasks, 1, seconds=120)}
    assert [results[name].verdict == "passed" for name in NEEDED] == [True, True, True, False]
    assert len(clock.given["fault-zap"]) == len(clock.given["zap-zap"]) == 1, "done is done"
    assert len(clock.given["fault-fault"]) > 1, "it goes on"
    assert sum(clock.given["fault-fault"]) > 38 > 120 / 4, "more than its share"
    assert clock.now == pytest.approx(220), "as long as it may"
    assert results["zap-visit"].seconds == sum(clock.given["zap-visit"]), "all that it took"
    assert clock.last[-1] and not clock.last[0]


def small(count: int) -> list[str]:
    """So many scenarios of two operations."""
    two = (name for name in SCENARIOS if Setting(name, "refcount").nr_operations == 2)
    return list(islice(two, count))


def test_turns_are_long_enough_for_some_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where equal shares of what is left, 45 seconds in all, would be enough for none of them."""
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(3)) for name in small(40)]
    for setting, _ in tasks:
        monkeypatch.setitem(NEEDED, setting.scenario, 60.0)
    results = list(run_all(tasks, 1, seconds=1800))
    assert [result.verdict for result in results].count("passed") == 19
    assert clock.now == pytest.approx(1900), "the others have the last pass among them"


def test_who_had_no_turn_has_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are of 20 seconds, the second pass of 133: for six, and a part of the seventh one."""
    clock = Clock(monkeypatch)
    names = small(13)
    for name in names:
        monkeypatch.setitem(NEEDED, name, 1000.0)
    list(run_all([(Setting(name, "refcount"), Search(3)) for name in names], 1, seconds=600))
    second = {name: clock.given[name][1] for name in names}
    third = {name: clock.given[name][2] for name in names}
    assert sorted(second.values()) == pytest.approx([0] * 6 + [40 / 3] + [20] * 6)
    assert sorted(third.values()) == pytest.approx([0] * 8 + [80 / 9] + [20] * 4)
    assert not any(second[name] and third[name] for name in names)


def test_those_of_two_operations_go_on_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of more seldom come to their end: they wait until the last pass."""
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(3)) for name in (LARGE, "zap-visit")]
    list(run_all(tasks, 1, seconds=90))
    large, small = clock.given[LARGE], clock.given["zap-visit"]
    assert len(large) == 2 and len(small) > 2
    assert large[-1] == pytest.approx(small[-1]), "the last pass is shared by all"
    assert clock.now == pytest.approx(190)


def test_who_is_stopped_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits then is told as it is."""
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(3)) for name in (LARGE, "zap-visit")]
    passes, run_here = list[list[int]](), campaign._run_here

    def counted(begun: Mapping[int, Exploring], *how: Any) -> Iterator[tuple[int, Exploring]]:
        passes.append([*begun])
        return run_here(begun, *how)

    monkeypatch.setattr(campaign, "_run_here", counted)
    asked = iter([True] * 2)  # the two rows of the first pass, none of the next one
    results = list(run_all(tasks, 1, lambda _: next(asked, False), seconds=90))
    assert passes == [[0, 1], [1]]
    assert len(clock.given[LARGE]) == len(clock.given["zap-visit"]) == 1
    assert sorted(result.setting.scenario for result in results) == [LARGE, "zap-visit"]


def test_where_none_is_of_two_operations_all_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    list(run_all([(Setting(LARGE, "refcount"), Search(2))], 1, seconds=90))
    assert len(clock.given[LARGE]) > 2
    assert clock.now == pytest.approx(190)


def test_a_row_that_is_ended_has_come_to_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    tasks = [(Setting("zap-visit", "refcount"), Search(3))]
    asked = iter([True, True, False])
    (result,) = run_all(tasks, 1, lambda _: next(asked, False), seconds=600)
    assert (result.verdict, result.bound) == ("UNFINISHED", 1)


def test_a_row_that_more_time_does_not_help_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tasks = [(Setting("zap-visit", "refcount"), Search(3, schedules=5))]
    (result,) = run_all(tasks, 1, seconds=600)
    assert (result.verdict, len(clock.given["zap-visit"])) == ("UNFINISHED", 1)


def test_with_store_buffers_all_orders_are_fewer_than_those_of_a_bound() -> None:
    """Drains are no preemptions: fault-fault has thousands of orders without one, and 23 that
    matter.
    """
    result = Exploring(Setting("fault-fault", "refcount", "tso"), Search(0)).run(None)
    assert (result.verdict, result.complete, result.schedules) == ("passed", True, 23)


@pytest.mark.parametrize(("model", "bound"), [("sc", 1), ("sc", 3), ("tso", 3)])
def test_what_is_left_and_gone_on_with_is_the_same(model: str, bound: int) -> None:
    """Each time after a few orders, as if in another process: none is run twice, none is lost."""
    setting, search = Setting("fork-zap", "refcount", model), Search(bound)
    whole = Exploring(setting, search).run(None)
    left, schedules, after = Exploring(setting, search), 0, -1
    while after < schedules or left.may_go_on:
        after = schedules
        left = pickle.loads(pickle.dumps(left))
        asked = iter([True] * 6)
        schedules = left.run(None, lambda _, asked=asked: next(asked, False)).schedules
    assert whole.verdict == "passed"
    assert replace(left.result, seconds=0) == replace(whole, seconds=0)


def test_processes_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is not enough time for a row at once, it goes from one process to another."""
    monkeypatch.setattr(campaign, "_until", lambda end, _: min(end, time.monotonic() + 0.3))
    tasks = [(Setting(name, "refcount"), Search(2)) for name in ("zap-guard", "fork-zap")]
    together = {result.setting: result for result in run_all(tasks, 2, seconds=1200)}
    for setting, search in tasks:
        alone = campaign.run(setting, search)
        assert replace(together[setting], seconds=0) == replace(alone, seconds=0)


def test_orders_at_random_have_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never done: to begin them again with more time would run the same ones."""
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(seed=1)) for name in ("fault-zap", "zap-visit")]
    list(run_all(tasks, 1, seconds=120))
    assert (clock.given["fault-zap"], clock.given["zap-visit"]) == ([60.0], [119.0])


def unexplored(monkeypatch: pytest.MonkeyPatch, variant: str | None) -> Result:
    """A row whose time is over before it has run an order."""

    def go_on(explorer: Explorer, *_how: object, **_more: object) -> Found:
        explorer.found.stopped = True
        return explorer.found

    monkeypatch.setattr(Explorer, "go_on", go_on)
    spec = variant and f"{Path(__file__).with_name('variants.py')}:{variant}"
    setting = Setting("lazy-zap", "refcount", "sc", spec)
    return Exploring(setting, Search(3)).run(120.0 if variant else 2.0)


def test_what_is_not_done_goes_on_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    result = unexplored(monkeypatch, None)
    assert (result.verdict, result.schedules, result.at_random) == ("UNFINISHED", 0, False)
    assert result.drawn > 0
    assert result_json(result)["drawn"] == result.drawn
    row = ResultRows([result.setting]).row(result).plain
    assert row.endswith(f"UNFINISHED, then {result.drawn} at random")


def test_and_fails_if_one_of_those_does(monkeypatch: pytest.MonkeyPatch) -> None:
    result = unexplored(monkeypatch, "D3")
    assert result.verdict == "failed" and result.failure is not None
    assert "a translation is used after its flush is over" in result.failure.text
    assert len(result.failure.schedule) < 30, "as short as can be"
    row = ResultRows([result.setting]).row(result).plain
    assert row.endswith(f"failed, number {result.drawn} at random")


def test_rows_that_are_left_and_gone_on_with_draw_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor those whose orders are numbered, nor those that are done."""
    setting = Setting("lazy-zap", "refcount", "sc")
    assert not Exploring(setting, Search(3)).run(0.1, last=False).drawn
    assert not Exploring(setting, Search(3, schedules=3)).run(60.0).drawn
    done = Exploring(setting, Search(0)).run(60.0)
    assert (done.verdict, done.drawn) == ("passed", 0)


NOTHING = Masks(*[0] * len(fields(Masks)))


def test_a_tree_is_pickled_though_it_is_as_deep_as_an_order_is_long() -> None:
    """An order may take as many steps as MAX_STEPS."""
    root: list[Branch] = []
    branches = root
    for number in range(5000):
        branches += [Branch(number, NOTHING), Branch(-number, NOTHING)]
        branches = branches[number % 2].branches
    flat = flattened(root, first=True)
    again = grown(pickle.loads(pickle.dumps(flat)))
    assert [(parent, branch.actor) for parent, branch in flattened(again, first=True)] == [
        (parent, branch.actor) for parent, branch in flat
    ]
    assert len(flat) == 10_000
    assert len(flattened(root, first=False)) == 2
