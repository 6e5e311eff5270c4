# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a shootdown with any one of its parts taken out is told on, by the checker of the CPU that
suffers, which says what is missing; with all of them nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from mmu.linux import mmu_gather, tlbflush
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.tlb_check import begin_operation, end_operation, tables_change_for
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access
from mmu.x86.check import CHECK_SPECULATION, ChangedBy, StaleUse
from tests.linux.cpus import BASE, RW, Cpus, Late

_flush_tlb_mm_range = tlbflush.flush_tlb_mm_range
_choose_new_asid = tlbflush._choose_new_asid
_catch_up = tlbflush._catch_up


def _nothing(*_: object) -> None:
    """Left out."""


def _tables_kept(mm: Mm, start: int, end: int, shift: int, _freed: int) -> None:
    """The flush does not say that tables were freed."""
    _flush_tlb_mm_range(mm, start, end, shift, 0)


def _asid_as_found(cpu: object, mm: object, gen: int) -> tuple[int, bool]:
    """An ASID of another mm is used without dropping what that had."""
    return _choose_new_asid(cpu, mm, gen)[0], False  # type: ignore[arg-type]


def _just_the_pages(cpu: object, info: tlbflush.FlushTlbInfo, local: bool) -> None:
    """Only the pages of the flush that comes first, and that is taken for all that there is."""
    context = cpu.c.ctxs[cpu.c.loaded_mm_asid]  # type: ignore[attr-defined]
    if info.new_tlb_gen <= context.tlb_gen:
        return
    context.tlb_gen = info.mm.c.tlb_gen
    for addr in range(info.start, info.end, 1 << info.stride_shift):
        cpu.mmu.invlpg(addr)  # type: ignore[attr-defined]


def _access(m: Cpus, number: int, addr: int = BASE, access: Access = Access.WRITE) -> None:
    """One access as a user, whatever comes of it."""
    with m.running_on(number) as cpu:
        cpu.mmu.translate(addr, access)


def _dontneed(m: Cpus) -> None:
    """One CPU gives a page back, another goes on using it; the table stays."""
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(1)
    m.dontneed()
    _access(m, 1)


def _away_and_back(m: Cpus) -> None:
    """A page goes while the CPU runs another mm."""
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(1)
    m.switch(1, Mm(m.kernel))
    m.dontneed()
    m.switch(1, m.mm)
    _access(m, 1)


def _idle_and_table_freed(m: Cpus) -> None:
    m.touch(1)
    m.lazy(1)
    m.dontneed()
    m.quiesce()


def _munmap_while_idle(m: Cpus) -> None:
    m.touch(1)
    m.lazy(1)
    m.mm.munmap(BASE, 512 * PAGE_SIZE)
    m.quiesce()


def _seven_mms(m: Cpus) -> None:
    """The seventh takes the ASID of the first, and has other pages at the same addresses."""
    m.touch(0)
    for _ in range(6):
        mm = Mm(m.kernel)
        m.switch(0, mm)
    mm.mmap(BASE, PAGE_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    _access(m, 0)


def _two_flushes(m: Cpus) -> None:
    """CPU 1 meets both at once; the second is for a page that it uses."""
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(0, BASE + 2 * PAGE_SIZE)
    m.touch(1)

    def meanwhile() -> None:
        with m.running_on(2):
            m.dontneed()

    m.kernel.scheduler = Late(meanwhile)
    page = BASE + 2 * PAGE_SIZE
    tlbflush.flush_tlb_mm_range(m.mm, page, page + PAGE_SIZE, PAGE_SHIFT, 0)
    _access(m, 1)


def _copy(m: Cpus) -> None:
    """The zero page is read on one CPU, a copy written on the other."""
    m.touch(1, access=Access.READ)
    m.touch(0)
    _access(m, 1, access=Access.READ)


def _broadcast(m: Cpus) -> None:
    for _ in range(3):
        m.flush()
    assert m.mm.c.global_asid
    _dontneed(m)


def _in_transition(m: Cpus) -> None:
    m.flush()
    assert m.mm.c.asid_transition
    _dontneed(m)


@dataclass(frozen=True)
class Part:
    """A part of a shootdown: where it is taken out, a scenario that needs it, what is told."""

    name: str
    module: object
    function: str
    without: Callable[..., object]
    scenario: Callable[[Cpus], None]
    told: Callable[[StaleUse], bool]
    cpu: int = 1
    invlpgb: bool = False


def _used_page(use: StaleUse) -> bool:
    return use.used and not use.table and f"INVLPG {BASE:#x}" in use.missing


def _speculation(use: StaleUse) -> bool:
    return (
        use.access == CHECK_SPECULATION
        and not use.used
        and use.freed
        and use.table
        and "freed_tables" in use.missing
    )


PARTS = [
    Part("remote flush", tlbflush, "_flush_tlb", _nothing, _dontneed, _used_page),
    Part(
        "the interrupts of a remote flush",
        tlbflush,
        "on_each_cpu_cond_mask",
        _nothing,
        _dontneed,
        _used_page,
    ),
    Part(
        "the generation",
        tlbflush,
        "inc_mm_tlb_gen",
        lambda mm: int(mm.c.tlb_gen),
        _away_and_back,
        _used_page,
    ),
    Part(
        "freed_tables of a table alone",
        mmu_gather,
        "flush_tlb_mm_range",
        _tables_kept,
        _idle_and_table_freed,
        _speculation,
    ),
    Part(
        "freed_tables of munmap",
        mmu_gather,
        "flush_tlb_mm_range",
        _tables_kept,
        _munmap_while_idle,
        _speculation,
    ),
    Part(
        "the way of a lazy CPU to init_mm",
        tlbflush,
        "flush_tlb_func",
        _nothing,
        _idle_and_table_freed,
        _speculation,
    ),
    Part(
        "the flush of an ASID that changes hands",
        tlbflush,
        "_choose_new_asid",
        _asid_as_found,
        _seven_mms,
        lambda use: use.used and not use.entry_pa,
        cpu=0,
    ),
    Part(
        "the full flush of who missed one",
        tlbflush,
        "_catch_up",
        _just_the_pages,
        _two_flushes,
        _used_page,
    ),
    Part("wp_page_copy's flush", tlbflush, "flush_tlb_mm_range", _nothing, _copy, _used_page),
    Part(
        "the broadcast",
        tlbflush,
        "invlpgb_flush_user_nr",
        _nothing,
        _broadcast,
        _used_page,
        invlpgb=True,
    ),
    Part(
        "the interrupts while a CPU has an ASID of its own",
        tlbflush,
        "_finish_asid_transition",
        _nothing,
        _in_transition,
        _used_page,
        invlpgb=True,
    ),
]


def _machine(part: Part) -> Cpus:
    return Cpus("python", nr=4 if part.invlpgb else 3, invlpgb=part.invlpgb)


@pytest.mark.parametrize("part", PARTS, ids=[part.name for part in PARTS])
def test_without_one_part_the_checker_tells(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    m = _machine(part)
    monkeypatch.setattr(part.module, part.function, part.without)
    part.scenario(m)
    uses = {cpu.id: cpu.mmu.check.uses() for cpu in m.kernel.cpus if cpu.mmu.check}
    assert any(map(part.told, uses[part.cpu])), uses
    for use in uses[part.cpu]:
        assert f"on CPU {part.cpu}, after the change" in use.missing


@pytest.mark.parametrize("name", ["c", "python"])
@pytest.mark.parametrize("part", PARTS, ids=[part.name for part in PARTS])
def test_with_all_parts_it_tells_nothing(part: Part, name: str) -> None:
    m = replace(_machine(part), engine=name)
    part.scenario(m)
    assert m.stale_uses() == []


def test_both_engines_look_for_freed_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The C engine asks as well: a lazy CPU is left with the table by hand."""
    for name in ("c", "python"):
        m = Cpus(name)
        m.touch(1)
        m.lazy(1)
        m.switch(0, m.mm)
        m.mm.c.cpu_bitmap = 1
        m.dontneed()
        assert not m.stale_uses()
        m.quiesce()
        assert "speculative walk" in m.stale_uses()[0]


def test_who_changed_is_told_on_every_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    m = Cpus("python")
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(1)
    monkeypatch.setattr(tlbflush, "flush_tlb_multi", _nothing)
    madvise = begin_operation(m.kernel, ChangedBy.SYSCALL, 28, 0x401000, 77)
    m.dontneed()
    end_operation(m.kernel, madvise)
    with m.running_on(1):
        fault = begin_operation(m.kernel, ChangedBy.FAULT, 0x5000, 0x402000, 99)
        tables_change_for(m.kernel, None)
        end_operation(m.kernel, fault)
    _access(m, 1)
    (use,) = m.kernel.cpus[1].mmu.check.uses()  # type: ignore[union-attr]
    assert use.changed is not None
    assert (use.changed.by, use.changed.detail, use.changed.cpu) == (ChangedBy.SYSCALL, 28, 0)


@pytest.mark.parametrize("when", ["before the flush", "after the operation"])
def test_between_change_and_flush_others_may_go_on(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right is taken away on one CPU; until its flush reaches the other, that one may write."""
    m = Cpus("python")
    m.touch(0)
    m.touch(1)

    def meanwhile(*_: object) -> None:
        _access(m, 1)

    if when == "before the flush":
        m.kernel.scheduler = Late(meanwhile)
    else:
        monkeypatch.setattr(tlbflush, "flush_tlb_multi", _nothing)
    mprotect = begin_operation(m.kernel, ChangedBy.SYSCALL, 10, 0x401000, 77)
    m.mm.mprotect(BASE, PAGE_SIZE, 1)
    end_operation(m.kernel, mprotect)
    if when == "after the operation":
        assert not m.stale_uses()
        meanwhile()
    assert bool(m.stale_uses()) == (when == "after the operation")


def test_a_frame_that_is_free_is_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in the operation that freed it too early."""
    m = Cpus("python")
    m.touch(0, BASE + PAGE_SIZE)
    m.touch(1)
    monkeypatch.setattr(tlbflush, "flush_tlb_multi", _nothing)
    begin_operation(m.kernel, ChangedBy.SYSCALL, 28, 0x401000, 77)
    m.dontneed()
    _access(m, 1)
    (use,) = m.kernel.cpus[1].mmu.check.uses()  # type: ignore[union-attr]
    assert use.used and use.freed
