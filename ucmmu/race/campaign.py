# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring many settings, in this process or in several, and what came of each."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ucmmu.policy_file import find_policy, policy_failure
from ucmmu.race.exploration import NotDeterministic
from ucmmu.race.explore import Found, Limits, explore, explore_at_random
from ucmmu.race.minimal import minimal
from ucmmu.race.program import MakeProgram
from ucmmu.race.run import FAILURES, Failure, told
from ucmmu.race.setting import Setting

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event
    from typing import TypeAlias

    from ucmmu.race.kernel_program import KernelProgram

    Counter: TypeAlias = Synchronized[int]

BOUNDS: Final = {2: 3, 3: 2, 4: 1}
"""Preemptions up to which scenarios of so many operations are explored, if nothing else is said."""
FEW: Final = 4000
"""So many orders of two operations are run, whatever preemptions they take, before those with 1."""
MAX_STEPS: Final = 10_000
"""Steps of one order; more are a wait without bound."""

OnProgress = Callable[[int], bool]
"""Told how many orders were run since; whether to go on."""
OnProgram = Callable[["KernelProgram"], object]
"""Told of each program before it is run."""


@dataclass(frozen=True)
class Search:
    """What to run: orders with up to ``bound`` preemptions, None: all; no more than ``schedules``,
    no longer than ``seconds``; with ``seed`` at random instead, until one of these ends it.
    """

    bound: int | None = 3
    schedules: int | None = None
    seconds: float | None = None
    seed: int | None = None


Task = tuple[Setting, Search]


@dataclass(frozen=True)
class Result:
    """What came of a setting: ``schedules`` run; ``bound``, the preemptions up to which all were,
    None: not even 0; ``wanted``, up to which they should be, None: all there are; ``complete``: all
    there are were run; ``stopped`` before; ``seconds`` it took.
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
    met: frozenset[str] = frozenset()
    """The points that were come to, if only some were asked for."""
    called: frozenset[str] = frozenset()
    """The functions of the variant that were called, by name."""

    @property
    def verdict(self) -> str:
        """``failed``, ``UNFINISHED``, or ``passed``."""
        if self.failure is not None:
            return "failed"
        return "UNFINISHED" if self.stopped else "passed"


def run(
    setting: Setting,
    search: Search,
    on_progress: OnProgress | None = None,
    on_program: OnProgram | None = None,
) -> Result:
    """Explore one setting. An order at random that fails is made as short as can be."""
    started = time.monotonic()
    interrupted: list[bool] = []
    runs = 0

    def on_run() -> bool:
        nonlocal runs
        runs += 1
        if on_progress is not None and not on_progress(1):
            interrupted.append(True)
        return not interrupted

    met: set[str] = set()
    called: set[str] = set()

    def make() -> KernelProgram:
        program = setting.program(called=called)
        program.met = met
        if on_program is not None:
            on_program(program)
        return program

    try:
        found = _explore(setting, make, search, on_run)
    except NotDeterministic as error:
        if not setting.of_the_user:
            raise
        found = Found(schedules=runs, failure=_not_deterministic(error))
    except FAILURES as error:
        failure = before_the_race(setting, error)
        if failure is None:
            raise
        found = Found(failure=failure)
    at_random = search.seed is not None
    failure = found.failure
    if failure is not None and (at_random or _every_order(setting, search)):
        failure = minimal(make, failure)
    return Result(
        setting,
        found.schedules,
        found.bound,
        search.bound,
        time.monotonic() - started,
        failure,
        found.complete,
        bool(interrupted) if at_random else found.stopped,
        at_random,
        frozenset(met),
        frozenset(called),
    )


def before_the_race(setting: Setting, error: BaseException) -> Failure | None:
    """The failure of a world that cannot even be made, which is for a variant, or a policy of the
    user's own, to answer for; None: it is ours.
    """
    text = None if setting.variant is None else told(error)
    if setting.variant is None:
        text = policy_failure(find_policy(setting.policy), error)
    return (
        None if text is None else Failure(type(error).__name__, f"before the race: {text}", (), ())
    )


def _not_deterministic(error: NotDeterministic) -> Failure:
    """Of a variant, or a policy of the user's own: each order is run in a new world, but in one
    process.
    """
    why = "does it keep anything from run to run, as in a variable of its module or class?"
    return Failure(type(error).__name__, f"{error}: {why}", (), ())


def _explore(
    setting: Setting, make: MakeProgram, search: Search, on_run: Callable[[], bool]
) -> Found:
    limits = Limits(search.schedules, search.seconds, MAX_STEPS)
    if search.seed is None:
        if not _every_order(setting, search):
            return explore(make, bound=search.bound, limits=limits, on_run=on_run)
        first = int(setting.model == "sc")  # drains are no preemptions: none has many orders
        return explore(
            make, bound=search.bound, limits=limits, on_run=on_run, bounds_first=first, few=FEW
        )
    return explore_at_random(make, seed=search.seed, limits=limits, on_run=on_run)


def _every_order(setting: Setting, search: Search) -> bool:
    """Whether to run every order that matters, each once: also within a bound, where some are run
    twice, if of two operations there may be fewer in all.
    """
    few = len(setting.found.operations) == 2 and not setting.points
    return search.bound is None or (few and search.bound >= 2)


def unfinished(setting: Setting, search: Search) -> Result:
    """Of a setting that was not begun."""
    return Result(setting, 0, None, search.bound, 0.0, stopped=True)


def run_all(
    tasks: Sequence[Task],
    jobs: int,
    on_progress: OnProgress | None = None,
    seconds: float | None = None,
) -> Generator[Result, None, None]:
    """Explore each; the results as they come, those that are unfinished last. With ``jobs`` more
    than 1 in as many processes. When ``on_progress`` says so, what is being run and what was not
    begun is unfinished.

    ``seconds`` are for all together. A part of them is shared among all; those that it is not
    enough for begin again with more, so that what is soon done leaves its time to them. Orders at
    random are never done, and take their share at once.
    """
    end = None if seconds is None else time.monotonic() + seconds
    at_random = any(search.seed is not None for _, search in tasks)
    left, kept, share = dict(enumerate(tasks)), dict[int, Result](), 0.0
    asked = _Asked(on_progress)
    while left:
        until = end
        if end is not None and not at_random:
            remains = max(0.0, end - time.monotonic())
            until, share = _until(end, remains, remains * jobs / len(left), share)
        results = _run_in_processes if jobs > 1 else _run_here
        begun, left = left, {}
        for number, result in results(begun, jobs, asked, until):
            best = _further(kept.pop(number, None), result)
            if until == end or asked.stopped or not _may_go_further(tasks[number], best):
                yield best
            else:
                kept[number], left[number] = best, tasks[number]


class _Asked:
    """Whether to go on: once not, never again."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self.stopped = False

    def __call__(self, more: int) -> bool:
        if self._on_progress is not None and not self._on_progress(more):
            self.stopped = True
        return not self.stopped


def _until(end: float, remains: float, share: float, before: float) -> tuple[float, float]:
    """Until when those that are left are run now, if all that ``remains`` is ``share`` for each,
    and what each has of it: a third, unless that is no more than it had before.
    """
    if share / 3 < 2 * before or share < _SHORT:
        return end, share
    return end - remains * 2 / 3, share / 3


_SHORT: Final = 2.0
"""Seconds for a row that are not worth to be shared out."""


def _may_go_further(task: Task, result: Result) -> bool:
    """Whether more time would help."""
    _, search = task
    enough = search.schedules is not None and result.schedules >= search.schedules
    return result.verdict == "UNFINISHED" and not enough


def _further(before: Result | None, now: Result) -> Result:
    """Of two results of one task the one that says more, with the time of both."""
    if before is None:
        return now
    best = max((before, now), key=_says)
    return replace(best, seconds=before.seconds + now.seconds)


def _says(result: Result) -> tuple[bool, bool, int, int]:
    bound = -1 if result.bound is None else result.bound
    return result.failure is not None, result.complete, bound, result.schedules


def _run_here(
    tasks: Mapping[int, Task], _jobs: int, asked: _Asked, end: float | None
) -> Iterator[tuple[int, Result]]:
    for begun, (number, task) in enumerate(tasks.items()):
        setting, search = task
        shared = _with_share(search, end, len(tasks) - begun)
        yield number, run(setting, shared, asked) if asked(0) else unfinished(*task)


def _with_share(search: Search, end: float | None, waiting: float) -> Search:
    """With the seconds until ``end`` shared among those that wait."""
    if end is None:
        return search
    return replace(search, seconds=max(0.0, end - time.monotonic()) / max(waiting, 1.0))


# In several processes.

_stop: Event | None = None  # in a worker: whether all is over
_begun: Counter | None = None  # how many tasks were begun


def _begin(stop: Event, begun: Counter) -> None:
    """What a worker does first: ^C and its like are its parent's to hear."""
    global _stop, _begun
    _stop, _begun = stop, begun
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def _run_in_worker(task: Task, end: float | None, nr_tasks: int, jobs: int) -> Result:
    assert _stop is not None and _begun is not None
    stop = _stop
    with _begun.get_lock():
        waiting = nr_tasks - _begun.value
        _begun.value += 1
    if stop.is_set():
        return unfinished(*task)
    setting, search = task
    shared = _with_share(search, end, waiting / jobs)
    return run(setting, shared, lambda _: not stop.is_set())


def _run_in_processes(
    tasks: Mapping[int, Task], jobs: int, asked: _Asked, end: float | None
) -> Iterator[tuple[int, Result]]:
    context = multiprocessing.get_context("fork")
    stop, begun = context.Event(), context.Value("Q", 0)
    with ProcessPoolExecutor(jobs, context, _begin, (stop, begun)) as pool:
        futures = {
            pool.submit(_run_in_worker, task, end, len(tasks), jobs): number
            for number, task in tasks.items()
        }
        going = set(futures)
        try:
            while going:
                done, going = wait(going, timeout=0.2, return_when=FIRST_COMPLETED)
                ended = [future for future in done if not future.cancelled()]
                if not asked(sum(future.result().schedules for future in ended)):
                    stop.set()
                    for other in going:
                        other.cancel()
                for future in sorted(done, key=futures.__getitem__):
                    number = futures[future]
                    cancelled = future.cancelled()
                    yield number, unfinished(*tasks[number]) if cancelled else future.result()
        finally:  # also where nobody wants to hear more: a closed pipe
            stop.set()
            for other in going:
                other.cancel()
