# SPDX-License-Identifier: GPL-2.0-or-later
"""exact and trace: every load, store and fetch passes through the TLB model, once, wherever Unicorn
keeps it.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu.vcpu import VmExit
from mmu.events import EventRing
from tests.cpu import programs
from tests.cpu.world import ALL, DATA, EXACT, TEXT, TRACE, How, reg, world

MODELLED = ALL[3:]


def counters(source: str, how: How, regs: dict[str, int] | None = None) -> dict[str, int]:
    """The MMU's counters after the program."""
    with world(source, how, regs=regs) as w:
        w.run()
        w.check()
        return w.mmu.counters()


@pytest.mark.parametrize("how", MODELLED, ids=str)
def test_every_access_is_counted_once(how: How) -> None:
    """1,000 loads and 500 stores of one page, by instructions of every kind, and the faults'."""
    source = """
        mov [0x600000], al          # faults once
        mov ecx, 100
    1:  mov rax, [0x600008]
        add rbx, [0x600010]
        inc qword ptr [0x600018]    # a load and a store
        push rax                    # the stack: faults once
        pop rdx
        mov [0x600020], rax
        lock xadd [0x600028], rax   # a load and a store
        dec ecx
        jnz 1b
        syscall
    """
    seen = counters(source, how)
    loads, stores = 5 * 100, 1 + 4 * 100
    assert seen["dTLB-loads"] == loads
    assert seen["dTLB-stores"] == stores + 2
    assert seen["page_faults_hw"] == 2 + 1  # and one by the harness, which loaded the program
    assert seen["iTLB-loads"] == 1 + 99


@pytest.mark.parametrize("name", programs.ALL)
def test_counters_and_tlb_are_alike(name: str) -> None:
    """exact and trace, C and Python, fast faults and none: same counters, and the same TLB, entry
    by entry.
    """
    seen = []
    for how in MODELLED:
        with world(programs.ALL[name], how) as w:
            w.run()
            w.check()
            seen.append((w.mmu.counters(), w.mmu.entries(), w.mmu.paging_structure_caches()))
    assert all(s == seen[0] for s in seen)


def test_a_loop_over_many_pages_misses_as_the_model_says() -> None:
    """Sixteen pages, more than the tiny geometry's first level holds, read round and round in
    order.
    """
    source = """
        mov edx, 20
    1:  mov edi, 0x600000
        mov ecx, 16
    2:  mov al, [rdi]
        add edi, 0x1000
        dec ecx
        jnz 2b
        dec edx
        jnz 1b
        syscall
    """
    seen = [counters(source, how) for how in MODELLED]
    assert all(s == seen[0] for s in seen)
    assert seen[0]["dTLB-loads"] == 20 * 16 + 16
    missed = seen[0]["dtlb_load_misses.stlb_hit"] + seen[0]["dtlb_load_misses.miss_causes_a_walk"]
    assert missed > 16


@pytest.mark.parametrize("how", MODELLED, ids=str)
def test_two_addresses_of_one_frame(how: How) -> None:
    """Each access is told by its own virtual page, although Unicorn only says the frame."""
    loads = "mov al, [0x601000]; mov bl, [0x602000]"
    source = f"{loads}; {loads}; mov al, [0x603000]; syscall"
    with world(source, how) as w:
        w.run()
        w.check()
        pages = {w.mmu.walk(DATA + n * 0x1000).pa for n in (1, 2, 3)}
        assert len(pages) == 1
        for n in (1, 2, 3):
            assert w.mmu.resident(DATA + n * 0x1000) is not None
        assert w.mmu.counters()["dTLB-loads"] == 5 + 3


@pytest.mark.parametrize("how", [EXACT, TRACE], ids=str)
def test_a_stale_entry_is_used_until_it_is_invalidated(how: How) -> None:
    """The kernel changes an entry without a flush: the guest reads the old page, as the model's
    entry says.
    """
    with world("1: mov al, [0x600000]; syscall; jmp 1b", how) as w:
        w.mm.copy_to_user(DATA, b"A")
        w.mm.copy_to_user(DATA + 0x1000, b"B")
        w.run()
        old, new = w.mmu.walk(DATA), w.mmu.walk(DATA + 0x1000)
        assert w.vcpu.read_reg(reg("RAX")) & 0xFF == ord("A")
        own = w.memory.read_u64(old.entry_pa[1])
        w.memory.write_u64(old.entry_pa[1], new.entry[1])
        w.mmu.tables_changed()

        w.run()
        assert w.vcpu.read_reg(reg("RAX")) & 0xFF == ord("A")
        entry = w.mmu.resident(DATA)
        assert entry is not None and entry.pa == old.pa != w.mmu.walk(DATA).pa

        w.mmu.invlpg(DATA)
        w.run()
        assert w.vcpu.read_reg(reg("RAX")) & 0xFF == ord("B")
        w.check()
        w.memory.write_u64(old.entry_pa[1], own)
        w.mmu.invlpg(DATA)


@pytest.mark.skipif(
    os.environ.get("UCMMU_PRIVATE") == "0", reason="drops a page of Unicorn's inside a block"
)
@pytest.mark.parametrize("how", [EXACT, TRACE], ids=str)
def test_an_evicted_stale_entry_is_no_longer_used(how: How) -> None:
    """Within one block: the old page while its entry lives, the new page once others have pushed it
    out.
    """
    others = "; ".join(f"mov al, [{DATA + n * 0x1000:#x}]" for n in range(2, 16))
    load = "[0x600000]"
    source = f"mov al, {load}; syscall; mov bl, {load}; {others}; {others}; mov dl, {load}; syscall"
    with world(source, how, regs={"RBX": 0, "RDX": 0}) as w:
        for n in range(16):
            w.mm.copy_to_user(DATA + n * 0x1000, bytes([n + 1]))
        w.run()
        old, new = w.mmu.walk(DATA), w.mmu.walk(DATA + 0x1000)
        own = w.memory.read_u64(old.entry_pa[1])
        w.memory.write_u64(old.entry_pa[1], new.entry[1])
        w.mmu.tables_changed()
        w.run()
        assert w.mmu.counters()["tlb_evictions"] > 0
        assert w.vcpu.read_reg(reg("RBX")) == 1
        entry = w.mmu.resident(DATA)
        assert entry is not None
        assert (w.vcpu.read_reg(reg("RDX")), entry.pa) == (2, new.pa)
        w.check()
        w.memory.write_u64(old.entry_pa[1], own)
        w.mmu.invlpg(DATA)


def test_trace_tells_each_instruction_and_what_it_caused() -> None:
    """insn events in order, each with its number; the accesses after it carry the same number."""
    ring = EventRing(1 << 12)
    ring.enable()
    with world("nop; mov [0x600000], al; mov bl, [0x600000]; syscall", TRACE, ring=ring) as w:
        ring.read()
        w.run()
        events = ring.read()
    insns = [event for event in events if event.name == "insn"]
    assert [(event["ip"] - TEXT, event["size"], event.instruction) for event in insns] == [
        (0, 1, 0),
        (1, 7, 1),
        (8, 7, 2),
        (15, 2, 3),
    ]
    faults = [event for event in events if event.name == "page_fault"]
    assert [(event["address"], event.instruction) for event in faults] == [(DATA, 1)]
    hits = [event for event in events if event.name == "tlb_hit" and event["access"] == 0]
    assert [(event["address"], event.instruction) for event in hits] == [(DATA, 2)]


@pytest.mark.parametrize("name", ["rep", "calls", "across_pages"])
def test_events_are_alike_with_and_without_fast_faults(name: str) -> None:
    """And on both engines: the same records, numbers and order."""
    seen = []
    for how in ALL[6:]:
        ring = EventRing(1 << 17)
        ring.enable()
        with world(programs.ALL[name], how, ring=ring) as w:
            ring.read()
            w.run()
            seen.append([(event.name, event.values, event.instruction) for event in ring.read()])
    assert seen[0] == seen[1]
    assert seen[0] == seen[2]


_OFFSETS = st.integers(0, 0x7FF8)
_STEP = st.one_of(
    st.builds("mov rax, [{:#x}]".format, _OFFSETS.map(lambda n: DATA + n)),
    st.builds("mov [{:#x}], rbx".format, _OFFSETS.map(lambda n: DATA + n)),
    st.builds("add [{:#x}], rcx".format, _OFFSETS.map(lambda n: DATA + n)),
    st.builds("push [{:#x}]; pop rdx".format, _OFFSETS.map(lambda n: DATA + n)),
    st.builds(
        "mov esi, {:#x}; mov edi, {:#x}; mov ecx, {}; rep movsb".format,
        _OFFSETS.map(lambda n: DATA + n),
        _OFFSETS.map(lambda n: DATA + 0x8000 + n - 0x100),
        st.integers(0, 20),
    ),
    st.just("call 9f; jmp 8f; .skip 4090, 0x90; 9: ret; 8: nop"),
    st.just("inc rbx; lea rcx, [rcx + rbx*2 + 5]"),
)


@given(st.lists(_STEP, min_size=1, max_size=6), st.integers(1, 40))
def test_random_programs(steps: list[str], slice_: int) -> None:
    """Same state, memory, count, counters and TLB in every way of running them, whole or sliced."""
    source = "; ".join([*steps, "syscall"])
    states, tlb = [], []
    for how in [*ALL[:2], *MODELLED[:2], TRACE]:
        for step in (None, slice_):
            with world(source, how) as w:
                limit = step
                while w.run(limit).reason == VmExit.LIMIT:
                    assert limit is not None and step is not None
                    limit += step
                states.append((w.state(), w.data(0x10000)))
                w.check()
                if how.fidelity:
                    tlb.append((w.mmu.counters(), w.mmu.entries(), w.mmu.c.tlb.clock))
    assert all(s == states[0] for s in states)
    assert all(t == tlb[0] for t in tlb)
