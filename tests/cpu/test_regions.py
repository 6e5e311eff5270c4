# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever memory an instance has is guest-physical memory, by thousands of regions that
come, go and split; paging structures may lie in it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_64,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_NONE,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
)
from unicorn.x86_const import (
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDX,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

import cpu
from cpu._engine import ffi, lib
from cpu.attached import Attached
from mmu._native import ffi as mmu_ffi
from mmu._native import lib as mmu_lib
from mmu.errors import BadTable
from mmu.memory import Exchange, PageFlag
from mmu.x86 import Access, Outcome, WalkMode
from mmu.x86.check import ChangedBy, StaleUse
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_D, X86_P, X86_RW, X86_US, entry_offset
from mmu.x86.registers import CR0_PG, CR4_PAE, EFER_LME, EFER_NXE
from tests.cpu.assemble import assemble

PAGE = 4096
CODE, STACK, GUEST_TABLES = 0x1000000, 0x1100000, 0x1200000
PLACE = 0x40000000000
VIRTUAL = 0x7FFF00000000
TABLE = X86_P | X86_RW | X86_US
FIDELITIES = ["fast", "exact", "trace"]
WAYS = [(fidelity, engine) for fidelity in FIDELITIES for engine in ("c", "python")]
ENOMEM, EINVAL = 12, 22


@pytest.fixture
def uc() -> Uc:
    """An instance with code, a stack, and a MiB for tables."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    for base in (CODE, STACK, GUEST_TABLES):
        uc.mem_map(base, 1 << 20)
    uc.reg_write(UC_X86_REG_RSP, STACK + 0xF000)
    return uc


@pytest.fixture
def attached(uc: Uc) -> Iterator[Attached]:
    with cpu.attach(uc, ram=1 << 20) as attached:
        yield attached


def add(attached: Attached, base: int, size: int, perms: int = UC_PROT_ALL) -> int:
    return int(lib.vcpu_add_region(attached.c, base, size, perms))


def remove(attached: Attached, base: int, size: int) -> int:
    return int(lib.vcpu_remove_region(attached.c, base, size))


def set_all(attached: Attached, regions: list[tuple[int, int, int]]) -> int:
    return int(
        lib.vcpu_set_regions(attached.c, ffi.new("struct vcpu_region[]", regions), len(regions))
    )


def has_memory(attached: Attached, pa: int) -> bool:
    """Whether there is a region at pa; nothing of the instance's own is asked."""
    return bool(mmu_lib.memory_flags(attached.memory.c, pa) != mmu_ffi.NULL)


def word(uc: Uc, address: int) -> int:
    return int(struct.unpack("<Q", uc.mem_read(address, 8))[0])


# The table of regions alone: regions that the instance does not have.

spans = st.tuples(st.integers(0, 63), st.integers(1, 20))
changes = st.tuples(st.sampled_from(["add", "add", "remove", "set"]), spans)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=40))
def test_as_a_set_of_pages(attached: Attached, script: list[tuple[str, tuple[int, int]]]) -> None:
    """Regions that overlap, touch, split and go, held against a set of page numbers."""
    set_all(attached, [])
    pages: set[int] = set()
    for what, (first, count) in script:
        base, size = PLACE + first * PAGE, count * PAGE
        if what == "add":
            assert add(attached, base, size) == 0
            pages |= set(range(first, first + count))
        elif what == "remove":
            assert remove(attached, base, size) == 0
            pages -= set(range(first, first + count))
        else:
            halves = [(base, PAGE, UC_PROT_ALL), (base + (count + 1) * PAGE, size, UC_PROT_READ)]
            assert set_all(attached, halves) == 0
            pages = {first, *range(first + count + 1, first + 2 * count + 1)}
        for page in range(-1, 110):
            assert has_memory(attached, PLACE + page * PAGE + 8) == (page in pages), page


def test_ten_thousand_regions(attached: Attached) -> None:
    """Each is found, and not what lies between them; then every other one goes."""
    count = 10_000
    regions = [(PLACE + i * 4 * PAGE, 2 * PAGE, UC_PROT_ALL) for i in range(count)]
    assert set_all(attached, regions) == 0
    for base, size, _ in reversed(regions):
        assert has_memory(attached, base) and has_memory(attached, base + size - 8)
        assert not has_memory(attached, base - 8) and not has_memory(attached, base + size)
    for base, size, _ in regions[::2]:
        assert remove(attached, base, size) == 0
    assert [has_memory(attached, base) for base, _, _ in regions] == [False, True] * (count // 2)
    for base, size, perms in regions[::2]:
        assert add(attached, base, size, perms) == 0
    assert all(has_memory(attached, base) for base, _, _ in regions)


def test_a_region_that_has_no_place(attached: Attached) -> None:
    """Beyond 2^52 a guest-physical address does not go, and a region does not wrap."""
    assert add(attached, (1 << 52) - PAGE, PAGE) == 0
    assert add(attached, (1 << 52) - PAGE, 2 * PAGE) == -EINVAL
    assert add(attached, PLACE, 0) == -EINVAL
    assert has_memory(attached, (1 << 52) - 8)


def test_nothing_changes_where_a_region_of_many_is_refused(attached: Attached) -> None:
    assert add(attached, PLACE, PAGE) == 0
    assert set_all(attached, [(PLACE + PAGE, PAGE, 7), (PLACE, 0, 7)]) == -EINVAL
    assert has_memory(attached, PLACE) and not has_memory(attached, PLACE + PAGE)


def test_our_ram_among_the_regions(attached: Attached) -> None:
    """It is what it was: struct page says what is known of its frames."""
    ram = attached.memory
    assert set_all(attached, [(ram.base, ram.size, UC_PROT_ALL)]) == 0
    ram.mark_table(ram.base + PAGE)
    assert ram.page(ram.base + PAGE >> 12).flags & PageFlag.TABLE


def test_what_is_known_of_frames_survives_splits(attached: Attached) -> None:
    """Flags stay through a change of rights of a part, and go with the memory."""
    add(attached, PLACE, 1 << 22)
    places = [PLACE, PLACE + 5 * PAGE, PLACE + (1 << 21), PLACE + (1 << 22) - PAGE]

    def flags() -> list[int]:
        return [mmu_lib.memory_flags(attached.memory.c, pa)[0] for pa in places]

    for pa in places:
        attached.memory.mark_table(pa)
    add(attached, PLACE + 4 * PAGE, 2 * PAGE, UC_PROT_READ)
    assert flags() == [PageFlag.TABLE] * 4
    remove(attached, PLACE + 5 * PAGE, PAGE)
    add(attached, PLACE + 5 * PAGE, PAGE)
    assert flags() == [PageFlag.TABLE, 0, PageFlag.TABLE, PageFlag.TABLE]
    remove(attached, PLACE + (1 << 20), 3 << 20)
    add(attached, PLACE + (1 << 20), 3 << 20)
    assert flags() == [PageFlag.TABLE, 0, 0, 0]
    set_all(attached, [])
    add(attached, PLACE, 1 << 22)
    assert flags() == [0] * 4


# Memory that the instance has.

pages_of_ten = st.tuples(st.integers(0, 9), st.integers(1, 4))
rights = st.sampled_from(
    [UC_PROT_NONE, UC_PROT_READ, UC_PROT_READ | UC_PROT_WRITE, UC_PROT_EXEC, 7]
)
steps = st.tuples(st.sampled_from(["map", "unmap", "protect", "write"]), pages_of_ten, rights)


class Script:
    """A script that changes an instance's memory, and tells us of it as the door does."""

    def __init__(self, attached: Attached) -> None:
        self.attached = attached
        self.uc = attached.uc
        self.perms: dict[int, int] = {}

    def map(self, first: int, count: int, perms: int) -> None:
        if any(page in self.perms for page in range(first, first + count)):
            return
        self.uc.mem_map(PLACE + first * PAGE, count * PAGE, perms)
        add(self.attached, PLACE + first * PAGE, count * PAGE, perms)
        self.perms |= dict.fromkeys(range(first, first + count), perms)

    def unmap(self, first: int, count: int, _perms: int) -> None:
        if not all(page in self.perms for page in range(first, first + count)):
            return
        self.uc.mem_unmap(PLACE + first * PAGE, count * PAGE)
        remove(self.attached, PLACE + first * PAGE, count * PAGE)
        for page in range(first, first + count):
            del self.perms[page]

    def protect(self, first: int, count: int, perms: int) -> None:
        if not all(page in self.perms for page in range(first, first + count)):
            return
        self.uc.mem_protect(PLACE + first * PAGE, count * PAGE, perms)
        regions = [(begin, end + 1 - begin, rights) for begin, end, rights in self.uc.mem_regions()]
        assert set_all(self.attached, regions) == 0
        self.perms |= dict.fromkeys(range(first, first + count), perms)

    def write(self, first: int, count: int, _perms: int) -> None:
        if first in self.perms:
            self.uc.mem_write(PLACE + first * PAGE + 8, struct.pack("<Q", count))

    def check(self) -> None:
        """Every page as the instance has it: read, and exchanged where it may be written."""
        memory = self.attached.memory
        for page in range(14):
            at = PLACE + page * PAGE + 8
            if page not in self.perms:
                assert memory.load(at) is None
                continue
            value = word(self.uc, at)
            assert memory.load(at) == value
            copy = mmu_ffi.new("u64[512]")
            assert mmu_lib.memory_words(memory.c, at, copy)[1] == value
            assert memory.exchange(at, value + 1, 7) in (Exchange.CHANGED, Exchange.READ_ONLY)
            writable = bool(self.perms[page] & UC_PROT_WRITE)
            done = memory.exchange(at, value, value + 8)
            assert done == (Exchange.DONE if writable else Exchange.READ_ONLY)
            assert word(self.uc, at) == (value + 8 if writable else value)


@settings(max_examples=60)
@given(st.lists(steps, min_size=4, max_size=16))
def test_memory_that_comes_goes_and_splits(script: list[tuple[str, tuple[int, int], int]]) -> None:
    """Unicorn moves memory when it splits a region; words are read and exchanged where they are."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    with cpu.attach(uc, ram=1 << 20) as attached:
        state = Script(attached)
        for what, (first, count), perms in script:
            getattr(state, what)(first, count, perms)
            state.check()


def test_memory_in_several_pieces(uc: Uc) -> None:
    """One region for us, three of Unicorn's, the middle one I/O: words are found in the others."""
    uc.mem_map(PLACE, PAGE)
    uc.mmio_map(PLACE + PAGE, PAGE, lambda *_: 7, None, None, None)
    uc.mem_map(PLACE + 2 * PAGE, PAGE)
    with cpu.attach(uc, ram=1 << 20) as attached:
        add(attached, PLACE + PAGE, PAGE, UC_PROT_READ | lib.REGION_MMIO)
        for page in (0, 2):
            uc.mem_write(PLACE + page * PAGE + 8, struct.pack("<Q", page + 1))
            assert attached.memory.load(PLACE + page * PAGE + 8) == page + 1
        if not attached.shared.private & lib.PRIVATE_HOST:
            return
        add(attached, PLACE, 3 * PAGE)
        words = [attached.memory.load(PLACE + page * PAGE + 8) for page in range(4)]
        assert words == [1, None, 3, None]
        assert attached.memory.exchange(PLACE + 2 * PAGE + 8, 3, 4) is Exchange.DONE
        assert word(uc, PLACE + 2 * PAGE + 8) == 4


def test_io_never_holds_tables(uc: Uc) -> None:
    """But pages may lie there, and loads from them call the script."""
    asked = []

    def read(_uc: Uc, offset: int, size: int, _data: object) -> int:
        asked.append((offset, size))
        return 0x42

    io = 0x2000000
    uc.mmio_map(io, PAGE, read, None, None, None)
    with cpu.attach(uc, identity=True, ram=1 << 20) as attached:
        lib.vcpu_add_region(attached.c, io, PAGE, UC_PROT_READ | UC_PROT_WRITE | lib.REGION_MMIO)
        assert attached.memory.load(io) is None
        assert attached.memory.exchange(io, 0x42, 0) is Exchange.READ_ONLY
        attached.mmu.write_cr3(io)
        assert attached.walk(VIRTUAL).result == Outcome.BAD_TABLE
        assert asked == []
        attached.mmu.write_cr3(attached.tables.root)
        attached.map(VIRTUAL, PAGE, UC_PROT_READ | UC_PROT_WRITE, pa=io)
        code = assemble(f"mov rax, {VIRTUAL + 0x10:#x}; mov ebx, [rax]")
        uc.mem_write(CODE, code)
        attached.emu_start(CODE, CODE + len(code))
        assert uc.reg_read(UC_X86_REG_RBX) == 0x42
        assert asked == [(0x10, 4)]


def test_io_from_before_is_known_too(uc: Uc) -> None:
    """Where the private parts work, nobody has to say what is I/O."""
    if not lib.vcpu_shared(cpu.attach(Uc(UC_ARCH_X86, UC_MODE_64)).c).private & lib.PRIVATE_HOST:
        pytest.skip("without Unicorn's private parts the script must say it")
    asked = []
    uc.mmio_map(0x2000000, PAGE, lambda *rest: asked.append(rest) or 0, None, None, None)
    with cpu.attach(uc, ram=1 << 20) as attached:
        assert has_memory(attached, 0x2000000)
        assert attached.memory.load(0x2000000) is None
        assert asked == []


def test_io_that_comes_later(uc: Uc) -> None:
    """The instance's own mmio_map() says it, and a change elsewhere does not forget it."""
    asked = []
    with cpu.attach(uc, identity=True, ram=1 << 20) as attached:
        uc.mmio_map(0x2000000, PAGE, lambda *rest: asked.append(rest) or 7, None, None, None)
        uc.mem_map(0x3000000, 2 * PAGE)
        uc.mem_protect(0x3000000, PAGE, UC_PROT_READ)
        assert attached.memory.load(0x2000000) is None
        assert attached.memory.load(0x3000000) == 0
        assert asked == []
        code = assemble("mov eax, 0x2000000; mov ebx, [rax]")
        uc.mem_write(CODE, code)
        uc.emu_start(CODE, CODE + len(code))
        assert (uc.reg_read(UC_X86_REG_RBX), len(asked)) == (7, 1)
        uc.mem_unmap(0x2000000, PAGE)
        uc.mem_map(0x2000000, PAGE)
        assert attached.memory.load(0x2000000) == 0


# Tables of a script's own.


def paging_on(uc: Uc) -> None:
    """CR4.PAE, EFER.LME and NXE, CR0.PG, as a loader sets them."""
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PAE)
    uc.msr_write(0xC0000080, uc.msr_read(0xC0000080) | EFER_LME | EFER_NXE)
    uc.reg_write(UC_X86_REG_CR0, uc.reg_read(UC_X86_REG_CR0) | CR0_PG)


class GuestTables:
    """Tables that a script builds in the instance's memory: identity for code and stack."""

    def __init__(self, uc: Uc, base: int = GUEST_TABLES) -> None:
        self.uc = uc
        self.root = self.next = base
        self.frame()
        for va in (*range(CODE, CODE + 0x4000, PAGE), *range(STACK, STACK + 0x10000, PAGE)):
            self.map(va, va)

    def frame(self) -> int:
        self.next += PAGE
        return self.next - PAGE

    def entry_pa(self, va: int, level: int) -> int:
        table = self.root
        for above in range(4, level, -1):
            at = table + entry_offset(va, above)
            if not word(self.uc, at):
                self.put(at, self.frame() | TABLE)
            table = word(self.uc, at) & X86_ADDR_MASK
        return table + entry_offset(va, level)

    def put(self, at: int, entry: int) -> None:
        self.uc.mem_write(at, struct.pack("<Q", entry))

    def map(self, va: int, pa: int, bits: int = TABLE) -> None:
        self.put(self.entry_pa(va, 1), pa | bits)

    def get(self, va: int, level: int) -> int:
        return word(self.uc, self.entry_pa(va, level))

    def use(self, attached: Attached) -> None:
        self.uc.reg_write(UC_X86_REG_CR3, self.root)
        attached.mmu.write_cr3(self.root)


def run(attached: Attached, source: str) -> None:
    code = assemble(source)
    attached.uc.mem_write(CODE, code)
    lib.vcpu_host_wrote(attached.c, CODE, len(code))
    attached.emu_start(CODE, CODE + len(code))


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_a_guest_on_tables_of_its_own(uc: Uc, fidelity: str, engine: str) -> None:
    """They are walked where they stand, and get their A and D there."""
    tables = GuestTables(uc)
    page = STACK + 0x20000
    tables.map(VIRTUAL, page)
    tables.map(VIRTUAL + PAGE, page + PAGE)
    uc.mem_write(page, b"\x42")
    with cpu.attach(uc, fidelity=fidelity, engine=engine, ram=1 << 20) as attached:
        tables.use(attached)
        run(attached, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]; mov [rax + 0x1000], bl")
        assert uc.reg_read(UC_X86_REG_RBX) & 0xFF == 0x42
        assert bytes(uc.mem_read(page + PAGE, 1)) == b"\x42"
        assert attached.shared.broken == 0
        assert attached.walk(VIRTUAL).pa == page
    for level in (4, 3, 2, 1):
        assert tables.get(VIRTUAL, level) & (X86_A | X86_D) == X86_A
    assert tables.get(VIRTUAL + PAGE, 1) & (X86_A | X86_D) == X86_A | X86_D
    assert tables.get(VIRTUAL, 1) & X86_D == 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_tables_in_read_only_memory(uc: Uc, fidelity: str) -> None:
    """As in plain Unicorn, and in ROM: A and D are not set, and nothing else is amiss."""
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    uc.mem_protect(GUEST_TABLES, 1 << 20, UC_PROT_READ)
    with cpu.attach(uc, fidelity=fidelity, ram=1 << 20) as attached:
        tables.use(attached)
        run(attached, f"mov rax, {VIRTUAL:#x}; mov bl, 0x24; mov [rax], bl; mov [rax + 1], bl")
        assert attached.shared.broken == 0
    assert bytes(uc.mem_read(STACK + 0x20000, 2)) == b"\x24\x24"
    assert not any(tables.get(VIRTUAL, level) & (X86_A | X86_D) for level in (4, 3, 2, 1))


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize("by_guest", [True, False])
@pytest.mark.parametrize("flush", [True, False])
def test_a_missing_flush_is_told(
    uc: Uc, engine: str, fidelity: str, by_guest: bool, flush: bool
) -> None:
    """A table of the script's is changed by a store of the guest's, or by the script: the same."""
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    tables.map(VIRTUAL + PAGE, tables.entry_pa(VIRTUAL, 1) & -PAGE)
    at = tables.entry_pa(VIRTUAL, 1)
    new = STACK + 0x30000 | TABLE | X86_A
    with cpu.attach(uc, fidelity=fidelity, engine=engine, ram=1 << 20, check_tlb=True) as attached:
        tables.use(attached)
        run(attached, f"mov rax, {VIRTUAL:#x}; mov bl, [rax]")
        if by_guest:
            pte = VIRTUAL + PAGE + at % PAGE
            run(attached, f"mov rdx, {new:#x}; mov rcx, {pte:#x}; mov [rcx], rdx")
        else:
            tables.put(at, new)
            lib.vcpu_host_wrote(attached.c, at, 8)
        run(attached, f"mov rax, {VIRTUAL:#x}; {'invlpg [rax];' if flush else ''} mov bl, [rax]")
        told = attached.stale_translations()
        if flush:
            assert told == []
            return
        (use,) = told
        assert (use.va, use.entry_pa, use.new) == (VIRTUAL, at, new)
        assert use.changed is not None
        assert use.changed.by == (ChangedBy.STORE if by_guest else ChangedBy.HOST)


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_tables_that_move_during_a_run(uc: Uc, fidelity: str, engine: str) -> None:
    """A hook changes the rights of a part of their region: Unicorn copies it to new memory."""
    tables = GuestTables(uc)
    pages = [VIRTUAL + i * PAGE for i in range(4)]
    for i, va in enumerate(pages):
        tables.map(va, STACK + 0x20000 + i * PAGE)
    with cpu.attach(uc, paging="guest", fidelity=fidelity, engine=engine) as attached:
        uc.reg_write(UC_X86_REG_CR3, tables.root)
        paging_on(uc)
        code = assemble(
            f"mov rax, {VIRTUAL:#x}; mov ecx, 4; again: mov [rax], cl; nop;"
            " add rax, 0x1000; dec ecx; jnz again"
        )
        uc.mem_write(CODE, code)
        nop = CODE + code.index(b"\x90")
        turn = iter(range(4))

        def move(uc: Uc, *_: object) -> None:
            uc.mem_protect(GUEST_TABLES + 0x80000 + next(turn) * PAGE, PAGE, UC_PROT_READ)

        uc.hook_add(UC_HOOK_CODE, move, None, nop, nop)
        uc.emu_start(CODE, CODE + len(code))
        assert attached.shared.broken == 0
    assert [uc.mem_read(STACK + 0x20000 + i * PAGE, 1)[0] for i in range(4)] == [4, 3, 2, 1]
    assert all(tables.get(va, 1) & (X86_A | X86_D) == X86_A | X86_D for va in pages)


@pytest.mark.parametrize("change", ["protect", "unmap"])
@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_tables_that_move_while_unicorn_asks(
    uc: Uc, fidelity: str, engine: str, change: str
) -> None:
    """Changing two regions, Unicorn moves the first, with the tables, and looks up the second."""
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    middle = GUEST_TABLES + (1 << 20)
    uc.mem_map(middle, 1 << 20)
    with cpu.attach(uc, paging="guest", fidelity=fidelity, engine=engine) as attached:
        uc.reg_write(UC_X86_REG_CR3, tables.root)
        paging_on(uc)
        code = assemble(f"mov rax, {VIRTUAL:#x}; mov bl, [rax]; nop; mov [rax], bl")
        uc.mem_write(CODE, code)
        nop = CODE + code.index(b"\x90")

        def both(uc: Uc, *_: object) -> None:
            begin, size = middle - 0x40000, 0x80000
            if change == "unmap":
                uc.mem_unmap(begin, size)
            else:
                uc.mem_protect(begin, size, UC_PROT_READ)

        uc.hook_add(UC_HOOK_CODE, both, None, nop, nop)
        uc.emu_start(CODE, CODE + len(code))
        assert attached.shared.broken == 0
    assert tables.get(VIRTUAL, 1) & (X86_A | X86_D) == X86_A | X86_D


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_tables_that_go_away_during_a_run(uc: Uc, fidelity: str, engine: str) -> None:
    """The walk that needs them next finds no memory, and the run ends in an error."""
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    with cpu.attach(uc, paging="guest", fidelity=fidelity, engine=engine):
        uc.reg_write(UC_X86_REG_CR3, tables.root)
        paging_on(uc)
        code = assemble(f"mov rax, {VIRTUAL:#x}; nop; mov bl, [rax]")
        uc.mem_write(CODE, code)
        nop = CODE + code.index(b"\x90")
        uc.hook_add(
            UC_HOOK_CODE, lambda uc, *_: uc.mem_unmap(GUEST_TABLES, 1 << 20), None, nop, nop
        )
        with pytest.raises(BadTable, match="outside guest memory"):
            uc.emu_start(CODE, CODE + len(code))


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_a_table_that_the_script_writes_in_a_hook(uc: Uc, fidelity: str, flush: bool) -> None:
    """The checker is told by the instance's own mem_write()."""
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    at, new = tables.entry_pa(VIRTUAL, 1), STACK + 0x30000 | TABLE | X86_A
    with cpu.attach(uc, paging="guest", fidelity=fidelity, check_tlb=True) as attached:
        uc.reg_write(UC_X86_REG_CR3, tables.root)
        paging_on(uc)
        flushing = "invlpg [rax];" if flush else ""
        code = assemble(f"mov rax, {VIRTUAL:#x}; mov bl, [rax]; nop; {flushing} mov bl, [rax]")
        uc.mem_write(CODE, code)
        nop = CODE + code.index(b"\x90")
        uc.hook_add(UC_HOOK_CODE, lambda *_: tables.put(at, new), None, nop, nop)
        uc.emu_start(CODE, CODE + len(code))
        told = attached.stale_translations()
    assert [(use.va, use.entry_pa, use.new) for use in told] == (
        [] if flush else [(VIRTUAL, at, new)]
    )


WINDOW = 0x7FFF40000000
"""Where a guest has the tables that it edits."""


def edits(uc: Uc, fidelity: str, engine: str, source: str, frame: int) -> list[StaleUse]:
    """Run a guest that has ``frame`` at WINDOW, the page directory of VIRTUAL behind it, and before
    it a page of data.
    """
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    tables.map(WINDOW - PAGE, STACK + 0x50000)
    tables.map(WINDOW, frame)
    tables.map(WINDOW + PAGE, tables.entry_pa(VIRTUAL, 2) & -PAGE)
    uc.reg_write(UC_X86_REG_CR3, tables.root)
    paging_on(uc)
    options = {"paging": "guest", "fidelity": fidelity, "engine": engine, "check_tlb": True}
    with cpu.attach(uc, **options) as attached:
        code = assemble(source)
        uc.mem_write(CODE, code)
        uc.emu_start(CODE, CODE + len(code))
        assert attached.shared.broken == 0
        return attached.stale_translations()


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize("flush", [True, False])
def test_a_page_of_data_that_becomes_a_table(
    uc: Uc, fidelity: str, engine: str, flush: bool
) -> None:
    """As kernels do: stores to it that were answered from a memo are stores to a table now."""
    frame, here, there = STACK + 0x40000, STACK + 0x30000 | TABLE, STACK + 0x31000 | TABLE
    va = VIRTUAL + (5 << 21)
    told = edits(
        uc,
        fidelity,
        engine,
        f"""
        mov rdi, {WINDOW:#x}; mov rsi, {va:#x}; mov rax, {here:#x}; mov rdx, {there:#x}; mov ecx, 4
        again: mov [rdi], rax; dec ecx; jnz again
        mov rbx, {frame | TABLE:#x}; mov [rdi + {PAGE + entry_offset(va, 2)}], rbx
        mov bl, [rsi]; mov [rdi], rdx; {"invlpg [rsi];" if flush else ""} mov bl, [rsi]
        """,
        frame,
    )
    assert [(use.va, use.entry_pa, use.new) for use in told] == (
        [] if flush else [(va, frame, there)]
    )
    assert all(use.changed and use.changed.by == ChangedBy.STORE for use in told)


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize(
    ("store", "entry"),
    [
        ("mov [rdi - 4], rdx", 0),  # from the page before
        ("mov [rdi + 4], rdx", 1),  # two entries
        ("movups [rdi], xmm0", 1),
        ("movups [rdi - 8], xmm0", 0),
    ],
)
def test_stores_to_more_than_one_entry(
    uc: Uc, fidelity: str, engine: str, store: str, entry: int
) -> None:
    """Each entry, and each page, that a store reaches into was changed by it."""
    frame, va = STACK + 0x40000, VIRTUAL + (5 << 21)
    page = va + entry * PAGE
    told = edits(
        uc,
        fidelity,
        engine,
        f"""
        mov rdi, {WINDOW:#x}; mov rsi, {page:#x}; mov rax, {STACK + 0x30000 | TABLE:#x}
        mov [rdi], rax; mov [rdi + 8], rax; xorps xmm0, xmm0; xor edx, edx
        mov rbx, {frame | TABLE:#x}; mov [rdi + {PAGE + entry_offset(va, 2)}], rbx
        mov bl, [rsi]; mov rax, [rdi - 8]; {store}; mov bl, [rsi]
        """,
        frame,
    )
    assert [(use.va, use.entry_pa) for use in told] == [(page, frame + entry * 8)]
    assert told[0].changed is not None and told[0].changed.by == ChangedBy.STORE


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it keeps what is freed")
def test_frames_of_ever_new_regions(attached: Attached) -> None:
    """What was known of frames that are gone takes no memory: 10,000 places of 6 KiB each."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE

    def come_and_go(first: int) -> None:
        for place in range(first, first + 10_000):
            base = PLACE + place * (2 << 20)
            add(attached, base, PAGE)
            attached.memory.mark_table(base)
            remove(attached, base, PAGE)

    come_and_go(0)
    before = resident()
    come_and_go(10_000)
    assert resident() - before < 20 << 20


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_code_that_the_script_writes(uc: Uc, fidelity: str) -> None:
    """vcpu_host_wrote() drops what was translated from it, in our RAM and in regions."""
    with cpu.attach(uc, identity=True, fidelity=fidelity, ram=1 << 20) as attached:
        attached.map(VIRTUAL, PAGE)
        frame = attached.walk(VIRTUAL).pa
        for va, pa in ((CODE, CODE), (VIRTUAL, frame)):
            for value in (1, 2):
                code = assemble(f"mov ebx, {value}")
                uc.mem_write(pa, code)
                lib.vcpu_host_wrote(attached.c, pa, len(code))
                attached.emu_start(va, va + len(code))
                assert uc.reg_read(UC_X86_REG_RBX) == value


LOOP = """
again: mov [rsi], al; mov ah, [rsi]; jmp body; body: mov bl, 1; add dl, bl; dec cl; jnz again
"""


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("kind", [UC_HOOK_CODE, UC_HOOK_BLOCK, UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE])
def test_code_that_the_script_writes_in_a_hook(uc: Uc, fidelity: str, kind: int) -> None:
    """In every kind of hook, without harm to what Unicorn is about; the next block is the new one.

    On the public API alone it is, as in plain Unicorn, the next run's.
    """
    code = assemble(LOOP)
    body = code.index(b"\xb3\x01")
    uc.mem_write(CODE, code)
    with cpu.attach(uc, identity=True, fidelity=fidelity, ram=1 << 20) as attached:
        seen = []

        def hook(uc: Uc, *_: object) -> None:
            seen.append(uc.reg_read(UC_X86_REG_RCX))
            if seen.count(2) == 1 and seen[-1] == 2:
                uc.mem_write(CODE + body + 1, b"\x10")

        begin, end = (CODE, CODE) if kind in (UC_HOOK_CODE, UC_HOOK_BLOCK) else (1, 0)
        attached.hook_add(kind, hook, None, begin, end)
        for totals in ((0x22, 4), (0x40, 0x40)):
            uc.reg_write(UC_X86_REG_RCX, 4)
            uc.reg_write(UC_X86_REG_RDX, 0)
            uc.reg_write(UC_X86_REG_RSI, STACK)
            uc.emu_start(CODE, CODE + len(code))
            with_private = attached.shared.private & lib.PRIVATE_HOST
            assert uc.reg_read(UC_X86_REG_RDX) == totals[0 if with_private else 1]
            assert attached.shared.broken == 0


# Memory in the upper half.

KERNEL = 0xFFFFFFFF80000000


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_regions_in_the_upper_half(uc: Uc, fidelity: str) -> None:
    """A region up there is guest-physical memory at the low 52 bits of its address: code runs, data
    is read and written, hooks name virtual addresses.
    """
    uc.mem_map(KERNEL, 2 * PAGE)
    physical = KERNEL & (1 << 52) - 1
    code = assemble(f"mov rax, {VIRTUAL + PAGE:#x}; mov rbx, [rax]; inc rbx; mov [rax + 8], rbx")
    uc.mem_write(KERNEL, code)
    uc.mem_write(KERNEL + PAGE, b"\x41")
    with cpu.attach(uc, fidelity=fidelity, ram=1 << 20, base=1 << 36) as attached:
        attached.mmu.maxphyaddr = 52
        attached.map(VIRTUAL, 2 * PAGE, pa=physical)
        seen = []
        attached.hook_add(
            UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, lambda _uc, _kind, at, *_rest: seen.append(at)
        )
        attached.emu_start(VIRTUAL, VIRTUAL + len(code))
        assert seen == [VIRTUAL + PAGE, VIRTUAL + PAGE + 8]
        assert word(uc, KERNEL + PAGE + 8) == 0x42
        assert attached.shared.broken == 0
        assert attached.memory.load(physical + PAGE + 8) == 0x42
        again = assemble("mov ebx, 7")
        uc.mem_write(KERNEL, again)
        lib.vcpu_host_wrote(attached.c, KERNEL, len(again))
        attached.emu_start(VIRTUAL, VIRTUAL + len(again))
        assert uc.reg_read(UC_X86_REG_RBX) == 7


@pytest.mark.parametrize(("fidelity", "engine"), WAYS)
def test_tables_in_the_upper_half(uc: Uc, fidelity: str, engine: str) -> None:
    uc.mem_map(KERNEL, 1 << 20)
    tables = GuestTables(uc)
    tables.map(VIRTUAL, STACK + 0x20000)
    uc.mem_write(KERNEL, bytes(uc.mem_read(tables.root, PAGE)))
    with cpu.attach(uc, fidelity=fidelity, engine=engine, ram=1 << 20, base=1 << 36) as attached:
        attached.mmu.maxphyaddr = 52
        physical = KERNEL & (1 << 52) - 1
        attached.mmu.write_cr3(physical)
        walk = attached.mmu.walk(VIRTUAL, Access.WRITE, mode=WalkMode.QUIET)
        assert (walk.pa, walk.entry_pa[4]) == (STACK + 0x20000, physical + (VIRTUAL >> 39) * 8)
        assert word(uc, KERNEL + (VIRTUAL >> 39) * 8) & X86_A
