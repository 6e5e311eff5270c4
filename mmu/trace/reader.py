# SPDX-License-Identifier: GPL-2.0-or-later
"""From a file to events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Final

from mmu.events import EVENTS, Event, EventDesc
from mmu.trace.blocks import Blocks, Chunk
from mmu.trace.coder import Decoder, Pieces
from mmu.trace.filter import Filter, Mask, Numbers, Records, keep
from mmu.trace.format import HEAD, NOTES, SITES, SUMMARY, TraceError, roles_of
from mmu.trace.index import ChunkInfo, Wanted
from mmu.trace.sound import check_head, check_note, check_summary, plain
from mmu.trace.where import ALL, Where

_FIELDS: Final = {desc.name: frozenset(desc.fields) for desc in EVENTS}
"""What readers ask an event of that name for."""


@dataclass(frozen=True)
class Note:
    """What a run said of itself before event number ``event``."""

    event: int
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Numbered:
    """An event and its number in the file."""

    number: int
    event: Event


@dataclass(frozen=True)
class Batch:
    """Events of one piece of the file: ``numbers`` in the file, and their ``records``."""

    numbers: Numbers
    records: Records


class TraceFile:
    """A trace that was written.

    ``head`` are the run's parameters; ``descs`` the event kinds, by their number in this file;
    ``notes`` what the run said of itself, in order; ``sites`` names of kernel functions by number;
    ``summary`` the run's report, None if the file is torn; ``torn`` says why it ends early, None:
    it does not.

    A ``file`` that cannot seek, as a pipe, is read once: ``notes`` and ``sites`` then grow while
    batches() is read (those of a batch, and all before, are there when it comes), and ``summary``,
    ``torn`` and ``nr_events`` are known at its end.

    Raises TraceError, in one line: the file is none of these, a newer one, or damaged.
    """

    def __init__(self, path: str, file: BinaryIO | None = None) -> None:
        self.path = path
        self.head: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.sites: list[str] = [""]
        self.summary: dict[str, Any] | None = None
        self.descs: list[EventDesc] = []
        self.fraction = 0.0
        """How much of the file the last batches() has gone through, 0 to 1."""
        self._parts: list[int] = []
        self._own = file is None
        try:
            self._file = file or open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        try:
            self._blocks = Blocks(self.path, self._file)
            self._value(HEAD, self._blocks.head())
            for kind, value in self._blocks.values():
                self._value(kind, value)
        except OSError as error:
            raise TraceError(f"{self.path}: {error.strerror}") from None
        try:
            self._roles = roles_of(self.descs, self._parts)
        except (KeyError, IndexError, OverflowError, TypeError):
            raise TraceError(f"{self.path}: its table of events is none: record it again") from None
        self._decoder = Decoder(self._roles)

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._own:
            self._file.close()

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _value(self, kind: bytes, value: Any) -> None:
        try:
            if kind == HEAD:
                check_head(value)
                self.head = value
                self.descs = [_desc(i, entry) for i, entry in enumerate(value["events"])]
                self._parts = [int(entry["part"]) for entry in value["events"]]
            elif kind == NOTES:
                self.notes += [_note(entry) for entry in value]
            elif kind == SITES:
                self.sites = ["", *_texts(value)]
                if not all(map(plain, self.sites)):
                    raise ValueError
            elif kind == SUMMARY:
                check_summary(value)
                self.summary = dict(value)
        except (KeyError, TypeError, AttributeError, ValueError):
            raise TraceError(
                f"{self.path}: its block {kind.decode()} is not as a trace's: record it again"
            ) from None

    @property
    def torn(self) -> str | None:
        """Why the file ends early; None: it does not."""
        return self._blocks.torn

    @property
    def chunks(self) -> Sequence[ChunkInfo]:
        """What is known of each chunk; of a pipe, of those that were read."""
        return [chunk.info for chunk in self._blocks.chunks]

    @property
    def nr_events(self) -> int:
        """Events in the file."""
        return sum(chunk.info.nr for chunk in self._blocks.chunks)

    @property
    def last_time(self) -> int | None:
        """The greatest virtual time of any event, in nanoseconds; None if there is none."""
        return max((chunk.info.times[1] for chunk in self._blocks.chunks), default=None)

    def kinds_count(self) -> dict[str, int]:
        """Events by name, as the index has them: no event is read."""
        counts = dict.fromkeys((desc.name for desc in self.descs), 0)
        for chunk in self._blocks.chunks:
            for kind, nr in chunk.info.kinds.items():
                if kind < len(self.descs):
                    counts[self.descs[kind].name] += nr
        return counts

    def chunks_for(self, where: Where) -> list[ChunkInfo]:
        """The chunks that may hold events for which ``where`` holds."""
        wanted = Wanted(where, self.descs, self._parts)
        return [chunk for chunk in self.chunks if wanted.parts(chunk)]

    def batches(self, where: Where = ALL, reverse: bool = False) -> Iterator[Batch]:
        """The events for which ``where`` holds, in order, piece by piece; memory does not grow with
        the file. Pieces in which there is none are left out. ``reverse``: the last piece first,
        each in order; not with ``where.code``, nor out of a pipe.
        """
        if reverse and where.code is not None:
            raise ValueError("whether an event is in code depends on those before it")
        wanted = Wanted(where, self.descs, self._parts)
        chosen = self._filter(where)
        self.fraction = 0.0
        chunks = reversed(self._blocks.chunks) if reverse else self._blocks.read(self._value)
        for chunk in chunks:
            yield from self._batch(chunk, wanted, chosen)
            done = self._blocks.fraction(chunk)
            self.fraction = 1 - done if reverse else done
        self.fraction = 1.0

    def last_before(self, number: int, where: Where = ALL) -> Numbered | None:
        """The last event before number ``number`` for which ``where`` holds; as batches() in
        reverse.
        """
        end = number if where.end is None else min(number, where.end)
        for batch in self.batches(replace(where, end=end), reverse=True):
            last = Batch(batch.numbers[-1:], batch.records[-1:])
            return next(self._numbered(last))
        return None

    def events(self, where: Where = ALL) -> Iterator[Numbered]:
        """The events of batches(), one by one."""
        for batch in self.batches(where):
            yield from self._numbered(batch)

    def holds(self, records: Records, numbers: Numbers, where: Where) -> Mask:
        """For each record of a batch, whether ``where`` holds for it; ``where.code`` as if nothing
        came before the first.
        """
        return self._filter(where).mask(records, numbers)

    def _filter(self, where: Where) -> Filter:
        chosen = Filter(where, self.descs, self._roles)
        chosen.know_sites(self.sites)
        return chosen

    def _batch(self, chunk: Chunk, wanted: Wanted, chosen: Filter) -> Iterator[Batch]:
        parts = wanted.parts(chunk.info)
        if not parts:
            return
        try:
            pieces = Pieces([chunk.part(n) if n in parts else None for n in range(3)])
            records, numbers = self._decoder.records(chunk.info, pieces)
            if records["id"].max() >= len(self.descs):
                raise ValueError("a kind without a name")
        except OSError as error:
            raise TraceError(f"{self.path}: {error.strerror}") from None
        except (ValueError, EOFError):
            raise TraceError(
                f"{self.path}: damaged at byte {chunk.offset}: its events from number"
                f" {chunk.info.first} to {chunk.info.first + chunk.info.nr - 1} cannot be read"
            ) from None
        if chosen.where != ALL:
            chosen.know_sites(self.sites)
            records, numbers = keep(records, numbers, chosen.mask(records, numbers))
        if len(records):
            yield Batch(numbers, records)

    def _numbered(self, batch: Batch) -> Iterator[Numbered]:
        names = self.sites
        for number, record in zip(batch.numbers.tolist(), batch.records.tolist(), strict=True):
            kind, cpu, site, task, instruction, time, *values = record
            desc = self.descs[kind]
            values = tuple(values[: len(desc.fields)])
            name = names[site] if site < len(names) else f"site {site}"
            yield Numbered(number, Event(desc, values, instruction, cpu, task, name, time))


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError
    return value


def _desc(number: int, entry: Any) -> EventDesc:
    name, meaning = _texts([entry["name"], entry["meaning"]])
    fields = _texts(entry["fields"])
    if len(fields) > 4 or not all(map(plain, (name, *fields))):
        raise ValueError
    ours = _FIELDS.get(name)
    if ours is not None and not ours.issubset(fields):
        raise ValueError
    return EventDesc(number, name, tuple(fields), meaning)


def _note(entry: Any) -> Note:
    fields = dict(entry)
    check_note(fields)
    return Note(fields.pop("event"), fields.pop("kind"), fields)
