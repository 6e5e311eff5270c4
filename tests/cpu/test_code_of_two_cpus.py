# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that one CPU, or the kernel, writes is what every CPU executes from then on: SDM vol. 3A
9.1.3 once the writer's store is seen, APM vol. 2 7.6.1.
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from mmu.linux import engine
from tests.cpu.several import Several, several
from tests.cpu.test_self_modifying import CASES, START
from tests.cpu.world import ALL, DATA, FIDELITIES, RWX, TEXT, How, map_fixed, reg

FAR = TEXT + 0x3000
"""A page of code beside that of the loops."""
ROUNDS = 12
WRITER = f"""
    mov ecx, 1
1:  mov byte ptr [{{code}} + 1], cl
    mov [{DATA}], ecx
2:  cmp [{DATA + 8}], ecx
    jne 2b
    {{also}}
    inc ecx
    cmp ecx, {ROUNDS + 1}
    jne 1b
    syscall
"""
READER = f"""
    mov ecx, 1
    xor ebx, ebx
3:  cmp [{DATA}], ecx
    jne 3b
    mov eax, {{code}}
    call rax
    add ebx, eax
    mov [{DATA + 8}], ecx
    inc ecx
    cmp ecx, {ROUNDS + 1}
    jne 3b
    syscall
"""
TOTAL = ROUNDS * (ROUNDS + 1) // 2
FUNCTION = "mov eax, 0; ret"
NEAR_AT, READER_AT = 0x400, 0x100


def just_in_time(code: int, also: str = "") -> str:
    """The writer at 0, the reader at READER_AT, at ``code`` the function that changes."""
    writer, reader = WRITER.format(code=code, also=also), READER.format(code=code)
    return (
        f"{writer}; .org {READER_AT}; {reader}; .org {NEAR_AT}; {FUNCTION};"
        f" .org {FAR - TEXT}; {FUNCTION}"
    )


@pytest.mark.parametrize("code", [TEXT + NEAR_AT, FAR], ids=["same_page", "own_page"])
@pytest.mark.parametrize("how", ALL, ids=str)
def test_one_writes_and_the_other_executes(code: int, how: How) -> None:
    """A compiler thread: the function is changed, a flag is set, the other thread calls it."""
    for seed in range(4):
        with several(just_in_time(code), how, starts=(0, READER_AT), text_prot=RWX) as s:
            s.run_all(seed, longest=25)
            assert s.vcpus[1].read_reg(reg("RBX")) == TOTAL
            s.check()


@pytest.mark.parametrize("how", ALL, ids=str)
def test_the_writer_executes_it_too(how: How) -> None:
    also = f"mov eax, {FAR}; call rax; add ebx, eax"
    with several(
        just_in_time(FAR, also), how, starts=(0, READER_AT), text_prot=RWX, regs={"RBX": 0}
    ) as s:
        s.run_all(5, longest=40)
        assert [vcpu.read_reg(reg("RBX")) for vcpu in s.vcpus] == [TOTAL, TOTAL]
        s.check()


def test_the_same_schedule_in_each_fidelity() -> None:
    """Each slice ends at the same instruction, however much the one writes the other's code."""
    schedules = []
    for how in FIDELITIES:
        with several(just_in_time(FAR), how, starts=(0, READER_AT), text_prot=RWX) as s:
            s.run_all(7, longest=9)
            schedules.append(s.schedule)
    assert len(schedules[0]) > 100
    assert schedules[0] == schedules[1] == schedules[2]


STORES = f"""
    mov byte ptr [{FAR} + 1], 1; syscall
    mov byte ptr [{FAR} + 1], 2; syscall
    mov byte ptr [{FAR} + 1], 3; syscall
    .org {READER_AT}
4:  mov eax, {FAR}
    call rax
    mov ebx, eax
    syscall
    jmp 4b
    .org {FAR - TEXT}; {FUNCTION}
"""


@pytest.mark.parametrize("count", [True, False], ids=["counting", "not_counting"])
@pytest.mark.parametrize("first", ["store", "fetch"])
def test_a_translation_that_was_writable_is_no_more(first: str, count: bool) -> None:
    """The writer stores there before anybody fetches, or after: each later store is seen."""
    with several(STORES, starts=(0, READER_AT), text_prot=RWX, count=count) as s:
        if first == "fetch":
            s.run(1)
        for expected in (1, 2, 3):
            s.run(0)
            assert s.run(1).reason == VmExit.SYSCALL
            assert s.vcpus[1].read_reg(reg("RBX")) == expected
        s.check()


@pytest.mark.parametrize("how", ALL, ids=str)
def test_the_kernel_writes(how: How) -> None:
    """copy_to_user(), as by read() into a buffer of code."""
    with several(STORES, how, starts=(READER_AT, READER_AT), text_prot=RWX) as s:
        for expected in (5, 6):
            s.mm.copy_to_user(FAR + 1, bytes([expected]))
            for number in (0, 1):
                s.run(number)
                assert s.vcpus[number].read_reg(reg("RBX")) == expected
        s.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_more_pages_than_are_listed(how: How) -> None:
    """All code is dropped, and what was counted of it is forgotten."""
    source = f"5: mov eax, {FAR}; call rax; syscall; jmp 5b; .org {FAR - TEXT}; inc eax; ret"
    with several(source, how, starts=(0, 0), text_prot=RWX) as s:
        s.run(1)
        assert s.vcpus[1].instructions == 5
        s.mm.copy_to_user(FAR, b"\x90\x90\xc3")
        for frame in range(100, 200):
            s.kernel.note_code_written(frame << 12)
        s.run(1)
        assert (s.vcpus[1].instructions, s.vcpus[1].read_reg(reg("RAX")) & U32) == (12, FAR & U32)
        s.check()


U32 = 0xFFFFFFFF


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_freed_frame_of_code_on_another_cpu(how: How) -> None:
    """munmap() and mmap() on one CPU, other code: the frame may be the same, and the other CPU
    executes what is there now.
    """
    place = 0x500000
    with several("call rbx; syscall; call rbx; syscall", how, regs={"RBX": place}) as s:
        frames = []
        for code, expected in ((b"\xb0\x01\xc3", 1), (b"\xb0\x02\xc3", 2)):
            s.kernel.this_cpu = s.kernel.cpus[0]
            map_fixed(s.mm, place, 0x1000, RWX)
            s.mm.copy_to_user(place, code)
            frames.append(s.kernel.cpus[0].mmu.walk(place).pa)
            assert s.run(1).reason == VmExit.SYSCALL
            assert s.vcpus[1].read_reg(reg("RAX")) & 0xFF == expected
            s.kernel.this_cpu = s.kernel.cpus[0]
            s.mm.munmap(place, 0x1000)
            engine.rcu_process_callbacks(s.kernel)
            s.vcpus[0].sync()
        assert frames[0] == frames[1], "the test means to meet the same frame again"
        s.check()


@pytest.mark.parametrize("case", CASES)
def test_two_that_modify_their_own_code(case: str) -> None:
    """Each has a copy in its own page: what one does to its own is nothing to the other."""
    source, instructions, rax, rbx = CASES[case]
    ends: list[list[tuple[int | None, int, int]]] = []
    for how in FIDELITIES:
        if case == "push_over_code":
            source = source.replace("0x7effc0", "rbp")
        with several(source, how, text_prot=RWX, regs=START) as s:
            own_copy(s)
            s.run_all(3, longest=6)
            ends.append([
                (v.instructions, v.read_reg(reg("RAX")), v.read_reg(reg("RBX"))) for v in s.vcpus
            ])  # fmt: skip
            s.check()
    assert ends == [[(instructions, rax, rbx)] * 2] * 3


def own_copy(s: Several) -> None:
    """Give thread 1 a copy of the program in the next page."""
    s.mm.copy_to_user(TEXT + 0x1000, s.mm.copy_from_user(TEXT, 0x1000))
    s.vcpus[1].write_reg(reg("RIP"), TEXT + 0x1000)
    for vcpu in s.vcpus:
        vcpu.write_reg(reg("RBP"), vcpu.read_reg(reg("RSP")))
