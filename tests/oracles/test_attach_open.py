# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an attached instance should do what plain Unicorn does, and does not yet.

The random scripts of tests/oracles/attach keep off these. Each is expected to fail: when it is
mended, the test says so, and the scripts may have it.
"""

from __future__ import annotations

from typing import Any

import pytest
from unicorn import (
    UC_HOOK_BLOCK,
    UC_HOOK_MEM_FETCH_PROT,
    UC_HOOK_MEM_WRITE,
    Uc,
)
from unicorn.x86_const import (
    UC_X86_REG_R8,
    UC_X86_REG_RBX,
)

import cpu
from tests.oracles.test_attach_differences import CODE, DATA, OTHER, Machine

open_defect = pytest.mark.xfail(strict=True, reason="differs from plain Unicorn")


@open_defect
@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_a_context_saved_while_attached(fidelity: str) -> None:
    """It has our CR0 and CR3, with which nothing runs after detach()."""
    machine = Machine("inc r8", None)
    with cpu.attach(machine.uc, identity=True, fidelity=fidelity):
        context = machine.uc.context_save()
    machine.uc.context_restore(context)
    machine.run()
    assert machine[UC_X86_REG_R8] == 1


@open_defect
@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_the_order_of_memory_hooks(fidelity: str) -> None:
    """One put on through attach()'s result, with a range, comes after those of the instance."""
    told: list[str] = []
    machine = Machine("mov [rbx], rax", fidelity).attach()
    machine.m.hook_add(UC_HOOK_MEM_WRITE, lambda *_: told.append("first"), None, DATA, DATA + 99)
    machine.uc.hook_add(UC_HOOK_MEM_WRITE, lambda *_: told.append("second"))
    machine.run()
    assert told == ["first", "second"]


@open_defect
@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_a_memory_hook_of_an_access_that_fails(fidelity: str) -> None:
    """Plain Unicorn calls it, then fails; one with a range, put on attach()'s result, is not."""
    told: list[int] = []
    machine = Machine("mov [rbx], rax", fidelity).attach()
    machine.uc.reg_write(UC_X86_REG_RBX, OTHER)
    machine.m.hook_add(
        UC_HOOK_MEM_WRITE, lambda uc, kind, at, *_: told.append(at), None, OTHER, OTHER + 99
    )
    machine.run()
    assert told == [OTHER]


class Raised(Exception):
    pass


@open_defect
@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_an_exception_of_a_nested_run(fidelity: str) -> None:
    """A memory hook's: plain Unicorn's outer run raises it again, though the hook caught it."""
    machine = Machine("nop; jmp 1f; 1: nop", fidelity).attach()
    machine.uc.mem_write(CODE + 0x1000, machine.code[:1] + b"\x48\x89\x03\x90")

    def nest(uc: Uc, at: int, _size: int, _data: Any) -> None:
        if at == CODE:
            context = uc.context_save()
            with pytest.raises(Raised):
                uc.emu_start(CODE + 0x1000, CODE + 0x1005)
            uc.context_restore(context)

    def fail(*_: Any) -> None:
        raise Raised

    machine.uc.hook_add(UC_HOOK_BLOCK, nest)
    machine.uc.hook_add(UC_HOOK_MEM_WRITE, fail)
    with pytest.raises(Raised):
        machine.run()


@open_defect
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_a_hook_lets_a_fetch_pass(fidelity: str) -> None:
    """It says True and mends nothing: plain Unicorn executes the block all the same."""
    machine = Machine("jmp rbx", fidelity)
    machine.uc.mem_write(DATA, b"\x49\xff\xc0\xf4")
    machine.attach()
    machine.uc.hook_add(UC_HOOK_MEM_FETCH_PROT, lambda *_: True)
    machine.run(until=0)
    assert machine[UC_X86_REG_R8] == 1
