# SPDX-License-Identifier: GPL-2.0-or-later
"""When, whose and where: what ``--at``, ``--task``, ``--cpu`` and ADDRESS name in a trace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmu.trace.spaces import Loaded, loaded_before
from mmu.trace.where import Where
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.text import did_you_mean, printable

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile
    from ucmmu.reading.symbols import History

_U64: Final = 1 << 64
_FORMS: Final = "a number of an event, end, insn=N, insn=N:CPU or time=NANOSECONDS"


@dataclass(frozen=True)
class Moment:
    """The state that the events with numbers below ``end`` left. ``last`` is the last of these,
    None: there is none.
    """

    end: int
    last: Numbered | None

    @property
    def at(self) -> int:
        """The event as of which notes count: those behind the last event are of what follows."""
        return max(self.end - 1, 0)


def moment(trace: TraceFile, text: str, task: int | None = None) -> Moment:
    """What ``--at text`` names. Raises Failure (USAGE): no such form, no such event.

    N: after event N; ``insn=N``: when a CPU (0 unless ``:CPU`` says another) has executed N
    instructions and the next is about to; ``time=T``: at T nanoseconds; ``end``: when ``task``, or
    the last process, begins to exit, for then its address space goes; after the last event if that
    is not recorded.
    """
    if text == "end":
        return exit_moment(trace, task) or before(trace, trace.nr_events)
    key, equals, value = text.partition("=")
    if not equals:
        return _after(trace, _number(text))
    if key == "insn":
        count, colon, cpu = value.partition(":")
        return _at_instruction(trace, _number(count), _number(cpu) if colon else 0)
    if key == "time":
        return _at_time(trace, _number(value))
    raise _no_form(text)


def _no_form(text: str) -> Failure:
    return Failure(ExitCode.USAGE, f"argument --at: {printable(text)!r} is none of: {_FORMS}")


def _number(text: str) -> int:
    try:
        number = int(text.replace(",", ""), 0)
    except ValueError:
        raise _no_form(text) from None
    if not 0 <= number < _U64:
        raise Failure(ExitCode.USAGE, f"argument --at: {number} is not in 0 to {_U64 - 1}")
    return number


def _after(trace: TraceFile, number: int) -> Moment:
    if number >= trace.nr_events:
        has = f"0 to {trace.nr_events - 1:,}" if trace.nr_events else "none at all"
        line = f"argument --at: no event {number:,}: {trace.path} has {has}"
        raise Failure(ExitCode.USAGE, line)
    return before(trace, number + 1)


def exit_moment(trace: TraceFile, task: int | None = None) -> Moment | None:
    """When the last thread of a process begins to exit: of that whose PID is ``task``, by default
    of the process that does last; None if none is told to.
    """
    ends = [
        note.event
        for note in trace.notes
        if note.kind == "exit" and task in (None, note.fields.get("tgid"), note.fields.get("pid"))
    ]
    return before(trace, ends[-1]) if ends else None


def before(trace: TraceFile, end: int) -> Moment:
    """The state that the events with numbers below ``end`` left."""
    last = next(trace.events(Where(begin=end - 1, end=end)), None) if end else None
    return Moment(end, last)


def _at_instruction(trace: TraceFile, count: int, cpu: int) -> Moment:
    where = Where(cpus=frozenset((cpu,)), instructions=(count, _U64 - 1))
    first = next(trace.events(where), None)
    if first is None:
        line = f"argument --at: CPU {cpu} executed no instruction number {count:,} in {trace.path}"
        raise Failure(ExitCode.USAGE, line)
    return before(trace, first.number)


def _at_time(trace: TraceFile, time: int) -> Moment:
    first = next(trace.events(Where(times=(time, _U64 - 1))), None)
    if first is None:
        line = f"argument --at: {trace.path} ends before {time:,} ns"
        raise Failure(ExitCode.USAGE, line)
    return before(trace, first.number)


@dataclass(frozen=True)
class Space:
    """An address space: the guest-physical address of its PGD, and a task that lives in it (0: none
    is known).
    """

    mm: int
    pid: int
    comm: str

    def __str__(self) -> str:
        """``hello-1``, or the mm where no task is known."""
        return f"{self.comm}-{self.pid}" if self.pid else f"the mm at {self.mm:#x}"


def space_of(trace: TraceFile, history: History, mm: int, at: int) -> Space:
    """The address space with that PGD, and who lives in it as of event ``at``."""
    for process in history.processes(at):
        if process.mm == mm:
            return Space(mm, process.pid, process.comm)
    return Space(mm, 0, "")


def space(
    trace: TraceFile,
    history: History,
    when: Moment,
    *,
    task: int | None = None,
    cpu: int | None = None,
) -> Space:
    """The address space that is meant: that of ``task``, that which ``cpu`` has loaded, else that
    of the task of the moment. Raises Failure (USAGE).
    """
    if task is not None:
        return _space_of_task(trace, history, when, task)
    if cpu is not None:
        loaded = loaded_before(trace, cpu, when.end)
        if loaded is None:
            line = f"argument --cpu: no event tells what CPU {cpu} has loaded: see --task"
            raise Failure(ExitCode.USAGE, line)
        return space_of(trace, history, loaded.mm, when.at)
    found = _usual(trace, history, when)
    if found is None:
        ended = exit_moment(trace)
        hint = "" if ended is None else f"; the last process began to exit at event {ended.end:,}"
        line = f"{trace.path}: no process has an address space then{hint}"
        raise Failure(ExitCode.USAGE, line)
    return found


def _usual(trace: TraceFile, history: History, when: Moment) -> Space | None:
    """The space of the moment's task; else what its CPU has loaded, if that is a process's or no
    process is known at all; else that of the first process.
    """
    if when.last is not None:
        event = when.last.event
        process = history.process(event.task, when.at) if event.task else None
        if process is not None and process.mm:
            return Space(process.mm, process.pid, process.comm)
        loaded: Loaded | None = loaded_before(trace, event.cpu, when.end)
        if loaded is not None and loaded.mm:
            found = space_of(trace, history, loaded.mm, when.at)
            if found.pid or not any(note.kind == "process" for note in trace.notes):
                return found
    for process in history.processes(when.at):
        if process.mm:
            return Space(process.mm, process.pid, process.comm)
    return None


def _space_of_task(trace: TraceFile, history: History, when: Moment, task: int) -> Space:
    process = history.process(task, when.at)
    if process is None:
        known = [f"{one.pid} ({one.comm})" for one in history.processes(when.at)]
        has = f"known then: {', '.join(known[:8])}" if known else "none is known then"
        raise Failure(ExitCode.USAGE, f"argument --task: no task {task} in {trace.path}: {has}")
    if not process.mm:
        line = f"argument --task: {printable(process.comm)}-{task} had no address space any more"
        raise Failure(ExitCode.USAGE, line)
    return Space(process.mm, process.pid, process.comm)


_SYMBOL: Final = re.compile(r"([^+]+?)(?:\+(0x[0-9a-fA-F]+|\d+))?")


def address(text: str, history: History, mm: int, at: int, *, levels: int = 4) -> int:
    """The address that ``text`` names: a number, or a function of the guest with or without
    +OFFSET, ``FILE:FUNCTION`` where several have that name. Raises Failure (USAGE).
    """
    try:
        value = int(text.replace(",", ""), 0)
    except ValueError:
        value = _symbol(text, history, mm, at)
    return canonical(value, text, levels)


def canonical(value: int, text: str, levels: int) -> int:
    """The value, if it is a canonical address. Raises Failure (USAGE)."""
    bits = 57 if levels == 5 else 48
    top = value >> (bits - 1)
    if value < 0 or top not in (0, (1 << 65 - bits) - 1):
        line = (
            f"argument ADDRESS: {printable(text)} is not canonical: bits 63 to {bits} must be"
            f" copies of bit {bits - 1} ({levels} levels of paging)"
        )
        raise Failure(ExitCode.USAGE, line)
    return value


def _symbol(text: str, history: History, mm: int, at: int) -> int:
    match = _SYMBOL.fullmatch(text)
    if match is None:
        raise Failure(ExitCode.USAGE, f"argument ADDRESS: {printable(text)!r} is no address")
    file, _, name = match[1].rpartition(":")
    offset = int(match[2], 0) if match[2] else 0
    found = {
        start + mapping.bias + offset
        for path, start, _ in history.functions_named(name)
        if not file or path == file or path.rpartition("/")[2] == file
        for mapping in history.mappings(mm, at)
        if mapping.file == path and mapping.start <= start + mapping.bias < mapping.end
    }
    if len(found) == 1:
        return found.pop()
    if found:
        places = ", ".join(f"{one:#x}" for one in sorted(found)[:4])
        line = f"argument ADDRESS: several functions are called {printable(name)}: {places}"
        raise Failure(ExitCode.USAGE, line)
    hint = did_you_mean(name, history.function_names())
    line = f"argument ADDRESS: {printable(text)!r} is no number and no function then{hint}"
    raise Failure(ExitCode.USAGE, line)
