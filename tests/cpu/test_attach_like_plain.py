# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what page tables cannot say, an attached instance leaves to Unicorn."""

from __future__ import annotations

from typing import Any

import pytest
from unicorn import (
    UC_ARCH_X86,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_MAP,
    UC_ERR_OK,
    UC_ERR_READ_PROT,
    UC_ERR_READ_UNMAPPED,
    UC_HOOK_MEM_FETCH_UNMAPPED,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_MODE_64,
    UC_PROT_EXEC,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.x86_const import UC_X86_REG_RBX

import cpu
from mmu.errors import GeneralProtection
from tests.cpu.assemble import assemble

CODE, DATA = 0x400000, 0x10000
NOT_CANONICAL = 0x8D14500400017
WAYS = (None, "fast", "exact", "trace")


def make(source: str, perms: int, rbx: int, fidelity: str | None) -> tuple[Uc, Any]:
    """An instance, perhaps attached, and its run."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x1000)
    uc.mem_write(CODE, assemble(source))
    uc.mem_map(DATA, 0x1000, perms)
    uc.reg_write(UC_X86_REG_RBX, rbx)
    if fidelity is not None:
        cpu.attach(uc, identity=True, fidelity=fidelity)

    def run() -> int:
        try:
            uc.emu_start(CODE, 0)
        except UcError as error:
            assert fidelity is None or rbx != NOT_CANONICAL or isinstance(error, GeneralProtection)
            return int(error.errno)
        return int(UC_ERR_OK)

    return uc, run


@pytest.mark.parametrize("fidelity", WAYS)
@pytest.mark.parametrize("perms", [UC_PROT_WRITE, UC_PROT_WRITE | UC_PROT_EXEC])
def test_a_store_where_nothing_may_be_read(perms: int, fidelity: str | None) -> None:
    uc, run = make("mov byte ptr [rbx], 7; hlt", perms, DATA, fidelity)
    assert run() == UC_ERR_OK
    assert uc.mem_read(DATA, 1) == b"\x07"


@pytest.mark.parametrize("fidelity", WAYS)
def test_a_read_where_only_writing_is_allowed(fidelity: str | None) -> None:
    _, run = make("mov al, [rbx]; hlt", UC_PROT_WRITE, DATA, fidelity)
    assert run() == UC_ERR_READ_PROT


@pytest.mark.parametrize("fidelity", WAYS)
@pytest.mark.parametrize(
    ("source", "hook", "error"),
    [
        ("jmp rbx", UC_HOOK_MEM_FETCH_UNMAPPED, UC_ERR_FETCH_UNMAPPED),
        ("mov al, [rbx]", UC_HOOK_MEM_READ_UNMAPPED, UC_ERR_READ_UNMAPPED),
    ],
)
def test_hooks_are_told_of_addresses_that_are_not_canonical(
    source: str, hook: int, error: int, fidelity: str | None
) -> None:
    """What the hook answers decides the error: UC_ERR_MAP where it promised and mapped nothing."""
    told: list[int] = []
    for answer in (False, True):
        uc, run = make(source, UC_PROT_WRITE, NOT_CANONICAL, fidelity)
        uc.hook_add(hook, lambda uc, kind, at, *_, answer=answer: (told.append(at), answer)[1])
        assert run() == (UC_ERR_MAP if answer else error)
    assert told == [NOT_CANONICAL] * 2
