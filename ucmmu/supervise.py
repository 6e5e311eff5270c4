# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a job in a child process that may crash, hang or eat memory without taking us along.

The parent forks before anything heavy is imported, and then only watches: the clock, the child's
resident memory, the terminal's ^C, and a pipe on which the child sends JSON, one message a line::

    {"progress": {...}}                   any number of times
    {"hush": true}                        asks for an end of what is shown of it, and waits for a byte
    {"result": {...}}                     once; or
    {"failure": {"code": n, "line": s}}   once

A stop (^C, SIGTERM, time-out, memory) is first asked for: the child gets SIGTERM, its job is told,
ends at the next opportunity and still reports.  Who does not end within the grace is killed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.sizes import format_size

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 10.0
"""Seconds between asking a child to stop and killing it."""
_POLL = 0.05
_PR_SET_PDEATHSIG = 1

Message = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a run may use of the host.  None means no limit."""

    timeout: float | None = None
    """Seconds of wall clock."""
    memory: int | None = 8 << 30
    """Bytes resident in the child, its share of guest RAM included."""
    file_size: int | None = 4 << 30
    """Bytes of any file the child writes (RLIMIT_FSIZE)."""
    descriptors: int = 1024
    """Open files (RLIMIT_NOFILE)."""


@dataclass(frozen=True)
class Outcome:
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


class Link:
    """The child's end: reports progress, and learns that it should stop."""

    def __init__(self, pipe: int, answers: int) -> None:
        self._pipe = pipe
        self._answers = answers
        self._sending = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self.stopped = False
        """Whether the parent asked us to end."""
        self.hushed = threading.Event()
        """Set once no more progress should be shown."""

    def progress(self, message: Message) -> None:
        """Show the parent how far the job is."""
        self.send({"progress": message})

    def hush(self) -> None:
        """Have the parent take its progress line away for good; returns when it has."""
        if not self.hushed.is_set():
            self.hushed.set()
            self.send({"hush": True})
            os.read(self._answers, 1)

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, from another thread, when the run shall end; at once if it shall already."""
        self._callbacks.append(callback)
        if self.stopped:
            callback()

    def send(self, message: Message) -> None:
        """Send one message, from any thread."""
        data = json.dumps(message).encode() + b"\n"
        with self._sending:
            while data:
                data = data[os.write(self._pipe, data) :]

    def listen(self) -> None:
        """Take stop signals on a thread, since no Python runs on the main one while it is inside Unicorn."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        threading.Thread(target=self._wait_for_stop, args=(reader,), daemon=True).start()

    def _wait_for_stop(self, reader: int) -> None:
        while os.read(reader, 1)[0] not in STOP_SIGNALS:
            pass
        self.stopped = True
        for callback in list(self._callbacks):
            callback()


Job = Callable[[Link], Message]
Watch = Callable[[Message | None], None]
"""Gets each progress message; None asks to show no more of them."""


def supervise(
    job: Job,
    limits: Limits,
    *,
    redirect: Mapping[int, int] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run ``job`` in a forked child under ``limits`` and return what came of it.

    ``redirect`` maps descriptors of the child to ours that take their place.
    Call it on the main thread: it handles signals while the job runs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    answers, answer = os.pipe2(os.O_CLOEXEC)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(job, Link(writer, answers), limits, redirect or {}, parent, blocked)
    os.close(writer)
    os.close(answers)
    child = _Child(pid, reader, answer, limits, watch)
    previous = {number: signal.signal(number, child.interrupt) for number in STOP_SIGNALS}
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        child.watch_over()
        return child.outcome()
    finally:
        child.bury()
        os.close(reader)
        os.close(answer)
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Child:
    """The parent's view of one child."""

    def __init__(self, pid: int, pipe: int, answer: int, limits: Limits, watch: Watch | None) -> None:
        self._pid = pid
        self._pipe = pipe
        self._answer = answer
        self._limits = limits
        self._watch = watch
        self._started = time.monotonic()
        self._status: int | None = None
        self._rss_peak = 0
        self._reason: str | None = None
        self._signal = 0
        self._kill_at: float | None = None
        self._result: Message | None = None
        self._failure: Failure | None = None

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Hand a stop signal of ours to the child; the second one kills it."""
        if self._reason == "interrupt":
            self._kill_at = 0.0
        self._signal = number
        self._stop("interrupt")

    def watch_over(self) -> None:
        """Read messages and hold the limits until the child has closed its end."""
        pending = b""
        while True:
            ready, _, _ = select.select([self._pipe], [], [], _POLL)
            if ready:
                data = os.read(self._pipe, 1 << 16)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
            self._check_limits()

    def outcome(self) -> Outcome:
        """Reap the child and say how it ended."""
        self.bury()
        code, error, ended = self._verdict()
        return Outcome(self._result, code, error, ended, self._rss_peak)

    def bury(self) -> None:
        """Leave no child behind, alive or dead."""
        if self._status is not None:
            return
        deadline = time.monotonic() + GRACE
        options = os.WNOHANG
        while self._status is None:
            pid, status, usage = os.wait4(self._pid, options)
            if pid:
                self._status, self._rss_peak = status, usage.ru_maxrss * 1024
            elif time.monotonic() > deadline or self._kill_at == 0.0:
                os.kill(self._pid, signal.SIGKILL)
                options = 0
            else:
                time.sleep(0.002)

    def _take(self, message: Message) -> None:
        if "progress" in message and self._watch:
            self._watch(message["progress"])
        elif "hush" in message:
            if self._watch:
                self._watch(None)
            os.write(self._answer, b"!")
        elif "result" in message:
            self._result = message["result"]
        elif "failure" in message:
            self._failure = Failure(message["failure"]["code"], message["failure"]["line"])

    def _check_limits(self) -> None:
        now = time.monotonic()
        timeout, memory = self._limits.timeout, self._limits.memory
        if timeout is not None and now - self._started > timeout:
            self._stop("timeout")
        if memory is not None:
            used = _resident(self._pid)
            if used > memory:
                self._stop("memory")
            if used > memory + memory // 4:
                self._kill_at = 0.0
        if self._kill_at is not None and now > self._kill_at:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _stop(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            self._kill_at = time.monotonic() + GRACE
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _verdict(self) -> tuple[int, str | None, str]:
        """Exit code, line for the user, and kind of end."""
        assert self._status is not None
        result = self._result
        died = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else 0
        if self._reason and (result is None or result.get("ended") == "stopped"):
            return *self._stop_verdict(), self._reason
        if died:
            how = "its statistics are lost" if result is None else "after it had reported"
            line = f"the engine died: killed by {signal.Signals(died).name}, {how}"
            return ExitCode.ENGINE_DIED, line, "died"
        if self._failure:
            return self._failure.code, self._failure.line, "failed"
        if result is None:
            line = "internal error: the run ended without a report"
            return ExitCode.INTERNAL, line, "failed"
        return int(result["exit_code"]), None, "done"

    def _stop_verdict(self) -> tuple[int, str]:
        lost = "; its statistics are lost" if self._result is None else ""
        if self._reason == "timeout":
            line = f"stopped after {self._limits.timeout:g} s (--timeout){lost}"
            return ExitCode.TIMEOUT, line
        if self._reason == "memory":
            limit = format_size(self._limits.memory or 0)
            line = f"stopped: it used more than {limit} of host memory (--memory-limit){lost}"
            return ExitCode.MEMORY_LIMIT, line
        name = signal.Signals(self._signal).name
        return SIGNALLED + self._signal, f"stopped by {name}{lost}"


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
        _die_with(parent)
        _apply(limits)
        for ours, source in redirect.items():
            os.dup2(source, ours)
        link.listen()
        signal.pthread_sigmask(signal.SIG_SETMASK, sigmask)
        link.send({"result": job(link)})
    except Failure as failure:
        link.send({"failure": {"code": failure.code, "line": failure.line}})
    except BaseException as error:
        if debug:
            traceback.print_exc()
        link.send({"failure": {"code": int(ExitCode.INTERNAL), "line": internal_error(error)}})
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(0)


def internal_error(error: BaseException) -> str:
    """The one line that an unforeseen exception becomes."""
    text = " ".join(str(error).split()) or "no message"
    return f"internal error: {type(error).__name__}: {text} (UCMMU_DEBUG=1 shows where)"


def _die_with(parent: int) -> None:
    """Have the kernel kill us when the parent ends, however it ends."""
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
