# SPDX-License-Identifier: GPL-2.0-or-later
"""The sweep itself: what is missing is run, once, and saved as soon as it is there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import Final

from ucmmu.exit_codes import ExitCode
from ucmmu.sweep.jobs import Done
from ucmmu.sweep.plan import Planned
from ucmmu.sweep.results import Claim, Record, Results, Version
from ucmmu.sweep.worker import was_stopped
from ucmmu.sweep.workers import Killed, Lost, Workers

MAX_DEATHS: Final = 5
"""Workers that may die of a cell, or times that it may be ended from outside, before it is given
up; also how often workers may die one after another without a cell that ended.
"""
_POLL: Final = 0.1
_LOOK: Final = 0.5
"""Seconds between looks for what another sweep is at work on."""


@dataclass
class Tally:
    """How far a sweep is."""

    total: int
    """Different cells."""
    found: int = 0
    """Those that had a result when the sweep began, or got it from another sweep."""
    ran: int = 0
    failed: int = 0
    """Of those that ran or were found."""
    given_up: int = 0
    """Those that failed without a result."""
    deaths: int | None = 0
    """Workers that died; None: nobody knows."""
    started: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Cells that are not run any more."""
        return self.kept + self.given_up

    @property
    def kept(self) -> int:
        """Cells that have a result, good or bad."""
        return self.found + self.ran

    def text(self) -> str:
        """In words, with the time that is left."""
        words = [f"{self.done:,} of {self.total:,} cells"]
        if self.failed:
            words.append(f"{self.failed:,} failed")
        if self.ran:
            left = (time.monotonic() - self.started) / self.ran * (self.total - self.done)
            words.append(f"{_duration(left)} left")
        return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def record_of(planned: Planned, done: Done) -> Record:
    """What is saved of a cell that ended."""
    return {
        "key": planned.key,
        "facts": planned.facts,
        "words": list(planned.job.words),
        "limits": planned.limits,
        "report": done.report,
        "error": done.error,
        "exit_code": done.exit_code,
        "seconds": done.seconds,
        "host": done.host,
    }


def counts(record: Record, planned: Planned, *, retry: bool) -> bool:
    """Whether a result that is there is taken as it is: not if it failed, and is to be tried again
    or had other limits.
    """
    if record["error"] is None:
        return True
    return not retry and record["limits"] == planned.limits


def _error_of(future: Future[Done]) -> BaseException | None:
    """What a future that is done ended with, CancelledError too."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _failed(planned: Planned, line: str) -> Done:
    return Done(planned.key, None, line, int(ExitCode.ENGINE_DIED), 0.0, "")


class Sweep:
    """Runs what ``results`` do not have; ``told`` gets each cell that ended here."""

    def __init__(
        self, results: Results, tally: Tally, told: Callable[[Planned, Record], None]
    ) -> None:
        self._results = results
        self._tally = tally
        self._told = told
        self._seen: Mapping[str, Version | None] = {}
        self._waiting: deque[Planned] = deque()
        self._elsewhere: deque[Planned] = deque()
        """Cells that another sweep is at work on."""
        self._looked = 0.0
        self._running: dict[Future[Done], tuple[Planned, Claim]] = {}
        self._deaths: dict[str, int] = {}
        self._stops: dict[str, int] = {}
        self._fruitless = 0
        """How often workers have died since a cell ended."""

    def run(
        self,
        missing: Mapping[Planned, Version | None],
        workers: Workers,
        stops: Sequence[int],
        show: Callable[[str], None],
    ) -> None:
        """Run what is missing, given with the files that were no good; return early when ``stops``
        has something. Raises Failure (NO_OUTPUT), Lost.
        """
        self._seen = {planned.key: version for planned, version in missing.items()}
        self._waiting.extend(missing)
        try:
            while (self._waiting or self._running or self._elsewhere) and not stops:
                self._fill(workers)
                self._take(workers)
                show(self._tally.text())
        finally:
            self._tally.deaths = workers.deaths
            for _, claim in self._running.values():
                claim.release()

    def _fill(self, workers: Workers) -> None:
        """Have every worker a cell, and the next one at hand."""
        if not self._waiting and self._elsewhere and time.monotonic() > self._looked + _LOOK:
            self._looked = time.monotonic()
            self._waiting, self._elsewhere = self._elsewhere, self._waiting
        most = 2 * workers.size
        while self._waiting and len(self._running) < most and not workers.broken:
            planned = self._waiting.popleft()
            claim = self._results.claim(planned.key)
            if claim is None:
                self._elsewhere.append(planned)
            elif not self._is_done_elsewhere(planned):
                self._running[workers.submit(planned.job)] = planned, claim
            else:
                claim.release()

    def _is_done_elsewhere(self, planned: Planned) -> bool:
        """Whether another sweep made the result after we looked."""
        if self._results.version(planned.key) == self._seen[planned.key]:
            return False
        record = self._results.load(planned.key)
        if record is None:
            return False
        self._tally.found += 1
        self._tally.failed += record["error"] is not None
        return True

    def _take(self, workers: Workers) -> None:
        """Save what has ended."""
        if not self._running:
            time.sleep(_POLL)
            return
        ended, _ = wait(self._running, timeout=_POLL, return_when=FIRST_COMPLETED)
        for future in sorted(ended, key=lambda one: _error_of(one) is not None):
            planned, claim = self._running.pop(future)
            try:
                self._take_one(planned, future, workers)
            finally:
                claim.release()
        if workers.broken and not self._running:
            self._mend(workers)

    def _take_one(self, planned: Planned, future: Future[Done], workers: Workers) -> None:
        error = _error_of(future)
        if error is None:
            self._save(planned, future.result())
            return
        try:
            line = workers.verdict(error)
        except Killed as why:
            self._give_up(planned, str(why))
            return
        if line is None:
            self._waiting.append(planned)
        else:
            self._save(planned, _failed(planned, line))

    def _mend(self, workers: Workers) -> None:
        """Have workers again, and give up what they died of. Raises Lost if they die of nothing."""
        for key in workers.mend():
            self._deaths[key] = self._deaths.get(key, 0) + 1
        for planned in list(self._waiting):
            deaths = self._deaths.get(planned.key, 0)
            if deaths >= MAX_DEATHS:
                self._waiting.remove(planned)
                self._give_up(planned, f"its worker died, {deaths} times")
        self._fruitless += 1
        if self._fruitless > MAX_DEATHS:
            raise Lost(f"the workers died, {self._fruitless} times one after another")

    def _give_up(self, planned: Planned, line: str) -> None:
        """Have a cell fail, but save nothing: it may not be the cell's fault."""
        self._fruitless = 0
        self._tally.given_up += 1
        self._tally.failed += 1
        self._told(planned, record_of(planned, _failed(planned, line)))

    def _save(self, planned: Planned, done: Done) -> None:
        if was_stopped(done):
            stops = self._stops[planned.key] = self._stops.get(planned.key, 0) + 1
            if stops < MAX_DEATHS:
                self._waiting.append(planned)
                return
            self._give_up(planned, f"it was ended from outside, {stops} times")
            return
        self._fruitless = 0
        record = record_of(planned, done)
        self._results.save(record)
        self._tally.ran += 1
        self._tally.failed += done.error is not None
        self._told(planned, record)
