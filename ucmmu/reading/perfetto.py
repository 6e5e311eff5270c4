# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu trace --format perfetto``: tracks, counters and flows for https://ui.perfetto.dev.

Times are the guest's virtual nanoseconds.  Kernel work takes no virtual time of its own, so its
slices are as long as what the guest did meanwhile, often 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from mmu.trace.reader import Batch
from ucmmu.event_filter import EventFilter
from ucmmu.reading.gauges import Gauges, LookUps
from ucmmu.reading.packets import Packets, Value
from ucmmu.reading.passed import interrupted_between
from ucmmu.reading.rows import HEXADECIMAL
from ucmmu.reading.selection import Progress, batches, decoded
from ucmmu.reading.timeline import Timeline

if TYPE_CHECKING:
    from mmu.events import Event
    from mmu.trace.reader import Numbered, TraceFile

HOT: Final = frozenset(
    {"insn", "access", "tlb_hit", "tlb_miss", "tlb_deny", "tlb_fill", "tlb_evict", "tlb_drop"}
    | {f"walk_cache_{what}" for what in ("hit", "fill", "evict", "drop")}
    | {"walk_entry", "walk_set_ad", "walk_done"}
)
"""Events that are shown as rates, and each by itself only if a filter names them."""
_CATEGORIES: Final = {
    "tlb": ("tlb_", "walk_", "inv", "mov_cr3", "flush_tlb", "csd_", "ipi_", "call_function"),
    "tables": ("pte_", "set_p", "rcu_"),
    "faults": ("page_fault",),
    "locks": ("mmap_lock", "vma_lock", "contention"),
    "sched": ("sched_", "switch_mm"),
    "memory": ("mm_page", "rss_stat", "total_vm"),
}


def write(
    trace: TraceFile,
    wanted: EventFilter,
    out: BinaryIO,
    progress: Progress | None = None,
) -> None:
    """Write the events that are ``wanted`` as Perfetto's protobuf, up to there if the user
    interrupts it. Raises OSError.
    """
    exporter = _Exporter(trace, out, wanted.where.events & HOT)
    try:
        with interrupted_between() as check:
            for batch in batches(trace, wanted, progress):
                exporter.take(batch)
                check()
    except KeyboardInterrupt:
        exporter.close()
        out.flush()
        raise
    exporter.close()


@cache
def category(event: str) -> str:
    """The category of an event, by which Perfetto filters."""
    for name, starts in _CATEGORIES.items():
        if event.startswith(starts):
            return name
    return "kernel"


class _Exporter:
    def __init__(self, trace: TraceFile, out: BinaryIO, wanted: frozenset[str]) -> None:
        self._trace = trace
        self._packets = Packets(out, HEXADECIMAL)
        self._timeline = Timeline(self._packets, trace)
        self._gauges = Gauges(self._packets, self._timeline)
        self._look_ups = LookUps(self._packets, self._timeline, trace.descs)
        self._rare = np.ones(256, dtype=bool)
        for desc in trace.descs:
            self._rare[desc.id] = desc.name not in HOT or desc.name in wanted
        self._flows = 0
        self._calls: dict[int, int] = {}
        self._callbacks: dict[int, int] = {}
        self._handlers: dict[str, Callable[[Event, int, dict[str, Value]], None]] = {
            "sched_switch": self._sched_switch,
            "sys_enter": self._sys_enter,
            "sys_exit": self._sys_exit,
            "funcgraph_entry": self._funcgraph_entry,
            "funcgraph_exit": self._funcgraph_exit,
            "call_function_entry": self._call_function_entry,
            "call_function_exit": self._call_function_exit,
            "csd_queue_cpu": self._csd_queue_cpu,
            "csd_function_entry": self._csd_function_entry,
            "csd_function_exit": self._csd_function_exit,
            "contention_begin": self._contention_begin,
            "contention_end": self._contention_end,
            "rcu_grace_period": self._rcu_grace_period,
            "rcu_callback": self._rcu_callback,
            "rcu_invoke_callback": self._rcu_invoke_callback,
        }

    def take(self, batch: Batch) -> None:
        self._look_ups.take(batch)
        rare = self._rare[batch.records["id"]]
        for numbered in decoded(self._trace, Batch(batch.numbers[rare], batch.records[rare])):
            self._event(numbered)

    def close(self) -> None:
        self._look_ups.close()
        self._packets.close()

    def _event(self, numbered: Numbered) -> None:
        event = numbered.event
        self._timeline.catch_up(numbered.number, event.time)
        self._gauges.take(event)
        track = self._timeline.track_of(event)
        handler = self._handlers.get(event.desc.name, self._instant)
        handler(event, track, _arguments(numbered))

    def _instant(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        self._packets.instant(track, event.time, event.name, category(event.name), arguments)

    def _begin(self, event: Event, track: int, name: str, arguments: dict[str, Value]) -> None:
        self._packets.begin(track, event.time, name, category(event.name), arguments)

    def _sched_switch(self, event: Event, _track: int, arguments: dict[str, Value]) -> None:
        track = self._timeline.cpu(event.cpu)
        self._packets.end_all(track, event.time)
        pid = event["next_pid"]
        if pid:
            name = self._timeline.name_of(pid)
            self._packets.begin(track, event.time, name, "sched", arguments)

    def _sys_enter(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        self._begin(event, track, _syscall(event), arguments)

    def _sys_exit(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        self._packets.end(track, event.time, _syscall(event), {"ret": _signed(event["ret"])})

    def _funcgraph_entry(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        self._begin(event, track, event.site or "kernel", arguments)

    def _funcgraph_exit(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        ret: dict[str, Value] = {"ret": _signed(event["ret"])}
        self._packets.end(track, event.time, event.site or "kernel", ret)

    def _call_function_entry(self, event: Event, _track: int, arguments: dict[str, Value]) -> None:
        track = self._timeline.enter_interrupt(event.cpu)
        self._begin(event, track, "call_function", arguments)

    def _call_function_exit(self, event: Event, _track: int, _arguments: dict[str, Value]) -> None:
        track = self._timeline.leave_interrupt(event.cpu)
        self._packets.end(track, event.time, "call_function")

    def _csd_queue_cpu(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        flow = self._calls[event["csd"]] = self._next_flow()
        self._packets.instant(track, event.time, event.name, "tlb", arguments, flow=flow)

    def _csd_function_entry(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        flow = self._calls.pop(event["csd"], None)
        self._packets.begin(
            track, event.time, "csd_function", "tlb", arguments, flow=flow, flow_ends=True
        )

    def _csd_function_exit(self, event: Event, track: int, _arguments: dict[str, Value]) -> None:
        self._packets.end(track, event.time, "csd_function")

    def _contention_begin(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        self._begin(event, track, "contention", arguments)

    def _contention_end(self, event: Event, track: int, _arguments: dict[str, Value]) -> None:
        self._packets.end(track, event.time, "contention", {"ret": _signed(event["ret"])})

    def _rcu_grace_period(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        rcu = self._timeline.named("RCU grace periods")
        if event["event"] == 0:
            self._packets.end_all(rcu, event.time)
            self._packets.begin(rcu, event.time, "grace period", "tables", arguments)
        elif event["event"] == 2:
            self._packets.end(rcu, event.time, "grace period")
        else:
            self._instant(event, track, arguments)

    def _rcu_callback(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        flow = self._callbacks[event["pfn"]] = self._next_flow()
        self._packets.instant(track, event.time, event.name, "tables", arguments, flow=flow)

    def _rcu_invoke_callback(self, event: Event, track: int, arguments: dict[str, Value]) -> None:
        flow = self._callbacks.pop(event["pfn"], None)
        self._packets.instant(
            track, event.time, event.name, "tables", arguments, flow=flow, flow_ends=True
        )

    def _next_flow(self) -> int:
        self._flows += 1
        return self._flows


def _syscall(event: Event) -> str:
    from cpu.syscalls.numbers import syscall_name

    return syscall_name(event["nr"])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _arguments(numbered: Numbered) -> dict[str, Value]:
    event = numbered.event
    arguments: dict[str, Value] = dict(zip(event.desc.fields, event.values, strict=True))
    if event.site:
        arguments["site"] = event.site
    arguments["number"] = numbered.number
    arguments["instruction"] = event.instruction
    return arguments
