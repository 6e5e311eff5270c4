# SPDX-License-Identifier: GPL-2.0-or-later
"""A script with the MMU attached, and the same script on plain Unicorn, in one process.

Rates are of runs through ``uc.emu_start()`` from Python: what a script sees.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from unicorn import (
    UC_ARCH_X86,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_READ_UNMAPPED,
    UC_HOOK_MEM_WRITE,
    UC_HOOK_MEM_WRITE_UNMAPPED,
    UC_MODE_64,
    Uc,
)
from unicorn.x86_const import UC_X86_REG_RDI, UC_X86_REG_RSI

import cpu
from benchmarks.measure import Result, compare
from cpu.attached import Attached, Fault

CODE = 0x400000
DATA = 0x600000
HEAP = 0x10000000
SIZE = 0x10000
RUNS = 4000
CYCLES = 60
FAULTS = 400
TURNS = 20_000
GROWTH_RUNS = 1_000_000

SHORT = b"\x48\xff\xc0" * 8
"""inc rax, eight times."""
LOOP = bytes.fromhex("b9204e0000488b0648894608ffc975f5")
"""mov ecx, TURNS; 1: mov rax, [rsi]; mov [rsi + 8], rax; dec ecx; jnz 1b"""
TOUCH = bytes.fromhex("488907")
"""mov [rdi], rax"""


def _instance(code: bytes) -> Uc:
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, SIZE)
    uc.mem_map(DATA, SIZE)
    uc.mem_write(CODE, code)
    uc.reg_write(UC_X86_REG_RSI, DATA)
    return uc


def _attached(code: bytes, **options: Any) -> tuple[Uc, Attached]:
    uc = _instance(code)
    return uc, cpu.attach(uc, identity=True, **options)


def _per_second(once: Callable[[int], object], times: int) -> float:
    """How often a second ``once`` can be called; it is told the number of the call."""
    started = time.perf_counter()
    for number in range(times):
        once(number)
    return times / (time.perf_counter() - started)


def _runs(uc: Uc, ends: tuple[int, ...], count: int) -> Callable[[], float]:
    def rate() -> float:
        return _per_second(
            lambda n: uc.emu_start(CODE, ends[n % len(ends)], count=count), times=RUNS
        )

    return rate


def _compare_runs(name: str, ends: tuple[int, ...], count: int, note: str) -> Result:
    uc, _ = _attached(SHORT)
    return compare(
        name,
        _runs(uc, ends, count),
        _runs(_instance(SHORT), ends, count),
        unit="runs/s",
        goal=">= 0.5",
        note=note,
    )


def attach_runs() -> Iterator[Result]:
    """Short runs that all end at one address; and how much memory a million of them takes."""
    yield _compare_runs("attach_runs", (CODE + 24,), 0, "8 instructions a run, one end")
    yield _growth()


def attach_two_ends() -> Iterator[Result]:
    """Short runs whose ends alternate."""
    ends = (CODE + 24, CODE + 21)
    yield _compare_runs("attach_two_ends", ends, 0, "8 and 7 instructions, two ends in turn")


def attach_count() -> Iterator[Result]:
    """Short runs that end by count=."""
    note = "5 instructions a run, by count=5"
    yield _compare_runs("attach_count", (CODE + 24,), 5, note)


def _growth() -> Result:
    """kB that a million runs, of two ends in turn, add to the process: ours, and plain's."""
    uc, _ = _attached(SHORT)
    return compare(
        "attach_growth",
        lambda: _grown(uc),
        lambda: _grown(_instance(SHORT)),
        unit="kB",
        goal="<= 2",
        note=f"resident memory that {GROWTH_RUNS:,} runs of two ends in turn add, plus 1 MiB: the"
        " ratio of nothing to nothing says nothing",
        rounds=1,
        warm_up=False,
    )


def _grown(uc: Uc) -> float:
    uc.emu_start(CODE, CODE + 24)
    before = _resident()
    for n in range(GROWTH_RUNS):
        uc.emu_start(CODE, CODE + (24 if n & 1 else 21))
    return _resident() - before + 1024.0


def _resident() -> int:
    """kB of this process in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


def attach_cycle() -> Iterator[Result]:
    """attach(identity=True) and detach() of one instance, against making an instance."""
    uc = _instance(SHORT)

    def cycle(_: int) -> None:
        cpu.attach(uc, identity=True).detach()

    yield compare(
        "attach_cycle",
        lambda: 1e3 / _per_second(cycle, CYCLES),
        lambda: 1e3 / _per_second(lambda _: _instance(SHORT), CYCLES),
        unit="ms",
        goal="<= 4",
        note="attach and detach; the peer makes a plain instance of two regions: 2 ms where that"
        " takes 0.5",
    )


def attach_watchpoint() -> Iterator[Result]:
    """A hook on 8 bytes, while a loop makes 40,000 other accesses."""
    uc, mmu = _attached(LOOP)
    plain = _instance(LOOP)
    for put in (mmu.hook_add, plain.hook_add):
        put(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, _not_called, None, DATA + 256, DATA + 263)
    yield compare(
        "attach_watchpoint",
        lambda: 1e3 / _per_second(lambda _: uc.emu_start(CODE, CODE + len(LOOP)), 5),
        lambda: 1e3 / _per_second(lambda _: plain.emu_start(CODE, CODE + len(LOOP)), 5),
        unit="ms",
        goal="<= 2",
        note=f"{2 * TURNS:,} accesses a run beside a watchpoint of 8 bytes, in fast, by virtual"
        " address; plain's is by physical address",
    )


def _not_called(*_: object) -> None:
    raise AssertionError("the loop does not touch the watched bytes")


def attach_fault() -> Iterator[Result]:
    """A fault that a handler mends by map(), against plain's hook that mends it by mem_map()."""
    yield compare(
        "attach_fault",
        _mended_by_handler,
        _mended_by_hook,
        unit="us",
        goal="<= 1",
        note=f"{FAULTS} stores to pages that are mapped on demand, in fast; what Unicorn's"
        " mem_map() costs grows with the number of regions",
    )


def _mended_by_handler() -> float:
    def handler(fault: Fault) -> bool:
        mmu.map(fault.address & -0x1000, 0x1000)
        return True

    uc, mmu = _attached(TOUCH, handler=handler)
    return _microseconds_a_touch(uc)


def _mended_by_hook() -> float:
    def hook(uc: Uc, _access: int, address: int, _size: int, _value: int, _data: object) -> bool:
        uc.mem_map(address & -0x1000, 0x1000)
        return True

    uc = _instance(TOUCH)
    uc.hook_add(UC_HOOK_MEM_READ_UNMAPPED | UC_HOOK_MEM_WRITE_UNMAPPED, hook)
    return _microseconds_a_touch(uc)


def _microseconds_a_touch(uc: Uc) -> float:
    pages = count(HEAP, 0x2000)

    def touch(_: int) -> None:
        uc.reg_write(UC_X86_REG_RDI, next(pages))
        uc.emu_start(CODE, CODE + len(TOUCH))

    return 1e6 / _per_second(touch, FAULTS)
