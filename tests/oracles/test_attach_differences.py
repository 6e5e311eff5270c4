# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences between plain Unicorn and an attached instance that must be, each shown on both.

What Unicorn 2.1.4 has wrong, and the random scripts of tests/oracles/attach therefore keep off or
do not compare: tests/oracles/attach/differences.py. A test here that fails on plain Unicorn means
that its defect is mended: take the difference out.
"""

from __future__ import annotations

import faulthandler
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
    UC_HOOK_INSN,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_MEM_FETCH_PROT,
    UC_HOOK_MEM_READ_PROT,
    UC_HOOK_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_NONE,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.x86_const import (
    UC_X86_INS_CPUID,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_R8,
    UC_X86_REG_RBX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

import cpu
from cpu._engine import lib
from cpu.linkage import private_parts
from tests.cpu.assemble import assemble

CODE, DATA, OTHER, STACK = 0x400000, 0x10000, 0x20000, 0x7F0000
RW = UC_PROT_READ | UC_PROT_WRITE
CF_SF_AF = 0x91
ZF = 0x40
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
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            scene(fidelity)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    number = os.waitstatus_to_exitcode(status)
    assert number in (0, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGILL)
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


def test_a_second_read_of_what_may_not_be_read() -> None:
    """reads_again: plain Unicorn looks at rights when it fills its soft TLB."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov rax, [rbx]", fidelity)
        machine.uc.mem_protect(DATA, 0x1000, UC_PROT_NONE)
        machine.attach()
        return [machine.run(), machine.run()]

    shows(scene, [UC_ERR_READ_PROT, UC_ERR_OK], [UC_ERR_READ_PROT, UC_ERR_READ_PROT])


def test_a_read_that_reaches_into_what_may_not_be_read() -> None:
    """reads_again: Unicorn makes it, attached or not; plain, and in fast to the end of the block,
    what is there may be read from then on.
    """

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov rax, [rbx - 1]; mov rax, [rbx]", fidelity)
        machine.uc.mem_map(DATA + 0x1000, 0x1000, UC_PROT_NONE)
        machine.uc.reg_write(UC_X86_REG_RBX, DATA + 0x1000)
        machine.attach()
        return machine.run(), machine[UC_X86_REG_RIP] - CODE

    shows(scene, (UC_ERR_OK, 7), (UC_ERR_OK, 7), ("fast",))
    shows(scene, (UC_ERR_OK, 7), (UC_ERR_READ_PROT, 4), ("exact", "trace"))


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


STEPS = "inc r8; jmp 1f; 1: inc r8; inc r8; jmp 2f; 2: nop"


def test_a_hook_on_code_that_has_run() -> None:
    """stale_blocks: what plain Unicorn translated knows nothing of a new CODE hook; attach() has
    it translated anew. So scripts drop translated code after hook_add(), as its users must.
    """

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine(STEPS, fidelity)
        machine.run()
        machine.attach()
        machine.uc.hook_add(UC_HOOK_CODE, lambda uc, at, size, _: told.append(at))
        machine.run()
        return len(told)

    shows(scene, 1, 6)


def test_an_end_within_code_that_has_run() -> None:
    """stale_blocks: nor of an end in their middle."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine(STEPS, fidelity)
        machine.run()
        machine.attach()
        machine.run(until=CODE + 8)
        return machine[UC_X86_REG_R8]

    shows(scene, 6, 5)


def test_a_count_over_code_that_has_run() -> None:
    """stale_blocks: nor that instructions are counted."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine(STEPS, fidelity)
        machine.run()
        machine.attach()
        machine.run(count=1)
        return machine[UC_X86_REG_R8]

    shows(scene, 6, 4)


def test_rip_of_a_fault_after_an_invalid_instruction() -> None:
    """stale_rip: where an INSN_INVALID hook lets a run go on, plain Unicorn's RIP stays there."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("ud2; nop; nop; mov [r8], rax", fidelity).attach()

        def skip(uc: Uc, _data: Any) -> bool:
            uc.reg_write(UC_X86_REG_RIP, CODE + 2)
            return True

        machine.uc.hook_add(UC_HOOK_INSN_INVALID, skip)
        return machine.run(), machine[UC_X86_REG_RIP] - CODE

    shows(scene, (UC_ERR_WRITE_UNMAPPED, 2), (UC_ERR_WRITE_UNMAPPED, 4))


def test_flags_at_a_fault_under_a_code_hook() -> None:
    """Plain Unicorn's CODE hook leaves the flags of one instruction unfinished."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov ax, 0x2ffc; cmp r8w, ax; mov [r8], rbx", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_CODE, lambda *_: None)
        assert machine.run() == UC_ERR_WRITE_UNMAPPED
        return hex(machine[UC_X86_REG_EFLAGS] & CF_SF_AF)

    shows(scene, "0x80", "0x91")


def test_stores_behind_a_misaligned_one_into_its_own_block() -> None:
    """goes_deaf: Unicorn calls no hook of loads and stores any more before it is started anew."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        source = "mov dword ptr [rip + 1f], 0x90909090; mov [rbx], rax; .balign 4; nop; 1: nop; nop"
        machine = Machine(f"{source}; nop; nop; jmp 2f; 2: mov [rbx + 8], rax; nop", fidelity)
        machine.attach()
        machine.uc.hook_add(UC_HOOK_MEM_WRITE, lambda uc, kind, at, *_: told.append(at))
        machine.run()
        return told

    shows(scene, [CODE + 0x11], [CODE + 0x11], ("fast",))
    shows(scene, [CODE + 0x11], [CODE + 0x11, DATA, DATA + 8], ("exact", "trace"))


@pytest.mark.parametrize("htype", [UC_HOOK_CODE, UC_HOOK_BLOCK])
def test_a_nested_run_after_a_stop(htype: int) -> None:
    """forgets_stop: plain Unicorn's nested run forgets that its outer run was to stop; in a CODE
    hook only private parts tell that it was.
    """

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("inc r8; jmp 1f; 1: inc r8; inc r8", fidelity).attach()
        machine.uc.mem_write(CODE + 0x1000, b"\x90")

        def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
            if at == CODE + 5:
                context = uc.context_save()
                uc.emu_stop()
                uc.emu_start(CODE + 0x1000, CODE + 0x1001)
                uc.context_restore(context)

        machine.uc.hook_add(htype, hook)
        machine.run()
        return machine[UC_X86_REG_R8]

    known = htype == UC_HOOK_BLOCK or private_parts() & lib.PRIVATE_RUN
    shows(scene, 3, 1 if known else 3)


def test_rip_of_an_access_after_an_invalid_instruction() -> None:
    """stale_rip: memory hooks see the RIP at which the invalid instruction was, too."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine("ud2; nop; nop; mov [rbx], rax", fidelity).attach()

        def skip(uc: Uc, _data: Any) -> bool:
            uc.reg_write(UC_X86_REG_RIP, CODE + 2)
            return True

        def store(uc: Uc, *_: Any) -> None:
            told.append(machine[UC_X86_REG_RIP] - CODE)

        machine.uc.hook_add(UC_HOOK_INSN_INVALID, skip)
        machine.uc.hook_add(UC_HOOK_MEM_WRITE, store)
        machine.run()
        return told

    shows(scene, [2], [4])


def test_code_that_may_not_be_read() -> None:
    """without_read: no page table lets a page be executed but not read; with a TLB it is absent."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("jmp rbx", fidelity)
        machine.uc.mem_map(OTHER, 0x1000, UC_PROT_EXEC)
        machine.uc.mem_write(OTHER, b"\xf4")
        machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
        machine.attach()
        return machine.run(until=0)

    shows(scene, UC_ERR_OK, UC_ERR_OK, ("fast",))
    shows(scene, UC_ERR_OK, UC_ERR_FETCH_UNMAPPED, ("exact", "trace"))


def test_a_read_after_a_write_of_what_may_not_be_read() -> None:
    """without_read, reads_again: the write has filled the soft TLB."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("mov [rbx], rax; mov rax, [rbx]", fidelity)
        machine.uc.mem_protect(DATA, 0x1000, UC_PROT_WRITE)
        machine.attach()
        return machine.run()

    shows(scene, UC_ERR_OK, UC_ERR_OK, ("fast",))
    shows(scene, UC_ERR_OK, UC_ERR_READ_PROT, ("exact", "trace"))


def test_a_code_hook_deleted_in_a_block_hook() -> None:
    """calls_deleted: plain Unicorn calls it on, where it stands in the translated code."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine("nop; nop", fidelity).attach()
        uc = machine.uc
        handle = uc.hook_add(UC_HOOK_CODE, lambda uc, at, size, _: told.append(at))
        kept = uc._callbacks[handle]
        uc.hook_add(UC_HOOK_BLOCK, lambda *_: handle in uc._callbacks and uc.hook_del(handle))
        machine.run()
        assert kept
        return bool(told)

    shows(scene, True, False)


def test_a_code_hook_after_a_stop_in_a_cpuid_hook() -> None:
    """calls_after_stop: plain Unicorn calls it once more, if there is no other for its address."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine("cpuid; nop; nop", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_CODE, lambda uc, at, size, _: told.append(at - CODE))
        machine.uc.hook_add(
            UC_HOOK_INSN, lambda uc, _: uc.emu_stop() or 0, None, 1, 0, UC_X86_INS_CPUID
        )
        machine.run()
        return told

    shows(scene, [0, 2], [0])


def test_code_of_a_region_that_stays() -> None:
    """drops_other_code: plain Unicorn's mem_unmap() of data in a hook may drop the block under way,
    by chance of where regions lie in its own numbering; that then misses its own stores.
    """

    def scene(fidelity: str | None) -> Answer:
        blocks: list[int] = []
        uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.mem_map(STACK, 0x4000, RW)
        uc.mem_map(CODE, 0x8000)
        uc.mem_map(0x12000, 0x3000, RW)
        code = assemble("mov byte ptr [rip + 6], 0xfb; .fill 30, 1, 0x90")
        uc.mem_write(CODE + 0x1000, code)
        if fidelity is not None:
            cpu.attach(uc, identity=True, fidelity=fidelity)

        def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
            if not blocks:
                uc.mem_unmap(0x12000, 0x3000)
            blocks.append(at - CODE - 0x1000)

        uc.hook_add(UC_HOOK_BLOCK, hook)
        uc.emu_start(CODE + 0x1000, CODE + 0x1000 + len(code))
        return blocks

    shows(scene, [0], [0, 0, 7, 14, 15])


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


def nested_runs_in_a_counted_one(fidelity: str | None) -> None:
    machine = Machine(".rept 40; push rax; nop; .endr", fidelity).attach()
    machine.uc.mem_write(CODE + 0x1000, b"\x90" * 16)

    def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
        if at < CODE + 0x1000:
            context = uc.context_save()
            uc.emu_start(CODE + 0x1000, CODE + 0x1010)
            uc.context_restore(context)

    machine.uc.hook_add(UC_HOOK_CODE, hook)
    for _ in range(20):
        machine.run(count=50)


@pytest.mark.parametrize(
    "scene",
    [
        a_read_hook_makes_memory_writable,
        a_read_hook_maps,
        a_fetch_hook_makes_memory_writable,
        nested_runs_in_a_counted_one,
    ],
)
def test_what_crashes_plain_unicorn(scene: Scene) -> None:
    """The player of random scripts leaves these out (crashes_plain)."""
    assert not survives(scene, None)


def test_an_insn_hook_of_sysenter() -> None:
    """Without a hook for it, plain Unicorn's SYSENTER goes on behind the last RIP it knew: scripts
    have none.
    """

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("nop; nop; nop; sysenter; nop; hlt", fidelity).attach()
        told: list[int] = []
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append(at - CODE))
        machine.run()
        return told

    assert scene(None) != [0, 5]
