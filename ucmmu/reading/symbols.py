# SPDX-License-Identifier: GPL-2.0-or-later
"""Who runs, what is mapped and which function an address lies in, as of an event.

All of it is from the notes of the trace: ``process``, ``exec``, ``comm``, ``exit``, ``map``,
``unmap`` and ``symbols`` (docs/recording.md).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from mmu.trace.format import TraceError

if TYPE_CHECKING:
    from mmu.trace.reader import Note, TraceFile


_MAX_CACHED: Final = 1 << 18
"""Addresses whose symbols are kept."""


@dataclass(frozen=True)
class Process:
    """A task: its PID, that of its process, its name, its program and its mm (the guest-physical
    address of its PGD, 0: none any more).
    """

    pid: int
    tgid: int
    comm: str
    exe: str
    mm: int
    parent: int

    def __str__(self) -> str:
        """``hello-1``, as ftrace names a task."""
        return f"{self.comm}-{self.pid}"


@dataclass(frozen=True, order=True)
class Mapping:
    """What lies at [start, end) of an address space: a file from ``offset`` on, or ``name``
    ([stack], [heap]); "" for anonymous memory. ``bias`` is what an address here has above that in
    the file.
    """

    start: int
    end: int
    prot: str = ""
    flags: str = ""
    file: str = ""
    offset: int = 0
    bias: int = 0
    name: str = ""


@dataclass(frozen=True)
class Symbol:
    """A function of a file, and how far into it the address lies; "" if no function is known."""

    function: str
    offset: int
    file: str

    def __str__(self) -> str:
        """``main+0x12``; ``libc.so.6+0x26f00`` where no function is known."""
        name = self.function or self.file.rpartition("/")[2]
        return f"{name}+{self.offset:#x}" if self.offset else name


@dataclass
class _File:
    """Functions and lines of one ELF file, by the file's own addresses, sorted."""

    starts: list[int] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)
    line_starts: list[int] = field(default_factory=list)
    lines: list[tuple[str, int]] = field(default_factory=list)

    def take(self, functions: Iterable[Sequence[Any]], lines: Iterable[Sequence[Any]]) -> None:
        """Add those of a note."""
        found = [
            *(
                (at, size, name)
                for at, (size, name) in zip(self.starts, self.functions, strict=True)
            ),
            *((int(at), int(size), str(name)) for at, size, name in functions),
        ]
        found.sort(key=lambda one: one[0])
        self.starts = [at for at, _, _ in found]
        self.functions = [(size, name) for _, size, name in found]
        rows = [
            *((at, *line) for at, line in zip(self.line_starts, self.lines, strict=True)),
            *((int(at), str(file), int(line)) for at, file, line in lines),
        ]
        rows.sort(key=lambda one: one[0])
        self.line_starts = [at for at, _, _ in rows]
        self.lines = [(file, line) for _, file, line in rows]

    def function_at(self, address: int) -> tuple[str, int] | None:
        """The function at an address of the file and the offset in it; a symbol without a size
        reaches up to the next.
        """
        at = bisect_right(self.starts, address) - 1
        if at < 0:
            return None
        size, name = self.functions[at]
        offset = address - self.starts[at]
        return (name, offset) if offset < size or size == 0 else None

    def line_at(self, address: int) -> tuple[str, int] | None:
        """The source line of an address of the file; a line 0 ends what has lines."""
        at = bisect_right(self.line_starts, address) - 1
        return self.lines[at] if at >= 0 and self.lines[at][1] else None


class History:
    """Processes and mappings of a trace as of event number ``at``.

    Questions are quick if ``at`` only grows; an earlier one begins again from the first note. Notes
    that a trace from a pipe has not come to yet are taken when they are there. Symbols count
    wherever their note stands.
    """

    def __init__(self, trace: TraceFile) -> None:
        self._trace = trace
        self._symbols: dict[str, _File] = {}
        self._symbol_notes = 0
        self._cache: dict[tuple[str, int], Symbol] = {}
        self._first: dict[int, Process] = {}
        self._named = 0
        self._begin_again()

    def _begin_again(self) -> None:
        self._at = 0
        self._next = 0
        self._processes: dict[int, Process] = {}
        self._maps: dict[int, list[Mapping]] = {}

    def advance(self, at: int) -> None:
        """Make ``at`` the event that questions are about."""
        if at < self._at:
            self._begin_again()
        self._at = at
        notes = self._trace.notes
        while self._next < len(notes) and notes[self._next].event <= at:
            note = notes[self._next]
            self._next += 1
            take = _TAKES.get(note.kind)
            if take is not None:
                with _sound(self._trace, note):
                    take(self, note)

    def process(self, pid: int, at: int) -> Process | None:
        """The task with that PID; one that ended is known until its PID is another's."""
        self.advance(at)
        return self._processes.get(pid)

    def first_named(self, pid: int) -> Process | None:
        """The task with that PID as the first note of it says, wherever that stands: for what
        happened before.
        """
        notes = self._trace.notes
        for note in notes[self._named :]:
            if note.kind in ("process", "exec"):
                with _sound(self._trace, note):
                    new = _process(note)
                    self._first.setdefault(new.pid, new)
        self._named = len(notes)
        return self._first.get(pid)

    def processes(self, at: int) -> list[Process]:
        """All that were so far, by PID."""
        self.advance(at)
        return [self._processes[pid] for pid in sorted(self._processes)]

    def mm_of(self, pid: int, at: int) -> int:
        """The mm of that task (its PGD's address), 0 if it is not known."""
        process = self.process(pid, at)
        return 0 if process is None else process.mm

    def mappings(self, mm: int, at: int) -> Sequence[Mapping]:
        """All mappings of an mm, by address."""
        self.advance(at)
        return self._maps.get(mm, ())

    def mapping(self, mm: int, address: int, at: int) -> Mapping | None:
        """The mapping that an address lies in."""
        maps = self.mappings(mm, at)
        index = bisect_right(maps, address, key=_start) - 1
        return maps[index] if index >= 0 and address < maps[index].end else None

    def symbol(self, mm: int, address: int, at: int) -> Symbol | None:
        """The function that an address lies in; where that is not known, the file."""
        where = self.mapping(mm, address, at)
        if where is None:
            return None
        name = where.file or where.name
        if not name:
            return None
        self._take_symbols()
        key = name, address - where.bias
        symbol = self._cache.get(key)
        if symbol is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            symbol = self._cache[key] = self._look_up(where, name, address)
        return symbol

    def line(self, mm: int, address: int, at: int) -> tuple[str, int] | None:
        """The source file and line of an address."""
        where = self.mapping(mm, address, at)
        if where is None:
            return None
        self._take_symbols()
        file = self._symbols.get(where.file or where.name)
        return None if file is None else file.line_at(address - where.bias)

    def functions_named(self, name: str) -> list[tuple[str, int, int]]:
        """Each function of that name: its file, and from where up to where it lies there."""
        self._take_symbols()
        return [
            (path, start, start + max(size, 1))
            for path, file in self._symbols.items()
            for start, (size, its_name) in zip(file.starts, file.functions, strict=True)
            if its_name == name
        ]

    def function_names(self) -> set[str]:
        """The names of all functions that are known."""
        self._take_symbols()
        return {name for file in self._symbols.values() for _, name in file.functions}

    def _look_up(self, where: Mapping, name: str, address: int) -> Symbol:
        file = self._symbols.get(name)
        found = None if file is None else file.function_at(address - where.bias)
        if found is None:
            inside = address - where.start + where.offset if where.file else address - where.start
            return Symbol("", inside, name)
        return Symbol(found[0], found[1], name)

    def _take_symbols(self) -> None:
        notes = self._trace.notes
        for note in notes[self._symbol_notes :]:
            if note.kind == "symbols":
                with _sound(self._trace, note):
                    file = self._symbols.setdefault(str(note.fields["file"]), _File())
                    file.take(note.fields.get("functions", ()), note.fields.get("lines", ()))
                self._cache.clear()
        self._symbol_notes = len(notes)

    def _take_process(self, note: Note) -> None:
        new = _process(note)
        self._processes[new.pid] = new

    def _take_comm(self, note: Note) -> None:
        pid = int(note.fields["pid"])
        if pid in self._processes:
            comm = str(note.fields["comm"])
            self._processes[pid] = replace(self._processes[pid], comm=comm)

    def _take_exit(self, note: Note) -> None:
        pid = int(note.fields["pid"])
        if pid in self._processes:
            self._processes[pid] = replace(self._processes[pid], mm=0)

    def _take_map(self, note: Note) -> None:
        fields = note.fields
        maps = self._maps.setdefault(int(fields["mm"]), [])
        new = Mapping(
            int(fields["start"]),
            int(fields["end"]),
            prot=str(fields.get("prot", "")),
            flags=str(fields.get("flags", "")),
            file=str(fields.get("file") or ""),
            offset=int(fields.get("offset") or 0),
            bias=int(fields.get("bias") or 0),
            name=str(fields.get("name") or ""),
        )
        _cut(maps, new.start, new.end)
        insort(maps, new)

    def _take_unmap(self, note: Note) -> None:
        maps = self._maps.setdefault(int(note.fields["mm"]), [])
        _cut(maps, int(note.fields["start"]), int(note.fields["end"]))


@contextmanager
def _sound(trace: TraceFile, note: Note) -> Iterator[None]:
    """Raise TraceError if the note does not have the fields that it must have."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        line = f"{trace.path}: the note {note.kind!r} before event {note.event} is damaged: {error}"
        raise TraceError(line) from None


def _start(mapping: Mapping) -> int:
    return mapping.start


def _process(note: Note) -> Process:
    fields = note.fields
    pid = int(fields["pid"])
    return Process(
        pid,
        int(fields.get("tgid") or pid),
        str(fields.get("comm") or "?"),
        str(fields.get("exe") or ""),
        int(fields.get("mm") or 0),
        int(fields.get("parent") or 0),
    )


def _cut(maps: list[Mapping], start: int, end: int) -> None:
    """Take [start, end) out of sorted mappings: what lies across an edge is cut."""
    first = bisect_left(maps, start, key=_start)
    if first and maps[first - 1].end > start:
        first -= 1
    last = bisect_left(maps, end, key=_start)
    kept = []
    for old in maps[first:last]:
        if old.start < start:
            kept.append(replace(old, end=start))
        if old.end > end:
            kept.append(replace(old, start=end, offset=old.offset + end - old.start))
    maps[first:last] = kept


_TAKES: Final[dict[str, Callable[[History, Note], None]]] = {
    "process": History._take_process,
    "exec": History._take_process,
    "comm": History._take_comm,
    "exit": History._take_exit,
    "map": History._take_map,
    "unmap": History._take_unmap,
}
