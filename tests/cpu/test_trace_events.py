# SPDX-License-Identifier: GPL-2.0-or-later
"""trace: each instruction is told, with the bytes that run, then what it loads and stores, then how
that was translated; the engine, which learns whose each access of a block is, never mistakes one.
"""

from __future__ import annotations

import capstone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu.vcpu import VmExit
from mmu.events import EVENT_ID, Event, EventRing
from tests.cpu import programs
from tests.cpu.assemble import assemble
from tests.cpu.test_exact import _STEP
from tests.cpu.world import DATA, RWX, RX, STACK_TOP, TEXT, TRACE, How, world

READ, WRITE, FETCH, RMW = 0, 1, 2, 5
OWN = ("insn", "access", "tlb_hit", "tlb_miss", "page_fault")


def told(
    source: str,
    *,
    slice_: int | None = None,
    how: How = TRACE,
    text_prot: int = RX,
    regs: dict[str, int] | None = None,
    names: tuple[str, ...] = OWN,
) -> list[Event]:
    """The events of these names, of a program that runs whole, or in slices."""
    ring = EventRing(1 << 17)
    ring.enable()
    with world(source, how, ring=ring, regs=regs, text_prot=text_prot) as w:
        ring.read()
        limit = slice_
        while w.run(limit).reason == VmExit.LIMIT:
            assert limit is not None and slice_ is not None
            limit += slice_
        w.check()
    assert ring.lost == 0
    return [event for event in ring.read() if event.name in names]


def plain(events: list[Event]) -> list[tuple[str, tuple[int, ...], int]]:
    """To be compared."""
    return [(event.name, event.values, event.instruction) for event in events]


def code_of(event: Event) -> bytes:
    """The bytes of an insn event's instruction."""
    both = event["code"] | event["code_high"] << 64
    return both.to_bytes(16, "little")[: event["size"]]


def accesses(events: list[Event]) -> list[tuple[int, int, int, int]]:
    """Number of the instruction, address, size and kind of each access."""
    return [
        (e.instruction, e["address"], e["size"], e["access"]) for e in events if e.name == "access"
    ]


def test_each_instruction_then_its_accesses_then_their_look_ups() -> None:
    source = """
        mov eax, [0x600000]
        add dword ptr [0x600004], 3
        syscall
    """
    events = told(f"mov [0x600000], ecx; {source}", names=("insn", "access", "tlb_hit"))
    told_ = [(e.name, e.instruction, e["access"] if e.name != "insn" else -1) for e in events]
    assert [t for t in told_ if t[1]] == [
        ("insn", 1, -1),
        ("access", 1, READ),
        ("tlb_hit", 1, READ),
        ("insn", 2, -1),
        ("access", 2, RMW),
        ("tlb_hit", 2, RMW),
        ("access", 2, WRITE),
        ("tlb_hit", 2, WRITE),
        ("insn", 3, -1),
    ]


def test_the_bytes_are_told() -> None:
    """Of every length up to 15, and across a page."""
    source = """
        nop
        lock add qword ptr fs:[rax + rcx*8 + 0x12345678], 0x11223344
        jmp 1f
        .org 4093
    1:  mov rax, 0x1122334455667788
        syscall
    """
    code = assemble(source)
    events = told(source, regs={"RAX": DATA + 0x100 - 0x12345678, "RCX": 0}, names=("insn",))
    assert {len(code_of(e)) for e in events} >= {1, 2, 10}
    for event in events:
        at = event["ip"] - TEXT
        assert code_of(event) == code[at : at + event["size"]]
        assert event["code"] | event["code_high"] << 64 == int.from_bytes(code_of(event), "little")
    assert any(e["ip"] >> 12 != (e["ip"] + e["size"] - 1) >> 12 for e in events)


def test_code_that_changes_itself_shows_what_runs() -> None:
    source = """
        mov ecx, 3
    1:  mov eax, 0x11111111
        inc dword ptr [0x400006]
    2:  dec ecx
        jnz 1b
        syscall
    """
    events = told(source, text_prot=RWX, names=("insn", "access"))
    insns = [e for e in events if e.name == "insn"]
    assert [e.instruction for e in insns] == list(range(len(insns)))
    moves = [code_of(e) for e in insns if code_of(e)[0] == 0xB8]
    assert [int.from_bytes(code[1:], "little") for code in moves] == [
        0x11111111,
        0x11111112,
        0x11111113,
    ]
    stores = [e.instruction for e in events if e.name == "access" and e["access"] == WRITE]
    assert stores == [2, 6, 10]


def test_an_access_that_faults_is_told_once() -> None:
    """When it happens, under its instruction, which is told once too."""
    events = told("nop; mov [0x600ffe], eax; syscall")
    assert [e["ip"] - TEXT for e in events if e.name == "insn"] == [0, 1, 8]
    assert accesses(events) == [(1, DATA + 0xFFE, 4, WRITE)]
    names = [e.name for e in events if e.instruction == 1]
    assert names.index("insn") < names.index("page_fault") < names.index("access")
    assert names.count("page_fault") == 2


def test_a_split_access_is_one_with_two_look_ups() -> None:
    events = told("mov [0x600ffe], eax; mov [0x600ffe], eax; syscall")
    second = [e for e in events if e.instruction == 1]
    assert [e.name for e in second] == ["insn", "access", "tlb_hit", "tlb_hit"]
    assert second[1]["pa"] & 0xFFF == 0xFFE
    assert [e["address"] for e in second[2:]] == [DATA + 0xFFE, DATA + 0x1000]


def test_each_element_of_a_repeat_is_told() -> None:
    source = "mov edi, 0x600010; mov ecx, 3; rep stosw; syscall"
    events = told(source)
    stores = [(i, va, size) for i, va, size, kind in accesses(events) if kind == WRITE]
    assert stores == [(2 + n, DATA + 0x10 + 2 * n, 2) for n in range(3)]
    reps = [e for e in events if e.name == "insn" and code_of(e) == assemble("rep stosw")]
    assert [e.instruction for e in reps] == [2, 3, 4, 5]  # and its end


def test_accesses_that_vary_are_told_to_their_instruction() -> None:
    """MASKMOVQ stores the bytes whose mask says so: another number each time round."""
    source = """
        mov edi, 0x600100
        mov ecx, 4
        mov rbx, 0x8000800080008080
    1:  movq mm0, rbx
        maskmovq mm0, mm0
        mov eax, [0x600000]
        push rax
        pop rdx
        shr rbx, 8
        dec ecx
        jnz 1b
        syscall
    """
    events = told(source, names=("insn", "access"))
    by_insn: dict[int, list[Event]] = {}
    for event in events:
        by_insn.setdefault(event.instruction, []).append(event)
    loads = [e for e in events if e.name == "access" and e["address"] == DATA]
    assert len(loads) == 4
    for load in loads:
        assert code_of(by_insn[load.instruction][0]) == assemble("mov eax, [0x600000]")
    pushes = [e for e in events if e.name == "access" and e["address"] >= STACK_TOP - 0x100]
    assert {code_of(by_insn[e.instruction][0]) for e in pushes} == {b"\x50", b"\x5a"}


def test_kinds_that_are_unwanted_are_left_out() -> None:
    """The others keep their numbers."""
    left_out = ("insn", "access", "tlb_hit")
    processor = tuple(name for name, number in EVENT_ID.items() if number < EVENT_ID["invlpg"])
    ring = EventRing(1 << 14)
    ring.enable()
    with world(programs.ALL["calls"], TRACE, ring=ring) as w:
        ring.read()
        for kind in left_out:
            ring.c.unwanted[EVENT_ID[kind]] = 1
        w.run()
        some = plain(ring.read())
    every = plain(told(programs.ALL["calls"], names=processor))
    rest = [e for e in every if e[0] not in left_out]
    assert [e for e in some if e[0] in processor] == rest and rest


def assert_sensible(events: list[Event]) -> None:
    """Sizes are the instructions' own, and each access is looked up under its instruction."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    looked_up = {
        (e.instruction, e["address"], e["access"])
        for e in events
        if e.name in ("tlb_hit", "tlb_miss")
    }
    for event in events:
        if event.name == "insn":
            (found,) = decoder.disasm(code_of(event), event["ip"], 1)
            assert found.size == event["size"]
        elif event.name == "access":
            assert (event.instruction, event["address"], event["access"]) in looked_up


@pytest.mark.parametrize("name", programs.ALL)
def test_whole_and_one_by_one(name: str) -> None:
    """A run whose blocks are learned tells what a run tells that stops behind each instruction."""
    whole = told(programs.ALL[name], names=("insn", "access"))
    single = told(programs.ALL[name], slice_=1, names=("insn", "access"))
    assert plain(whole) == plain(single)
    assert_sensible(told(programs.ALL[name]))


@settings(max_examples=25)
@given(st.lists(_STEP, min_size=1, max_size=6), st.integers(2, 4), st.integers(2, 9))
def test_random_loops_whole_and_sliced(steps: list[str], rounds: int, slice_: int) -> None:
    """Each block several times, so that what was learned of it is used; sliced anywhere."""
    source = "; ".join([f"mov r15d, {rounds}; 7:", *steps, "dec r15d; jnz 7b; syscall"])
    runs = [told(source, slice_=n, names=("insn", "access")) for n in (None, 1, slice_)]
    assert plain(runs[0]) == plain(runs[1]) == plain(runs[2])
