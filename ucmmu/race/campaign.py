# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring many settings, in this process or in several, and what came of each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from ucmmu.race.run import Failure
from ucmmu.race.search import Found, OnProgress, Search, explore
from ucmmu.race.setting import Setting

BOUNDS: Final = {2: 3, 3: 2, 4: 1}
"""Preemptions up to which scenarios of so many operations are explored, if nothing else is said."""


@dataclass(frozen=True)
class Result:
    """What came of a setting: ``schedules`` run; ``bound``, the preemptions up to which all were,
    None: not even 0; ``wanted``, up to which they should be, None: all there are; ``complete``: all
    there are were run; ``stopped`` by a limit; ``seconds`` it took.
    """

    setting: Setting
    schedules: int
    bound: int | None
    wanted: int | None
    seconds: float
    failure: Failure | None = None
    complete: bool = False
    stopped: bool = False
    at_random: bool = False

    @property
    def verdict(self) -> str:
        """``failed``, ``UNFINISHED``, or ``passed``."""
        if self.failure is not None:
            return "failed"
        return "UNFINISHED" if self.stopped and not self.at_random else "passed"


def run(setting: Setting, search: Search, on_progress: OnProgress | None = None) -> Result:
    """Explore one setting."""
    started = time.monotonic()
    try:
        found = explore(setting.program, search, on_progress)
    except Exception as error:  # of a variant: the world cannot even be made
        if setting.variant is None:
            raise
        text = f"before the race: {error}"
        found = Found(failure=Failure(type(error).__name__, text, (), ()))
    return Result(
        setting,
        found.schedules,
        found.bound,
        search.bound,
        time.monotonic() - started,
        found.failure,
        found.complete,
        found.stopped,
        search.seed is not None,
    )


def unfinished(setting: Setting, search: Search) -> Result:
    """Of a setting that was not explored to its end."""
    return Result(setting, 0, None, search.bound, 0.0, stopped=True)


def run_all(
    tasks: Sequence[tuple[Setting, Search]], jobs: int, on_progress: OnProgress | None = None
) -> Iterator[Result]:
    """Explore each; results in the order of the tasks. With ``jobs`` more than 1 in as many
    processes.
    """
    if jobs == 1:
        for setting, search in tasks:
            yield run(setting, search, on_progress)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, *task) for task in tasks]
        try:
            yield from _in_order(futures, on_progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_order(
    futures: Sequence[Future[Result]], on_progress: OnProgress | None
) -> Iterator[Result]:
    told: set[Future[Result]] = set()
    for future in futures:
        while not future.done():
            done, _ = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
            for other in done - told:
                told.add(other)
                if on_progress is not None:
                    on_progress(other.result().schedules)
        yield future.result()
