# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``ucmmu stats`` does: count, and write tables or JSON."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mmu.events import COUNTERS, KERNEL_COUNTERS, MM_COUNTERS
from ucmmu.event_filter import EventFilter, parse_filter
from ucmmu.exit_codes import Failure
from ucmmu.output import JsonOutput
from ucmmu.reading.groups import GROUPINGS
from ucmmu.reading.outlet import print_out
from ucmmu.reading.passed import shown
from ucmmu.reading.rows import write_rows
from ucmmu.reading.selection import Progress
from ucmmu.reading.source import open_trace, tell_of_gaps
from ucmmu.reading.stats import Group, count, count_arrays, differences
from ucmmu.reading.stats_text import (
    INSTRUCTIONS,
    ORDER,
    array_rows,
    derivations,
    group_rows,
    total_text,
)
from ucmmu.streams import STDERR, say
from ucmmu.text import printable, shortened

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile

ALL_COUNTERS = (*COUNTERS, *MM_COUNTERS, *KERNEL_COUNTERS)


def stats(arguments: argparse.Namespace) -> int:
    """Count, write, and return the exit code: NO_READER if stdout is a pipe that nobody reads.
    Raises Failure.
    """
    wanted = parse_filter(arguments.filter)
    with JsonOutput(arguments.json) as output:
        with open_trace(arguments.file) as trace, shown(trace) as progress:
            if arguments.by is None:
                value, text = _total(trace, wanted, progress)
            elif arguments.by == "array":
                value, text = _arrays(trace, wanted, progress)
            else:
                value, text = _groups(trace, wanted, arguments.by, arguments.top, progress)
            _tell_of_gaps(trace)
        output.write(value)
        return 0 if output.to_stdout else print_out(text)


def _tell_of_gaps(trace: TraceFile) -> None:
    """Warn of what the figures are not about."""
    tell_of_gaps(trace)
    fidelity = trace.head.get("fidelity", "trace")
    if fidelity != "trace":
        line = (
            f"{trace.path}: recorded with --fidelity {fidelity}: instructions, accesses and most"
            " TLB hits are not counted; functions are those of the last fetch that missed"
        )
        with suppress(Failure):
            say(STDERR, f"ucmmu: warning: {line}\n", patience=0.5)


def _total(trace: TraceFile, wanted: EventFilter, progress: Progress) -> tuple[Any, str]:
    groups = count(trace, wanted, progress=progress)
    total = groups[0] if groups else Group("all", {})
    text = total_text(title(trace), total, ALL_COUNTERS)
    value: dict[str, Any] = {
        "instructions": total[INSTRUCTIONS],
        "counters": {name: total[name] for name in ALL_COUNTERS},
        "derived": derivations(total),
        "events": _events(total),
    }
    if wanted == parse_filter([]) and trace.summary is not None:
        value["differences"] = {
            name: {"events": mine, "run": its}
            for name, (mine, its) in differences(trace, total).items()
        }
        if value["differences"]:
            text += (
                "\n  The trace does not hold every event: the run itself counted otherwise for"
                f" {', '.join(value['differences'])}.\n"
            )
    return value, text


def _arrays(trace: TraceFile, wanted: EventFilter, progress: Progress) -> tuple[Any, str]:
    arrays, total = count_arrays(trace, wanted, progress=progress)
    names, rows = array_rows(arrays, total)
    return [dict(zip(names, row, strict=True)) for row in rows], _table(names, rows)


def _groups(
    trace: TraceFile, wanted: EventFilter, by: str, top: int, progress: Progress
) -> tuple[Any, str]:
    grouping = GROUPINGS[by](trace)
    groups = count(trace, wanted, grouping, order=ORDER[by], top=top, progress=progress)
    names, rows = group_rows(by, groups)
    value = [
        dict(zip(names, row, strict=True))
        | {"counters": _counters(group), "events": _events(group)}
        for group, row in zip(groups, rows, strict=True)
    ]
    return value, _table(names, rows)


def _table(names: list[str], rows: list[list[Any]]) -> str:
    pieces: list[str] = []
    write_rows(names, rows, pieces.append, "table")
    return "".join(pieces)


def _counters(group: Group) -> dict[str, int]:
    return {name: value for name, value in group.counts.items() if name in ALL_COUNTERS}


def _events(group: Group) -> dict[str, int]:
    prefix = "event:"
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(group.counts.items())
        if name.startswith(prefix)
    }


def title(trace: TraceFile) -> str:
    """What was run, and how: ``hello (refcount, TLB skylake, trace)``."""
    head = trace.head
    program = str(head.get("program") or trace.path).rpartition("/")[2]
    words = " ".join([program, *map(str, head.get("args") or [])])
    tlb = f"TLB {head['tlb']}" if head.get("tlb") else None
    cpus = f"{head['cpus']} CPUs" if head.get("cpus", 1) != 1 else None
    how = [head.get("free_tables"), tlb, cpus, head.get("fidelity")]
    told = ", ".join(str(word) for word in how if word)
    return shortened(printable(words)) + (f" ({printable(told)})" if told else "")
