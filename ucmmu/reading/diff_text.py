# SPDX-License-Identifier: GPL-2.0-or-later
"""How ``ucmmu diff`` says where two runs part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from cpu.disasm import disassemble_one
from ucmmu.reading.attribution import pid_of
from ucmmu.reading.diff import Difference, Parting
from ucmmu.reading.names import Names
from ucmmu.reading.rows import write_rows
from ucmmu.reading.symbols import History
from ucmmu.reading.text import TextPrinter
from ucmmu.text import printable, shortened

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile

_LONGEST: Final = 40
_ABSENT: Final = "–"


class Teller:
    """Says what events of one trace are."""

    def __init__(self, trace: TraceFile) -> None:
        self._history = History(trace)
        self._names = Names(trace.head)
        self._disassemble = disassemble_one

    def task(self, owner: int, at: int) -> str:
        """``hello-1``, or the CPU where there is no task."""
        pid = pid_of(owner)
        if not pid:
            return f"CPU {owner & 0xFF}"
        process = self._history.process(pid, at)
        return printable(str(process)) if process is not None else f"task {pid}"

    def lines(self, numbered: Numbered) -> list[str]:
        """An event with the place where it happened, as ``ucmmu trace`` prints it."""
        printer = TextPrinter(self._names, self._history, self._disassemble)
        return printer.lines(numbered.number, numbered.event)


def as_text(a: TraceFile, b: TraceFile, found: Difference) -> Iterator[str]:
    """The whole report, piece by piece."""
    yield f"A: {printable(a.path)}\nB: {printable(b.path)}\n"
    if found.parameters:
        yield "\n" + _table("parameter", {n: _pair(p) for n, p in found.parameters.items()})
    if found.equal:
        yield f"\nBoth did the same: {_counts(found.same)}.\n"
        return
    if found.same:
        yield f"\nThe same in both: {_counts(found.same)}.\n"
    for owners, which in ((found.only_a, "A"), (found.only_b, "B")):
        if owners:
            teller = Teller(a if which == "A" else b)
            names = ", ".join(teller.task(owner, _END) for owner in owners)
            yield f"\nOnly in {which}: {names}.\n"
    tellers = Teller(a), Teller(b)
    for parting in found.partings:
        yield "\n" + "".join(line + "\n" for line in _parting(parting, *tellers))
    if found.events:
        yield "\n" + _table("events", found.events)
    if found.counters:
        yield "\n" + _table("counter", found.counters)


_END: Final = (1 << 63) - 1


def _pair(values: Sequence[Any]) -> tuple[str, str]:
    a, b = (
        _ABSENT if value is None else shortened(printable(str(value)), _LONGEST) for value in values
    )
    return a, b


def _table(name: str, pairs: Mapping[str, Sequence[Any]]) -> str:
    pieces: list[str] = []
    rows = [[key, *pair] for key, pair in pairs.items()]
    write_rows([name, "A", "B"], rows, pieces.append, "table")
    return "".join(pieces)


def _counts(same: Mapping[str, int]) -> str:
    return ", ".join(f"{subject} ({count:,})" for subject, count in same.items()) or "nothing"


def _parting(parting: Parting, a: Teller, b: Teller) -> Iterator[str]:
    at = parting.a or parting.b
    number = 0 if at is None else at.number
    task = (a if parting.a else b).task(parting.a_owner if parting.a else parting.b_owner, number)
    yield f"{parting.subject}: first differ at number {parting.place:,} of {task}"
    for numbered in parting.before:
        yield from _marked("  ", a.lines(numbered)[-1:])
    for mark, teller, other in (("A ", a, parting.a), ("B ", b, parting.b)):
        if other is None:
            yield f"{mark}  (no more)"
        else:
            yield from _marked(mark, teller.lines(other))


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}  {line}"


def as_json(a: TraceFile, b: TraceFile, found: Difference) -> dict[str, Any]:
    """The same for ``--json``."""
    return {
        "a": a.path,
        "b": b.path,
        "equal": found.equal,
        "parameters": _pairs(found.parameters),
        "same": found.same,
        "partings": [_parting_json(parting) for parting in found.partings],
        "events": _pairs(found.events),
        "counters": _pairs(found.counters),
        "only_a": [pid_of(owner) for owner in found.only_a],
        "only_b": [pid_of(owner) for owner in found.only_b],
    }


def _pairs(pairs: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"a": a, "b": b} for name, (a, b) in pairs.items()}


def _parting_json(parting: Parting) -> dict[str, Any]:
    return {
        "subject": parting.subject,
        "task": pid_of(parting.a_owner),
        "task_b": pid_of(parting.b_owner),
        "place": parting.place,
        "before": [_event(numbered) for numbered in parting.before],
        "a": _event(parting.a),
        "b": _event(parting.b),
    }


def _event(numbered: Numbered | None) -> dict[str, Any] | None:
    if numbered is None:
        return None
    event = numbered.event
    return {
        "number": numbered.number,
        "event": event.name,
        "cpu": event.cpu,
        "task": event.task,
        "instruction": event.instruction,
        "time": event.time,
        "site": event.site,
        "fields": event.fields,
    }
