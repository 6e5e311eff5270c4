# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the kernel's C structs changed in a step: their bytes before and after, field by field.

What is written there by any code, of either language, is found so without its help. ::

    struct mm_struct   tlb_gen, cpu_bitmap, tlb_flush_pending     an object each
                       everything else, and the VMAs              one object, "rest"
    struct cpu         an object each; what RCU looks at is one
    struct mmu_gather  one object of its CPU
    struct kernel      RCU's state is one object; everything else is one
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from mmu._native import ffi

if TYPE_CHECKING:
    from mmu.linux.state import Cpu, Kernel, MmStruct

Change = tuple[Hashable, str, Hashable, Hashable]
"""An object, which field of it, and that field's values before and after."""

NOT_ACCESSES: Final = frozenset(
    [
        *("counter", "hiwater_pgtables", "hiwater_rss", "hiwater_vm"),  # statistics
        *("pgtables_bytes", "rss_stat"),  # sums: additions commute
        *("mmap_lock", "page_table_lock"),  # told by who takes and drops them
        "nr_calls",  # told by who queues a call
        "is_lazy",  # told by write_once()
        *("current_pid", "ahead_ns", "instructions", "code_written"),  # stamps of events
        *("this_cpu", "bug", "bug_address"),  # the scheduler's and the checkers'
        "vmas",  # looked at one by one: vmas_of()
    ]
)
"""Fields whose change is no access, or one that is told otherwise."""

ADDED: Final = frozenset(["tlb_flush_pending"])
"""Fields that locked instructions add to or take from, without a look at the sum: in any order."""

MM_FIELDS: Final = ("tlb_gen", "cpu_bitmap", "tlb_flush_pending")
"""Fields of an mm that CPUs use without a lock: who reads them says so."""

CPU_GROUPS: Final = {
    **dict.fromkeys(("rcu_nesting", "rcu_watching"), "rcu"),
    "irqs_disabled": "irqs",
    **dict.fromkeys(("ctxs", "loaded_mm_asid", "next_asid"), "tlbstate"),
}
"""Fields of a CPU that are one object."""


def mm_object(mm: MmStruct, field: str) -> Hashable:
    """The object that a field of an mm is, or belongs to."""
    own = field in MM_FIELDS or field == "page_table_lock"
    return ("mm", int(mm.c.ctx_id), field if own else "rest")


def cpu_object(cpu: Cpu, field: str) -> Hashable:
    """The object that a field of a CPU is, or belongs to."""
    return ("cpu", cpu.id, CPU_GROUPS.get(field, field))


KERNEL_REST: Final = ("kernel", "rest")
RCU: Final = ("rcu",)


class StructDiff:
    """One struct's bytes, as they were when they were last looked at.

    ``objects`` gives the object of each field; fields without one are passed by.
    """

    __slots__ = ("_bytes", "_fields", "_view")

    def __init__(self, c: Any, objects: Mapping[str, Hashable]) -> None:
        self._view = ffi.buffer(c)
        self._bytes = bytes(self._view)
        self._fields = [
            (objects[name], name, field.offset, field.offset + ffi.sizeof(field.type))
            for name, field in ffi.typeof(c).item.fields
            if name in objects
        ]

    def changes(self) -> Iterator[Change]:
        """What changed since the last look."""
        now = bytes(self._view)
        before = self._bytes
        if now == before:
            return
        self._bytes = now
        for what, name, start, end in self._fields:
            if now[start:end] != before[start:end]:
                yield (
                    what,
                    name,
                    int.from_bytes(before[start:end], "little"),
                    int.from_bytes(now[start:end], "little"),
                )


class ValueDiff:
    """One object whose value is asked for, where bytes say too much."""

    __slots__ = ("_ask", "_value", "_what")

    def __init__(self, what: Hashable, ask: Any) -> None:
        self._what = what
        self._ask = ask
        self._value = ask()

    def changes(self) -> Iterator[Change]:
        """What changed since the last look."""
        now = self._ask()
        if now != self._value:
            before, self._value = self._value, now
            yield self._what, "", before, now


def _fields(c: Any) -> list[str]:
    """The fields of a struct that are looked at: no pointers, which differ from run to run."""
    return [
        name
        for name, field in ffi.typeof(c).item.fields
        if name not in NOT_ACCESSES and field.type.kind != "pointer"
    ]


def diffs_of_mm(mm: MmStruct) -> list[StructDiff | ValueDiff]:
    """What of an mm is looked at: its struct, and its VMAs."""

    def vmas() -> Hashable:
        index = mm.c.vmas
        return tuple(
            (v.vm_start, v.vm_end, v.vm_flags, v.vm_pgoff, v.vm_file, v.anon_vma, v.vm_lock_seq)
            for v in index.vma[0 : index.nr]
        )

    objects = {name: mm_object(mm, name) for name in _fields(mm.c)}
    return [StructDiff(mm.c, objects), ValueDiff(mm_object(mm, "vmas"), vmas)]


def diffs_of_cpu(cpu: Cpu) -> list[StructDiff | ValueDiff]:
    """What of a CPU is looked at: its struct, and what its gather has."""

    def gather() -> Hashable:
        g = cpu.c.gather
        return bool(g) and (g.start, g.end, g.freed_tables, g.fullmm, g.nr_tables)

    objects = {name: cpu_object(cpu, name) for name in _fields(cpu.c)}
    return [
        StructDiff(cpu.c, objects),
        ValueDiff(cpu_object(cpu, "gather"), gather),
    ]


def diffs_of_kernel(kernel: Kernel) -> list[StructDiff | ValueDiff]:
    """What of the kernel itself is looked at."""
    objects: dict[str, Hashable] = dict.fromkeys(_fields(kernel.c), KERNEL_REST)
    objects["rcu"] = RCU
    return [StructDiff(kernel.c, objects)]
