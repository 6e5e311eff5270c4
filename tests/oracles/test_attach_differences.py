# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences between plain Unicorn and an attached instance that must be, each shown on both.

What Unicorn 2.1.4 has wrong, and the random scripts of tests/oracles/attach therefore keep off or
do not compare: tests/oracles/attach/differences.py. A test here that fails on plain Unicorn means
that its defect is mended: take the difference out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import (
    UC_ARCH_X86,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_INSN_INVALID,
    UC_ERR_OK,
    UC_ERR_READ_PROT,
    UC_ERR_WRITE_UNMAPPED,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INTR,
    UC_HOOK_MEM_FETCH_PROT,
    UC_HOOK_MEM_FETCH_UNMAPPED,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_PROT,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_PROT_NONE,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.x86_const import (
    UC_X86_REG_EFLAGS,
    UC_X86_REG_R8,
    UC_X86_REG_RBX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

import cpu
from tests.cpu.assemble import assemble

CODE, DATA, OTHER, STACK = 0x400000, 0x10000, 0x20000, 0x7F0000
RW = UC_PROT_READ | UC_PROT_WRITE
CF_SF_AF = 0x91
FIDELITIES = ("fast", "exact", "trace")
Answer = Any


class Machine:
    """An instance, plain or attached, with code at CODE, and pages at DATA and STACK."""

    def __init__(self, source: str, fidelity: str | None) -> None:
        self.fidelity = fidelity
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        self.code = assemble(source)
        self.end = CODE + len(self.code)
        self.uc.mem_map(CODE, 0x2000)
        self.uc.mem_write(CODE, self.code)
        self.uc.mem_map(DATA, 0x1000, RW)
        self.uc.mem_map(STACK, 0x1000, RW)
        self.uc.reg_write(UC_X86_REG_RSP, STACK + 0x800)
        self.uc.reg_write(UC_X86_REG_RBX, DATA)

    def attach(self) -> Machine:
        if self.fidelity is not None:
            self.m = cpu.attach(self.uc, identity=True, fidelity=self.fidelity)
        return self

    def run(self, begin: int = CODE, until: int | None = None, count: int = 0) -> int:
        """The error of a run, or UC_ERR_OK."""
        try:
            self.uc.emu_start(begin, self.end if until is None else until, count=count)
        except UcError as error:
            return int(error.errno)
        return int(UC_ERR_OK)

    def __getitem__(self, register: int) -> int:
        return int(self.uc.reg_read(register))


Scene = Callable[[str | None], Answer]


def shows(
    scene: Scene, plain: Answer, ours: Answer, fidelities: tuple[str, ...] = FIDELITIES
) -> None:
    """Both answer as is said here."""
    assert scene(None) == plain
    for fidelity in fidelities:
        assert scene(fidelity) == ours, fidelity


def survives(scene: Scene, fidelity: str | None) -> bool:
    """Whether a child lives through it."""
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            scene(fidelity)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    number = os.waitstatus_to_exitcode(status)
    assert number in (0, -signal.SIGSEGV, -signal.SIGABRT)
    return number == 0


def test_a_block_that_reaches_into_an_absent_page() -> None:
    """reaches_ahead: plain Unicorn executes nothing of it, RIP stays at its begin."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("nop", fidelity)
        machine.uc.mem_write(CODE + 0x1FF8, assemble("inc r8") + b"\x90" * 5)
        machine.attach()
        error = machine.run(CODE + 0x1FF8, 0)
        return error, machine[UC_X86_REG_R8], hex(machine[UC_X86_REG_RIP])

    shows(
        scene,
        (UC_ERR_FETCH_UNMAPPED, 0, hex(CODE + 0x1FF8)),
        (UC_ERR_FETCH_UNMAPPED, 1, hex(CODE + 0x2000)),
    )


def test_addresses_above_52_bits() -> None:
    """Plain Unicorn tells hooks of an unmapped access the low 52 bits of its address."""

    def scene(fidelity: str | None) -> Answer:
        told: list[str] = []
        machine = Machine("mov rax, [rbx]", fidelity).attach()
        machine.uc.reg_write(UC_X86_REG_RBX, 0xFFFFFFFF80000000)
        machine.uc.hook_add(
            UC_HOOK_MEM_READ_UNMAPPED, lambda uc, access, at, *_: bool(told.append(hex(at)))
        )
        machine.run()
        return told

    shows(scene, ["0xfffff80000000"], ["0xffffffff80000000"])


def test_a_second_read_of_what_may_not_be_read() -> None:
    """reads_again: plain Unicorn looks at rights when its soft TLB is filled, and does so first."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov rax, [rbx]", fidelity)
        machine.uc.mem_protect(DATA, 0x1000, UC_PROT_NONE)
        machine.attach()
        return [machine.run(), machine.run()]

    shows(scene, [UC_ERR_READ_PROT, UC_ERR_OK], [UC_ERR_READ_PROT, UC_ERR_READ_PROT])


def test_the_right_to_read_is_taken_away() -> None:
    """stale_rights: plain Unicorn's soft TLB keeps it."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov rax, [rbx]", fidelity).attach()
        machine.run()
        machine.uc.mem_protect(DATA, 0x1000, UC_PROT_WRITE)
        return machine.run()

    shows(scene, UC_ERR_OK, UC_ERR_READ_PROT)


def test_code_written_by_mem_write() -> None:
    """stale_code: plain Unicorn runs what it translated before."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("ud2; nop; nop", fidelity).attach()
        first = machine.run()
        machine.uc.mem_write(CODE, b"\x90\x90")
        return first, machine.run()

    shows(scene, (UC_ERR_INSN_INVALID, UC_ERR_INSN_INVALID), (UC_ERR_INSN_INVALID, UC_ERR_OK))


LOOP = "inc r8; jmp 1f; 1: inc r8; inc r8; jmp 2f; 2: nop"


def test_a_hook_on_code_that_has_run() -> None:
    """stale_blocks: plain Unicorn's translated blocks know nothing of a new CODE hook."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine(LOOP, fidelity).attach()
        machine.run()
        machine.uc.hook_add(UC_HOOK_CODE, lambda uc, at, size, _: told.append(at))
        machine.run()
        return len(told)

    shows(scene, 1, 6)


def test_an_end_within_code_that_has_run() -> None:
    """stale_blocks: nor of an end in their middle."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine(LOOP, fidelity).attach()
        machine.run()
        machine.run(until=CODE + 8)
        return machine[UC_X86_REG_R8]

    shows(scene, 6, 5)


def test_a_count_over_code_that_has_run() -> None:
    """stale_blocks: nor that instructions are counted."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine(LOOP, fidelity).attach()
        machine.run()
        machine.run(count=1)
        return machine[UC_X86_REG_R8]

    shows(scene, 6, 4)


def test_flags_at_a_fault_under_a_code_hook() -> None:
    """Plain Unicorn's CODE hook leaves the flags of one instruction unfinished."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov ax, 0x2ffc; cmp r8w, ax; mov [r8], rbx", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_CODE, lambda *_: None)
        assert machine.run() == UC_ERR_WRITE_UNMAPPED
        return hex(machine[UC_X86_REG_EFLAGS] & CF_SF_AF)

    shows(scene, "0x80", "0x91")


def test_a_store_at_the_same_offset_of_another_region() -> None:
    """aliased_offsets: plain Unicorn takes it for a change of the block that executes it, where
    both regions may be written and executed.
    """

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine("nop", fidelity)
        machine.uc.mem_map(OTHER, 0x2000)
        code = assemble("nop; mov [rbx], r8; nop")
        machine.uc.mem_write(CODE + 0x1000, code)
        machine.uc.reg_write(UC_X86_REG_RBX, OTHER + 0x1000)
        machine.attach()
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append(at - CODE))
        for _ in range(2):
            machine.uc.ctl_flush_tb()
            machine.run(CODE + 0x1000, CODE + 0x1000 + len(code))
        return told[0] == 0x1000 and len(told)

    assert scene(None) == 6
    assert scene("fast") < 6


def test_a_stop_before_a_nested_run() -> None:
    """inner_stop: plain Unicorn's nested run forgets that the outer one was stopped."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("inc r8; inc r8; inc r8", fidelity).attach()
        machine.uc.mem_write(CODE + 0x1000, b"\x90")

        def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
            if at == CODE + 3:
                context = uc.context_save()
                uc.emu_stop()
                uc.emu_start(CODE + 0x1000, CODE + 0x1001)
                uc.context_restore(context)

        machine.uc.hook_add(UC_HOOK_CODE, hook)
        machine.run()
        return machine[UC_X86_REG_R8]

    shows(scene, 3, 1)


def test_a_stop_of_a_nested_run() -> None:
    """inner_stop: plain Unicorn's outer run ends with an inner one that a hook stopped."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("inc r8; nop; inc r8; inc r8", fidelity).attach()
        machine.uc.mem_write(CODE + 0x1000, b"\xcd\x21\x90")

        def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
            if at == CODE + 3:
                context = uc.context_save()
                uc.emu_start(CODE + 0x1000, CODE + 0x1003)
                uc.context_restore(context)

        machine.uc.hook_add(UC_HOOK_CODE, hook)
        machine.uc.hook_add(UC_HOOK_INTR, lambda uc, number, _: uc.emu_stop())
        machine.run()
        return machine[UC_X86_REG_R8]

    shows(scene, 1, 3)


def test_what_stands_behind_a_store_that_faults_in_a_helper() -> None:
    """Plain Unicorn executes the rest of the block after a faulting FSTP m80 or CMPXCHG16B."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("fstp tbyte ptr [rbx]; inc r8; inc r8", fidelity).attach()
        machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
        return machine.run(), machine[UC_X86_REG_R8], machine[UC_X86_REG_RIP] - CODE

    shows(scene, (UC_ERR_WRITE_UNMAPPED, 2, 8), (UC_ERR_WRITE_UNMAPPED, 0, 0))


def test_rights_after_a_hook_has_mapped_a_page() -> None:
    """skips_rights: plain Unicorn does not look at the rights of what a hook mapped."""

    def scene(fidelity: str | None) -> Answer:
        told: list[str] = []
        machine = Machine("jmp rbx", fidelity)
        machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
        machine.attach()

        def map_it(uc: Uc, *_: Any) -> bool:
            told.append("unmapped")
            uc.mem_map(OTHER, 0x1000, UC_PROT_READ)
            uc.mem_write(OTHER, b"\x90\xf4")
            return True

        machine.uc.hook_add(UC_HOOK_MEM_FETCH_UNMAPPED, map_it)
        machine.uc.hook_add(UC_HOOK_MEM_FETCH_PROT, lambda *_: bool(told.append("prot")))
        machine.run(until=0)
        return told

    shows(scene, ["unmapped"], ["unmapped", "prot"])


def a_read_hook_makes_memory_writable(fidelity: str | None) -> None:
    machine = Machine("mov rax, [rbx]", fidelity)
    machine.uc.mem_protect(DATA, 0x1000, UC_PROT_NONE)
    machine.attach()

    def mend(uc: Uc, *_: Any) -> bool:
        uc.mem_protect(DATA, 0x1000, RW)
        return True

    machine.uc.hook_add(UC_HOOK_MEM_READ_PROT, mend)
    machine.run()


def a_read_hook_maps(fidelity: str | None) -> None:
    machine = Machine("mov rax, [rbx]", fidelity)
    machine.uc.mem_protect(DATA, 0x1000, UC_PROT_NONE)
    machine.attach()

    def mend(uc: Uc, *_: Any) -> bool:
        uc.mem_map(OTHER, 0x1000)
        return True

    machine.uc.hook_add(UC_HOOK_MEM_READ_PROT, mend)
    machine.run()


def a_fetch_hook_makes_memory_writable(fidelity: str | None) -> None:
    machine = Machine("jmp rbx", fidelity)
    machine.uc.mem_map(OTHER, 0x1000, UC_PROT_READ)
    machine.uc.mem_write(OTHER, b"\xf4")
    machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
    machine.attach()

    def mend(uc: Uc, *_: Any) -> bool:
        uc.mem_protect(OTHER, 0x1000, UC_PROT_ALL)
        return True

    machine.uc.hook_add(UC_HOOK_MEM_FETCH_PROT, mend)
    machine.run(until=0)


def a_nested_run_in_a_counted_one(fidelity: str | None) -> None:
    machine = Machine("nop; push rax; nop; nop", fidelity).attach()
    machine.uc.mem_write(CODE + 0x1000, b"\x90" * 16)

    def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
        if at == CODE + 2:
            context = uc.context_save()
            uc.emu_start(CODE + 0x1000, CODE + 0x1010)
            uc.context_restore(context)

    machine.uc.hook_add(UC_HOOK_CODE, hook)
    machine.run(count=50)


@pytest.mark.parametrize(
    "scene",
    [
        a_read_hook_makes_memory_writable,
        a_read_hook_maps,
        a_fetch_hook_makes_memory_writable,
        a_nested_run_in_a_counted_one,
    ],
)
def test_what_crashes_plain_unicorn(scene: Scene) -> None:
    """The player of random scripts leaves these out (crashes_plain)."""
    assert not survives(scene, None)
    for fidelity in FIDELITIES:
        assert survives(scene, fidelity), fidelity


def test_a_stop_in_a_memory_hook_in_trace() -> None:
    """stops_sooner: at the next instruction, for trace looks at each; else at the block's end."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov rax, [rbx]; inc r8; inc r8", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_MEM_READ, lambda uc, *_: uc.emu_stop())
        machine.run()
        return machine[UC_X86_REG_R8]

    shows(scene, 2, 2, ("fast", "exact"))
    assert scene("trace") == 0


def test_long_blocks_in_trace() -> None:
    """splits_long_blocks: what looks at each instruction takes room in a block."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine(".rept 200; add [rbx], al; .endr", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append(size))
        machine.run()
        return len(told)

    shows(scene, 1, 1, ("fast", "exact"))
    assert scene("trace") == 2
