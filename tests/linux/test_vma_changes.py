# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what VmaChanges tells, taken together, is the list of VMAs, after any operations on it; and
it tells each change once.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmu.errors import LinuxError
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.procfs import perms
from mmu.linux.state import Kernel
from mmu.linux.vma_changes import Mapped, Unmapped, VmaChanges
from mmu.memory import Memory
from mmu.units import PAGE_SIZE
from mmu.x86 import Mmu

BASE = 0x10000000
OPERATION = st.tuples(
    st.sampled_from(["mmap", "munmap", "mprotect"]),
    st.integers(0, 31),
    st.integers(1, 12),
    st.integers(0, 7),
)


def carry_out(mm: Mm, what: str, page: int, pages: int, prot: int) -> None:
    start, size = BASE + page * PAGE_SIZE, pages * PAGE_SIZE
    try:
        if what == "mmap":
            mm.mmap(start, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        elif what == "munmap":
            mm.munmap(start, size)
        else:
            mm.mprotect(start, size, prot)
    except LinuxError:
        pass


@settings(max_examples=60, deadline=None)
@given(st.lists(OPERATION, max_size=25))
def test_the_changes_are_the_list(operations: list[tuple[str, int, int, int]]) -> None:
    memory = Memory(4 << 20)
    kernel = Kernel(memory)
    kernel.add_cpu(Mmu(memory))
    mm = Mm(kernel)
    changes, told = VmaChanges(mm), {}
    for operation in operations:
        carry_out(mm, *operation)
        for change in changes.changes():
            inside = [s for s in told if s < change.end and told[s].end > change.start]
            if isinstance(change, Unmapped):
                for start in inside:
                    assert change.start <= start and told.pop(start).end <= change.end
            else:
                assert isinstance(change, Mapped) and not inside
                told[change.start] = change
        real = [(v.vm_start, v.vm_end, v.vm_flags) for v in mm.c.vmas.vma[0 : mm.c.vmas.nr]]
        assert [(m.start, m.end, m.flags) for m in sorted(told.values(), key=_start)] == real
        assert all(m.perms == perms(m.flags) for m in told.values())
        assert changes.changes() == []
    mm.munmap(BASE, 64 * PAGE_SIZE)
    assert told == {} or changes.changes() == [Unmapped(0, 0x7FFFFFFFF000)]
    memory.close()


def _start(mapped: Mapped) -> int:
    return mapped.start
