# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring many settings, in this process or in several, and what came of each."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ucmmu.exit_codes import ExitCode
from ucmmu.exit_codes import Failure as Ended
from ucmmu.policy_file import find_policy, policy_failure
from ucmmu.race.exploration import NotDeterministic
from ucmmu.race.explore import Explorer, Found, Limits, explore_at_random
from ucmmu.race.minimal import minimal
from ucmmu.race.program import MakeProgram
from ucmmu.race.run import FAILURES, Failure, told
from ucmmu.race.setting import Setting
from ucmmu.streams import prints_to_stderr

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event
    from typing import TypeAlias

    from ucmmu.race.kernel_program import KernelProgram

    Counter: TypeAlias = Synchronized[int]

BOUNDS: Final = {2: 3, 3: 2, 4: 1}
"""Preemptions up to which scenarios of so many operations are explored, if nothing else is said."""
FEW: Final = 20_000
"""So many orders of two operations are run, whatever preemptions they take, before those with 1."""
MAX_STEPS: Final = 10_000
"""Steps of one order; more are a wait without bound."""
AT_RANDOM: Final = 1 / 8
"""Of the time of a row's last pass, for orders at random if it is unfinished by then."""
SEED: Final = 1
"""Of those orders."""
TURN: Final = 1 / 30
"""Of the time of all rows, what one has at least when it goes on, but in the last pass."""

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
    there are were run; ``stopped`` before, and so many were ``drawn`` at random after that;
    ``seconds`` it took.
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
    drawn: int = 0
    met: frozenset[str] = frozenset()
    """The points that were come to, if only some were asked for."""
    called: frozenset[str] = frozenset()
    """The functions of the variant that were called, by name."""

    @property
    def orders(self) -> int:
        """All that were run."""
        return self.schedules + self.drawn

    @property
    def verdict(self) -> str:
        """``failed``, ``UNFINISHED``, or ``passed``."""
        if self.failure is not None:
            return "failed"
        return "UNFINISHED" if self.stopped else "passed"


class Exploring:
    """A setting that is explored: run() until it is done, or its time over, and then again. It is
    pickled with what it has come to.
    """

    def __init__(self, setting: Setting, search: Search) -> None:
        self.setting = setting
        self.search = search
        self.result = unfinished(setting, search)
        """What has come of it so far."""
        self._explorer = _explorer(setting, search)
        self._met: set[str] = set()
        self._called: set[str] = set()

    @property
    def may_go_on(self) -> bool:
        """Whether more time would help."""
        enough = self.search.schedules
        ran_all = enough is not None and self.result.schedules >= enough
        return self.result.verdict == "UNFINISHED" and not ran_all

    @prints_to_stderr()
    def run(
        self,
        seconds: float | None,
        on_progress: OnProgress | None = None,
        on_program: OnProgram | None = None,
        *,
        last: bool = True,
    ) -> Result:
        """Explore for no longer than ``seconds``; ``last``: and then no more, so that a part of
        them is for orders at random if there are more than could be run. One of these that fails is
        made as short as can be.
        """
        started = time.monotonic()
        setting, search = self.setting, self.search
        at_random = search.seed is not None
        interrupted: list[bool] = []

        def on_run() -> bool:
            if on_progress is not None and not on_progress(1):
                interrupted.append(True)
            return not interrupted

        def make() -> KernelProgram:
            program = setting.program(called=self._called)
            program.met = self._met
            if on_program is not None:
                on_program(program)
            return program

        draws = seconds is not None and last and search.seed is None and search.schedules is None
        part = seconds * (1 - AT_RANDOM) if draws and seconds is not None else seconds
        limits = Limits(search.schedules, part, MAX_STEPS)
        found = self._explored(make, limits, on_run, last=last, seed=search.seed)
        failure, drawn = found.failure, 0
        short = at_random or _every_order(setting, search)
        if draws and seconds is not None and found.verdict == "UNFINISHED" and not interrupted:
            limits = Limits(None, seconds * AT_RANDOM, MAX_STEPS)
            lot = self._explored(make, limits, on_run, last=True, seed=SEED)
            failure, drawn, short = lot.failure, lot.schedules, True
        if failure is not None and short:
            failure = minimal(make, failure)
        self.result = Result(
            setting,
            found.schedules,
            found.bound,
            search.bound,
            self.result.seconds + time.monotonic() - started,
            failure,
            found.complete,
            bool(interrupted) if at_random else found.stopped,
            at_random,
            drawn,
            frozenset(self._met),
            frozenset(self._called),
        )
        return self.result

    def _explored(
        self,
        make: MakeProgram,
        limits: Limits,
        on_run: Callable[[], bool],
        *,
        last: bool,
        seed: int | None,
    ) -> Found:
        """In order, or at random with a seed; what is wrong with the user's own is a failure."""
        begun = self._explorer.found if seed is None else Found()
        runs = begun.schedules

        def counted() -> bool:
            nonlocal runs
            runs += 1
            return on_run()

        try:
            if seed is not None:
                return explore_at_random(make, seed=seed, limits=limits, on_run=counted)
            return self._explorer.go_on(make, limits, counted, last=last)
        except NotDeterministic as error:
            if not self.setting.of_the_user:
                raise
            return replace(begun, schedules=runs, failure=_not_deterministic(error))
        except FAILURES as error:
            failure = before_the_race(self.setting, error)
            if failure is None:
                raise
            return replace(begun, schedules=runs, failure=failure)


def run(
    setting: Setting,
    search: Search,
    on_progress: OnProgress | None = None,
    on_program: OnProgram | None = None,
) -> Result:
    """Explore one setting. An order at random that fails is made as short as can be."""
    return Exploring(setting, search).run(search.seconds, on_progress, on_program)


def _explorer(setting: Setting, search: Search) -> Explorer:
    if not _every_order(setting, search):
        return Explorer(bound=search.bound, max_steps=MAX_STEPS)
    first = int(setting.model == "sc")  # drains are no preemptions: none has many orders
    return Explorer(bound=search.bound, bounds_first=first, few=FEW, max_steps=MAX_STEPS)


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


def _every_order(setting: Setting, search: Search) -> bool:
    """Whether to run every order that matters: also within a bound, where many are run twice,
    if of two operations there may be fewer in all. With store buffers any bound is such a one.
    """
    few = setting.nr_operations == 2 and not setting.points
    return search.bound is None or (few and (search.bound >= 2 or setting.model == "tso"))


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
    enough for go on with more, so that what is soon done leaves its time to them. They take turns
    that are long enough for most to be done: equal shares of what is left would be for none. Those
    of more than two operations seldom are done: they wait while there are as many others as
    processes, and go on with these at last. Orders at random are never done, and take their share
    at once.
    """
    end = None if seconds is None else time.monotonic() + seconds
    at_random = any(search.seed is not None for _, search in tasks)
    left = {number: Exploring(*task) for number, task in enumerate(tasks)}
    asked = _Asked(on_progress)
    passes = _run_in_processes if jobs > 1 else _run_here
    first = True
    while left and not asked.stopped:
        until = end if end is None or at_random else _until(end, seconds or 0.0)
        last = until == end
        begun = left if first else _next(left, jobs, last)
        left = {number: exploring for number, exploring in left.items() if number not in begun}
        turn = 0.0 if first or last else (seconds or 0.0) * TURN
        first = False
        for number, exploring in passes(begun, jobs, asked, _Pass(until, last, turn)):
            if last or asked.stopped or not exploring.may_go_on:
                yield exploring.result
            else:
                left[number] = exploring
    for exploring in left.values():
        yield exploring.result


def _next(left: Mapping[int, Exploring], jobs: int, last: bool) -> Mapping[int, Exploring]:
    """Those of two operations; all, if that leaves a process without any. Those that had least
    come first: there may be no turn for the last ones. In the last pass all, and those that had
    most first: they may be nearly done, and leave the others their time.
    """
    by_time = sorted(left.items(), key=lambda row: row[1].result.seconds, reverse=last)
    small = {n: e for n, e in by_time if e.setting.nr_operations == 2}
    return dict(by_time) if last or len(small) < jobs else small


@dataclass(frozen=True)
class _Pass:
    """In which rows go on ``until`` then, None: as long as it takes; the ``last`` that they have;
    each for ``turn`` seconds at least, while there are any.
    """

    until: float | None
    last: bool
    turn: float

    def share(self, exploring: Exploring, waiting: float) -> float | None:
        """The seconds of one of those that wait; None: as long as it takes."""
        if self.until is None:
            return exploring.search.seconds
        remains = max(0.0, self.until - time.monotonic())
        return max(remains / max(waiting, 1.0), min(self.turn, remains))


class _Asked:
    """Whether to go on: once not, never again."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self.stopped = False

    def __call__(self, more: int) -> bool:
        if self._on_progress is not None and not self._on_progress(more):
            self.stopped = True
        return not self.stopped


def _until(end: float, seconds: float) -> float:
    """Until when those that are left are run now: a third of what is left of ``seconds``, and all
    of it once that is no more than a quarter.
    """
    remains = end - time.monotonic()
    return end if remains <= seconds / 4 else end - remains * 2 / 3


def _run_here(
    begun: Mapping[int, Exploring], _jobs: int, asked: _Asked, now: _Pass
) -> Iterator[tuple[int, Exploring]]:
    for before, (number, exploring) in enumerate(begun.items()):
        if asked(0):
            exploring.run(now.share(exploring, len(begun) - before), asked, last=now.last)
        yield number, exploring


# In several processes.

_stop: Event | None = None  # in a worker: whether all is over
_begun: Counter | None = None  # how many rows were begun


def _begin(stop: Event, begun: Counter) -> None:
    """What a worker does first: ^C and its like are its parent's to hear."""
    global _stop, _begun
    _stop, _begun = stop, begun
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def _run_in_worker(exploring: Exploring, now: _Pass, nr_rows: int, jobs: int) -> Exploring:
    assert _stop is not None and _begun is not None
    stop = _stop
    with _begun.get_lock():
        waiting = nr_rows - _begun.value
        _begun.value += 1
    if not stop.is_set():
        share = now.share(exploring, waiting / jobs)
        exploring.run(share, lambda _: not stop.is_set(), last=now.last)
    return exploring


def _run_in_processes(
    begun: Mapping[int, Exploring], jobs: int, asked: _Asked, now: _Pass
) -> Iterator[tuple[int, Exploring]]:
    context = multiprocessing.get_context("fork")
    stop, count = context.Event(), context.Value("Q", 0)
    with ProcessPoolExecutor(jobs, context, _begin, (stop, count)) as pool:
        futures = {
            pool.submit(_run_in_worker, exploring, now, len(begun), jobs): number
            for number, exploring in begun.items()
        }
        going = set(futures)
        try:
            while going:
                done, going = wait(going, timeout=0.2, return_when=FIRST_COMPLETED)
                _check_alive(done, begun.values())
                ended = {futures[future]: future for future in done if not future.cancelled()}
                runs = sum(
                    future.result().result.orders - begun[number].result.orders
                    for number, future in ended.items()
                )
                if not asked(runs):
                    stop.set()
                    for other in going:
                        other.cancel()
                for number in sorted(futures[future] for future in done):
                    yield number, ended[number].result() if number in ended else begun[number]
        finally:  # also where nobody wants to hear more: a closed pipe
            stop.set()
            for other in going:
                other.cancel()


def _check_alive(done: Iterable[Future[Exploring]], begun: Collection[Exploring]) -> None:
    """Raises ucmmu's Failure if a process died: what the others had come to is lost with it."""
    ended = [future.exception() for future in done if not future.cancelled()]
    if not any(isinstance(error, BrokenProcessPool) for error in ended):
        return
    of_the_user = any(exploring.setting.of_the_user for exploring in begun)
    code = ExitCode.POLICY if of_the_user else ExitCode.ENGINE_DIED
    why = "killed, or ended by os._exit() in code of yours" if of_the_user else "killed"
    raise Ended(
        code, f"a process that explored died: {why}; with --jobs 1 it ends in the row that does so"
    )
