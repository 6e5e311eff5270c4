# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of attached instances that comes, goes and is written at any time; registers that
translation depends on, set by the script; errors that are one line.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import (
    UC_CTL_CONTEXT_MODE,
    UC_CTL_IO_WRITE,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_READ_UNMAPPED,
    UC_ERR_WRITE_PROT,
    UC_ERR_WRITE_UNMAPPED,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_UNMAPPED,
    UC_HOOK_MEM_WRITE,
    UC_PROT_ALL,
    UC_PROT_READ,
    Uc,
    UcError,
)
from unicorn.unicorn_const import UC_CTL_CONTEXT_CPU, UC_CTL_CONTEXT_MEMORY

import cpu
from cpu.attached import Fault
from mmu.errors import (
    BadTable,
    GeneralProtection,
    LinuxError,
    MmuError,
    OutOfMemory,
    PageFault,
    StackFault,
    TripleFault,
)
from tests.cpu.assemble import assemble
from tests.cpu.attaching import (
    CODE,
    DATA,
    FIDELITIES,
    HOLE,
    VIRTUAL,
    catch,
    get,
    load,
    new_instance,
    one_line,
    put,
    reg,
)

PAGES = 500
FILL = "t: mov [rbx], rcx; add rbx, 4096; dec ecx; jnz t; nop"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_pages_on_demand_by_a_hook(fidelity: str) -> None:
    uc = new_instance()
    begin, until = load(uc, FILL)
    put(uc, rbx=HOLE, rcx=PAGES)
    calls = []

    def unmapped(_uc: Uc, _access: int, address: int, *_: Any) -> bool:
        calls.append(address)
        uc.mem_map(address & -4096, 0x1000)
        return True

    uc.hook_add(UC_HOOK_MEM_UNMAPPED, unmapped)
    with cpu.attach(uc, identity=True, fidelity=fidelity) as m:
        uc.emu_start(begin, until)
        assert m.instructions == 4 * PAGES + 1
        assert calls == list(range(HOLE, HOLE + PAGES * 4096, 4096))
        assert int.from_bytes(m.read(HOLE + 7 * 4096, 8), "little") == PAGES - 7


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_pages_on_demand_by_a_handler(fidelity: str) -> None:
    uc = new_instance()
    begin, until = load(uc, FILL)
    put(uc, rbx=VIRTUAL, rcx=PAGES)
    walks = []

    def handler(fault: Fault) -> bool:
        assert isinstance(fault, PageFault)
        walks.append(fault)
        m.map(fault.address & -4096, 0x1000)
        return True

    with cpu.attach(uc, identity=True, fidelity=fidelity, handler=handler) as m:
        m.emu_start(begin, until)
        assert m.instructions == 4 * PAGES + 1
        assert [fault.address for fault in walks] == list(
            range(VIRTUAL, VIRTUAL + PAGES * 4096, 4096)
        )
    assert all(not fault.walk.ok for fault in walks), "a fault keeps the walk that led to it"


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_code_written_between_runs_and_in_hooks(fidelity: str) -> None:
    """By every way to write, each time the new code runs."""

    def program(value: int) -> bytes:
        return b"\xb8" + value.to_bytes(4, "little") + b"\x90"

    buffer = ctypes.create_string_buffer(0x2000)
    host = ctypes.addressof(buffer) + -ctypes.addressof(buffer) % 0x1000
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    uc.mem_map_ptr(HOLE, 0x1000, UC_PROT_ALL, host)
    m.map(VIRTUAL, 0x1000, pa=CODE)
    value = 0
    for at in (CODE, HOLE):
        for write in (uc.mem_write, m.write):
            for _ in range(3):
                value += 1
                write(at, program(value))
                uc.emu_start(at, at + 6)
                assert get(uc, "rax") == value
    m.write(VIRTUAL, program(77))
    uc.emu_start(CODE, CODE + 6)
    assert get(uc, "rax") == 77
    uc.mem_write(CODE, assemble("nop; nop; jmp x; x: mov eax, 1; nop"))
    end = CODE + 10

    def hook(*_: Any) -> None:
        m.write(CODE + 4, program(99)[:5])

    uc.hook_add(UC_HOOK_CODE, hook, None, CODE + 1, CODE + 1)
    for _ in range(2):
        uc.emu_start(CODE, end)
        assert get(uc, "rax") == 99


def second_root(uc: Uc, m: Any) -> int:
    """Another root that translates as the present one, and VIRTUAL elsewhere."""
    m.map(VIRTUAL, 0x1000, pa=DATA)
    root = m.memory.alloc_pages() << 12
    m.memory.write(root, m.memory.read(m.tables.root, 4096))
    m.memory.write_u64(root + 8 * (VIRTUAL >> 39 & 511), 0)
    assert m.walk(VIRTUAL).ok
    return int(root)


SETTERS: dict[str, Callable[[Uc, int], object]] = {
    "reg_write": lambda uc, cr3: put(uc, cr3=cr3),
    "reg_write_batch": lambda uc, cr3: uc.reg_write_batch([(reg("cr3"), cr3)]),
    "context_restore": lambda uc, cr3: restore(uc, cr3),
}


def restore(uc: Uc, cr3: int) -> None:
    """By a context that was saved with this CR3."""
    before = get(uc, "cr3")
    put(uc, cr3=cr3)
    saved = uc.context_save()
    put(uc, cr3=before)
    uc.context_restore(saved)


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("how", SETTERS)
def test_cr3_set_by_the_script_counts_at_once(how: str, fidelity: str) -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    begin, until = load(uc, f"mov rbx, {VIRTUAL:#x}; mov rax, [rbx]; nop")
    root = second_root(uc, m)
    uc.emu_start(begin, until)
    SETTERS[how](uc, root)
    assert not m.walk(VIRTUAL).ok
    assert not m.translate(VIRTUAL).ok
    assert isinstance(catch(lambda: m.read(VIRTUAL, 1)), PageFault)
    with pytest.raises(PageFault):
        uc.emu_start(begin, until)
    SETTERS[how](uc, m.tables.root)
    assert m.read(VIRTUAL, 8) == bytes(8)
    uc.emu_start(begin, until)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_cr0_set_by_the_script_counts_at_once(fidelity: str) -> None:
    """WP, which lets a supervisor store to a read-only page (SDM 4.6.1)."""
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    m.map(VIRTUAL, 0x1000, UC_PROT_READ)
    begin, until = load(uc, f"mov rbx, {VIRTUAL:#x}; mov [rbx], rbx; nop")
    for wp in (1, 0, 1, 0):
        put(uc, cr0=get(uc, "cr0") & ~0x10000 | wp << 16)
        error = catch(lambda: uc.emu_start(begin, until))
        assert (error is None) == (not wp)


def test_snapshots_of_memory_are_refused_while_attached() -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    mode = UC_CTL_CONTEXT_CPU | UC_CTL_CONTEXT_MEMORY
    refused = catch(lambda: uc.ctl(UC_CTL_CONTEXT_MODE, UC_CTL_IO_WRITE, mode))
    assert isinstance(refused, MmuError)
    one_line(refused)
    uc.ctl(UC_CTL_CONTEXT_MODE, UC_CTL_IO_WRITE, UC_CTL_CONTEXT_CPU)
    m.detach()
    uc.ctl(UC_CTL_CONTEXT_MODE, UC_CTL_IO_WRITE, mode)
    refused = catch(lambda: cpu.attach(uc))
    assert isinstance(refused, MmuError)
    one_line(refused)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_context_is_restored_between_thousands_of_runs(fidelity: str) -> None:
    uc = new_instance()
    begin, until = load(uc, "inc rax; inc rbx; push rax; pop rcx; nop")
    before = uc.context_save()
    with cpu.attach(uc, identity=True, fidelity=fidelity) as m:
        for saved in (uc.context_save(), before):
            for _ in range(1000):
                uc.context_restore(saved)
                uc.emu_start(begin, until)
                assert get(uc, "rax") == 1
        assert m.instructions == 2 * 1000 * 5


def test_a_context_of_an_attachment_that_is_over() -> None:
    """Its tables are gone: the next attachment restores it with its own."""
    uc = new_instance()
    begin, until = load(uc, "inc rax; nop")
    with cpu.attach(uc, identity=True, ram=1 << 20, base=1 << 37):
        saved = uc.context_save()
    with cpu.attach(uc, identity=True, ram=1 << 20, base=1 << 36):
        uc.context_restore(saved)
        uc.emu_start(begin, until)
        assert get(uc, "rax") == 1


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(
    ("source", "kind", "errno", "address", "code"),
    [
        (f"mov rax, {HOLE:#x}; mov rbx, [rax]", PageFault, UC_ERR_READ_UNMAPPED, HOLE, 0),
        (f"mov rax, {HOLE:#x}; mov [rax], rbx", PageFault, UC_ERR_WRITE_UNMAPPED, HOLE, 2),
        (f"mov rax, {HOLE:#x}; jmp rax", PageFault, UC_ERR_FETCH_UNMAPPED, HOLE, 0x10),
        (f"mov rax, {VIRTUAL:#x}; mov [rax], rbx", PageFault, UC_ERR_WRITE_PROT, VIRTUAL, 3),
        (f"mov rax, {1 << 50:#x}; mov [rax], rbx", GeneralProtection, 7, 1 << 50, None),
        (f"mov rbp, {1 << 50:#x}; mov [rbp], rbx", StackFault, 7, 1 << 50, None),
    ],
)
def test_an_error_is_one_line_with_address_code_and_rip(
    fidelity: str, source: str, kind: type, errno: int, address: int, code: int | None
) -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    m.map(VIRTUAL, 0x1000, UC_PROT_READ)
    begin, until = load(uc, source + "; nop")
    error = catch(lambda: uc.emu_start(begin, until))
    assert isinstance(error, kind) and isinstance(error, UcError) and isinstance(error, MmuError)
    rip = address if code == 0x10 else begin + 10 if address >> 32 else begin + 7
    assert (error.errno, error.address) == (errno, address)
    assert error.rip == get(uc, "rip") and error.rip in (rip, begin + 5, address)
    text = one_line(error)
    assert f"{address:#x}" in text and f"RIP {error.rip:#x}" in text
    if code is not None:
        assert f"error code {code:#x}" in text
        assert error.walk.va == address


def test_a_bad_table_is_one_line_with_the_virtual_address() -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    m.memory.write_u64(m.tables.root + 8, 1 << 38 | 7)
    begin, until = load(uc, f"mov rax, {1 << 39:#x}; mov rbx, [rax]")
    for use in (lambda: uc.emu_start(begin, until), lambda: m.read(1 << 39, 1)):
        error = catch(use)
        assert isinstance(error, BadTable)
        assert f"{1 << 39:#x}" in one_line(error)
        assert error.walk.entry_pa[4] == m.tables.root + 8  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [
        MmuError("x"),
        OutOfMemory("x"),
        BadTable("x", 5, None),
        PageFault(0x1000, 2, 0x400000),
        GeneralProtection(1 << 50, 5),
        StackFault(1 << 50),
        TripleFault(14, 2, 0x1000),
        LinuxError(14),
    ],
)
def test_errors_come_back_from_pickle(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.map(VIRTUAL, 0x1000, pa=0x1002),
        lambda m: m.map(VIRTUAL, 0x1000, pa=-0x1000),
        lambda m: m.map(VIRTUAL, 0x1000, pa=1 << 52),
        lambda m: m.map(VIRTUAL, 0x1000, pa=1 << 63 | 0x1000),
        lambda m: m.map(VIRTUAL, 0x1000, pa=1 << 39),
        lambda m: m.map(-0x1000, 0x1000),
        lambda m: m.map(1 << 50, 0x1000),
        lambda m: m.map(1 << 64, 0x1000),
        lambda m: m.map(VIRTUAL, -0x1000),
        lambda m: m.map(VIRTUAL, 0),
        lambda m: m.unmap(VIRTUAL + 1, 0x1000),
        lambda m: m.protect(VIRTUAL, 0x1000, 0),
        lambda m: m.map(VIRTUAL, 1 << 40),
        lambda m: m.hook_del(12345),
        lambda m: m.set_fidelity("slow"),
        lambda m: m.set_fidelity(9),
    ],
)
def test_bad_arguments_are_errors_in_one_line_and_change_nothing(use: Any) -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    frames = m.memory.frames_in_use
    refused = catch(lambda: use(m))
    assert isinstance(refused, MmuError)
    one_line(refused)
    assert m.memory.frames_in_use == frames
    assert not m.walk(VIRTUAL).ok


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("htype", [UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE])
def test_reading_memory_above_all_physical_addresses(fidelity: str, htype: int) -> None:
    """A region of the kernel's half lies, for the MMU, at the low 52 bits of its address."""
    high = 0xFFFFFFFF80000000
    uc = new_instance()
    low = high & (1 << 52) - 1
    uc.mem_map(low, 0x2000)
    with cpu.attach(uc, identity=True, fidelity=fidelity) as m:
        m.write(high + 0xFFE, b"abcd")
        assert m.read(high + 0xFFE, 4) == b"abcd"
        assert bytes(uc.mem_read(low + 0xFFE, 4)) == b"abcd"
        seen = []
        m.hook_add(htype, lambda _uc, _access, address, *_: seen.append(address))
        begin, until = load(uc, f"mov rbx, {high:#x}; mov rax, [rbx]; mov [rbx], rax")
        uc.emu_start(begin, until)
        assert seen == [high]
