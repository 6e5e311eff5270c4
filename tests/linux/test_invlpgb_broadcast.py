# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an mm that more than three CPUs use gets a global ASID, by which INVLPGB flushes every CPU
without an interrupt (CONFIG_BROADCAST_TLB_FLUSH, arch/x86/mm/tlb.c, v6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.global_asid import use_global_asid
from mmu.linux.mm import Mm
from mmu.linux.pgtable import PMD_SHIFT
from mmu.units import PAGE_SIZE
from mmu.x86.invalidate import INVLPGB_PCID, INVLPGB_STRIDE_2M, INVLPGB_VA
from tests.linux.cpus import BASE, Cpus, pcid

FIRST_GLOBAL = lib.TLB_NR_DYN_ASIDS


@pytest.fixture(params=["c", "python"])
def m(request: pytest.FixtureRequest) -> Iterator[Cpus]:
    m = Cpus(request.param, nr=4, invlpgb=True)
    yield m
    m.kernel.check()
    m.close()


def settled(m: Cpus) -> None:
    """Give the mm its global ASID, and have every CPU take it up."""
    for _ in range(3):
        m.flush()
    assert m.mm.c.global_asid == FIRST_GLOBAL and not m.mm.c.asid_transition
    m.events()


def operands(m: Cpus, cpu: int = 0) -> list[tuple[int, ...]]:
    """rAX, ECX and EDX of each INVLPGB since the last call, as that CPU felt it."""
    return [e.values for e in m.events("invlpgb") if e.cpu == cpu]


def test_a_flush_while_four_cpus_use_it_gives_one(m: Cpus) -> None:
    m.flush()
    assert (m.mm.c.global_asid, m.mm.c.asid_transition) == (FIRST_GLOBAL, 1)
    assert [pcid(cpu) for cpu in m.kernel.cpus] == [2, 2, 2, 2]
    m.flush()
    assert [pcid(cpu) for cpu in m.kernel.cpus] == [FIRST_GLOBAL + 1] * 4
    assert m.mm.c.asid_transition
    m.flush()
    assert not m.mm.c.asid_transition


@pytest.mark.parametrize("how", ["lazy", "left", "none"])
def test_who_only_has_it_loaded_does_not_count(m: Cpus, how: str) -> None:
    {"lazy": m.lazy, "left": lambda n: m.switch(n, None), "none": lambda n: None}[how](3)
    m.flush()
    assert bool(m.mm.c.global_asid) == (how == "none")


def test_it_is_looked_at_in_one_of_32_jiffies(m: Cpus) -> None:
    """Which one, the PID says, so that not all processes do at once."""
    m.kernel.cpus[0].run_task(37, 0)
    for now_ms, given in ((0, False), (4, False), (5, True)):
        m.now = now_ms * 1_000_000
        m.flush()
        assert bool(m.mm.c.global_asid) == given


@pytest.mark.parametrize("missing", ["feature", "switch"])
def test_without_invlpgb_none_is_given(missing: str) -> None:
    """Every CPU must have it."""
    geometry = "skylake" if missing == "feature" else "tiny"
    m = Cpus(nr=4, geometry=geometry, invlpgb=missing == "feature")
    m.flush()
    m.flush()
    assert not m.mm.c.global_asid and not m.events("invlpgb")
    m.close()


def test_the_operands_name_the_pages(m: Cpus) -> None:
    settled(m)
    edx = FIRST_GLOBAL + 1 << 16
    m.flush(9)
    assert operands(m) == [
        (BASE | INVLPGB_PCID | INVLPGB_VA, 7, edx),
        (BASE + 8 * PAGE_SIZE | INVLPGB_PCID | INVLPGB_VA, 0, edx),
    ]
    m.flush(2, shift=PMD_SHIFT)
    assert operands(m) == [(BASE | INVLPGB_PCID | INVLPGB_VA, 1 | INVLPGB_STRIDE_2M, edx)]
    m.flush(34)
    assert operands(m) == [(INVLPGB_PCID, 0, edx)]
    engine.flush_tlb_mm_range(m.mm, BASE, BASE + PAGE_SIZE, PMD_SHIFT, 1)
    assert operands(m) == [(BASE | INVLPGB_PCID | INVLPGB_VA, INVLPGB_STRIDE_2M, edx)]


def test_every_cpu_drops_them_also_one_that_runs_another_mm(m: Cpus) -> None:
    """It keeps the PCID's translations for when it comes back: no generation is compared then."""
    settled(m)
    for number in range(4):
        m.touch(number)
        m.touch(number, BASE + PAGE_SIZE)
    m.switch(3, Mm(m.kernel))
    m.lazy(2)
    m.events()
    m.dontneed()
    assert not m.events("ipi_send_cpu", "ipi_send_cpumask", "call_function_entry")
    m.switch(3, m.mm)
    for cpu in m.kernel.cpus:
        assert cpu.mmu.resident(BASE) is None
        assert cpu.mmu.resident(BASE + PAGE_SIZE) is not None


def test_a_freed_table_too(m: Cpus) -> None:
    settled(m)
    for number in range(4):
        m.touch(number)
    m.lazy(3)
    m.dontneed()
    assert m.counter("pte_tables_freed") == 1
    for cpu in m.kernel.cpus:
        assert not cpu.mmu.paging_structure_caches()
    assert m.kernel.cpus[3].loaded_mm is m.mm


def test_the_asid_follows_the_mm_to_another_cpu(m: Cpus) -> None:
    settled(m)
    m.switch(3, None)
    m.switch(3, m.mm)
    assert pcid(m.kernel.cpus[3]) == FIRST_GLOBAL + 1


def test_back_from_lazy_mode_nothing_was_missed(m: Cpus) -> None:
    settled(m)
    m.lazy(3)
    m.flush()
    m.events()
    m.switch(3, m.mm)
    assert not m.events("mov_cr3") and not m.kernel.cpus[3].c.is_lazy


def test_who_left_keeps_nobody_in_transition(m: Cpus) -> None:
    """All took the ASID up; one ran another mm since, under an ASID of its own."""
    m.flush()
    m.flush()
    assert m.mm.c.asid_transition
    m.switch(3, Mm(m.kernel))
    m.events()
    m.flush()
    assert not m.mm.c.asid_transition
    assert not m.events("ipi_send_cpu", "ipi_send_cpumask")


def test_a_thread_switch_takes_it_up(m: Cpus) -> None:
    """switch_mm() to the same mm, on a CPU that still uses an ASID of its own."""
    use_global_asid(m.mm)
    m.switch(1, m.mm)
    assert [pcid(cpu) for cpu in m.kernel.cpus] == [2, FIRST_GLOBAL + 1, 2, 2]


def test_an_asid_given_back_waits_for_a_flush_of_everything(m: Cpus) -> None:
    """Nobody may get one of which a TLB may still hold something."""
    kernel = m.kernel
    available = int(kernel.c.global_asid_available)
    given = []
    for _ in range(3):
        mm = Mm(kernel)
        use_global_asid(mm)
        given.append(int(mm.c.global_asid))
        mm.exit_mmap()
    assert given == [FIRST_GLOBAL, FIRST_GLOBAL + 1, FIRST_GLOBAL + 2]
    assert kernel.c.global_asid_available == available
    kernel.c.last_global_asid = lib.MAX_ASID_AVAILABLE - 1
    m.events()
    use_global_asid(m.mm)
    assert m.mm.c.global_asid == FIRST_GLOBAL
    assert [(e.cpu, e.values) for e in m.events("invlpgb")] == [(n, (0, 0, 0)) for n in range(4)]


def test_when_all_are_had_the_mm_goes_on_without(m: Cpus) -> None:
    m.kernel.c.global_asid_available = 0
    m.flush()
    assert not m.mm.c.global_asid


def test_what_flushes_inside_a_fault_hook_declines(m: Cpus) -> None:
    """Neither a broadcast nor an interrupt is possible while Unicorn executes."""
    from mmu.x86 import Access

    m.touch(0, access=Access.READ)
    assert not engine.mm_fast_fault(m.mm, BASE, 7)
    settled(m)
    for number in (1, 2, 3):
        m.switch(number, None)
        m.mm.c.cpu_bitmap &= ~(1 << number)
    assert not engine.mm_fast_fault(m.mm, BASE, 7)
    m.touch(0)
