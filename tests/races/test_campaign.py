# SPDX-License-Identifier: GPL-2.0-or-later
"""Time that some rows leave goes to those that are not done; what was found of a row is kept."""

from __future__ import annotations

import pytest

from ucmmu.race import campaign
from ucmmu.race.campaign import Result, Search, run_all
from ucmmu.race.setting import Setting

NEEDED = {"fault-zap": 1.0, "fault-fault": 38.0, "zap-zap": 1.0, "zap-visit": 1000.0}
"""Seconds that each row takes to its end."""


class Clock:
    """What time it is, while rows take as long as they need, or have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.given: dict[str, list[float]] = {name: [] for name in NEEDED}
        monkeypatch.setattr("ucmmu.race.campaign.time.monotonic", lambda: self.now)
        monkeypatch.setattr(campaign, "run", self.run)

    def run(self, setting: Setting, search: Search, _asked: object) -> Result:
        """See campaign.run(): with a tenth of what it needs a row comes to one preemption."""
        has, needs = search.seconds, NEEDED[setting.scenario]
        assert has is not None
        self.given[setting.scenario].append(has)
        took = min(has, needs)
        self.now += took
        bound = 3 if took == needs else 1 if took >= needs / 10 else None
        return Result(setting, int(took), bound, 3, took, stopped=took < needs)


def test_time_that_is_left_goes_to_those_that_are_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(3)) for name in NEEDED]
    results = {result.setting.scenario: result for result in run_all(tasks, 1, seconds=120)}
    assert [results[name].verdict == "passed" for name in NEEDED] == [True, True, True, False]
    assert len(clock.given["fault-zap"]) == len(clock.given["zap-zap"]) == 1, "done is done"
    assert clock.given["fault-fault"][-1] > 38 > 120 / 4, "more than its share"
    assert clock.now <= 220.01, "no longer than it may"
    assert results["zap-visit"].seconds == sum(clock.given["zap-visit"]), "all that it took"


def test_what_a_row_came_to_is_kept_when_it_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_orders_at_random_have_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are never done: to begin them again with more time would run the same ones."""
    clock = Clock(monkeypatch)
    tasks = [(Setting(name, "refcount"), Search(seed=1)) for name in ("fault-zap", "zap-visit")]
    list(run_all(tasks, 1, seconds=120))
    assert (clock.given["fault-zap"], clock.given["zap-visit"]) == ([60.0], [119.0])
