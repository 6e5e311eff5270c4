# SPDX-License-Identifier: GPL-2.0-or-later
"""What our MMU says of a state, and where a kind of KVM is known to say something else."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from enum import Enum
from typing import Final

from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, WalkMode
from mmu.x86.entries import X86_A, X86_D, X86_RW
from mmu.x86.faults import PF_WR, error_code
from mmu.x86.registers import RFLAGS_AC, Feature, Vendor
from mmu.x86.walk import Privilege
from tests.oracles.kvm import access, layout
from tests.oracles.kvm.access import USER, VA, Pointer, State, Verdict
from tests.oracles.kvm.kind import Kind
from tests.oracles.kvm.layout import Placed

ALIGNMENT_CHECK: Final = 17


class Deviation(Enum):
    """What some kinds of KVM do otherwise than our MMU, and why that may be: the whole list."""

    ACCESSED_LATE = (
        "KVM's software walker sets A and D once a walk has ended in a translation, and nothing"
        " where it faults; ours sets A of an upper entry when it is used. SDM 4.8 leaves it open."
    )
    READ_BEFORE_WRITE = (
        "kvm_pvm interprets code of CPL 0, and its interpreter translates for the read of a"
        " read-modify-write before it does for the write: where only the write is forbidden, the"
        " read has set A of every entry, the leaf's too."
    )
    GUARD_HOLE = (
        "under kvm_pvm guests of CPL 3 have no access to the first PML4 entry of the upper half,"
        " where the host has its guard hole: any is told as not present, and a fetch as one even"
        " without NXE and SMEP, for NXE is the host's."
    )
    HOSTS_ALIGNMENT_MASK = (
        "under kvm_pvm code of CPL 3 runs with the host's CR0.AM, which is set: with RFLAGS.AC an"
        " unaligned access is #AC, which the processor raises before any #PF."
    )

    @property
    def reason(self) -> str:
        return self.value

    def occurs(self, kind: Kind) -> bool:
        """Whether this kind of KVM is like that."""
        return kind.shadow if self is Deviation.ACCESSED_LATE else kind.module == "kvm_pvm"

    @property
    def example(self) -> State:
        """A state that shows it."""
        return _EXAMPLES[self]


_GUARD_HOLE: Final = 0xFFFF_8000_0000_0000
_EXAMPLES: Final = {
    Deviation.ACCESSED_LATE: State(bits={1: 0}),
    Deviation.READ_BEFORE_WRITE: State(access.READ_MODIFY_WRITE[0], bits={1: USER & ~X86_RW}),
    Deviation.GUARD_HOLE: State(va=_GUARD_HOLE | VA % (1 << 39), cpl=3),
    Deviation.HOSTS_ALIGNMENT_MASK: State(access.READ8, va=VA + 1, cpl=3, rflags=RFLAGS_AC),
}


class Reference:
    """Our MMU as a processor with these features, with the same memory as a virtual machine's."""

    def __init__(
        self, features: Feature, vendor: Vendor, maxphyaddr: int, engine: str = "c"
    ) -> None:
        self.memory = Memory(layout.RAM)
        self.mmu = Mmu(self.memory, engine=engine, maxphyaddr=maxphyaddr)
        self.mmu.c.features, self.mmu.c.vendor = int(features), int(vendor)

    def close(self) -> None:
        self.memory.close()

    def verdict(
        self, state: State, placed: Placed, deviations: Collection[Deviation] = ()
    ) -> Verdict:
        """How the access ends by our walk, in a processor that deviates like this."""
        for pa, word in placed.words():
            self.memory.write_u64(pa, word)
        c = self.mmu.c
        c.cr0, c.cr3, c.cr4, c.efer = state.cr0, placed.cr3, state.cr4, state.efer
        c.rflags, c.pkru = state.rflags, state.pkru
        verdict = _before_paging(state, deviations) or self._access(state, deviations)
        bits = tuple(self.memory.read_u64(pa) & (X86_A | X86_D) for pa, _ in placed.entries)
        for pa, _ in placed.words():
            self.memory.write_u64(pa, 0)
        return replace(verdict, accessed_dirty=bits)

    def _access(self, state: State, deviations: Collection[Deviation]) -> Verdict:
        instruction = state.instruction
        if Deviation.READ_BEFORE_WRITE in deviations and instruction.modifies and state.cpl == 0:
            read = self._walk(state, Access.READ, deviations)
            if read.vector is not None:
                return replace(read, error_code=read.error_code | PF_WR)
        return self._walk(state, instruction.access, deviations)

    def _walk(self, state: State, kind: Access, deviations: Collection[Deviation]) -> Verdict:
        mode = WalkMode.QUIET
        for va in state.pages:
            if Deviation.ACCESSED_LATE in deviations:
                walk = self.mmu.walk(va, kind, user=state.privilege)
                mode = WalkMode.QUIET if walk.ok else WalkMode.PROBE
            walk = self.mmu.walk(va, kind, user=state.privilege, mode=mode)
            if walk.result == Outcome.PAGE_FAULT:
                return Verdict(14, walk.error_code, va)
            assert walk.ok and walk.pa == layout.data_of(va), str(walk)
        return Verdict(None)


def agree(kind: Kind, placed: Placed, theirs: Verdict, ours: Verdict) -> bool:
    """Whether a machine of this kind and our MMU say the same.

    What a processor has done to A and D by the time of a fault, the manual leaves open (SDM 4.8):
    where one walks itself, each entry may then be as it was, or as we left it.
    """
    if kind.shadow or ours.vector is None:
        return theirs == ours
    before = (word & (X86_A | X86_D) for _, word in placed.entries)
    choices = zip(theirs.accessed_dirty, before, ours.accessed_dirty, strict=True)
    same = replace(theirs, accessed_dirty=()) == replace(ours, accessed_dirty=())
    return same and all(bits in (old, new) for bits, old, new in choices)


def _before_paging(state: State, deviations: Collection[Deviation]) -> Verdict | None:
    """An exception that comes before any table is read."""
    instruction, stack = state.instruction, state.instruction.pointer is Pointer.RSP
    if not state.canonical:
        return Verdict(12 if stack else 13)
    user_data = (
        state.cpl == 3 and not instruction.implicit and instruction.access is not Access.FETCH
    )
    unaligned = user_data and state.rflags & RFLAGS_AC and state.va % instruction.size
    if Deviation.HOSTS_ALIGNMENT_MASK in deviations and unaligned:
        return Verdict(ALIGNMENT_CHECK)
    in_hole = state.privilege is Privilege.USER and state.va >> 39 == _GUARD_HOLE >> 39
    if Deviation.GUARD_HOLE in deviations and in_hole:
        fetch = instruction.access is Access.FETCH
        write = instruction.access is Access.WRITE
        return Verdict(14, error_code(0, write=write, fetch=fetch, user=True), state.va)
    return None
