# SPDX-License-Identifier: GPL-2.0-or-later
"""Events and counters by name, and the ring that holds events until they are read.

Names, fields and meanings are those of ``native/trace/events.def``, asked of the C code
that was compiled from it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mmu._native import ffi, lib
from mmu.errors import MmuError

if TYPE_CHECKING:
    from mmu._native import (
        CData,
        Ptr,
        struct_counter_desc_ptr,
        struct_event,
        struct_event_ring_ptr,
    )

_CHUNK = 4096


def _text(c_string: Ptr[bytes]) -> str:
    return ffi.string(c_string).decode()


class EventDesc(NamedTuple):
    """One kind of event: its number, its name, the names of its fields a to d, and its meaning."""

    id: int
    name: str
    fields: tuple[str, ...]
    meaning: str


class CounterDesc(NamedTuple):
    """One counter: its number, its name (perf's, vmstat's or /proc's) and what it counts."""

    id: int
    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Event:
    """One record: ``values`` in the order of its kind's fields, 64 bits each.

    ``instruction`` is the number of instructions that the CPU executed before it, where they are
    counted; ``cpu`` the number of the vCPU, ``task`` the PID of the task on it (0: none), ``site``
    the kernel function that did it ("" where that is not recorded), ``time`` the virtual time in
    nanoseconds.
    """

    desc: EventDesc
    values: tuple[int, ...]
    instruction: int
    cpu: int
    task: int = 0
    site: str = ""
    time: int = 0

    @property
    def name(self) -> str:
        """The event's name, as events.def gives it."""
        return self.desc.name

    @property
    def fields(self) -> dict[str, int]:
        """Values by the names of the fields."""
        return dict(zip(self.desc.fields, self.values, strict=True))

    def __getitem__(self, field: str) -> int:
        """One field's value by its name; KeyError if this event has no such field."""
        try:
            return self.values[self.desc.fields.index(field)]
        except ValueError:
            raise KeyError(field) from None

    def __str__(self) -> str:
        """The event as text: ``name field=value ...``, values in hexadecimal."""
        return " ".join([self.name, *(f"{name}={value:#x}" for name, value in self.fields.items())])


def _event_descs() -> Iterator[EventDesc]:
    for number in range(lib.NR_EVENTS):
        desc = lib.event_describe(number)
        fields = tuple(name for name in map(_text, desc.field) if name)
        yield EventDesc(number, _text(desc.name), fields, _text(desc.meaning))


def _counter_descs(
    describe: Callable[[int], struct_counter_desc_ptr], count: int
) -> Iterator[CounterDesc]:
    for number in range(count):
        desc = describe(number)
        yield CounterDesc(number, _text(desc.name), _text(desc.meaning))


EVENTS: list[EventDesc] = list(_event_descs())
EVENT_ID: dict[str, int] = {desc.name: desc.id for desc in EVENTS}

COUNTER_DESCS: list[CounterDesc] = list(_counter_descs(lib.counter_describe, lib.NR_COUNTERS))
COUNTERS: list[str] = [desc.name for desc in COUNTER_DESCS]
COUNTER_ID: dict[str, int] = {desc.name: desc.id for desc in COUNTER_DESCS}

MM_COUNTER_DESCS: list[CounterDesc] = list(
    _counter_descs(lib.mm_counter_describe, lib.NR_MM_COUNTERS)
)
MM_COUNTERS: list[str] = [desc.name for desc in MM_COUNTER_DESCS]
MM_COUNTER_ID: dict[str, int] = {desc.name: desc.id for desc in MM_COUNTER_DESCS}

KERNEL_COUNTER_DESCS: list[CounterDesc] = list(
    _counter_descs(lib.kernel_counter_describe, lib.NR_KERNEL_COUNTERS)
)
KERNEL_COUNTERS: list[str] = [desc.name for desc in KERNEL_COUNTER_DESCS]
KERNEL_COUNTER_ID: dict[str, int] = {desc.name: desc.id for desc in KERNEL_COUNTER_DESCS}

_rings: weakref.WeakValueDictionary[int, EventRing] = weakref.WeakValueDictionary()


@ffi.def_extern()
def event_ring_full(c_ring: struct_event_ring_ptr, _arg: CData) -> None:
    """Let the ring's owner drain it; called from C when a record finds no room."""
    ring = _rings[int(ffi.cast("uintptr_t", c_ring))]
    if ring.on_full is not None:
        ring.on_full(ring)


class EventRing:
    """A ring of ``capacity`` event records (a power of two), written by C and by the Python engine.

    When it is full, ``on_full(ring)`` is called to drain it by read(); without it, or if it reads
    nothing, the newest record is lost and counted in ``lost``. It starts disabled: records are
    dropped unseen.
    """

    def __init__(
        self, capacity: int = 1 << 16, *, on_full: Callable[[EventRing], object] | None = None
    ) -> None:
        """Allocate the ring; MmuError if capacity is no power of two or the host has no memory."""
        if capacity <= 0 or capacity & (capacity - 1):
            raise MmuError(f"an event ring's capacity must be a power of two, not {capacity}")
        ring = lib.ring_create(capacity)
        if ring == ffi.NULL:
            raise MmuError(f"no host memory for an event ring of {capacity} records")
        self.c = ffi.gc(ring, lib.ring_destroy)
        self.on_full = on_full
        self._chunk = ffi.new("struct event[]", min(capacity, _CHUNK))
        self._values = ffi.new("u64[4]")
        self._sites: dict[str, int] = {"": 0}
        _rings[int(ffi.cast("uintptr_t", ring))] = self
        if on_full is not None:
            self.c.full = lib.event_ring_full

    @property
    def lost(self) -> int:
        """Records lost so far because the ring was full."""
        return self.c.lost

    def enable(self, on: bool = True) -> None:
        """Record events from now on, or stop recording."""
        self.c.enabled = int(on)

    def emit(
        self, event_id: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, *, site: str = ""
    ) -> None:
        """Write one record, as C's emit() does: nothing happens while the ring is disabled.

        ``site`` names the kernel function that did it, as C's emit_from() does.
        """
        if self.c.enabled:
            value = self._values
            value[0], value[1], value[2], value[3] = a, b, c, d
            self.c.site = self.site(site)
            lib.ring_emit(self.c, event_id, value)
            self.c.site = 0

    def site(self, name: str) -> int:
        """The number of a kernel function's name; a new one if it has none yet; 0 for ""."""
        number = self._sites.get(name)
        if number is None:
            number = self._sites[name] = lib.ring_site(self.c, ffi.new("char[]", name.encode()))
        return number

    def sites(self) -> list[str]:
        """Names of the kernel functions that events gave so far, by number; that of 0 is ""."""
        count = self.c.nr_sites
        return [_text(lib.ring_site_name(self.c, number)) for number in range(count + 1)]

    def read(self) -> list[Event]:
        """Take every unread record out, oldest first."""
        events: list[Event] = []
        while count := lib.ring_read(self.c, self._chunk, len(self._chunk)):
            sites = self.sites()
            events += (_event(self._chunk[i], sites) for i in range(count))
        return events


def _event(record: struct_event, sites: list[str]) -> Event:
    desc = EVENTS[record.id]
    values = (record.a, record.b, record.c, record.d)[: len(desc.fields)]
    return Event(
        *(desc, values, record.instruction, record.cpu),
        *(record.task, sites[record.site], record.time),
    )
