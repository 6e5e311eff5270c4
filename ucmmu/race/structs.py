# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the kernel's C structs changed in a step: their bytes before and after, field by field.

What is written there by any code, of either language, is found so without its help. ::

    struct mm_struct   tlb_gen, cpu_bitmap, tlb_flush_pending     an object each
                       VMAs and what write-locks them             one object, "vmas"
                       sizes of what is mapped                    one object, "total_vm"
                       everything else, and whether it is used    one object, "rest"
    struct cpu         an object each; what the TLB has of which mm is one
    struct mmu_gather  of its CPU, what others look at: the tables, and the range to be flushed
    struct kernel      what RCU is given to free is one object, its grace period one, and for each
                       CPU whether it waits for that; the last ctx_id is one; all else is one
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from mmu._native import ffi

if TYPE_CHECKING:
    from mmu.linux.state import Cpu, Kernel, MmStruct

StructObject = tuple[Hashable, ...]
Change = tuple[StructObject, str, Hashable, Hashable]
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
        *("vmas", "rcu"),  # looked at one by one: diffs_of_mm(), diffs_of_kernel()
    ]
)
"""Fields whose change is no access, or one that is told otherwise."""

SIZES: Final = frozenset(["total_vm", "data_vm", "exec_vm", "stack_vm"])
"""Pages of VMAs of a kind: a sum, which only who holds mmap_lock for writing looks at."""

ADDED: Final = SIZES | {"tlb_flush_pending"}
"""Fields that are added to or taken from without a look at the sum: in any order."""

MM_GROUPS: Final = {
    **{name: name for name in ("tlb_gen", "cpu_bitmap", "tlb_flush_pending", "page_table_lock")},
    "pmd_huge_pte": "pmd_huge_pte",
    **dict.fromkeys(("vmas", "mm_lock_seq"), "vmas"),
    **dict.fromkeys(SIZES, "total_vm"),
}
"""Fields of an mm that not every step may have read. Those that CPUs use without a lock: who reads
them says so. VMAs and sizes are changed by who holds mmap_lock for writing, and what is changed of
a VMA by who has locked that too: all who hold one of these locks are ordered by it, so only who
looks without one says so (lock_vma_under_rcu())."""

CPU_GROUPS: Final = {
    "irqs_disabled": "irqs",
    **dict.fromkeys(("ctxs", "loaded_mm_asid", "next_asid"), "tlbstate"),
}
"""Fields of a CPU that are one object."""


def mm_object(mm: MmStruct, field: str) -> StructObject:
    """The object that a field of an mm is, or belongs to."""
    return ("mm", int(mm.c.ctx_id), MM_GROUPS.get(field, "rest"))


def cpu_object(cpu: Cpu, field: str) -> StructObject:
    """The object that a field of a CPU is, or belongs to."""
    return ("cpu", cpu.id, CPU_GROUPS.get(field, field))


KERNEL_REST: Final = ("kernel", "rest")
MMS: Final = ("mms",)
"""The list of all mms: read by who goes through it (Kernel.mms)."""


class StructDiff:
    """One struct's bytes, as they were when they were last looked at.

    ``objects`` gives the object of each field; fields without one are passed by.
    """

    __slots__ = ("_bytes", "_fields", "_view")

    def __init__(self, c: Any, objects: Mapping[str, StructObject]) -> None:
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

    def __init__(self, what: StructObject, ask: Any) -> None:
        self._what = what
        self._ask = ask
        self._value = ask()

    def changes(self) -> Iterator[Change]:
        """What changed since the last look."""
        now = self._ask()
        if now != self._value:
            before, self._value = self._value, now
            yield self._what, "", before, now


class AnonVmaDiff:
    """Which anon_vma each VMA has: one that stays may get one while mmap_lock is held for reading.
    What comes and goes is told by diffs_of_mm().
    """

    __slots__ = ("_mm", "_value", "_what")

    def __init__(self, mm: MmStruct) -> None:
        self._mm = mm
        self._what = mm_object(mm, "anon_vma")
        self._value = self._ask()

    def _ask(self) -> dict[int, int]:
        index = self._mm.c.vmas
        return {int(v.vm_start): int(v.anon_vma) for v in index.vma[0 : index.nr]}

    def changes(self) -> Iterator[Change]:
        """What changed since the last look."""
        now = self._ask()
        if now == self._value:
            return
        before, self._value = self._value, now
        for start in sorted(now.keys() & before.keys()):
            if now[start] != before[start]:
                yield self._what, f"anon_vma of {start:#x}", before[start], now[start]


Diff = StructDiff | ValueDiff | AnonVmaDiff
"""What finds the changes of some objects."""


def _fields(c: Any) -> list[str]:
    """The fields of a struct that are looked at: no pointers, which differ from run to run."""
    return [
        name
        for name, field in ffi.typeof(c).item.fields
        if name not in NOT_ACCESSES and field.type.kind != "pointer"
    ]


def diffs_of_mm(mm: MmStruct) -> list[Diff]:
    """What of an mm is looked at: its struct, its VMAs, and whether it has users."""

    def vmas() -> Hashable:
        index = mm.c.vmas
        return tuple(
            (v.vm_start, v.vm_end, v.vm_flags, v.vm_pgoff, v.vm_file, v.anon_vma, v.vm_lock_seq)
            for v in index.vma[0 : index.nr]
        )

    objects = {name: mm_object(mm, name) for name in _fields(mm.c)}
    return [
        StructDiff(mm.c, objects),
        ValueDiff(mm_object(mm, "vmas"), vmas),
        ValueDiff(mm_object(mm, "mm_users"), lambda: mm.mm_users),
        AnonVmaDiff(mm),
    ]


def diffs_of_cpu(cpu: Cpu) -> list[Diff]:
    """What of a CPU is looked at: its struct, and what its gather has."""

    def gather_tables() -> int:
        g = cpu.c.gather
        return int(g.nr_tables) if g else 0

    def gather_range() -> Hashable:
        g = cpu.c.gather
        return bool(g) and g.start < g.end and (g.start, g.end)

    objects = {name: cpu_object(cpu, name) for name in _fields(cpu.c)}
    rcu, bit = cpu.kernel.c.rcu, 1 << cpu.id
    return [
        StructDiff(cpu.c, objects),
        ValueDiff(cpu_object(cpu, "rcu_qs"), lambda: rcu.qs_mask & bit),
        ValueDiff(cpu_object(cpu, "gather_tables"), gather_tables),
        ValueDiff(cpu_object(cpu, "gather_range"), gather_range),
    ]


def diffs_of_kernel(kernel: Kernel) -> list[Diff]:
    """What of the kernel itself is looked at."""
    objects: dict[str, StructObject] = dict.fromkeys(_fields(kernel.c), KERNEL_REST)
    objects["last_mm_ctx_id"] = ("last_mm_ctx_id",)
    rcu = kernel.c.rcu
    return [
        StructDiff(kernel.c, objects),
        ValueDiff(("rcu_cblist",), lambda: (rcu.head, rcu.tail, rcu.gp_seq_needed)),
        ValueDiff(("rcu_gp",), lambda: (rcu.gp_seq, rcu.gp_running, rcu.wait_head)),
    ]
