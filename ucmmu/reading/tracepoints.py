# SPDX-License-Identifier: GPL-2.0-or-later
"""Each event as a tracepoint: Linux's own system, name and format where Linux has it (v6.18), the
system ``ucmmu`` where not.

A format is written once, as in a kernel's ``events/SYSTEM/NAME/format``, and says both how we print
the event and how trace-cmd does. Fields that a run does not record are left out of Linux's formats
(callsites, migrate types, the mm's memory cgroup), but for sched_switch, which tools refuse to read
without: there each priority is 120, that of nice 0, and each state R.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mmu.events import EVENTS, EventDesc
from mmu.units import PAGE_SHIFT
from ucmmu.reading.names import (
    ACCESS,
    HOLDER,
    INVPCID_TYPE,
    LOCK,
    LOCK_FLAGS,
    REASON,
    RSS_MEMBER,
    TRYGET,
    VMA_LOCK,
    Names,
)

Value = int | str
Values = Mapping[str, Value]
TEXT_SIZES: Final = {"text": 80}
"""Bytes of a text field, its final 0 counted; of others 40."""
SITE: Final = "site"


@dataclass(frozen=True)
class Arg:
    """What one conversion of a format shows: a field, as a number or text; by ``symbols`` the name
    of its value; by ``flags`` those of its bits; ``truth`` shows true or false.
    """

    field: str
    symbols: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None
    truth: bool = False
    text: bool = False

    def shown(self, value: Value) -> Value:
        """What Python's % is given."""
        if isinstance(value, str):
            return value
        if self.truth:
            return "true" if value else "false"
        if self.symbols is not None:
            return self.symbols.get(value, f"0x{value:x}")
        if self.flags is not None:
            names = [name for bit, name in self.flags.items() if value & bit]
            return "|".join(names)
        return value

    def in_c(self) -> str:
        """The argument in a format's ``print fmt``."""
        record = f"REC->{self.field}"
        if self.truth:
            return f'{record} ? "true" : "false"'
        if self.symbols is not None:
            return f"__print_symbolic({record}, {_pairs(self.symbols)})"
        if self.flags is not None:
            return f'__print_flags({record}, "|", {_pairs(self.flags)})'
        return record


def _pairs(names: Mapping[int, str]) -> str:
    quoted = (
        (value, name.replace("\\", "\\\\").replace('"', '\\"')) for value, name in names.items()
    )
    return ", ".join(f'{{ {value}, "{name}" }}' for value, name in quoted)


_CONVERSION: Final = re.compile(r"%(0?\d*)l*([duxs])")


@dataclass(frozen=True)
class Tracepoint:
    """A tracepoint: its system, its name, its format and what that shows."""

    system: str
    name: str
    format: str
    args: tuple[Arg, ...]

    @property
    def fields(self) -> dict[str, bool]:
        """The fields, each once, in order; whether it is text."""
        return {arg.field: arg.text for arg in self.args}

    def text(self, values: Values) -> str:
        """The event as ftrace prints it, without its name."""
        shown = tuple(
            _signed(arg.shown(values[arg.field]), kind)
            for arg, kind in zip(self.args, self._kinds(), strict=True)
        )
        return _CONVERSION.sub(r"%\1\2", self.format) % shown

    def _kinds(self) -> list[str]:
        return [match[2] for match in _CONVERSION.finditer(self.format)]

    def print_fmt(self) -> str:
        """The ``print fmt`` of its format file."""
        return ", ".join([f'"{self.format}"', *(arg.in_c() for arg in self.args)])


def _signed(value: Value, kind: str) -> Value:
    """``%d`` and ``%ld`` show a long."""
    if kind == "d" and isinstance(value, int) and value >> 63:
        return value - (1 << 64)
    return value


def _lock(name: str, format: str, *more: Arg) -> Tracepoint:
    return Tracepoint("lock", name, format, (Arg("lock_addr"), *more))


def _switch() -> Tracepoint:
    return Tracepoint(
        "sched",
        "sched_switch",
        "prev_comm=%s prev_pid=%ld prev_prio=%ld prev_state=%s ==>"
        " next_comm=%s next_pid=%ld next_prio=%ld",
        (
            Arg("prev_comm", text=True),
            Arg("prev_pid"),
            Arg("prev_prio"),
            Arg("prev_state", symbols={0: "R", 1: "S"}),
            Arg("next_comm", text=True),
            Arg("next_pid"),
            Arg("next_prio"),
        ),
    )


def _mmap_lock(name: str, *more: Arg) -> Tracepoint:
    format = "mm=0x%lx write=%s" + "".join(f" {arg.field}=%s" for arg in more)
    return Tracepoint("mmap_lock", name, format, (Arg("mm"), Arg("write", truth=True), *more))


_LINUX: Final = {
    "page_fault_user": Tracepoint(
        "exceptions",
        "page_fault_user",
        "address=0x%lx ip=0x%lx error_code=0x%lx",
        (Arg("address"), Arg("ip"), Arg("error_code")),
    ),
    "tlb_flush": Tracepoint(
        "tlb",
        "tlb_flush",
        "pages:%ld reason:%s (%ld)",
        (Arg("pages"), Arg("reason", symbols=REASON), Arg("reason")),
    ),
    "csd_queue_cpu": Tracepoint(
        "csd", "csd_queue_cpu", "cpu=%lu csd=0x%lx", (Arg("cpu"), Arg("csd"))
    ),
    "csd_function_entry": Tracepoint("csd", "csd_function_entry", "csd=0x%lx", (Arg("csd"),)),
    "csd_function_exit": Tracepoint("csd", "csd_function_exit", "csd=0x%lx", (Arg("csd"),)),
    "ipi_send_cpu": Tracepoint("ipi", "ipi_send_cpu", "cpu=%lu", (Arg("cpu"),)),
    "ipi_send_cpumask": Tracepoint("ipi", "ipi_send_cpumask", "cpumask=%lx", (Arg("cpumask"),)),
    "call_function_entry": Tracepoint(
        "irq_vectors", "call_function_entry", "vector=%ld", (Arg("vector"),)
    ),
    "call_function_exit": Tracepoint(
        "irq_vectors", "call_function_exit", "vector=%ld", (Arg("vector"),)
    ),
    "mm_page_alloc": Tracepoint(
        "kmem", "mm_page_alloc", "pfn=0x%lx order=%ld", (Arg("pfn"), Arg("order"))
    ),
    "mm_page_free": Tracepoint(
        "kmem", "mm_page_free", "pfn=0x%lx order=%ld", (Arg("pfn"), Arg("order"))
    ),
    "mmap_lock_start_locking": _mmap_lock("mmap_lock_start_locking"),
    "mmap_lock_acquire_returned": _mmap_lock(
        "mmap_lock_acquire_returned", Arg("success", truth=True)
    ),
    "mmap_lock_released": _mmap_lock("mmap_lock_released"),
    "contention_begin": _lock(
        "contention_begin", "0x%lx (flags=%s)", Arg("flags", flags=LOCK_FLAGS)
    ),
    "contention_end": _lock("contention_end", "0x%lx (ret=%ld)", Arg("ret")),
    "rcu_grace_period": Tracepoint(
        "rcu",
        "rcu_grace_period",
        "rcu_preempt %ld %s",
        (Arg("gp_seq"), Arg("gpevent", symbols={0: "start", 1: "cpuqs", 2: "end"})),
    ),
    "rcu_callback": Tracepoint(
        "rcu", "rcu_callback", "rcu_preempt pfn=0x%lx %ld", (Arg("pfn"), Arg("qlen"))
    ),
    "rcu_invoke_callback": Tracepoint(
        "rcu", "rcu_invoke_callback", "rcu_preempt pfn=0x%lx", (Arg("pfn"),)
    ),
    "sys_enter": Tracepoint(
        "raw_syscalls",
        "sys_enter",
        "NR %ld (%lx, %lx, %lx)",
        (Arg("id"), Arg("arg0"), Arg("arg1"), Arg("arg2")),
    ),
    "sys_exit": Tracepoint("raw_syscalls", "sys_exit", "NR %ld = %ld", (Arg("id"), Arg("ret"))),
    "sched_switch": _switch(),
    "rss_stat": Tracepoint(
        "kmem",
        "rss_stat",
        "mm_id=%lu curr=%ld type=%s size=%ldB",
        (Arg("mm_id"), Arg("curr"), Arg("member", symbols=RSS_MEMBER), Arg("size")),
    ),
    "insn": Tracepoint(
        "ucmmu", "insn", "ip=0x%lx size=%lu %s", (Arg("ip"), Arg("size"), Arg("text", text=True))
    ),
}
_SINGLE: Final = {
    f"call_function_{edge}": Tracepoint(
        "irq_vectors", f"call_function_single_{edge}", "vector=%ld", (Arg("vector"),)
    )
    for edge in ("entry", "exit")
}
CALL_FUNCTION_SINGLE_VECTOR: Final = 0xFB

_SYMBOLS: Final[dict[str, Mapping[int, str]]] = {
    "access": ACCESS,
    "holder": HOLDER,
    "result": TRYGET,
    "kind": LOCK,
    "type": INVPCID_TYPE,
}
_KERNEL_BEGINS: Final = "page_fault_user"
"""The first of the events that the kernel makes."""


def _own(desc: EventDesc, names: Names, kernel: bool) -> Tracepoint:
    """A tracepoint of ours: ``field=value ...``, and its site if the kernel makes it."""
    parts, args = [], []
    for field in desc.fields:
        symbols = _SYMBOLS.get(field)
        if (desc.name, field) == ("vma_lock", "result"):
            symbols = VMA_LOCK
        if field == "array":
            symbols = dict(enumerate(names.arrays)) or None
        decimal = not names.number(desc.name, field, 16).startswith("0x")
        shape = "%s" if symbols is not None else "%lu" if decimal else "0x%lx"
        parts.append(f"{field}={shape}")
        args.append(Arg(field, symbols=symbols))
    if kernel:
        parts.append(f"{SITE}=%s")
        args.append(Arg(SITE, text=True))
    return Tracepoint("ucmmu", desc.name, " ".join(parts), tuple(args))


class Tracepoints:
    """The tracepoints of a trace's kinds of events, and the values of their fields."""

    def __init__(
        self,
        descs: list[EventDesc],
        names: Names,
        task_comm: Callable[[int], str],
        insn_text: Callable[[int, Mapping[str, int]], str],
        mm_of: Callable[[int], int],
    ) -> None:
        """``task_comm`` names a PID, ``insn_text`` disassembles an instruction of a task,
        ``mm_of`` gives a task's mm.
        """
        first = next(desc.id for desc in EVENTS if desc.name == _KERNEL_BEGINS)
        known = {desc.name: desc.id for desc in EVENTS}
        self._points = {
            desc.name: _LINUX.get(desc.name)
            or _own(desc, names, known.get(desc.name, first) >= first)
            for desc in descs
        }
        self._task_comm = task_comm
        self._insn_text = insn_text
        self._mm_of = mm_of
        self._ip: dict[int, int] = {}

    def all(self) -> list[Tracepoint]:
        """Every tracepoint that may come."""
        return [*self._points.values(), *_SINGLE.values()]

    def of(
        self, event: str, fields: Mapping[str, int], task: int, site: str
    ) -> tuple[Tracepoint, dict[str, Value]]:
        """An event's tracepoint and its values."""
        point = self._points[event]
        if event in _SINGLE and fields["vector"] == CALL_FUNCTION_SINGLE_VECTOR:
            point = _SINGLE[event]
        values: dict[str, Value] = {**fields, SITE: site or "-"}
        if event == "insn":
            self._ip[task] = fields["ip"]
            values["text"] = self._insn_text(task, fields)
        elif event == "page_fault_user":
            values["ip"] = self._ip.get(task, 0)
        elif event in ("sys_enter", "sys_exit"):
            values["id"] = fields["nr"]
        elif event == "rcu_grace_period":
            values["gpevent"] = fields["event"]
        elif event.startswith("contention_"):
            values["lock_addr"] = fields["lock"]
        elif event == "sched_switch":
            values |= self._switch(fields)
        elif event == "rss_stat":
            values["mm_id"] = fields["mm"] >> PAGE_SHIFT
            values["curr"] = int(fields["mm"] == self._mm_of(task))
            values["size"] = fields["pages"] << PAGE_SHIFT
        return point, values

    def _switch(self, fields: Mapping[str, int]) -> dict[str, Value]:
        found: dict[str, Value] = {"prev_prio": 120, "next_prio": 120, "prev_state": 0}
        for which in ("prev", "next"):
            found[f"{which}_comm"] = self._task_comm(fields[f"{which}_pid"])
        return found
