# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays scripts on plain Unicorn and attached in child processes, and holds the logs together."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import struct
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, BinaryIO

from mmu.x86.geometry import load_geometry
from tests.oracles.attach import differences
from tests.oracles.attach.player import How, Log, LogEntry, play
from tests.oracles.attach.script import Script, write_script

PLAIN = How()
PATIENCE = 4
"""Seconds of processor time for one script, plain and attached; what takes longer hangs."""
PART = 100
"""Scripts that one child plays."""
Play = Callable[[Script, How], Log]


@dataclass(frozen=True)
class Difference:
    """The first one between a script's two logs; ``kind`` is log, error, crash or hang.

    ``side`` is plain where plain Unicorn itself crashed or hung: such a script says nothing.
    """

    seed: int
    how: How
    kind: str
    plain: LogEntry | None = None
    attached: LogEntry | None = None
    side: str = "attached"
    told: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is one of the attached instance."""
        return self.side == "attached"

    def __str__(self) -> str:
        where = f"seed {self.seed} ({self.how}): {self.side} "
        if self.kind != "log":
            return f"{where}{self.kind} {self.told}".rstrip()
        return f"{where}differs\n  plain    {_show(self.plain)}\n  attached {_show(self.attached)}"


def _show(entry: LogEntry | None) -> str:
    """An entry with its numbers in hexadecimal."""
    if entry is None:
        return "(nothing)"
    return " ".join(_show_value(value) for value in entry)


def _show_value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return hex(value)


def first_difference(plain: Log, attached: Log) -> tuple[LogEntry | None, LogEntry | None] | None:
    """The first entries that are not alike, None where a log has ended."""
    for ours, theirs in zip(attached, plain, strict=False):
        if ours != theirs:
            return theirs, ours
    if len(plain) == len(attached):
        return None
    n = min(len(plain), len(attached))
    return (plain[n] if n < len(plain) else None), (attached[n] if n < len(attached) else None)


def compare(
    script: Script, how: How, on_stage: Callable[[str], None], player: Play = play
) -> Difference | None:
    """Play a script both ways, in this process."""
    seed = script["seed"]
    on_stage("plain")
    plain = play(script, PLAIN)
    on_stage("attached")
    try:
        attached = player(script, how)
    except Exception:
        return Difference(seed, how, "error", told=traceback.format_exc(limit=-3))
    pair = first_difference(*differences.cut(plain, attached))
    return None if pair is None else Difference(seed, how, "log", *pair)


# Children.


def _send(pipe: BinaryIO, message: Any) -> None:
    data = pickle.dumps(message)
    pipe.write(struct.pack("<I", len(data)) + data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    header = pipe.read(4)
    if len(header) < 4:
        return None
    return pickle.loads(pipe.read(struct.unpack("<I", header)[0]))


def _child(pipe: BinaryIO, work: list[tuple[Script, How]], player: Play) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.disable()  # it keeps a stderr of its own
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    for script, how in work:
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)
        found = compare(script, how, lambda stage: _send(pipe, stage), player)
        _send(pipe, ("done", found))


def _fork(work: list[tuple[Script, How]], player: Play) -> tuple[int, BinaryIO]:
    load_geometry("skylake")  # once here, not in each child
    read, write = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, os.fdopen(read, "rb")
    status = 1
    try:
        with os.fdopen(write, "wb") as pipe:
            os.close(read)
            _child(pipe, work, player)
        status = 0
    finally:
        os._exit(status)


def _results(work: list[tuple[Script, How]], player: Play) -> Iterator[Difference | None]:
    """The results of one child; the script at which it dies gets a result that says so."""
    pid, pipe = _fork(work, player)
    done, stage = 0, "plain"
    try:
        with pipe:
            while (message := _receive(pipe)) is not None:
                if isinstance(message, str):
                    stage = message
                    continue
                done += 1
                yield message[1]
    finally:
        _, status = os.waitpid(pid, 0)
    if done == len(work):
        return
    script, how = work[done]
    number = os.waitstatus_to_exitcode(status)
    kind = "hang" if number == -signal.SIGPROF else "crash"
    told = signal.Signals(-number).name if number < 0 else f"exit {number}"
    yield Difference(script["seed"], how, kind, side=stage, told=told)


def compare_all(
    work: Iterable[tuple[Script, How]], player: Play = play
) -> Iterator[Difference | None]:
    """A result for each script, in order, whatever crashes."""
    rest = iter(work)
    part = list(islice(rest, PART))
    while part:
        done = 0
        for result in _results(part, player):
            done += 1
            yield result
        part = part[done:] or list(islice(rest, PART))


def compare_one(script: Script, how: How, player: Play = play) -> Difference | None:
    """The result of one script, played in a child."""
    return next(compare_all([(script, how)], player))


def differing(
    seed: int, scripts: int, hows: tuple[How, ...], player: Play = play
) -> list[Difference]:
    """The differences of so many seeds from ``seed`` on, the ways taken in turn."""
    work = [(write_script(s), hows[s % len(hows)]) for s in range(seed, seed + scripts)]
    return [result for result in compare_all(work, player) if result is not None]


def campaign(
    seed: int, scripts: int, hows: tuple[How, ...], jobs: int = 1
) -> Iterator[tuple[int, list[Difference]]]:
    """The same on several processors, part by part, with the number of scripts of each part."""
    with ProcessPoolExecutor(jobs, get_context("fork")) as pool:
        parts = [
            (begin, min(PART, seed + scripts - begin))
            for begin in range(seed, seed + scripts, PART)
        ]
        waiting = deque(pool.submit(differing, *part, hows) for part in parts[: 2 * jobs])
        rest = iter(parts[2 * jobs :])
        for _, size in parts:
            yield size, waiting.popleft().result()
            for part in islice(rest, 1):
                waiting.append(pool.submit(differing, *part, hows))
