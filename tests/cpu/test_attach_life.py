# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of an attached instance: attach() does all or nothing, detach() gives everything back,
and what the instance needs lives as long as the instance.
"""

from __future__ import annotations

import gc
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from unicorn import (
    UC_CTL_CONTEXT_MODE,
    UC_CTL_IO_WRITE,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_TLB_FILL,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
)
from unicorn.unicorn_const import UC_CTL_CONTEXT_CPU, UC_CTL_CONTEXT_MEMORY
from unicorn.unicorn_py3.unicorn import ucsubclass

import cpu
from cpu.attached import Attached
from cpu.door import Door
from mmu.errors import MmuError
from mmu.memory import Memory
from tests.cpu.attaching import (
    CODE,
    DATA,
    DOORS,
    FIDELITIES,
    HOLE,
    SIZE,
    VIRTUAL,
    catch,
    get,
    in_child,
    load,
    new_instance,
    one_line,
    put,
    state,
    through,
)

PG = 0x80000011
PAE = 0x20


def runs_as_plain(uc: Uc) -> None:
    """64-bit code runs on the instance without an MMU."""
    uc.mem_write(CODE, b"\x48\xff\xc0" * 4)  # inc rax; in 32-bit code dec eax; inc eax
    put(uc, rax=1 << 40)
    uc.emu_start(CODE, CODE + 12)
    assert (get(uc, "rax"), get(uc, "rip")) == ((1 << 40) + 4, CODE + 12)


# attach(): all or nothing.


def with_fill_hook(uc: Uc) -> None:
    uc.hook_add(UC_HOOK_TLB_FILL, lambda *_: False)


def with_bad_controls(uc: Uc) -> None:
    put(uc, cr3=1 << 60)


def with_memory_contexts(uc: Uc) -> None:
    uc.ctl(UC_CTL_CONTEXT_MODE, UC_CTL_IO_WRITE, UC_CTL_CONTEXT_CPU | UC_CTL_CONTEXT_MEMORY)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more RAM than addresses": ({"ram": 1 << 44}, "no room for"),
    "negative RAM": ({"ram": -4096}, "guest RAM must be"),
    "RAM that is no pages": ({"ram": 4097 << 10 | 1}, "guest RAM must be"),
    "no RAM": ({"ram": 0}, "guest RAM must be"),
    "RAM too small for the tables": ({"ram": 8192, "identity": True}, "no free frame"),
    "a base in a region": ({"base": CODE + 0x1000}, "the instance has a region"),
    "a base that runs into a region": ({"base": CODE - 0x1000}, "the instance has a region"),
    "a base that is no page": ({"base": 0x80000001}, "guest RAM must be"),
    "a base beyond all addresses": ({"base": 1 << 52}, "guest RAM must be"),
    "an unknown geometry": ({"geometry": "nosuch"}, "no TLB geometry"),
    "a geometry that is a folder": ({"geometry": "/"}, "directory"),
    "a geometry of another kind": ({"geometry": 5}, "geometry is"),
    "an unknown engine": ({"engine": "rust"}, "no MMU engine"),
    "an unknown fidelity": ({"fidelity": "slow"}, "no fidelity 'slow'"),
    "a fidelity by a number that is none": ({"fidelity": 3}, "no fidelity 3"),
    "unknown paging": ({"paging": "mine"}, "no paging 'mine'"),
    "identity in the guest's tables": ({"paging": "guest", "identity": True}, "identity"),
    "a checker without a TLB": ({"check_tlb": True}, "check_tlb needs"),
    "a handler that cannot be called": ({"handler": 5}, "handler"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_attach_changes_nothing(case: str) -> None:
    options, message = REFUSED[case]
    uc = new_instance()
    before = state(uc)
    with pytest.raises(MmuError, match=message) as caught:
        cpu.attach(uc, **options)
    one_line(caught.value)
    assert state(uc) == before
    runs_as_plain(uc)
    cpu.attach(uc, identity=True).detach()


@pytest.mark.parametrize("options", [{"ram": "64M"}, {"ram": 1e6}, {"base": "x"}, {"ring": 5}])
def test_an_attach_with_wrong_types_changes_nothing(options: dict[str, Any]) -> None:
    uc = new_instance()
    before = state(uc)
    with pytest.raises((TypeError, AttributeError)):
        cpu.attach(uc, **options)
    assert state(uc) == before


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (with_fill_hook, {"identity": True}, "UC_HOOK_TLB_FILL"),
        (with_bad_controls, {"paging": "guest"}, "CR0, CR3, CR4"),
        (with_memory_contexts, {}, "UC_CTL_CONTEXT_MEMORY"),
    ],
)
def test_an_instance_that_cannot_be_attached_stays_as_it_was(
    prepare: Callable[[Uc], None], options: dict[str, Any], message: str
) -> None:
    uc = new_instance()
    prepare(uc)
    before = state(uc)
    with pytest.raises(MmuError, match=message) as caught:
        cpu.attach(uc, **options)
    one_line(caught.value)
    assert state(uc) == before


@pytest.mark.parametrize("step", ["_map_region", "_take_control", "_attach_hooks"])
def test_whatever_step_of_attach_fails_the_others_are_undone(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uc = new_instance()
    before = state(uc)
    do = getattr(Attached, step)

    def fails(self: Attached, *arguments: Any) -> None:
        do(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Attached, step, fails)
    with pytest.raises(KeyboardInterrupt):
        cpu.attach(uc, identity=True)
    assert state(uc) == before
    runs_as_plain(uc)


@pytest.mark.parametrize("thing", [None, "uc", 5, object()])
def test_what_is_no_instance(thing: Any) -> None:
    with pytest.raises(MmuError, match=r"unicorn\.Uc"):
        cpu.attach(thing)


def test_a_second_attach_is_refused_and_the_first_goes_on() -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    with pytest.raises(MmuError, match="attached to this instance already"):
        cpu.attach(uc, identity=True)
    begin, until = load(uc, "nop; nop")
    uc.emu_start(begin, until)
    assert m.instructions == 2


@pytest.mark.parametrize("perms", [0, UC_PROT_EXEC, UC_PROT_WRITE, UC_PROT_READ])
def test_regions_with_any_permissions_can_be_attached(perms: int) -> None:
    """x86 has no page without a right to read: such a region stays absent."""
    uc = new_instance()
    uc.mem_map(HOLE, 0x1000, perms)
    with cpu.attach(uc, identity=True) as m:
        assert m.walk(HOLE).ok == bool(perms & UC_PROT_READ)
        assert sorted(uc.mem_regions())[1] == (HOLE, HOLE + 0xFFF, perms)


def test_attach_does_not_touch_cr2() -> None:
    """Unicorn's own walk, which looks up what is unmapped, would set it."""
    uc = new_instance()
    put(uc, cr4=get(uc, "cr4") | PAE, cr3=CODE + 0x2000, cr0=PG)
    before = state(uc)
    with cpu.attach(uc, paging="guest"):
        assert get(uc, "cr2") == 0
    assert state(uc) == before


@pytest.mark.parametrize("address", [(1 << 52) - 0x1000, 1 << 52, (1 << 64) - 0x1000])
def test_memory_at_the_end_of_the_addresses(address: int) -> None:
    uc = new_instance()
    uc.mem_map(address, 0x1000)
    uc.mem_map((1 << 52) - 0x2000, 0x1000)
    before = state(uc)
    with cpu.attach(uc, identity=True):
        pass
    assert state(uc) == before


def test_a_geometry_is_read_once() -> None:
    """A million attachments do not parse a million files."""
    from mmu.x86 import load_geometry

    assert load_geometry("skylake") is load_geometry("skylake")


# detach(): everything back.


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("door", DOORS)
def test_detach_gives_everything_back(fidelity: str, door: str) -> None:
    uc = new_instance()
    calls: list[int] = []
    uc.hook_add(UC_HOOK_CODE, lambda _uc, address, _size, _data: calls.append(address))
    uc.mem_map(HOLE, 0x3000, UC_PROT_READ)
    before = state(uc)
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    m.map(VIRTUAL, 0x4000)
    m.hook_add(UC_HOOK_CODE, lambda *_: None)
    m.hook_add(UC_HOOK_MEM_READ, lambda *_: None)
    begin, until = load(uc, f"mov rbx, {VIRTUAL:#x}; mov rax, [rbx]; nop")
    through(door, uc, m)(begin, until)
    seen = len(calls)
    m.detach()
    after = state(uc)
    for changed in ("rax", "rbx", "rip", "eflags"):
        before.pop(changed), after.pop(changed)
    assert after == before
    assert get(uc, "rbx") == VIRTUAL
    runs_as_plain(uc)
    assert seen == 3
    assert len(calls) == 3 + 4


@pytest.mark.parametrize("paging", ["own", "guest"])
def test_a_thousand_attachments(paging: str) -> None:
    uc = new_instance()
    before = state(uc)
    for _ in range(1000 if paging == "own" else 100):
        cpu.attach(uc, paging=paging).detach()
    assert state(uc) == before
    runs_as_plain(uc)


def test_detach_in_the_with_statement_and_again() -> None:
    uc = new_instance()
    with cpu.attach(uc, identity=True) as m:
        m.detach()
        m.detach()
    m.stop()
    m.emu_stop()
    assert m.uc is uc
    runs_as_plain(uc)


def use_of(m: Attached, handle: int) -> dict[str, Callable[[], object]]:
    """Everything a script can ask of an attachment."""
    return {
        "read": lambda: m.read(CODE, 4),
        "read nothing": lambda: m.read(CODE, 0),
        "write": lambda: m.write(CODE, b"x"),
        "write nothing": lambda: m.write(CODE, b""),
        "map": lambda: m.map(VIRTUAL, 0x1000),
        "unmap": lambda: m.unmap(VIRTUAL, 0x1000),
        "protect": lambda: m.protect(CODE, 0x1000, UC_PROT_ALL),
        "translate": lambda: m.translate(CODE),
        "walk": lambda: m.walk(CODE),
        "resident": lambda: m.resident(CODE),
        "counters": lambda: m.counters(),
        "stale_translations": lambda: m.stale_translations(),
        "instructions": lambda: m.instructions,
        "cpl": lambda: m.cpl,
        "rip": lambda: m.rip,
        "fs_base": lambda: m.fs_base,
        "set fs_base": lambda: setattr(m, "fs_base", 1),
        "gs_base": lambda: m.gs_base,
        "read_reg": lambda: m.read_reg(1),
        "write_reg": lambda: m.write_reg(1, 1),
        "peek": lambda: m.peek(CODE),
        "sync": lambda: m.sync(),
        "set_fidelity": lambda: m.set_fidelity("exact"),
        "hook_add": lambda: m.hook_add(UC_HOOK_CODE, print),
        "hook_del": lambda: m.hook_del(handle),
        "emu_start": lambda: m.emu_start(CODE, CODE + 1),
        "shared": lambda: m.shared,
        "mmu": lambda: m.mmu,
        "memory": lambda: m.memory,
        "tables": lambda: m.tables,
    }


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_detached_mmu_says_so(fidelity: str) -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True, fidelity=fidelity)
    handle = m.hook_add(UC_HOOK_CODE, lambda *_: None)
    saved = [m.read, m.emu_start]
    m.detach()
    for name, use in use_of(m, handle).items():
        with pytest.raises(MmuError, match="detached") as caught:
            use()
        assert one_line(caught.value), name
    for method in saved:
        with pytest.raises(MmuError, match="detached"):
            method(CODE, 4)


def test_every_public_name_is_asked_of_a_detached_mmu() -> None:
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    names = [name for name in dir(m) if not name.startswith("_")]
    m.detach()
    harmless = {"detach", "stop", "emu_stop", "uc", "handler", "ring", "trace"}
    harmless |= {"fidelity", "paging", "identity"}
    for name in names:
        refused = catch(lambda name=name: getattr(m, name))  # type: ignore[misc]
        assert (refused is None) == (name in harmless), name


def test_closed_ram_is_no_memory() -> None:
    memory = Memory(1 << 20)
    memory.close()
    for use in (
        lambda: memory.read(0x1000, 8),
        lambda: memory.write(0x1000, b"x"),
        lambda: memory.read_u64(0x1000),
    ):
        with pytest.raises(MmuError, match="not all guest RAM"):
            use()


# The instance's own methods.


def test_the_doors_methods_take_what_plain_ones_take() -> None:
    for name, method in vars(Door).items():
        if name.startswith("_") or not callable(method):
            continue
        own, plain = (
            [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (method, getattr(Uc, name))
        )
        assert own == plain, name


@ucsubclass
class Named(Uc):
    """A script's own kind of instance, with methods of other signatures."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.log: list[str] = []

    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None:
        self.log.append("run")
        super().emu_start(begin, until, timeout, count)

    def mem_map(self, address: int, size: int = 0x1000, perms: int = UC_PROT_ALL) -> None:
        self.log.append("map")
        super().mem_map(address, size, perms)


def test_a_scripts_own_class_keeps_its_methods() -> None:
    uc = new_instance(Named)
    assert isinstance(uc, Named)
    begin, until = load(uc, "nop; nop")
    m = cpu.attach(uc, identity=True)
    assert isinstance(uc, Named) and type(uc).__name__ == "Named"
    uc.emu_start(begin, until)
    assert m.instructions == 2
    uc.mem_map(HOLE)
    assert m.read(HOLE, 2) == bytes(2)
    assert uc.log == ["map", "run", "map"]
    m.detach()
    assert type(uc) is Named
    uc.emu_start(begin, until)
    assert uc.log == ["map", "run", "map", "run"]


def test_registers_from_a_generator() -> None:
    uc = new_instance()
    with cpu.attach(uc, identity=True):
        uc.reg_write_batch((reg, 7) for reg in (35, 37))  # type: ignore[arg-type]
        assert [uc.reg_read(reg) for reg in (35, 37)] == [7, 7]


@pytest.mark.parametrize("how", ["mem_map", "mem_map_ptr", "mmio_map"])
def test_a_region_that_has_no_room_in_the_tables_is_not_there(how: str) -> None:
    import ctypes

    uc = new_instance()
    m = cpu.attach(uc, identity=True, ram=8 * 4096)
    before = sorted(uc.mem_regions())
    buffer = ctypes.create_string_buffer(0x401000 + 0x1000)
    place = ctypes.addressof(buffer)
    place += -place % 0x1000
    size = 0x401000
    add: dict[str, Callable[[int], None]] = {
        "mem_map": lambda at: uc.mem_map(at, size),
        "mem_map_ptr": lambda at: uc.mem_map_ptr(at, size, UC_PROT_ALL, place),
        "mmio_map": lambda at: uc.mmio_map(at, size, lambda *_: 0, None, None, None),
    }
    error = None
    for number in range(1, 8):
        error = catch(lambda: add[how](number << 39))  # noqa: B023
        if error is not None:
            break
        before = sorted(uc.mem_regions())
    assert isinstance(error, MmuError)
    one_line(error)
    assert sorted(uc.mem_regions()) == before
    m.detach()
    runs_as_plain(uc)


# Who keeps whom alive.


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_nobody_keeps_the_result(fidelity: str) -> None:
    uc = new_instance()
    cpu.attach(uc, identity=True, fidelity=fidelity)
    gc.collect()
    junk = [bytearray(1 << 16) for _ in range(100)]
    begin, until = load(uc, f"mov rbx, {DATA:#x}; mov rax, [rbx]; mov [rbx], rax; nop")
    uc.emu_start(begin, until)
    assert get(uc, "rip") == until
    assert len(junk) == 100
    uc._ucmmu.detach()
    runs_as_plain(uc)


def test_nobody_keeps_the_instance() -> None:
    """The attachment keeps it, and both go together; nothing grows."""
    out = in_child(
        f"""
import gc
import cpu
from tests.cpu.attaching import *

def once(drop):
    uc = new_instance()
    uc.mem_write(CODE, bytes.fromhex("9090"))
    m = cpu.attach(uc, identity=True, handler=lambda fault: False)
    m.hook_add({UC_HOOK_CODE}, lambda *_: m)
    del uc
    gc.collect()
    m.emu_start(CODE, CODE + 2)
    if drop == "detach":
        m.detach()

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

for drop in ("detach", "leave"):
    for _ in range(10):
        once(drop)
    gc.collect()
    before = rss()
    for _ in range(60):
        once(drop)
    gc.collect()
    print(rss() - before < 16 << 20)
"""
    )
    assert out.split() == ["True", "True"]


def test_two_instances_have_nothing_in_common() -> None:
    first, second = new_instance(), new_instance()
    a = cpu.attach(first, identity=True)
    b = cpu.attach(second, identity=True, fidelity="exact")
    a.map(VIRTUAL, 0x1000)
    assert not b.walk(VIRTUAL).ok
    b.map(VIRTUAL, 0x1000)
    a.write(VIRTUAL, b"a")
    b.write(VIRTUAL, b"b")
    begin, until = load(first, "nop; nop")
    load(second, "nop; nop")
    first.emu_start(begin, until)
    assert (a.instructions, b.instructions) == (2, 0)
    a.detach()
    second.emu_start(begin, until)
    assert b.instructions == 2
    assert b.read(VIRTUAL, 1) == b"b"


WORK = """
import sys
import cpu
from unicorn import *
from tests.cpu.attaching import *

PROGRAM = bytes.fromhex("4889034883c308ffc975f590")  # mov [rbx], rax; add rbx, 8; dec ecx; jnz; nop

def work(number):
    uc = new_instance()
    uc.mem_write(CODE, PROGRAM)
    faults = []
    def handler(fault):
        faults.append(fault.address)
        m.map(fault.address & -4096, 4096)
        return True
    m = cpu.attach(uc, identity=True, fidelity=FIDELITIES[number % 3], handler=handler)
    for turn in range(3):
        put(uc, rbx=VIRTUAL + turn * 0x10000, rcx=4096, rax=number)
        (uc if number & 1 else m).emu_start(CODE, CODE + len(PROGRAM))
    m.read(VIRTUAL, 64)
    result = len(faults), m.instructions, m.read(VIRTUAL + 8, 1)[0]
    m.detach()
    return result
"""


@pytest.mark.parametrize("private", [True, False])
def test_eight_threads_at_once(private: bool) -> None:
    """Each its own instance, from the first attachment of the process on."""
    out = in_child(
        WORK
        + """
import threading
results = {}
threads = [threading.Thread(target=lambda n=n: results.update({n: work(n)})) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(results == {n: (24, 3 * (4 * 4096 + 1), n) for n in range(8)} or results)
""",
        private=private,
    )
    assert out.strip() == "True"


def test_fork() -> None:
    """Parent and child go on, each with memory of its own, as without an MMU."""
    out = in_child(
        WORK
        + """
import os
uc = new_instance()
m = cpu.attach(uc, identity=True)
m.map(VIRTUAL, 4096)
m.write(VIRTUAL, b"p")
pid = os.fork()
if not pid:
    m.write(VIRTUAL, b"c")
    m.map(VIRTUAL + 4096, 4096)
    os._exit(0 if work(1)[0] == 24 else 1)
_, status = os.waitpid(pid, 0)
print(status, m.read(VIRTUAL, 1), m.walk(VIRTUAL + 4096).ok, work(2)[0])
m.detach()
"""
    )
    assert out.strip() == "0 b'p' False 24"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_returns_and_raises_our_errors(method: str) -> None:
    """With the walk in them."""
    out = in_child(
        """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import cpu
from mmu.errors import *
from tests.cpu.attaching import *

def fail(how):
    uc = new_instance()
    m = cpu.attach(uc, identity=True)
    m.map(VIRTUAL, 4096, 1)
    uc.mem_write(CODE, bytes.fromhex("488903" if how == "store" else "488b03"))
    put(uc, rbx=VIRTUAL if how == "store" else HOLE)
    if how == "table":
        m.memory.write_u64(m.tables.root + 8, 1 << 38 | 7)
        put(uc, rbx=1 << 39)
    m.emu_start(CODE, CODE + 3)

if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("METHOD")) as pool:
        for how in ("store", "load", "table"):
            try:
                pool.submit(fail, how).result()
            except MmuError as error:
                print(how, type(error).__name__, error.walk.result.name, hex(error.address))
""".replace("METHOD", method)
    )
    assert out.splitlines() == [
        f"store GuestPageFault PAGE_FAULT {VIRTUAL:#x}",
        f"load GuestPageFault PAGE_FAULT {HOLE:#x}",
        f"table BadTable BAD_TABLE {1 << 39:#x}",
    ]


def test_pickled_faults_are_the_same() -> None:
    uc = new_instance()
    m = cpu.attach(uc)
    error = catch(lambda: m.read(HOLE, 1))
    again = pickle.loads(pickle.dumps(error))
    m.detach()
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert again.args == error.args  # type: ignore[union-attr]
    assert again.walk.level == 4


def test_the_size_of_memory_does_not_matter() -> None:
    uc = new_instance()
    with cpu.attach(uc, identity=True, ram=8 << 30) as m:
        assert m.memory.size == 8 << 30
        assert m.walk(CODE + SIZE - 1).ok
