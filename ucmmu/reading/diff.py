# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu diff``: where two runs part, strand by strand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ucmmu.event_filter import EventFilter
from ucmmu.reading.attribution import pid_of
from ucmmu.reading.selection import Progress
from ucmmu.reading.strands import BLOCK, Digests, Excerpt, Strand, digests, excerpts
from ucmmu.reading.subjects import SUBJECTS

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile

CONTEXT: Final = 3
"""Events of a strand that are shown before those that differ."""
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Parting:
    """Where two strands first differ: at ``place`` of their events, of which ``a`` and ``b`` are
    one each, None where a run has no more; ``before`` are those of A before it, which B has too.
    """

    subject: str
    a_owner: int
    b_owner: int
    place: int
    before: list[Numbered]
    a: Numbered | None
    b: Numbered | None


@dataclass(frozen=True)
class Difference:
    """What two traces differ in: ``parameters`` of the runs and ``counters`` and numbers of
    ``events``, each as A and B have it; the subjects that are the ``same``, with the number of
    their events; of each other subject the first ``partings``; tasks that only one run has.
    """

    parameters: dict[str, Pair]
    same: dict[str, int]
    partings: list[Parting]
    events: dict[str, tuple[int, int]]
    counters: dict[str, tuple[int, int]]
    only_a: list[int]
    only_b: list[int]

    @property
    def equal(self) -> bool:
        """Whether both runs did the same, whatever their parameters."""
        return not (self.partings or self.events or self.counters or self.only_a or self.only_b)


def compare(
    a: TraceFile, b: TraceFile, wanted: EventFilter, progress: Progress | None = None
) -> Difference:
    """Read both traces, twice where they differ; both must be files."""
    short_a = digests(a, wanted, progress)
    short_b = digests(b, wanted, progress)
    owners = _aligned(short_a, short_b)
    ranges = _ranges(short_a, short_b, owners)
    partings = []
    if ranges:
        own = excerpts(a, wanted, ranges, progress)
        its = {Strand(owners[strand.owner], strand.subject): r for strand, r in ranges.items()}
        other = excerpts(b, wanted, its, progress)
        for strand, excerpt in own.items():
            twin = Strand(owners[strand.owner], strand.subject)
            parting = _parting(strand, twin, excerpt, other[twin])
            if parting is not None:
                partings.append(parting)
    return Difference(
        _parameters(a, b),
        _same(short_a, partings),
        _firsts(partings),
        _unequal(short_a.kinds, short_b.kinds),
        _unequal(_counters(a), _counters(b)),
        [owner for owner in short_a.owners if owner not in owners],
        [owner for owner in short_b.owners if owner not in owners.values()],
    )


def _aligned(a: Digests, b: Digests) -> dict[int, int]:
    """Each of A's tasks and the one of B that is compared with it: of the same PID; those that are
    left by the order in which they came. CPUs without a task by their numbers.
    """
    owners = {owner: owner for owner in a.owners if owner in b.owners}
    left_a = [owner for owner in a.owners if owner not in owners and pid_of(owner)]
    left_b = [owner for owner in b.owners if owner not in owners and pid_of(owner)]
    return owners | dict(zip(left_a, left_b, strict=False))


def _ranges(a: Digests, b: Digests, owners: dict[int, int]) -> dict[Strand, range]:
    """Of each pair of strands that differ, where in them to look: by A's strand."""
    found: dict[Strand, range] = {}
    for owner, other in owners.items():
        for subject in SUBJECTS:
            mine, its = Strand(owner, subject), Strand(other, subject)
            ours, theirs = a.blocks.get(mine, []), b.blocks.get(its, [])
            if ours == theirs and a.counts[mine] == b.counts[its]:
                continue
            block = next(
                (
                    at
                    for at, pair in enumerate(zip(ours, theirs, strict=False))
                    if pair[0] != pair[1]
                ),
                min(len(ours), len(theirs)),
            )
            found[mine] = range(max(0, block * BLOCK - CONTEXT), (block + 1) * BLOCK)
    return found


def _parting(mine: Strand, its: Strand, a: Excerpt, b: Excerpt) -> Parting | None:
    length = min(len(a.events), len(b.events))
    at = next((at for at in range(length) if a.prints[at] != b.prints[at]), length)
    if at >= len(a.events) and at >= len(b.events):
        return None
    return Parting(
        mine.subject,
        mine.owner,
        its.owner,
        a.first + at,
        a.events[max(0, at - CONTEXT) : at],
        a.events[at] if at < len(a.events) else None,
        b.events[at] if at < len(b.events) else None,
    )


def _firsts(partings: list[Parting]) -> list[Parting]:
    """The first of each subject, in the order of the subjects."""
    found = []
    for subject in SUBJECTS:
        own = [parting for parting in partings if parting.subject == subject]
        if own:
            found.append(min(own, key=_when))
    return found


def _when(parting: Parting) -> int:
    numbered = parting.a or parting.b
    return 0 if numbered is None else numbered.number


def _same(a: Digests, partings: list[Parting]) -> dict[str, int]:
    differ = {parting.subject for parting in partings}
    counts = {
        subject: sum(n for strand, n in a.counts.items() if strand.subject == subject)
        for subject in SUBJECTS
    }
    return {subject: n for subject, n in counts.items() if n and subject not in differ}


def _unequal(a: dict[str, int], b: dict[str, int]) -> dict[str, tuple[int, int]]:
    names = dict.fromkeys([*a, *b])
    return {n: (a.get(n, 0), b.get(n, 0)) for n in names if a.get(n, 0) != b.get(n, 0)}


def _parameters(a: TraceFile, b: TraceFile) -> dict[str, Pair]:
    names = [name for name in dict.fromkeys([*a.head, *b.head]) if name != "events"]
    return {n: (a.head.get(n), b.head.get(n)) for n in names if a.head.get(n) != b.head.get(n)}


def _counters(trace: TraceFile) -> dict[str, int]:
    report: dict[str, Any] = trace.summary or {}
    return {
        name: int(value)
        for key in ("counters", "mm_counters", "kernel_counters")
        for name, value in (report.get(key) or {}).items()
    }
