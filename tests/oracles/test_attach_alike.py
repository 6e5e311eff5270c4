# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: where Unicorn stops, cuts blocks and knows flags is the same plain, and attached in each
fidelity.

Right or wrong: a fidelity looks at blocks, loads and stores, and never puts anything between two
instructions, which would move each of these.
"""

from __future__ import annotations

from typing import Any

import pytest
from unicorn import UC_ERR_WRITE_UNMAPPED, UC_HOOK_BLOCK, UC_HOOK_INSN
from unicorn.x86_const import (
    UC_X86_INS_CPUID,
    UC_X86_INS_OUT,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_R8,
    UC_X86_REG_RBX,
    UC_X86_REG_RDI,
)

from cpu._engine import lib
from cpu.linkage import private_parts
from tests.oracles.test_attach_differences import (
    CF_SF_AF,
    CODE,
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
