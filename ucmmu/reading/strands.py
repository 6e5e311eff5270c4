# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as strands: the events of one task about one subject, in their order.

Two traces are compared strand by strand, for their tasks may take turns otherwise.  The strands are
too long to be kept: of each block of so many events a digest is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ucmmu.event_filter import EventFilter
from ucmmu.reading.attribution import owners
from ucmmu.reading.selection import Progress, batches, decoded
from ucmmu.reading.subjects import SUBJECTS, Fingerprints, subject_of

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, Numbered, TraceFile

BLOCK: Final = 1024
"""Events of one digest."""


class Strand(NamedTuple):
    """Whose events (see owners()), about what."""

    owner: int
    subject: str


@dataclass
class Digests:
    """A trace in short: ``counts`` of each strand's events, ``blocks`` of their digests, how many
    events there are of each kind, and the tasks in the order in which they came.
    """

    counts: Counter[Strand] = field(default_factory=Counter)
    blocks: dict[Strand, list[int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    owners: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class _Piece:
    """Events of one strand in a batch: where they are in it, and their places in the strand."""

    strand: Strand
    at: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]


class _Strands:
    """Takes batches apart into strands."""

    def __init__(self, trace: TraceFile) -> None:
        self._subjects = list(SUBJECTS)
        numbers = {subject: at for at, subject in enumerate(self._subjects)}
        self._subject = np.zeros(256, dtype=np.int64)
        for desc in trace.descs:
            self._subject[desc.id] = numbers[subject_of(desc.name)]
        self.counts: Counter[Strand] = Counter()

    def pieces(self, batch: Batch) -> Iterator[_Piece]:
        whose = owners(batch.records)
        keys = whose * 64 + self._subject[batch.records["id"]]
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        edges = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(ordered)]
        for begin, end in pairwise(edges):
            owner, number = divmod(int(ordered[begin]), 64)
            strand = Strand(owner, self._subjects[number])
            first = self.counts[strand]
            self.counts[strand] += end - begin
            yield _Piece(strand, order[begin:end], np.arange(first, first + end - begin))


def digests(trace: TraceFile, wanted: EventFilter, progress: Progress | None = None) -> Digests:
    """Read a trace once."""
    found = Digests()
    strands = _Strands(trace)
    prints = Fingerprints(trace.descs, trace.sites)
    for batch in batches(trace, wanted, progress):
        kinds = np.bincount(batch.records["id"], minlength=256)
        for kind in np.flatnonzero(kinds).tolist():
            found.kinds[trace.descs[kind].name] += int(kinds[kind])
        for piece in strands.pieces(batch):
            mixed = prints.of(batch.records[piece.at], piece.places)
            blocks = piece.places // BLOCK
            starts = np.flatnonzero(np.diff(blocks, prepend=-1))
            sums = np.add.reduceat(mixed, starts)
            told = found.blocks.setdefault(piece.strand, [])
            if piece.strand.owner not in found.owners:
                found.owners.append(piece.strand.owner)
            for block, value in zip(blocks[starts].tolist(), sums.tolist(), strict=True):
                if block < len(told):
                    told[block] = (told[block] + value) & (1 << 64) - 1
                else:
                    told.append(value)
    found.counts = strands.counts
    return found


@dataclass(frozen=True)
class Excerpt:
    """Events of a strand from place ``first`` on, with their fingerprints."""

    first: int
    events: list[Numbered]
    prints: list[int]


def excerpts(
    trace: TraceFile,
    wanted: EventFilter,
    ranges: Mapping[Strand, range],
    progress: Progress | None = None,
) -> dict[Strand, Excerpt]:
    """The events at these places of these strands, as far as they go."""
    found = {strand: Excerpt(its.start, [], []) for strand, its in ranges.items()}
    strands = _Strands(trace)
    prints = Fingerprints(trace.descs, trace.sites)
    for batch in batches(trace, wanted, progress):
        for piece in strands.pieces(batch):
            its = ranges.get(piece.strand)
            if its is None:
                continue
            inside = (piece.places >= its.start) & (piece.places < its.stop)
            if inside.any():
                at = piece.at[inside]
                part = type(batch)(batch.numbers[at], batch.records[at])
                excerpt = found[piece.strand]
                excerpt.events.extend(decoded(trace, part))
                excerpt.prints.extend(prints.of(part.records, piece.places[inside]).tolist())
        if all(strands.counts[strand] >= its.stop for strand, its in ranges.items()):
            break
    return found
