# SPDX-License-Identifier: GPL-2.0-or-later
"""From a trace to what a report shows of it: two passes, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Callable

from mmu.trace.reader import TraceFile
from ucmmu.reading.report.figures import Figures
from ucmmu.reading.report.memory import MemoryOverTime, follow_tables
from ucmmu.reading.report.processor import ProcessorWork


def gather(
    trace: TraceFile, told: Callable[[int, int], None] = lambda _done, _all: None
) -> tuple[Figures, ProcessorWork]:
    """Everything a report shows of a trace; ``told(events so far, all)`` hears of the progress.

    What the processor did gets its names by ProcessorWork.finish().
    """
    head = trace.head
    label = str(head.get("policy") or os.path.basename(trace.path))
    figures = Figures(label, trace.path, head, trace.summary, trace.torn)
    figures.nr_events = trace.nr_events
    memory, work = MemoryOverTime(trace, figures), ProcessorWork(trace, figures)
    first = True
    done = 0
    for batch in trace.batches():
        times = batch.records["time"]
        if len(times):
            figures.begin = int(times.min()) if first else figures.begin
            figures.end = max(figures.end, int(times.max()))
            first = False
        memory.add(batch)
        work.add(batch)
        done += len(times)
        told(done, figures.nr_events)
    follow_tables(trace, figures, memory.peak_event, memory.ends)
    return figures, work
