# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: where Unicorn stops, cuts blocks and knows flags is the same plain, and attached in each
fidelity.

Right or wrong: a fidelity looks at blocks, loads and stores, and never puts anything between two
instructions, which would move each of these.
"""

from __future__ import annotations

from typing import Any

import pytest
from unicorn import (
    UC_ERR_READ_UNMAPPED,
    UC_ERR_WRITE_UNMAPPED,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_PROT_READ,
    Uc,
)
from unicorn.x86_const import (
    UC_X86_INS_CPUID,
    UC_X86_INS_OUT,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_R8,
    UC_X86_REG_RBX,
    UC_X86_REG_RDI,
    UC_X86_REG_RIP,
)

from cpu._engine import lib
from cpu.linkage import private_parts
from tests.oracles.test_attach_differences import (
    CF_SF_AF,
    CODE,
    DATA,
    OTHER,
    ZF,
    Answer,
    Machine,
    shows,
)

without_hearing = pytest.mark.xfail(
    not private_parts() & lib.PRIVATE_HEARING,
    strict=True,
    reason="Unicorn is started anew before a block that its hooks have been told of",
)


@pytest.mark.parametrize("store", ["fstp tbyte ptr [rbx]", "fxsave [rbx]"])
def test_what_stands_behind_a_store_that_faults_in_a_helper(store: str) -> None:
    """Unicorn executes the rest of the block."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine(f"{store}; inc r8; inc r8", fidelity).attach()
        machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
        return machine.run(), machine[UC_X86_REG_R8]

    shows(scene, (UC_ERR_WRITE_UNMAPPED, 2), (UC_ERR_WRITE_UNMAPPED, 2))


def test_a_stop_in_a_port_hook() -> None:
    """At the block's end."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("out dx, eax; inc r8; inc r8", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_INSN, lambda uc, *_: uc.emu_stop(), None, 1, 0, UC_X86_INS_OUT)
        machine.run()
        return machine[UC_X86_REG_R8]

    shows(scene, 2, 2)


def test_long_blocks() -> None:
    """A hook on each instruction would take room, and cut it in two."""

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine(".rept 200; add [rbx], al; .endr", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append(size))
        machine.run()
        return told

    shows(scene, [400], [400])


def test_flags_that_a_block_hook_saves() -> None:
    """A context that a BLOCK hook saved has no flags for another run."""

    def scene(fidelity: str | None) -> Answer:
        saved: list[Any] = []
        machine = Machine("xor eax, eax; jmp 1f; 1: nop; nop", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, *_: saved.append(uc.context_save()))
        machine.run()
        machine.uc.context_restore(saved[1])
        machine.run(machine.end - 1)
        return machine[UC_X86_REG_EFLAGS] & ZF

    shows(scene, 0, 0)


def test_flags_at_a_store_into_its_own_block() -> None:
    """Those of the instruction before it, which is done when the store is undone."""

    def scene(fidelity: str | None) -> Answer:
        source = (
            "add rdi, -8; mov byte ptr [rip + 2], 0x5d; nop; nop; nop; mov eax, 0x783aa978; nop"
        )
        machine = Machine(source, fidelity)
        machine.uc.reg_write(UC_X86_REG_RDI, 0x16FFC)
        machine.attach().run()
        return hex(machine[UC_X86_REG_EFLAGS] & CF_SF_AF)

    shows(scene, "0x11", "0x11")


def test_flags_at_a_hooked_cpuid() -> None:
    def scene(fidelity: str | None) -> Answer:
        machine = Machine("add rax, rax; cpuid; nop", fidelity).attach()
        machine.uc.hook_add(UC_HOOK_INSN, lambda *_: 0, None, 1, 0, UC_X86_INS_CPUID)
        machine.run(until=CODE + 5)
        return machine[UC_X86_REG_EFLAGS] & (ZF | CF_SF_AF)

    shows(scene, ZF, ZF)


STORE = "mov dword ptr [rip + 1f], 0x90909090; mov [rbx], rax; .balign 4; {}1: .fill 4, 1, 0x90"


@pytest.mark.parametrize(
    "place", ["", pytest.param("nop; ", marks=without_hearing)], ids=["aligned", "misaligned"]
)
def test_blocks_behind_a_store_into_its_own_block(place: str) -> None:
    """Each once, also where Unicorn must be helped to hear the next stores."""

    def scene(fidelity: str | None) -> Answer:
        told: list[Any] = []
        machine = Machine(STORE.format(place) + "; jmp 2f; 2: nop", fidelity)
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append(at - CODE))
        machine.attach()
        machine.uc.hook_add(UC_HOOK_BLOCK, lambda uc, at, size, _: told.append((at - CODE, size)))
        machine.run()
        return told

    sizes = [(0, 22 + bool(place)), (0, 10), (10, 12 + bool(place)), (22 + bool(place), 1)]
    told = [one for begin, size in sizes for one in (begin, (begin, size))]
    shows(scene, told, told)


def test_a_jump_before_a_nested_run() -> None:
    """Unicorn forgets over the inner run where the hook has sent the outer one; a load that a hook
    mends later is not taken for the begin of that jump.
    """

    def scene(fidelity: str | None) -> Answer:
        told: list[int] = []
        machine = Machine(
            "inc r8; inc r8; mov rax, [rbx]; inc r8; mov [rbx], rax; inc r8", fidelity
        )
        machine.uc.mem_write(CODE + 0x1000, b"\x90")
        machine.attach()

        def hook(uc: Uc, at: int, _size: int, _data: Any) -> None:
            told.append(at - CODE)
            if at == CODE + 3:
                uc.reg_write(UC_X86_REG_RIP, CODE + 15)
                context = uc.context_save()
                uc.emu_start(CODE + 0x1000, CODE + 0x1001)
                uc.context_restore(context)

        def mend(uc: Uc, *_: Any) -> bool:
            uc.mem_map(OTHER, 0x1000)
            return True

        machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
        machine.uc.hook_add(UC_HOOK_CODE, hook)
        machine.uc.hook_add(UC_HOOK_MEM_READ_UNMAPPED, mend)
        machine.run()
        return told, machine[UC_X86_REG_R8], machine[UC_X86_REG_RIP] - CODE

    answer = [0, 3, 0x1000, 6, 9, 12, 15], 4, 18
    shows(scene, answer, answer)


def test_a_read_modify_write_of_two_pages() -> None:
    """The first may not be written, the second is absent: Unicorn reads both before it writes."""

    def scene(fidelity: str | None) -> Answer:
        machine = Machine("and [rbx], rax", fidelity)
        machine.uc.mem_protect(DATA, 0x1000, UC_PROT_READ)
        machine.uc.reg_write(UC_X86_REG_RBX, DATA + 0xFFC)
        return machine.attach().run()

    shows(scene, UC_ERR_READ_UNMAPPED, UC_ERR_READ_UNMAPPED)
