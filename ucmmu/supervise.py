# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a job in a child process that may crash, hang or eat memory without taking us along.

The parent forks before anything heavy is imported, and then only watches: the clock, the child's
resident memory, the terminal's ^C, and a pipe on which the child sends JSON, one message a line::

    {"progress": {...}}                   any number of times
    {"hush": true}                        asks to show no more of it, and waits for an order
    {"terminal": true}                    asks for the terminal in raw mode, and waits for an order
    {"signal": n}                         the child itself got a stop signal
    {"figures": {...}}                    what the job would report now: the last one counts
    {"result": {...}}                     once; or
    {"failure": {"code": n, "line": s}}   once

Another pipe takes our orders, a byte each.  A stop (^C, SIGTERM, time-out, memory) is first
ordered: the child's job is told, ends at the next opportunity and still reports.  Meanwhile a
thread of the child sends figures, so that no figure is lost with a job that cannot end.  A child
that has sent some is killed PROMPT seconds after the stop, one that has not after GRACE.

Signals that are ignored when we start (nohup, a shell's background job) stay ignored.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NamedTuple

from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.host_terminal import HostTerminal
from ucmmu.link import HUSHED, RAW, STOP, STOP_SIGNALS, Link, Message, heeded
from ucmmu.sizes import format_size
from ucmmu.text import text_of

GRACE = 10.0
"""Seconds between asking a child to stop and killing it, if it has sent no figures."""
PROMPT = 1.0
"""The same, if it has, or if the user asks a second time."""
OVERSHOOT = 256 << 20
"""Bytes, at least, by which a child may pass its memory limit while it stops."""
_POLL = 0.05
_LONGEST = 64 << 20
"""Bytes of a message."""
_NONSENSE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
_NO_MESSAGE = "the engine's process sent what is no message: it was killed"
_PR_SET_PDEATHSIG = 1
NO_REPORT = "internal error: the run ended without a report"
NOT_ITS_LAST = "internal error: the run ended after its figures, and before its checks did"


class Limits(NamedTuple):
    """What a run may use of the host.  None means no limit."""

    timeout: float | None = None
    """Seconds of wall clock."""
    memory: int | None = 8 << 30
    """Bytes resident in the child, its share of guest RAM included."""
    file_size: int | None = 1 << 42
    """Bytes of any file the child writes, holes included (RLIMIT_FSIZE)."""
    descriptors: int = 1 << 16
    """Open files (RLIMIT_NOFILE): of all guests together."""


class Outcome(NamedTuple):
    """What came of a supervised job."""

    result: Message | None
    """What the job returned, whole or as far as it got; None if it could not say."""
    code: int
    """The exit code that follows: the job's own, or one of :class:`ExitCode`."""
    error: str | None
    """One line for the user, if it was not the job itself that ended the run."""
    ended: str
    """"done", "failed", "died", "timeout", "memory", or "interrupt"."""
    host_rss_peak: int
    """The most host memory the child had resident, bytes."""
    finished: bool = True
    """Whether ``result`` is what the job returned; else it is the last figures that it sent."""


@contextmanager
def stops_noted() -> Iterator[list[int]]:
    """Note the stop signals that come between supervised jobs, in the list given, instead of ending
    at once.
    """
    noted: list[int] = []
    previous = {
        number: signal.signal(number, lambda number, _frame: noted.append(number))
        for number in heeded()
    }
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


Job = Callable[[Link], Message]
Watch = Callable[[Message | None], None]
"""Gets each progress message; None asks to show no more of them."""


def supervise(
    job: Job,
    limits: Limits,
    *,
    redirect: Mapping[int, int] | None = None,
    watch: Watch | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome:
    """Run ``job`` in a forked child under ``limits`` and return what came of it.

    ``redirect`` maps descriptors of the child to ours that take their place. ``meanwhile`` is
    called while the child starts: a moment's work that will be needed when it has ended.
    Call it on the main thread: it handles signals while the job runs.
    """
    _flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    orders, order = os.pipe2(os.O_CLOEXEC)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(job, Link(writer, orders), limits, redirect or {}, parent, blocked)
    os.close(writer)
    os.close(orders)
    os.set_blocking(order, False)
    child = _Child(pid, reader, order, limits, watch)
    previous = {number: signal.signal(number, child.interrupt) for number in heeded()}
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        if meanwhile is not None:
            meanwhile()
        child.watch_over()
        return child.outcome()
    finally:
        child.bury()
        os.close(reader)
        os.close(order)
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Child:
    """The parent's view of one child."""

    def __init__(
        self, pid: int, pipe: int, order: int, limits: Limits, watch: Watch | None
    ) -> None:
        self._pid = pid
        self._pipe = pipe
        self._order = order
        self._limits = limits
        self._watch = watch
        self._started = time.monotonic()
        self._status: int | None = None
        self._rss_peak = 0
        self._reason: str | None = None
        self._signal = 0
        self._stopped_at = 0.0
        self._figures_at: float | None = None
        self._hurried_at: float | None = None
        self._killed = False
        self._terminal = HostTerminal()
        self._result: Message | None = None
        self._figures: Message | None = None
        self._failure: Failure | None = None

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Have the child stop on a signal of ours; with the second one it is not long waited
        for.
        """
        if self._reason is not None and self._hurried_at is None:
            self._hurried_at = time.monotonic()
        self._interrupted(number)

    def _interrupted(self, number: int) -> None:
        if self._reason is None:
            self._signal = number
            self._stop("interrupt")

    def watch_over(self) -> None:
        """Read messages and hold the limits until the child has closed its end."""
        pending = bytearray()
        while True:
            ready, _, _ = select.select([self._pipe], [], [], _POLL)
            if ready:
                data = os.read(self._pipe, 1 << 16)
                if not data:
                    return
                pending += data
                try:
                    if b"\n" in data:
                        *lines, last = bytes(pending).split(b"\n")
                        pending = bytearray(last)
                        for line in lines:
                            self._take(json.loads(line))
                    if len(pending) > _LONGEST:
                        raise ValueError
                except _NONSENSE:
                    self._failure = Failure(ExitCode.ENGINE_DIED, _NO_MESSAGE)
                    self._result = self._figures = None
                    self._kill()
                    return
            self._check_limits()

    def outcome(self) -> Outcome:
        """Reap the child and say how it ended."""
        self.bury()
        code, error, ended = self._verdict()
        finished = self._result is not None or self._figures is None
        return Outcome(self._report, code, error, ended, self._rss_peak, finished)

    @property
    def _report(self) -> Message | None:
        return self._figures if self._result is None else self._result

    def bury(self) -> None:
        """Leave no child behind, alive or dead."""
        deadline = time.monotonic() + PROMPT
        while self._status is None:
            pid, status, usage = os.wait4(self._pid, 0 if self._killed else os.WNOHANG)
            if pid:
                self._status, self._rss_peak = status, usage.ru_maxrss * 1024
            elif time.monotonic() > deadline:
                self._kill()
            else:
                time.sleep(0.002)
        self._terminal.leave_raw()

    def _kill(self) -> None:
        self._killed = True
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _take(self, message: Message) -> None:
        """Do what a message says. Raises one of _NONSENSE."""
        if not isinstance(message, dict):
            raise TypeError
        if "progress" in message:
            self._show(message["progress"])
        elif "hush" in message:
            self._show(None)
            self._send_order(HUSHED)
        elif "terminal" in message:
            self._terminal.enter_raw()
            self._send_order(RAW)
        elif "signal" in message:
            self._interrupted(signal.Signals(message["signal"]))
        elif "figures" in message:
            self._figures = _report_in(message["figures"])
            self._figures_at = self._figures_at or time.monotonic()
        elif "result" in message:
            self._result = _report_in(message["result"])
        elif "failure" in message:
            failure = message["failure"]
            self._failure = Failure(ExitCode(failure["code"]), str(failure["line"]))

    def _show(self, progress: Message | None) -> None:
        if self._watch is not None:
            self._watch(progress)

    def _send_order(self, order: bytes) -> None:
        with suppress(OSError):
            os.write(self._order, order)

    def _check_limits(self) -> None:
        now = time.monotonic()
        timeout, memory = self._limits.timeout, self._limits.memory
        if timeout is not None and now - self._started > timeout:
            self._stop("timeout")
        if memory is not None:
            used = _resident(self._pid)
            if used > memory:
                self._stop("memory")
            if used > memory + max(memory // 4, OVERSHOOT):
                self._kill()
        if self._reason is not None and now > self._last_moment():
            self._kill()

    def _last_moment(self) -> float:
        """When a child that was asked to stop is killed."""
        if self._figures_at is not None:
            last = max(self._stopped_at, self._figures_at) + PROMPT
        else:
            last = self._stopped_at + GRACE
        return last if self._hurried_at is None else min(last, self._hurried_at + PROMPT)

    def _stop(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._stopped_at = time.monotonic()
            self._send_order(STOP)

    def _verdict(self) -> tuple[int, str | None, str]:
        """Exit code, line for the user, and kind of end."""
        assert self._status is not None
        report = self._report
        died = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else 0
        if self._reason and (report is None or report.get("ended") == "stopped"):
            return *self._stop_verdict(), self._reason
        if died and not self._killed:
            how = "its statistics are lost" if report is None else "after it had reported"
            line = f"the engine died: killed by {signal.Signals(died).name}, {how}"
            return ExitCode.ENGINE_DIED, line, "died"
        if self._failure:
            return self._failure.code, self._failure.line, "failed"
        if report is None:
            return ExitCode.INTERNAL, NO_REPORT, "failed"
        if self._result is None and self._reason is None:
            return ExitCode.INTERNAL, NOT_ITS_LAST, "failed"
        return int(report["exit_code"]), None, "done"

    def _stop_verdict(self) -> tuple[int, str]:
        lost = "; its statistics are lost" if self._report is None else ""
        if self._reason == "timeout":
            line = f"stopped after {self._limits.timeout:g} s (--timeout){lost}"
            return ExitCode.TIMEOUT, line
        if self._reason == "memory":
            limit = format_size(self._limits.memory or 0)
            line = f"stopped: it used more than {limit} of host memory (--memory-limit){lost}"
            return ExitCode.MEMORY_LIMIT, line
        name = signal.Signals(self._signal).name
        return SIGNALLED + self._signal, f"stopped by {name}{lost}"


def _report_in(message: Message) -> Message:
    """The report, if it is one as far as it matters here. Raises one of _NONSENSE."""
    if not 0 <= int(message["exit_code"]) <= 255 or not isinstance(message["ended"], str):
        raise ValueError
    return message


def _resident(pid: int) -> int:
    """Bytes of host memory resident in ``pid``; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _child(
    job: Job,
    link: Link,
    limits: Limits,
    redirect: Mapping[int, int],
    parent: int,
    sigmask: Iterable[int],
) -> None:
    """Be the child: never returns."""
    debug = bool(os.environ.get("UCMMU_DEBUG"))
    try:
        if not debug:
            faulthandler.disable()
        die_with(parent)
        _apply(limits)
        for ours, source in redirect.items():
            os.dup2(source, ours)
        link.attend()
        signal.pthread_sigmask(signal.SIG_SETMASK, sigmask)
        link.send({"result": job(link)})
    except Failure as failure:
        with suppress(OSError):
            link.send({"failure": {"code": failure.code, "line": failure.line}})
    except BaseException as error:
        if debug:
            import traceback

            traceback.print_exc()
        with suppress(OSError):
            link.send({"failure": {"code": int(ExitCode.INTERNAL), "line": internal_error(error)}})
    finally:
        _flush()
        os._exit(0)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def internal_error(error: BaseException) -> str:
    """The one line that an unforeseen exception becomes."""
    text = " ".join(text_of(error).split()) or "no message"
    return f"internal error: {type(error).__name__}: {text} (UCMMU_DEBUG=1 shows where)"


def die_with(parent: int) -> None:
    """Have the kernel kill us when the parent ends, however it ends."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _apply(limits: Limits) -> None:
    """Set our resource limits; address space stays free, since guest RAM is one huge mapping."""
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, limits.descriptors)
    if limits.file_size is not None:
        _lower(resource.RLIMIT_FSIZE, limits.file_size)
    if limits.timeout is not None:
        _lower(resource.RLIMIT_CPU, int(limits.timeout + GRACE) + 60)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))
