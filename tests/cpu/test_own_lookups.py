# SPDX-License-Identifier: GPL-2.0-or-later
"""What a script does through Unicorn's own API looks pages up through the fill hook: that is not
the guest's, so nothing is counted, no A or D is set, nothing faults and no run ends.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_NONE,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
)
from unicorn.unicorn_py3 import unicorn as binding
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RIP

import cpu
from cpu._engine import lib
from cpu.attached import Attached
from cpu.linkage import private_parts
from mmu.errors import PageFault
from mmu.x86 import Access
from mmu.x86.entries import X86_A, X86_D
from tests.cpu.assemble import assemble

CODE = 0x1000000
DATA = 0x1101000
OTHER = 0x1103000
"""A page of data that the guest does not touch."""
OLD_CODE = 0x1105000
"""A page that the guest executed from in a run before."""
ABSENT = 0x7FFF00007000
UNUSABLE = 0x4000000
"""A region without rights: no page maps it."""
SOURCE = f"""
    nop; mov rax, [{DATA}]; add rax, 1; mov [{DATA}], rax; jmp next
    next: inc rbx; nop
"""
VMEM_ERROR = 13
"""UC_ERR_READ_PROT of uc_vmem_read()."""


def vmem(uc: Uc, va: int, perms: int = UC_PROT_READ) -> int:
    """uc_vmem_translate(), which the Python binding lacks; uc_err."""
    pa = ctypes.c_uint64()
    function = binding.uclib.uc_vmem_translate
    return int(function(uc._uch, ctypes.c_uint64(va), perms, ctypes.byref(pa)))


def forget(uc: Uc, va: int) -> None:
    """Have the code translated from va's first bytes dropped."""
    uc.ctl_remove_cache(va, va + 16)


def protect(uc: Uc) -> None:
    """Change a region that nothing can use, which looks RIP's page up."""
    uc.mem_protect(UNUSABLE, 0x1000, UC_PROT_WRITE)


LOOKUPS: dict[str, Callable[[Uc], object]] = {
    "remove_cache absent": lambda uc: forget(uc, ABSENT),
    "remove_cache data": lambda uc: forget(uc, OTHER),
    "remove_cache code": lambda uc: forget(uc, OLD_CODE),
    "remove_cache own": lambda uc: forget(uc, CODE),
    "mem_protect": protect,
    "vmem absent": lambda uc: vmem(uc, ABSENT),
    "vmem write absent": lambda uc: vmem(uc, ABSENT, UC_PROT_WRITE),
    "vmem data": lambda uc: vmem(uc, OTHER),
    "vmem write data": lambda uc: vmem(uc, OTHER, UC_PROT_WRITE),
}
HOOKS = {
    "standing": 0,
    "code": UC_HOOK_CODE,
    "block": UC_HOOK_BLOCK,
    "read": UC_HOOK_MEM_READ,
    "write": UC_HOOK_MEM_WRITE,
}
CRASHES = {("mem_protect", "write")}
"""Not tried: a mapping changed in a memory-write hook crashes plain Unicorn.

"""
WAYS = [(name, where) for name in LOOKUPS for where in HOOKS if (name, where) not in CRASHES]


def attached(fidelity: str) -> Attached:
    """An instance of 2 MiB, attached to, whose page OLD_CODE has been executed from."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 2 << 20)
    uc.mem_map(UNUSABLE, 0x2000, UC_PROT_NONE)
    uc.mem_write(CODE, assemble(SOURCE))
    uc.mem_write(DATA, b"\x05")
    uc.mem_write(OLD_CODE, b"\x90\x90")
    instance = cpu.attach(uc, identity=True, fidelity=fidelity)
    instance.emu_start(OLD_CODE, OLD_CODE + 1)
    return instance


def aged(instance: Attached, va: int) -> int:
    """A and D of the entry that maps va."""
    walk = instance.walk(va)
    return walk.entry[walk.level] & (X86_A | X86_D)


def run(instance: Attached) -> tuple[int, int, int | None, dict[str, int], list[int]]:
    """Run the program; what it computed, how many instructions, every counter, A and D of pages."""
    uc = instance.uc
    uc.reg_write(UC_X86_REG_RBX, 0)
    instance.emu_start(CODE, CODE + len(assemble(SOURCE)))
    return (
        uc.reg_read(UC_X86_REG_RAX),
        uc.reg_read(UC_X86_REG_RBX),
        instance.instructions,
        instance.counters(),
        [aged(instance, va) for va in (CODE, DATA, OTHER, OLD_CODE)],
    )


def needs_private_parts(name: str, where: str) -> bool:
    """Whether the public API alone cannot tell this look-up from the guest's."""
    return name.startswith("vmem") or where == "standing" or name == "remove_cache own"


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize(("name", "where"), WAYS)
def test_a_run_is_the_same_with_a_look_up_of_its_hosts(
    name: str, where: str, fidelity: str
) -> None:
    if needs_private_parts(name, where) and not private_parts() & lib.PRIVATE_ASKER:
        pytest.skip("Unicorn's private parts are off")
    expected = run(attached(fidelity))
    instance = attached(fidelity)
    looked: list[object] = []

    def look(*_: object) -> None:
        if not looked:
            looked.append(LOOKUPS[name](instance.uc))

    if HOOKS[where]:
        instance.hook_add(HOOKS[where], look)
    else:
        instance.uc.reg_write(UC_X86_REG_RIP, CODE)
        look()
    assert run(instance) == expected
    assert len(looked) == 1
    if name == "vmem absent":
        assert looked == [VMEM_ERROR]
    if name.endswith("data") and name.startswith("vmem"):
        assert looked == [0]


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_a_look_up_of_rips_own_absent_page_is_no_fault(fidelity: str) -> None:
    """mem_protect() looks RIP's page up, wherever that is; the guest's own fetch is a fault."""
    if not private_parts() & lib.PRIVATE_ASKER:
        pytest.skip("Unicorn's private parts are off")
    instance = attached(fidelity)
    before = instance.counters()
    instance.uc.reg_write(UC_X86_REG_RIP, ABSENT)
    protect(instance.uc)
    forget(instance.uc, ABSENT)
    assert instance.counters() == before
    assert instance.mmu.c.cr2 == 0
    with pytest.raises(PageFault) as fault:
        instance.emu_start(ABSENT, ABSENT + 1)
    assert fault.value.address == fault.value.rip == ABSENT


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_code_that_a_host_drops_is_translated_anew(fidelity: str) -> None:
    """The host writes behind Unicorn's back and says so: the look-up finds the page's frame."""
    instance = attached(fidelity)
    expected = run(instance)[0] + 1
    host = instance.uc.mem_read(CODE, 0x100)
    at = host.index(assemble("inc rbx"))
    instance.uc.mem_write(CODE + at, assemble("dec rbx"))
    instance.uc.ctl_remove_cache(CODE, CODE + 0x100)
    rax, rbx, *_ = run(instance)
    assert (rax, rbx) == (expected, (1 << 64) - 1)


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_the_instances_own_emu_start_is_the_guest(fidelity: str) -> None:
    """A run that does not go through us faults and sets A and D as one that does."""
    instance = attached(fidelity)
    instance.uc.emu_start(CODE, CODE + len(assemble(SOURCE)) - 1)
    assert instance.uc.reg_read(UC_X86_REG_RBX) == 1
    assert aged(instance, DATA) == X86_A | X86_D
    assert instance.translate(DATA, Access.WRITE).ok
