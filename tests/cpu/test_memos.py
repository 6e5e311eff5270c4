# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: where exact answers an access from memory, the model would have said and done just that.

The Python engine asks the model each time: counters, entries and their recency must come out the
same.
"""

from __future__ import annotations

from typing import Any

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RSP

import cpu
from tests.cpu.assemble import assemble
from tests.cpu.test_exact import MODELLED
from tests.cpu.world import DATA, TEXT, world

STACK = 0x7F0000
Model = tuple[dict[str, int], list[Any], list[Any], int]

TWICE_ROUND = """
    mov edx, 6
1:  mov edi, 0x600000
    mov ecx, 12
2:  mov al, [rdi]
    mov al, [rdi + 8]
    mov al, [rdi + 16]
    mov [rdi + 24], al
    mov [rdi + 32], al
    mov [rdi + 40], al
    add edi, 0x1000
    dec ecx
    jnz 2b
    dec edx
    jnz 1b
    syscall
"""
FETCHED_ROUND = f"""
    mov edx, 4
1:  {"call 2f; call 2f; .skip 81, 0x90; jmp 3f; .skip 4000; 3: " * 12}
    dec edx
    jnz 1b
    syscall
2:  ret
"""


def model(mmu: Any) -> Model:
    return mmu.counters(), mmu.entries(), mmu.paging_structure_caches(), mmu.c.tlb.clock


@pytest.mark.parametrize("source", [TWICE_ROUND, FETCHED_ROUND], ids=["data", "code"])
def test_evicted_entries(source: str) -> None:
    """More pages than the first level has room for, each used again and again before the next."""
    seen = []
    for how in MODELLED:
        with world(source, how) as w:
            w.run()
            w.check()
            seen.append(model(w.mmu))
    assert all(s == seen[0] for s in seen)
    assert seen[0][0]["tlb_evictions"] > 50


def run_attached(source: str, engine: str, fidelity: str) -> tuple[Model, int]:
    """The model after a program at CPL 0, and how often it was told that tables changed."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    for base in (TEXT, DATA, STACK):
        uc.mem_map(base, 0x8000)
    code = assemble(source)
    uc.mem_write(TEXT, code)
    uc.reg_write(UC_X86_REG_RSP, STACK + 0x4000)
    with cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine, geometry="tiny") as mmu:
        mmu.map(0x900000, 0x1000, pa=mmu.walk(DATA).entry_pa[1] & ~0xFFF)
        mmu.emu_start(TEXT, TEXT + len(code))
        assert mmu.shared.broken == 0
        return model(mmu.mmu), mmu.mmu.c.table_gen


LOADS = "mov [rbx], al; mov al, [rbx]; mov al, [rbx + 8]; mov al, [rbx + 16]"
CHANGES = {
    "invlpg": f"mov ebx, 0x601000; {LOADS}; invlpg [rbx]; mov al, [rbx + 8]; {LOADS}",
    "mov_cr3": f"mov ebx, 0x601000; {LOADS}; mov rax, cr3; mov cr3, rax; {LOADS}",
    "write_protect": f"mov ebx, 0x601000; {LOADS}; mov rax, cr0; btr rax, 16; mov cr0, rax;"
    f" {LOADS}",
    "dirty": f"mov ebx, 0x601000; {LOADS}; mov [rbx], al; mov [rbx + 8], al; {LOADS};"
    " inc byte ptr [rbx]",
    "new_code": f"jmp 1f; .skip 4096, 0x90; 1: mov ebx, 0x601000; {LOADS}; lea rcx, [rip];"
    f" invlpg [rcx]; {LOADS}",
}


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_guest_of_its_own_changes(name: str, fidelity: str) -> None:
    seen = [run_attached(CHANGES[name], engine, fidelity)[0] for engine in ("c", "python")]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_every_store_to_a_table_is_noticed(fidelity: str) -> None:
    """One that a walk has read from, that is."""
    first = "mov ebx, 0x900000; mov al, [0x600000]"
    store = "mov [rbx + 0xff8], rcx"
    source = f"{first}; mov ecx, 20; 1: {store}; {store}; {store}; dec ecx; jnz 1b; {store}"
    seen = [run_attached(source, engine, fidelity) for engine in ("c", "python")]
    assert seen[0] == seen[1]
    before = run_attached(first, "c", fidelity)[1]
    assert seen[0][1] - before == 61
