# SPDX-License-Identifier: GPL-2.0-or-later
"""From a trace to what a report shows of it: two passes, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Callable

from mmu.trace.reader import TraceFile
from mmu.trace.where import ALL
from ucmmu.event_filter import EventFilter
from ucmmu.reading.passed import shown
from ucmmu.reading.report.figures import Figures
from ucmmu.reading.report.memory import MemoryOverTime, follow_tables
from ucmmu.reading.report.processor import ProcessorWork
from ucmmu.reading.selection import attributed
from ucmmu.reading.source import open_trace
from ucmmu.text import printable


def figures_of(path: str) -> Figures:
    """Everything that a report shows of the trace in this file. Raises Failure (BAD_TRACE)."""
    with open_trace(path) as trace, shown(trace) as progress:
        return gather(trace, progress)


def gather(trace: TraceFile, progress: Callable[[int], object] | None = None) -> Figures:
    """Everything that a report shows of a trace; ``progress`` hears how many events were passed."""
    label = printable(str(trace.head.get("free_tables") or os.path.basename(trace.path)))
    figures = Figures(label, trace.path, trace.head)
    memory, work = MemoryOverTime(trace, figures), ProcessorWork(trace, figures)
    for batch, ips in attributed(trace, EventFilter(ALL), progress):
        times = batch.records["time"]
        if not figures.nr_events:
            figures.begin = int(times[0])
        figures.end = max(figures.end, int(times.max()))
        figures.nr_events += len(times)
        memory.add(batch)
        work.add(batch, ips)
    work.finish()
    follow_tables(trace, figures, memory.peak_event, memory.ends)
    figures.summary, figures.torn = trace.summary, trace.torn
    figures.processes = {
        int(note.fields["mm"]): printable(
            f"PID {note.fields.get('tgid', note.fields['pid'])}, {note.fields['comm']}"
        )
        for note in trace.notes
        if note.kind in ("process", "exec") and note.fields.get("mm")
    }
    return figures
