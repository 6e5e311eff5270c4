# SPDX-License-Identifier: GPL-2.0-or-later
"""How ``ucmmu stats`` shows counters: in all as perf stat does, by group as perf report does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ucmmu.reading.stats import ArrayStats, Group

WALKS: Final = (
    "dtlb_load_misses.miss_causes_a_walk",
    "dtlb_store_misses.miss_causes_a_walk",
    "itlb_misses.miss_causes_a_walk",
)
DATA_WALKS: Final = WALKS[:2]
SECOND_LEVEL: Final = (
    "dtlb_load_misses.stlb_hit",
    "dtlb_store_misses.stlb_hit",
    "itlb_misses.stlb_hit",
)
DATA_LOOK_UPS: Final = ("dTLB-loads", "dTLB-stores")
LOOK_UPS: Final = (*DATA_LOOK_UPS, "iTLB-loads")
INSTRUCTIONS: Final = "event:insn"
_OF: Final = {
    "dtlb_load_misses": "dTLB-loads",
    "dtlb_store_misses": "dTLB-stores",
    "itlb_misses": "iTLB-loads",
}

_ASKS: Final = {
    "itlb": ("iTLB-loads",),
    "dtlb": DATA_LOOK_UPS,
    "dtlb_loads": DATA_LOOK_UPS[:1],
    "dtlb_stores": DATA_LOOK_UPS[1:],
    "stlb": (*SECOND_LEVEL, *WALKS),
    "l2_itlb": (SECOND_LEVEL[2], WALKS[2]),
    "l2_dtlb": (*SECOND_LEVEL[:2], *DATA_WALKS),
    "psc": WALKS,
}
"""What asks an array, by its kind."""

Row = list[Any]
Value = Callable[[Group], "int | float | None"]


def rate(part: float, whole: float, scale: float = 100.0) -> float | None:
    """``part`` of ``whole``, times ``scale``; None if there is no whole."""
    return round(scale * part / whole, 3) if whole else None


@dataclass(frozen=True)
class Column:
    """A column of a table of groups."""

    name: str
    value: Value


def _sum(*names: str) -> Value:
    return lambda group: group.sum(*names)


def _rate(part: Sequence[str], whole: Sequence[str], scale: float = 100.0) -> Value:
    return lambda group: rate(group.sum(*part), group.sum(*whole), scale)


_TLB: Final = (
    Column("instructions", _sum(INSTRUCTIONS)),
    Column("dTLB", _sum(*DATA_LOOK_UPS)),
    Column("iTLB", _sum("iTLB-loads")),
    Column("stlb_hit", _sum(*SECOND_LEVEL)),
    Column("walks", _sum(*WALKS)),
    Column("miss%", _rate(WALKS, LOOK_UPS)),
    Column("MPKI", _rate(WALKS, (INSTRUCTIONS,), 1000.0)),
    Column("loads/walk", _rate(("page_walker_loads",), WALKS, 1.0)),
)
_TABLES: Final = (
    Column("faults", _sum("pgfault")),
    Column("allocated", _sum("event:pte_alloc")),
    Column("freed", _sum("event:pte_free")),
)
COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "function": (*_TLB, *_TABLES),
    "process": (
        *_TLB,
        *_TABLES,
        Column("flushes", _sum("event:flush_tlb_mm_range")),
        Column("switches", _sum("event:switch_mm")),
    ),
    "cpu": (
        *_TLB,
        Column("flushes", _sum("event:tlb_flush")),
        Column("calls_sent", _sum("event:csd_queue_cpu")),
        Column("IPIs_sent", _sum("event:ipi_send_cpu", "event:ipi_send_cpumask")),
        Column("IPIs_received", _sum("event:call_function_entry")),
        Column("switches", _sum("event:sched_switch")),
    ),
    "page": (
        Column("instructions", _sum(INSTRUCTIONS)),
        Column("accesses", _sum("event:access")),
        Column("hits", _sum("event:tlb_hit")),
        Column("misses", _sum("event:tlb_miss")),
        Column("evictions", _sum("event:tlb_evict")),
        Column("walk_loads", _sum("event:walk_entry")),
        Column("page_faults", _sum("event:page_fault")),
        Column("set_pte", _sum("event:set_pte")),
    ),
    "syscall": (
        Column("calls", _sum("event:sys_enter")),
        Column("errors", _sum("sys_exit.errors")),
        *_TABLES,
        Column("flushes", _sum("event:flush_tlb_mm_range")),
        Column("pte_get", _sum("event:pte_get")),
        Column("pte_put", _sum("event:pte_put")),
    ),
}
"""What is shown of each group, by the grouping."""
ORDER: Final[dict[str, tuple[str, ...]]] = {
    "function": WALKS,
    "process": (),
    "cpu": (),
    "page": ("event:tlb_miss",),
    "syscall": ("event:sys_enter",),
}
"""By what groups are put in order, most first; ties, and all without, by their numbers."""


def group_rows(by: str, groups: Sequence[Group]) -> tuple[list[str], list[Row]]:
    """The names of the columns, and a row for each group."""
    columns = COLUMNS[by]
    names = [by, *(column.name for column in columns)]
    return names, [[group.label, *(column.value(group) for column in columns)] for group in groups]


def array_rows(arrays: Sequence[ArrayStats], total: Group) -> tuple[list[str], list[Row]]:
    """The same of TLB arrays. A hit rate is that of what asks the array: look-ups of its kind for
    the first level, those that missed that for the second, walks for paging-structure caches.
    """
    names = ["array", "kind", "entries", "hits", "hit%", "fills", "evictions", "drops"]
    rows: list[Row] = []
    for one in arrays:
        asked = total.sum(*_ASKS.get(one.kind, LOOK_UPS))
        counts = [one.fills, one.evictions, one.drops]
        rows.append([one.name, one.kind, one.entries, one.hits, rate(one.hits, asked), *counts])
    return names, rows


def total_text(title: str, total: Group, counters: Sequence[str]) -> str:
    """All counters in the form of perf stat: value, name, and what it is of what."""
    lines = [f" counters of {title}", ""]
    instructions = total[INSTRUCTIONS]
    rows = [("instructions", instructions), *((name, total[name]) for name in counters)]
    width = max(len(f"{value:,}") for _, value in rows)
    name_width = max(len(name) for name, _ in rows)
    for name, value in rows:
        notes = "".join(_remarks(name, value, total))
        lines.append(f"  {value:>{width},}  {name:<{name_width}}{notes}".rstrip())
    lines.append("")
    for name, derived in derivations(total).items():
        if derived is not None:
            lines.append(f"  {derived:>{width},.3f}  {name}")
    return "\n".join(lines) + "\n"


def _remarks(name: str, value: int, total: Group) -> list[str]:
    remarks = []
    whole = _OF.get(name.partition(".")[0])
    share = None if whole is None else rate(value, total[whole])
    if share is not None:
        remarks.append(f"  {share:8.3f} % of {whole}")
    mpki = rate(value, total[INSTRUCTIONS], 1000.0)
    if name.endswith("miss_causes_a_walk") and mpki is not None:
        remarks.append(f"  {mpki:8.3f} MPKI")
    return remarks


def derivations(total: Group) -> Mapping[str, float | None]:
    """Rates that users of TLB simulators compare."""
    walks = total.sum(*WALKS)
    return {
        "dTLB miss rate, %": rate(total.sum(*DATA_WALKS), total.sum(*DATA_LOOK_UPS)),
        "iTLB miss rate, %": rate(total[WALKS[2]], total["iTLB-loads"]),
        "walks per 1000 instructions (MPKI)": rate(walks, total[INSTRUCTIONS], 1000.0),
        "entries read per walk": rate(total["page_walker_loads"], walks, 1.0),
        "walks that began at a paging-structure cache, %": rate(total["walk_cache_hits"], walks),
    }
