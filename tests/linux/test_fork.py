# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: fork() gives the child what the parent maps: private pages are shared until one of the two
writes, and each process has tables, counts and flags of its own (dup_mmap(), v6.18).
"""

from __future__ import annotations

import errno

import pytest

from mmu._native import lib
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_GUARD_INSTALL,
    MADV_KEEPONFORK,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MAP_SHARED,
    MCL_FUTURE,
)
from mmu.linux.pgtable import RW, SAVED_DIRTY, A, D
from mmu.linux.resource import Resource, Rlimit
from mmu.x86 import Access
from tests.linux.processes import access, check_processes, pfn, pte, read, run, vma_list, write

PAGE = 4096
TABLE = 512 * PAGE
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


@pytest.fixture
def fork(mm):
    """fork(of=mm): a child, which has exited after the test."""
    children = []

    def fork(of=mm):
        children.append(of.dup_mm())
        check_processes(mm.kernel)
        return children[-1]

    yield fork
    check_processes(mm.kernel)
    for child in children:
        child.exit_mmap()
    check_processes(mm.kernel)
    run(mm)


def test_each_keeps_its_own_bytes(mm, fork):
    mm.mmap(BASE, 4 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"parent" + bytes(PAGE) + b"second")
    child = fork()
    write(mm, BASE, b"PARENT")
    assert read(child, BASE, 6) == b"parent"
    write(child, BASE + PAGE, b"child")
    assert read(mm, BASE + PAGE, 12) == bytes(6) + b"second"
    assert read(child, BASE + PAGE, 12) == b"child\0second"


def test_a_shared_page_is_read_only_in_both_and_not_accessed_in_the_child(mm, fork):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x")
    child = fork()
    page = mm.memory.page(pfn(mm, BASE))
    assert pfn(child, BASE) == pfn(mm, BASE)
    assert (page._refcount, page._mapcount) == (2, 2)
    assert not page.flags & lib.PG_anon_exclusive
    assert pte(mm, BASE) & (RW | A | D | SAVED_DIRTY) == A | SAVED_DIRTY
    assert pte(child, BASE) & (RW | A | D | SAVED_DIRTY) == SAVED_DIRTY


def test_the_parents_tlb_forgets_the_write_right(mm, fork, mmu):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x")
    fork()
    assert mmu.translate(BASE, Access.WRITE).error_code == 7


def test_the_last_owner_gets_the_page_back(mm, fork):
    """wp_can_reuse_anon_folio(): without a copy, and with W at once ever after."""
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x")
    child = fork()
    frame = pfn(mm, BASE)
    write(mm, BASE, b"y")
    assert pfn(mm, BASE) != frame
    write(child, BASE, b"z")
    assert pfn(child, BASE) == frame
    assert mm.memory.page(frame).flags & lib.PG_anon_exclusive
    child.mprotect(BASE, PAGE, 1)
    child.mprotect(BASE, PAGE, 3)
    assert pte(child, BASE) & RW


def test_mprotect_does_not_give_w_back_to_a_page_that_was_shared(mm, fork):
    """can_change_pte_writable() asks PageAnonExclusive(), which only the fault sets again."""
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x")
    fork().munmap(BASE, PAGE)
    frame = pfn(mm, BASE)
    mm.mprotect(BASE, PAGE, 1)
    mm.mprotect(BASE, PAGE, 3)
    assert not pte(mm, BASE) & RW
    write(mm, BASE, b"y")
    assert pte(mm, BASE) & RW and pfn(mm, BASE) == frame


def test_a_private_copy_of_a_files_page_is_shared_and_given_back(mm, fork):
    file = MappedFile(b"file" * 1024)
    mm.mmap(BASE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.copy_to_user(BASE, b"mine")
    child = fork()
    assert pfn(child, BASE) == pfn(mm, BASE)
    write(child, BASE, b"hers")
    frame = pfn(mm, BASE)
    write(mm, BASE + 4, b"MINE")
    assert pfn(mm, BASE) == frame
    assert read(child, BASE, 8) == b"hersfile"


def test_the_zero_page_is_copied_and_counted_nowhere(mm, fork):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    access(mm, BASE, Access.READ)
    access(mm, BASE + PAGE)
    child = fork()
    assert pfn(child, BASE) == mm.memory.zero_pfn
    assert child.vm_stats()["RssAnon"] == 4
    write(child, BASE, b"x")
    assert read(mm, BASE) == b"\0"


def test_prot_none_pages_and_guard_markers_are_copied(mm, fork):
    mm.mmap(BASE, 3 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x" * PAGE)
    mm.mprotect(BASE, PAGE, 0)
    mm.madvise(BASE + PAGE, PAGE, MADV_GUARD_INSTALL)
    child = fork()
    assert pfn(child, BASE) == pfn(mm, BASE)
    assert access(child, BASE + PAGE).code == 1
    child.mprotect(BASE, PAGE, 3)
    write(child, BASE, b"y")
    mm.mprotect(BASE, PAGE, 1)
    assert read(mm, BASE, 2) == b"xx"


def test_what_a_fault_brings_again_is_not_copied(mm, fork):
    """vma_needs_copy(): shared memory, what was only read of a file, memory without a write."""
    file = MappedFile(bytes(16 * PAGE))
    mm.mmap(BASE, 16 * PAGE, 1, MAP_PRIVATE | MAP_FIXED, file)
    mm.mmap(BASE + TABLE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.mmap(BASE + 2 * TABLE, PAGE, 3, ANON)
    for addr in (BASE, BASE + TABLE, BASE + 2 * TABLE):
        access(mm, addr, Access.READ)
    child = fork()
    assert child.vm_stats()["VmPTE"] == child.vm_stats()["VmRSS"] == 0
    assert child.vm_stats()["VmSize"] == mm.vm_stats()["VmSize"] == 18 * 4
    assert file.users == 2


def test_files_pages_beside_a_private_copy_are_copied(mm, fork):
    """With an anon_vma all of a VMA is: its file pages too."""
    file = MappedFile(bytes(4 * PAGE))
    mm.mmap(BASE, 4 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    access(mm, BASE, Access.READ)
    access(mm, BASE + PAGE)
    child = fork()
    assert (child.vm_stats()["RssFile"], child.vm_stats()["RssAnon"]) == (12, 4)
    assert pte(child, BASE) & A == 0


def test_shared_memory_stays_shared(mm, fork):
    mm.mmap(BASE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    child = fork()
    write(child, BASE, b"told")
    assert read(mm, BASE, 4) == b"told"
    mm.munmap(BASE, PAGE)
    assert read(child, BASE, 4) == b"told"


def test_shared_memory_with_a_guard_marker_is_copied_clean(mm, fork):
    """An anon_vma, from the guard region, makes fork copy a shared mapping: W stays, D goes."""
    mm.mmap(BASE, 2 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.copy_to_user(BASE, b"x")
    mm.madvise(BASE + PAGE, PAGE, MADV_GUARD_INSTALL)
    child = fork()
    assert pte(child, BASE) & (RW | D) == RW
    assert pte(mm, BASE) & (RW | D) == RW | D
    write(child, BASE, b"y")
    assert read(mm, BASE) == b"y"
    assert access(child, BASE + PAGE).code == 1


def test_dontfork_is_not_there(mm, fork):
    file = MappedFile(bytes(PAGE))
    mm.mmap(BASE, 3 * PAGE, 3, ANON)
    mm.mmap(BASE + 8 * PAGE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    access(mm, BASE + PAGE)
    for addr in (BASE + PAGE, BASE + 8 * PAGE):
        mm.madvise(addr, PAGE, MADV_DONTFORK)
    child = fork()
    assert vma_list(child) == [(BASE, BASE + PAGE), (BASE + 2 * PAGE, BASE + 3 * PAGE)]
    assert (child.vm_stats()["VmSize"], child.vm_stats()["VmData"]) == (8, 8)
    assert access(child, BASE + PAGE).code == 1
    assert file.users == 1
    mm.madvise(BASE + PAGE, PAGE, MADV_DOFORK)
    assert vma_list(fork()) == [(BASE, BASE + 3 * PAGE)]


def test_wipeonfork_is_empty(mm, fork):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"secret")
    mm.madvise(BASE, 2 * PAGE, MADV_WIPEONFORK)
    child = fork()
    assert child.vm_stats()["VmRSS"] == 0
    assert read(child, BASE, 6) == bytes(6)
    assert read(fork(child), BASE, 6) == bytes(6)
    run(mm).madvise(BASE, 2 * PAGE, MADV_KEEPONFORK)
    assert read(fork(), BASE, 6) == b"secret"


def test_locks_are_not_inherited(mm, fork):
    mm.mmap(BASE, 2 * PAGE, 3, ANON)
    mm.mlock(BASE, PAGE)
    mm.mlockall(MCL_FUTURE)
    child = fork()
    assert (mm.vm_stats()["VmLck"], child.vm_stats()["VmLck"]) == (4, 0)
    run(child).mmap(BASE + TABLE, PAGE, 3, ANON)
    assert child.vm_stats()["VmLck"] == 0
    assert [v.vm_flags & 0x2000 for v in child.c.vmas.vma[0 : child.c.vmas.nr]] == [0, 0, 0]


def test_heap_stack_and_arguments_are_inherited(mm, fork):
    mm.c.start_brk = mm.c.brk = BASE
    mm.brk(BASE + 3 * PAGE)
    mm.setup_arg_pages(100)
    mm.c.arg_start, mm.c.env_end = 5, 9
    child = fork()
    names = ("start_brk", "brk", "start_stack", "arg_start", "env_end", "mmap_base", "task_size")
    assert [getattr(child.c, name) for name in names] == [getattr(mm.c, name) for name in names]
    for what in ("VmSize", "VmStk", "VmData", "VmPeak"):
        assert child.vm_stats()[what] == mm.vm_stats()[what]


def test_limits_are_the_childs_own(mm, fork):
    mm.rlimit.do_prlimit(Resource.AS, Rlimit(1 << 30, 1 << 40))
    child = fork()
    assert child.rlimit.address_space == 1 << 30
    child.rlimit.do_prlimit(Resource.AS, Rlimit(1 << 20, 1 << 40))
    assert mm.rlimit.address_space == mm.rlimit[Resource.AS].cur == 1 << 30


def test_high_water_marks_begin_anew(mm, fork):
    mm.mmap(BASE, 8 * PAGE, 3, ANON)
    mm.copy_to_user(BASE, bytes(8 * PAGE))
    mm.munmap(BASE + PAGE, 7 * PAGE)
    child = fork()
    assert (child.vm_stats()["VmHWM"], child.vm_stats()["VmPeak"]) == (4, 4)
    assert (mm.vm_stats()["VmHWM"], mm.vm_stats()["VmPeak"]) == (32, 32)
    assert child.counters()["pgfault"] == 0


def test_tables_are_those_of_the_parent(mm, fork):
    """An entry in each of three tables; one of them holds nothing by now: refcounting has freed it,
    and the child has none; under the other policies parent and child have it.
    """
    mm.mmap(BASE, 3 * TABLE, 3, ANON)
    for table in range(3):
        access(mm, BASE + table * TABLE)
    mm.madvise(BASE + TABLE, PAGE, 4)
    child = fork()
    ours, theirs = mm.check_tables(), child.check_tables()
    assert theirs.pte_tables == ours.pte_tables
    assert theirs.vm_pte == ours.vm_pte == child.vm_stats()["VmPTE"]


def test_a_child_without_entries_has_no_pte_table(mm, fork, ucmmu_options):
    """Parent's entries belong to another VMA of the same table: the child's is freed again."""
    mm.mmap(BASE, PAGE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    mm.mmap(BASE + PAGE, PAGE, 3, ANON)
    access(mm, BASE)
    access(mm, BASE + PAGE)
    mm.madvise(BASE + PAGE, PAGE, 4)
    child = fork()
    counted = ucmmu_options.policy.startswith("refcount")
    assert child.check_tables().pte_tables == (0 if counted else 1)


def test_generations(mm, fork):
    """A page that three map is copied twice, and the third has it for itself."""
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"0")
    child = fork()
    grandchild = fork(child)
    frame = pfn(mm, BASE)
    assert mm.memory.page(frame)._mapcount == 3
    for number, process in enumerate((mm, child, grandchild), 1):
        write(process, BASE, bytes([number]))
    assert pfn(grandchild, BASE) == frame
    assert [read(process, BASE) for process in (mm, child, grandchild)] == [b"\1", b"\2", b"\3"]


def test_a_process_about_to_end_forks_no_more(mm, raises_errno):
    mm.mmap(BASE, PAGE, 3, ANON)
    access(mm, BASE)
    mm.fatal_signal_pending = lambda: True
    with raises_errno(errno.ENOMEM):
        mm.dup_mm()
    assert mm.kernel.mms == [mm]


def test_memory_promised_beyond_all_there_is(mm, raises_errno):
    """VM_ACCOUNT is asked for again: __vm_enough_memory()."""
    mm.mmap(BASE, mm.memory.size + PAGE, 3, ANON)
    mm.kernel.overcommit_memory = 0
    with raises_errno(errno.ENOMEM):
        mm.dup_mm()
    mm.munmap(BASE, mm.memory.size + PAGE)
    mm.mmap(BASE, mm.memory.size + PAGE, 3, ANON | MAP_NORESERVE)
    mm.dup_mm().exit_mmap()


def test_out_of_memory_at_every_allocation(mm, raises_errno):
    """PGD, PUD, PMD and PTE tables of three slots: whichever fails, nothing of the child is left,
    and the parent goes on.
    """
    far = BASE + (1 << 39)
    file = MappedFile(bytes(PAGE))
    for addr in (BASE, BASE + TABLE, far):
        mm.mmap(addr, PAGE, 3, ANON)
        mm.copy_to_user(addr, b"kept")
    mm.mmap(far + TABLE, PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    mm.copy_to_user(far + TABLE, b"kept")
    frames = mm.memory.frames_in_use
    needed = 1 + 2 + 2 + 4
    for allocations in range(needed):
        mm.memory.c.fail_after = allocations
        with raises_errno(errno.ENOMEM):
            mm.dup_mm()
        mm.memory.c.fail_after = (1 << 64) - 1
        assert mm.memory.frames_in_use == frames
        assert mm.kernel.mms == [mm] and file.users == 1
        check_processes(mm.kernel)
        mm.copy_to_user(BASE, b"kept")
    mm.memory.c.fail_after = needed
    child = mm.dup_mm()
    mm.memory.c.fail_after = (1 << 64) - 1
    child.exit_mmap()
    assert mm.copy_from_user(far, 4) == b"kept"


def test_a_copy_that_finds_no_memory_leaves_both_as_they_were(mm, fork):
    mm.mmap(BASE, PAGE, 3, ANON)
    mm.copy_to_user(BASE, b"x")
    child = fork()
    mm.memory.c.fail_after = 0
    with pytest.raises(Exception, match="guest RAM is out"):
        mm.handle_user_fault(BASE, 7)
    mm.memory.c.fail_after = (1 << 64) - 1
    assert pfn(mm, BASE) == pfn(child, BASE)
