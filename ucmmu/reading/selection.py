# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of a trace that a reader wants, with the guest instruction that each belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mmu.events import Event, EventDesc
from mmu.trace.reader import Batch, Numbered
from ucmmu.event_filter import EventFilter
from ucmmu.reading.attribution import U64, Attribution
from ucmmu.reading.named import FunctionNames

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile
    from mmu.trace.where import Where

Progress = Callable[[int], object]
"""Is told how many events of the trace were passed."""
MARKS = frozenset({"insn", "tlb_hit", "tlb_miss", "tlb_deny"})
"""Events that say which instruction a task is at."""


def batches(
    trace: TraceFile, wanted: EventFilter, progress: Progress | None = None
) -> Iterator[Batch]:
    """The wanted events, piece by piece; no piece is empty."""
    if wanted.functions is not None:
        for batch, _ in attributed(trace, wanted, progress):
            yield batch
        return
    for batch in trace.batches(wanted.where):
        yield batch
        if progress is not None:
            progress(int(batch.numbers[-1]) + 1)


def attributed(
    trace: TraceFile, wanted: EventFilter, progress: Progress | None = None
) -> Iterator[tuple[Batch, U64]]:
    """The wanted events, piece by piece, and the addresses of the instructions they belong to.

    Events that only tell which instruction a task is at are read too, and left out.
    """
    attribution = Attribution(trace.descs)
    functions = None if wanted.functions is None else FunctionNames(trace)
    for batch in trace.batches(_wide(wanted.where)):
        ips = attribution.ips(batch)
        keep = trace.holds(batch.records, batch.numbers, wanted.where)
        if functions is not None:
            codes, names = functions.of(batch, ips)
            keep &= np.array([name in (wanted.functions or ()) for name in names])[codes]
        if keep.all():
            yield batch, ips
        elif keep.any():
            yield Batch(batch.numbers[keep], batch.records[keep]), ips[keep]
        if progress is not None:
            progress(int(batch.numbers[-1]) + 1)


def _wide(where: Where) -> Where:
    """Events for which ``where`` may hold, and those before them that mark instructions."""
    events = where.events | MARKS if where.events else where.events
    return replace(
        where,
        events=events,
        sites=frozenset(),
        addresses=(),
        begin=0,
        instructions=None,
        times=None if where.times is None else (0, where.times[1]),
    )


def decoded(trace: TraceFile, batch: Batch) -> Iterator[Numbered]:
    """The events of a batch, one by one."""
    return _decode(trace.descs, trace.sites, batch.numbers, batch.records)


def _decode(
    descs: Sequence[EventDesc],
    sites: Sequence[str],
    numbers: npt.NDArray[np.uint64],
    records: npt.NDArray[np.void],
) -> Iterator[Numbered]:
    for number, record in zip(numbers.tolist(), records.tolist(), strict=True):
        kind, cpu, site, task, instruction, time, *values = record
        desc = descs[kind]
        yield Numbered(
            number,
            Event(
                desc,
                tuple(values[: len(desc.fields)]),
                instruction,
                cpu,
                task,
                sites[site] if site < len(sites) else f"site {site}",
                time,
            ),
        )
