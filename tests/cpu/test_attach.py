# SPDX-License-Identifier: GPL-2.0-or-later
"""cpu.attach(): the MMU for a script's own instance, and the instance given back as it was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from unicorn import (
    UC_ARCH_ARM64,
    UC_ARCH_X86,
    UC_ERR_INSN_INVALID,
    UC_HOOK_CODE,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MEM_READ,
    UC_MEM_WRITE,
    UC_MODE_32,
    UC_MODE_64,
    UC_MODE_ARM,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.x86_const import (
    UC_CPU_X86_BROADWELL,
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

import cpu
from cpu.attached import Attached, Fault
from cpu.vcpu import Fidelity
from mmu.errors import BadTable, GeneralProtection, MmuError, PageFault
from mmu.x86 import Access
from mmu.x86.faults import PF_P, PF_WR
from mmu.x86.registers import CR4_PCIDE, CR4_SMAP
from tests.cpu.assemble import assemble

CODE = 0x1000000
DATA = 0x1100000
VIRTUAL = 0x7FFF00000000
FIDELITIES = ["fast", "exact", "trace"]
WAYS = [(fidelity, engine) for fidelity in FIDELITIES for engine in ("c", "python")]


@pytest.fixture
def uc() -> Iterator[Uc]:
    """An instance with 2 MiB of memory, as the samples of Unicorn map it."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 2 << 20)
    uc.reg_write(UC_X86_REG_RSP, DATA + 0xF000)
    yield uc


def load(uc: Uc, source: str, at: int = CODE) -> tuple[int, int]:
    """Put the program there, where none has run before; where it begins and ends."""
    code = assemble(source)
    uc.mem_write(at, code)
    return at, at + len(code)


# A script for plain Unicorn, unchanged but for where "uc" is run: Unicorn's own x86-64 sample.

SAMPLE = assemble(
    """
    push rbx; mov rax, 0x1122334455667788; xchg [rsp], rax; inc rcx; dec rdx
    mov [rip + 0x1000], rcx; mov r8, [rip + 0x1000]; pop r9; lea r10, [rcx + rdx]
    """
)


def sample(uc: Uc, target: Any) -> tuple[list[tuple[int, int, int]], list[int]]:
    """What the sample's memory hook saw, and its registers at the end."""
    seen = []

    def hook_mem(
        uc: Uc, access: int, address: int, size: int, value: int, user_data: object
    ) -> None:
        seen.append((access, address, size))

    uc.mem_write(CODE, SAMPLE)
    uc.reg_write(UC_X86_REG_RSP, DATA + 0xF000)
    uc.reg_write(UC_X86_REG_RCX, 0x7777)
    target.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, hook_mem)
    target.emu_start(CODE, CODE + len(SAMPLE))
    return seen, [
        uc.reg_read(reg) for reg in (UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RSP, UC_X86_REG_RIP)
    ]


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_a_script_for_plain_unicorn(uc: Uc, fidelity: str, engine: str) -> None:
    plain = Uc(UC_ARCH_X86, UC_MODE_64)
    plain.mem_map(CODE, 2 << 20)
    expected = sample(plain, plain)

    mmu = cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine)
    assert sample(uc, mmu) == expected
    assert mmu.instructions == 9
    assert mmu.shared.broken == 0
    if fidelity != "fast":
        loads = sum(access == UC_MEM_READ for access, _, _ in expected[0])
        assert mmu.counters()["dTLB-loads"] == loads
        assert mmu.counters()["dTLB-stores"] == len(expected[0]) - loads


def test_three_lines(uc: Uc) -> None:
    """Map, run, read counters."""
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; inc qword ptr [rax]; mov rbx, [rax]")
    mmu = cpu.attach(uc, identity=True, fidelity="exact")
    mmu.map(VIRTUAL, 0x1000)
    mmu.emu_start(begin, until)
    assert uc.reg_read(UC_X86_REG_RBX) == 1
    assert mmu.counters()["dtlb_load_misses.miss_causes_a_walk"] == 1
    assert mmu.counters()["dTLB-loads"] == 2


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_one_memory_at_two_addresses(uc: Uc, fidelity: str) -> None:
    """Hooks are told the address the guest used."""
    begin, until = load(
        uc,
        f"mov rax, {VIRTUAL:#x}; mov byte ptr [rax + 5], 7; mov bl, [{DATA + 5:#x}]; "
        "mov cl, [rax + 5]",
    )
    seen: list[int] = []
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        mmu.map(VIRTUAL, 0x1000, pa=DATA)
        mmu.hook_add(
            UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE,
            lambda _uc, _access, address, *_: seen.append(address),
        )
        mmu.emu_start(begin, until)
        assert seen == [VIRTUAL + 5, DATA + 5, VIRTUAL + 5]
        assert uc.reg_read(UC_X86_REG_RBX) & 0xFF == uc.reg_read(UC_X86_REG_RCX) & 0xFF == 7
        assert mmu.shared.broken == 0
    assert uc.mem_read(DATA + 5, 1) == b"\x07"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_hooks_range_is_virtual(uc: Uc, fidelity: str) -> None:
    begin, until = load(
        uc, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]; mov bl, [rax + 0x1000]; mov bl, [rax + 0x2000]"
    )
    mmu = cpu.attach(uc, identity=True, fidelity=fidelity)
    mmu.map(VIRTUAL, 0x3000)
    seen: list[int] = []
    handle = mmu.hook_add(
        UC_HOOK_MEM_READ,
        lambda _uc, _access, address, *_: seen.append(address),
        None,
        VIRTUAL + 0x1000,
        VIRTUAL + 0x1FFF,
    )
    mmu.emu_start(begin, until)
    assert seen == [VIRTUAL + 0x1000]
    mmu.hook_del(handle)
    mmu.emu_start(begin, until)
    assert seen == [VIRTUAL + 0x1000]


# Faults.


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_a_fault_is_an_exception(uc: Uc, fidelity: str, engine: str) -> None:
    begin, until = load(uc, f"nop; mov rax, {VIRTUAL + 0x123:#x}; mov [rax], bl; nop")
    mmu = cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine)
    with pytest.raises(PageFault) as caught:
        mmu.emu_start(begin, until)
    fault = caught.value
    assert (fault.address, fault.error_code, fault.rip) == (VIRTUAL + 0x123, 2, CODE + 11)
    assert mmu.instructions == 2
    assert mmu.mmu.c.cr2 == VIRTUAL + 0x123
    assert uc.reg_read(UC_X86_REG_RIP) == CODE + 11


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_a_handler_that_fixes_faults(uc: Uc, fidelity: str, engine: str) -> None:
    begin, until = load(
        uc,
        f"mov rax, {VIRTUAL + 0xFFC:#x}; mov ecx, 3; 1: add [rax], rcx; "
        "dec ecx; jnz 1b; mov rbx, [rax]",
    )
    faults: list[tuple[int, int]] = []

    def handler(fault: PageFault | GeneralProtection) -> bool:
        faults.append((fault.address, fault.error_code if isinstance(fault, PageFault) else -1))
        mmu.map(fault.address & ~0xFFF, 0x1000)
        return True

    mmu = cpu.attach(uc, identity=True, fidelity=fidelity, engine=engine, handler=handler)
    mmu.emu_start(begin, until)
    assert faults == [(VIRTUAL + 0xFFC, PF_WR), (VIRTUAL + 0x1000, PF_WR)]
    assert uc.reg_read(UC_X86_REG_RBX) == 6
    assert mmu.instructions == 2 + 9 + 1


def test_a_handler_that_gives_up(uc: Uc) -> None:
    begin, until = load(uc, "mov al, [0x10]")
    mmu = cpu.attach(uc, identity=True, handler=lambda fault: False)
    with pytest.raises(PageFault, match="0x10 at RIP 0x1000000"):
        mmu.emu_start(begin, until)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_rights(uc: Uc, fidelity: str) -> None:
    """Read-only and no-execute hold at CPL 0 too (CR0.WP, EFER.NXE); protect() takes effect at
    once.
    """
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov byte ptr [rax], 0xc3; call rax")
    mmu = cpu.attach(uc, identity=True, fidelity=fidelity)
    mmu.map(VIRTUAL, 0x1000, UC_PROT_READ)
    with pytest.raises(PageFault) as caught:
        mmu.emu_start(begin, until)
    assert caught.value.error_code == 1 | 2
    mmu.protect(VIRTUAL, 0x1000, UC_PROT_READ | UC_PROT_WRITE)
    with pytest.raises(PageFault) as caught:
        mmu.emu_start(begin, until)
    assert (caught.value.address, caught.value.error_code) == (VIRTUAL, 1 | 16)
    mmu.protect(VIRTUAL, 0x1000, UC_PROT_READ | UC_PROT_EXEC | UC_PROT_WRITE)
    mmu.emu_start(begin, until)
    mmu.unmap(VIRTUAL, 0x1000)
    with pytest.raises(PageFault) as caught:
        mmu.emu_start(begin, until)
    assert caught.value.error_code == 2


def test_an_address_that_is_not_canonical(uc: Uc) -> None:
    begin, until = load(uc, "mov rax, 0x800000000000; mov bl, [rax]")
    mmu = cpu.attach(uc, identity=True)
    with pytest.raises(GeneralProtection) as caught:
        mmu.emu_start(begin, until)
    assert caught.value.address == 0x800000000000


def test_what_unicorn_reports_itself(uc: Uc) -> None:
    begin, until = load(uc, "nop; ud2")
    mmu = cpu.attach(uc, identity=True)
    with pytest.raises(UcError) as caught:
        mmu.emu_start(begin, until)
    assert caught.value.errno == UC_ERR_INSN_INVALID
    assert mmu.instructions == 1


def test_interrupt_hooks_of_the_script(uc: Uc) -> None:
    """INT 0x80 goes to the script's own hook, as without us."""
    seen: list[int] = []
    uc.hook_add(UC_HOOK_INTR, lambda uc, number, _: seen.append(number))
    begin, until = load(uc, "int 0x80; inc rax; int 0x81")
    mmu = cpu.attach(uc, identity=True)
    mmu.emu_start(begin, until)
    assert seen == [0x80, 0x81]
    assert mmu.instructions == 3


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_flags_survive_a_fault_under_a_code_hook(uc: Uc, fidelity: str) -> None:
    """Unicorn alone forgets how to compute them."""
    begin, until = load(
        uc,
        f"mov rbx, {VIRTUAL:#x}; mov ecx, 0x400000; add [{DATA:#x}], rcx; mov [rbx], rcx; "
        "pushfq; pop rax",
    )

    def handler(fault: PageFault | GeneralProtection) -> bool:
        mmu.map(VIRTUAL, 0x1000)
        return True

    mmu = cpu.attach(uc, identity=True, fidelity=fidelity, handler=handler)
    ips: list[int] = []
    mmu.hook_add(UC_HOOK_CODE, lambda _uc, ip, _size, _data: ips.append(ip))
    mmu.emu_start(begin, until)
    assert uc.reg_read(UC_X86_REG_RAX) & 0x8D5 == 0x004
    assert len(set(ips)) == mmu.instructions == 6


# Runs that end early.


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_count(uc: Uc, fidelity: str, count: int) -> None:
    begin, until = load(uc, "1: inc rax; inc rbx; inc rcx; jmp 1b")
    mmu = cpu.attach(uc, identity=True, fidelity=fidelity)
    mmu.emu_start(begin, until, count=count)
    assert mmu.instructions == count
    assert uc.reg_read(UC_X86_REG_RIP) == CODE + 3 * (count % 4)


def test_emu_stop_in_a_hook(uc: Uc) -> None:
    begin, until = load(uc, "nop; nop; nop; nop")
    mmu = cpu.attach(uc, identity=True)
    mmu.hook_add(
        UC_HOOK_CODE, lambda uc, ip, _size, _data: uc.emu_stop() if ip == CODE + 2 else None
    )
    mmu.emu_start(begin, until)
    assert uc.reg_read(UC_X86_REG_RIP) == CODE + 2


def test_an_end_that_is_not_mapped(uc: Uc) -> None:
    """It is never reached, and nobody takes looking it up for a fault."""
    begin, _ = load(uc, "nop; nop; hlt")
    mmu = cpu.attach(uc, identity=True)
    mmu.emu_start(begin, 0xDEAD0000)
    assert mmu.counters()["page_faults_hw"] == 0


# A guest that owns its tables.


@pytest.mark.parametrize("engine", ["c", "python"])
def test_exact_means_it(uc: Uc, engine: str) -> None:
    """The guest rewrites its own PTE without INVLPG and reads the old page, as the model's entry
    says; then INVLPG.
    """
    with cpu.attach(uc, identity=True, fidelity="exact", engine=engine) as mmu:
        mmu.map(VIRTUAL, 0x2000)
        mmu.write(VIRTUAL, b"A")
        mmu.write(VIRTUAL + 0x1000, b"B")
        old, new = mmu.walk(VIRTUAL), mmu.walk(VIRTUAL + 0x1000)
        tables = 0x200000000
        mmu.map(tables, 0x1000, pa=old.entry_pa[1] & ~0xFFF)
        pte = tables | (old.entry_pa[1] & 0xFFF)
        begin, until = load(
            uc,
            f"""
            mov rdi, {VIRTUAL:#x}
            mov rsi, {pte:#x}
            mov rdx, {new.entry[1]:#x}
            mov al, [rdi]
            mov [rsi], rdx
            mov bl, [rdi]
            jmp 1f
        1:  mov cl, [rdi]
            """,
        )
        mmu.emu_start(begin, until)
        assert [
            chr(uc.reg_read(reg) & 0xFF) for reg in (UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX)
        ] == list("AAA")
        entry = mmu.resident(VIRTUAL)
        assert entry is not None
        assert entry.pa == old.pa != mmu.walk(VIRTUAL).pa == new.pa

        begin, until = load(uc, f"mov rdi, {VIRTUAL:#x}; invlpg [rdi]; mov al, [rdi]", CODE + 0x100)
        mmu.emu_start(begin, until)
        assert chr(uc.reg_read(UC_X86_REG_RAX) & 0xFF) == "B"
        entry = mmu.resident(VIRTUAL)
        assert entry is not None and entry.pa == new.pa
        assert mmu.shared.broken == 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    "flush",
    [
        "invlpg [rdi]",
        "invlpg [rdi + rcx*8 - 16]",
        "mov r8, rdi; invlpg [r8]",
        "mov rax, cr3; mov cr3, rax",
        "mov rax, cr4; xor rax, 0x80; mov cr4, rax",
    ],
)
def test_the_guests_own_flushes(uc: Uc, fidelity: str, flush: str) -> None:
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        mmu.map(VIRTUAL, 0x2000)
        mmu.write(VIRTUAL, b"A")
        mmu.write(VIRTUAL + 0x1000, b"B")
        old, new = mmu.walk(VIRTUAL), mmu.walk(VIRTUAL + 0x1000)
        mmu.map(0x200000000, 0x1000, pa=old.entry_pa[1] & ~0xFFF)
        pte = 0x200000000 | (old.entry_pa[1] & 0xFFF)
        begin, until = load(
            uc,
            f"""
            mov rdi, {VIRTUAL:#x}; mov rsi, {pte:#x}; mov rdx, {new.entry[1]:#x}; mov ecx, 2
            mov bl, [rdi]; mov [rsi], rdx; {flush}; mov bh, [rdi]
            """,
        )
        mmu.emu_start(begin, until)
        assert uc.reg_read(UC_X86_REG_RBX) & 0xFFFF == ord("B") << 8 | ord("A")
        assert mmu.shared.broken == 0
        resident = mmu.resident(VIRTUAL)
        assert (resident is not None and resident.pa == new.pa) or fidelity == "fast"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_another_address_space(uc: Uc, fidelity: str) -> None:
    """MOV to CR3 of tables that the script built; CR3 reads back what is in force."""
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        mmu.map(VIRTUAL, 0x1000)
        mmu.write(VIRTUAL, b"A")
        first = uc.reg_read(UC_X86_REG_CR3)
        assert first == mmu.tables.root == mmu.mmu.c.cr3
        second = mmu.memory.alloc_pages() << 12
        mmu.memory.write(second, mmu.memory.read(first, 4096))
        mmu.memory.write_u64(second + (VIRTUAL >> 39 & 511) * 8, 0)
        begin, until = load(
            uc,
            f"mov rdi, {VIRTUAL:#x}; mov al, [rdi]; mov rdx, {second:#x}; "
            "mov cr3, rdx; mov al, [rdi]",
        )
        with pytest.raises(PageFault) as caught:
            mmu.emu_start(begin, until)
        assert (caught.value.address, caught.value.rip) == (VIRTUAL, until - 2)
        assert mmu.mmu.c.cr3 == second


def test_a_table_outside_all_memory(uc: Uc) -> None:
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]")
    with cpu.attach(uc, identity=True) as mmu:
        mmu.memory.write_u64(mmu.tables.root + (VIRTUAL >> 39 & 511) * 8, 0x900000000 | 0x7)
        with pytest.raises(BadTable, match="outside guest memory"):
            mmu.emu_start(begin, until)


def test_a_page_outside_all_memory(uc: Uc) -> None:
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]")
    with cpu.attach(uc, identity=True) as mmu:
        mmu.map(VIRTUAL, 0x1000, pa=0x900000000)
        with pytest.raises(BadTable, match="outside guest memory"):
            mmu.emu_start(begin, until)


def test_memory_mapped_later(uc: Uc) -> None:
    """A region that the script maps while attached is guest-physical memory too."""
    begin, until = load(uc, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]")
    with cpu.attach(uc, identity=True) as mmu:
        uc.mem_map(0x3000000, 0x1000)
        uc.mem_write(0x3000000, b"\x42")
        mmu.map(VIRTUAL, 0x1000, pa=0x3000000)
        mmu.emu_start(begin, until)
        assert uc.reg_read(UC_X86_REG_RBX) & 0xFF == 0x42


# Where things lie, and giving back.


def test_our_ram_lies_at_the_top_of_physical_memory(uc: Uc) -> None:
    """Where a script will hardly want a region; skylake has 39 bits."""
    memory = cpu.attach(uc).memory
    assert memory.base + memory.size <= 1 << 39 < memory.base + memory.size + (1 << 30)


def test_our_ram_lies_where_it_is_told(uc: Uc) -> None:
    assert cpu.attach(uc, base=0x40000000000, ram=1 << 20).memory.base == 0x40000000000


@pytest.mark.parametrize("base", [CODE, CODE + (1 << 20), CODE - 0x1000])
def test_a_base_that_is_in_use(uc: Uc, base: int) -> None:
    with pytest.raises(MmuError, match="the instance has a region"):
        cpu.attach(uc, base=base)


@pytest.mark.parametrize(
    ("arch", "mode"), [(UC_ARCH_X86, UC_MODE_32), (UC_ARCH_ARM64, UC_MODE_ARM)]
)
def test_only_x86_64(arch: int, mode: int) -> None:
    with pytest.raises(MmuError, match="x86-64"):
        cpu.attach(Uc(arch, mode))


def test_nothing_is_mapped_unless_asked(uc: Uc) -> None:
    begin, until = load(uc, "nop")
    mmu = cpu.attach(uc)
    with pytest.raises(PageFault) as caught:
        mmu.emu_start(begin, until)
    assert (caught.value.address, caught.value.error_code) == (CODE, 16)
    mmu.map(CODE, 0x1000, UC_PROT_READ | UC_PROT_EXEC, pa=CODE)
    mmu.emu_start(begin, until)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_detach(uc: Uc, fidelity: str) -> None:
    """Hooks, RAM, registers and TLB mode: the instance is as it was, and code runs at its own
    addresses.
    """
    regions = list(uc.mem_regions())
    registers = [uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)]
    begin, until = load(uc, f"mov qword ptr [{DATA:#x}], 5; mov rax, [{DATA:#x}]")
    mmu = cpu.attach(uc, fidelity=fidelity)
    mmu.map(begin, 0x1000, pa=begin)
    mmu.map(DATA, 0x1000)
    seen: list[int] = []
    mmu.hook_add(UC_HOOK_MEM_WRITE, lambda _uc, _access, address, *_: seen.append(address))
    mmu.emu_start(begin, until)
    assert uc.mem_read(DATA, 1) == b"\0"
    mmu.detach()
    mmu.detach()
    assert list(uc.mem_regions()) == regions
    assert [
        uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)
    ] == registers
    uc.emu_start(begin, until)
    assert uc.mem_read(DATA, 1) == b"\x05"
    assert seen == [DATA]
    with cpu.attach(uc, identity=True) as again:
        again.emu_start(begin, until)


def test_change_of_fidelity(uc: Uc) -> None:
    """The count goes on, hooks stay, and the model counts from where it is switched on."""
    begin, until = load(uc, f"mov rax, [{DATA:#x}]; mov rax, [{DATA + 8:#x}]")
    mmu = cpu.attach(uc, identity=True)
    seen: list[int] = []
    mmu.hook_add(UC_HOOK_MEM_READ, lambda _uc, _access, address, *_: seen.append(address))
    for i, fidelity in enumerate(("fast", "exact", "trace", Fidelity.FAST), 1):
        mmu.set_fidelity(fidelity)
        mmu.emu_start(begin, until)
        assert mmu.instructions == 2 * i
        assert seen == [DATA, DATA + 8] * i
    assert mmu.counters()["dTLB-loads"] == 4


# Page tables.


def test_large_pages_and_their_splitting(uc: Uc) -> None:
    """Identity of an aligned 2 MiB is one PDE; protecting a part splits it."""
    uc.mem_map(0x4000000, 4 << 20)
    with cpu.attach(uc, identity=True, fidelity="exact") as mmu:
        assert mmu.walk(0x4000000).level == 2
        mmu.protect(0x4001000, 0x1000, UC_PROT_READ)
        assert mmu.walk(0x4000000).level == mmu.walk(0x4001000).level == 1
        assert mmu.walk(0x4200000).level == 2
        assert not mmu.translate(0x4001000, Access.WRITE).ok
        assert mmu.translate(0x4002000, Access.WRITE).pa == 0x4002000
        begin, until = load(
            uc,
            "mov byte ptr [0x4000000], 1; mov byte ptr [0x4200008], 2; mov byte ptr [0x4001000], 3",
        )
        with pytest.raises(PageFault) as caught:
            mmu.emu_start(begin, until)
        assert caught.value.address == 0x4001000
        assert mmu.shared.broken == 0


def test_bad_ranges(uc: Uc) -> None:
    mmu = cpu.attach(uc)
    mmu.map(VIRTUAL, 0x2000)
    for va, size in (
        (VIRTUAL + 1, 0x1000),
        (VIRTUAL, 0x800),
        (VIRTUAL, 0),
        (0x800000000000, 0x1000),
        (0x7FFFFFFFF000, 0x2000),
    ):
        with pytest.raises(MmuError):
            mmu.map(va, size)
    with pytest.raises(MmuError, match="mapped already"):
        mmu.map(VIRTUAL + 0x1000, 0x1000)
    with pytest.raises(MmuError, match="not mapped"):
        mmu.protect(VIRTUAL, 0x3000, UC_PROT_ALL)
    with pytest.raises(MmuError, match="no such page"):
        mmu.map(VIRTUAL + 0x10000, 0x1000, UC_PROT_EXEC)
    mmu.unmap(VIRTUAL - 0x1000, 0x4000)
    mmu.map(VIRTUAL, 0x2000)


def test_read_and_write_by_virtual_address(uc: Uc) -> None:
    mmu = cpu.attach(uc, identity=True)
    mmu.map(VIRTUAL, 0x2000)
    mmu.write(VIRTUAL + 0xFFE, b"abcd")
    assert mmu.read(VIRTUAL + 0xFFE, 4) == b"abcd"
    with pytest.raises(PageFault):
        mmu.read(VIRTUAL + 0x1FFF, 2)


def test_code_written_by_the_script(uc: Uc) -> None:
    """write() drops what was translated from there."""
    mmu = cpu.attach(uc, identity=True)
    mmu.map(VIRTUAL, 0x1000)
    for code, rax in ((assemble("mov eax, 1"), 1), (assemble("mov eax, 2"), 2)):
        mmu.write(VIRTUAL, code)
        mmu.emu_start(VIRTUAL, VIRTUAL + len(code))
        assert uc.reg_read(UC_X86_REG_RAX) == rax


def test_unmap_frees_what_map_took(uc: Uc) -> None:
    mmu = cpu.attach(uc, ram=1 << 20)
    mmu.map(VIRTUAL, 0x10000)
    mmu.unmap(VIRTUAL, 0x10000)
    used = mmu.memory.frames_in_use
    for _ in range(100):
        mmu.map(VIRTUAL, 0x10000)
        mmu.unmap(VIRTUAL, 0x10000)
    assert mmu.memory.frames_in_use == used


def test_types(uc: Uc) -> None:
    mmu = cpu.attach(uc)
    assert isinstance(mmu, Attached)
    assert UC_MEM_WRITE != UC_MEM_READ


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("register", "flip"),
    [
        ("cr0", 1 << 29),
        ("cr0", 1),
        ("cr4", 1 << 15),
        ("cr4", 1 << 5),
        ("cr4", 1 << 12),
        ("cr3", 1 << 50),
    ],
)
def test_an_illegal_mov_to_cr_is_refused(uc: Uc, fidelity: str, register: str, flip: int) -> None:
    """#GP with RIP at the MOV, the register and the count as before it: Unicorn itself would take
    the value.

    Of CR0 it keeps 32 bits, so that a bit above them is not seen, and not refused.
    """
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        begin, until = load(
            uc,
            f"mov rax, {register}; mov rdx, {flip:#x}; xor rax, rdx; nop; "
            f"mov {register}, rax; mov ebx, 1",
        )
        before = [uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)]
        with pytest.raises(GeneralProtection) as caught:
            mmu.emu_start(begin, until)
        assert caught.value.rip == until - 5 - 3
        assert uc.reg_read(UC_X86_REG_RIP) == caught.value.rip
        assert mmu.instructions == 4
        assert uc.reg_read(UC_X86_REG_RBX) == 0
        assert [
            uc.reg_read(reg) for reg in (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)
        ] == before


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_last_instruction_before_the_end_is_a_mov_to_cr(uc: Uc, fidelity: str) -> None:
    """What it does to the MMU is done when the run is over, and an illegal one is refused."""
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        begin, until = load(uc, "nop; mov rax, cr4; xor eax, 0x20000; mov cr4, rax")
        mmu.emu_start(begin, until)
        assert mmu.mmu.c.cr4 & CR4_PCIDE
        begin, until = load(
            uc, "nop; mov rax, cr0; xor eax, 0x20000000; mov cr0, rax", at=CODE + 0x1000
        )
        with pytest.raises(GeneralProtection) as caught:
            mmu.emu_start(begin, until)
        assert caught.value.rip == until - 3


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_ac_counts_at_once(fidelity: str) -> None:
    """After CLAC a store that begins on a supervisor page and runs into a user page happens on
    neither.
    """
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.ctl_set_cpu_model(UC_CPU_X86_BROADWELL)  # the first that has SMAP
    uc.mem_map(CODE, 2 << 20)
    faults: list[tuple[int, int]] = []

    def skip(fault: Fault) -> bool:
        assert isinstance(fault, PageFault)
        faults.append((fault.address, fault.error_code))
        uc.reg_write(UC_X86_REG_RIP, uc.reg_read(UC_X86_REG_RIP) + 3)
        return True

    with cpu.attach(uc, identity=True, fidelity=fidelity, handler=skip) as mmu:
        mmu.map(VIRTUAL, 0x1000)
        mmu.map(VIRTUAL + 0x1000, 0x1000, user=False)
        mmu.map(VIRTUAL + 0x2000, 0x1000)
        uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_SMAP)
        begin, until = load(
            uc,
            f"""
            mov rdi, {VIRTUAL:#x}; mov rax, [rdi]; mov [rdi + 0x1008], rax
            stac; clac; add rdi, 0x1ffc; mov [rdi], rax; nop
            """,
        )
        mmu.emu_start(begin, until)
        assert faults == [(VIRTUAL, PF_P), (VIRTUAL + 0x2000, PF_P | PF_WR)]
        if fidelity != "fast":
            assert mmu.counters()["dTLB-stores"] == 2
            assert mmu.resident(VIRTUAL + 0x2000) is None


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_end_address_need_not_be_mapped(uc: Uc, fidelity: str) -> None:
    """A run that returns to a sentinel ends there, as Uc.emu_start()'s does: nothing of it is
    fetched.
    """
    with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
        begin, _ = load(uc, "mov eax, 0x5000000; jmp rax")
        mmu.emu_start(begin, 0x5000000)
        assert uc.reg_read(UC_X86_REG_RIP) == 0x5000000
        assert mmu.instructions == 2
        assert mmu.counters()["page_faults_hw"] == 0


def test_what_is_at_the_end_address_is_not_looked_up(uc: Uc) -> None:
    """exact and trace count alike: the jump's target when it is executed, by the next run, and not
    before.
    """
    seen = []
    for fidelity in ("exact", "trace"):
        with cpu.attach(uc, identity=True, fidelity=fidelity) as mmu:
            begin, _ = load(uc, f"mov eax, {CODE + 0x2000:#x}; jmp rax")
            load(uc, "nop; nop", CODE + 0x2000)
            counts = []
            for start, until in (
                (begin, CODE + 0x2000),
                (CODE + 0x2000,) * 2,
                (CODE + 0x2000, CODE + 0x2001),
            ):
                mmu.emu_start(start, until)
                counts.append((mmu.counters()["iTLB-loads"], mmu.instructions))
            seen.append(counts)
    assert seen == [[(1, 2), (1, 2), (2, 3)]] * 2


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_run_in_a_hook_of_the_last_block_before_an_absent_page(fidelity: str) -> None:
    """It ends at its own end, and the outer one where it must."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x1000)
    uc.mem_map(VIRTUAL, 0x1000)
    begin, _ = load(uc, "inc rax; inc rax; inc rax; inc rax; inc rax; nop", CODE + 0xFF0)
    load(uc, "inc rbx; inc rbx; inc rbx; hlt", VIRTUAL)
    mmu = cpu.attach(uc, identity=True, fidelity=fidelity)
    ends: list[int] = []

    def nest(uc: Uc, address: int, _size: int, _data: object) -> None:
        if address == begin + 6 and not ends:
            context = uc.context_save()
            uc.emu_start(VIRTUAL, VIRTUAL + 6)
            ends.append(uc.reg_read(UC_X86_REG_RIP))
            uc.context_restore(context)

    mmu.hook_add(UC_HOOK_CODE, nest)
    with pytest.raises(PageFault):
        uc.emu_start(begin, CODE)
    assert ends == [VIRTUAL + 6]
    assert uc.reg_read(UC_X86_REG_RIP) == CODE + 0x1000
    assert uc.reg_read(UC_X86_REG_RAX) == 5
