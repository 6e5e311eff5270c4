# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the small parts: the vDSO is an ELF file, samples are bounded, clocks go forward,
signals wait in order.
"""

from __future__ import annotations

import io
import signal
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile

from cpu.clock import EPOCH_NS, VirtualClock
from cpu.samples import FIRST_INTERVAL, MAX_SAMPLES, Samples
from cpu.siginfo import SI_USER, SigInfo
from cpu.signals import (
    SIG_IGN,
    SigAction,
    Sighand,
    SignalReport,
    SigPending,
    sigmask,
    signal_name,
)
from cpu.syscalls.numbers import SYSCALL_NAMES, syscall_name
from cpu.syscalls.table import TABLE
from cpu.vdso import VDSO_PAGES, vdso_image


def test_vdso_is_a_shared_object_of_that_name() -> None:
    image = vdso_image()
    assert len(image) == VDSO_PAGES * 4096
    elf = ELFFile(io.BytesIO(image))
    (dynamic,) = [segment for segment in elf.iter_segments() if isinstance(segment, DynamicSegment)]
    assert [tag.soname for tag in dynamic.iter_tags("DT_SONAME")] == ["linux-vdso.so.1"]
    names = {symbol.name for symbol in dynamic.iter_symbols()}
    assert {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu"} <= names


def a_process(pages: int) -> Any:
    return SimpleNamespace(
        c=SimpleNamespace(total_vm=pages, rss_stat=[0, pages, 0, 0], pgtables_bytes=4096 * pages)
    )


@pytest.mark.parametrize("count", [0, 1, MAX_SAMPLES - 1, MAX_SAMPLES, 5 * MAX_SAMPLES])
def test_samples_are_bounded_and_evenly_spaced(count: int) -> None:
    samples = Samples()
    for pages in range(count):
        samples.take(a_process(pages), samples.due)
    series = samples.series(a_process(9), samples.due)
    assert len(series) <= MAX_SAMPLES + 1
    steps = [sample.instructions for sample in series]
    assert {b - a for a, b in pairwise(steps)} <= {samples.interval}
    assert samples.interval % FIRST_INTERVAL == 0
    assert series[-1][1:] == (36, 36, 36)


def test_clock_says_how_long_it_is_until_then() -> None:
    now = 500
    clock = VirtualClock(lambda: now)
    assert clock.realtime_ns() == EPOCH_NS + 500
    assert [clock.until(when, realtime=False) for when in (1400, 500, 100)] == [900, 0, 0]
    assert clock.until(EPOCH_NS + 700, realtime=True) == 200
    assert [clock.tsc(), clock.tsc()] == [500, 501]


def test_signals_wait_while_blocked_and_lowest_goes_first() -> None:
    pending = SigPending()
    for signo in (signal.SIGTERM, 64, signal.SIGUSR1):
        pending.add(signo, None)
    mask = sigmask(signal.SIGTERM)
    assert [pending.next_signal(mask), pending.dequeue(mask).signo] == [10, 10]  # type: ignore[union-attr]
    assert (pending.next_signal(mask), pending.next_signal(0)) == (64, signal.SIGTERM)


def test_what_an_instruction_raised_goes_before_all_others() -> None:
    pending = SigPending()
    pending.add(signal.SIGHUP, SigInfo.kill(signal.SIGHUP, SI_USER, 7, 8))
    pending.add(signal.SIGSEGV, SigInfo.fault(signal.SIGSEGV, 1, 0x10))
    assert pending.next_signal(0) == signal.SIGSEGV
    found = pending.dequeue_synchronous(0)
    assert found is not None and found.addr == 0x10
    assert pending.dequeue_synchronous(0) is None
    assert pending.signal == sigmask(signal.SIGHUP)


def test_real_time_signals_come_each_in_order() -> None:
    pending = SigPending()
    infos = [SigInfo(40, -1, bytes([n])) for n in range(3)]
    for info in infos:
        pending.add(40, info)
    assert [pending.dequeue(0) for _ in range(4)] == [*infos, None]


def test_ignored_signals() -> None:
    hand = Sighand({signal.SIGTERM: SigAction(SIG_IGN), signal.SIGCHLD: SigAction(0x401000)})
    assert hand.ignores(signal.SIGTERM)
    assert hand.ignores(signal.SIGURG)
    assert not hand.ignores(signal.SIGCHLD)
    assert not hand.ignores(signal.SIGUSR1)
    hand.flush(force_default=False)
    assert (hand.ignores(signal.SIGTERM), hand.ignores(signal.SIGCHLD)) == (True, True)


def test_report_reads_well() -> None:
    report = SignalReport(
        signo=signal.SIGSEGV,
        code="SEGV_MAPERR",
        reason="nothing is mapped there",
        rip=0x401000,
        address=0x10,
        instruction="mov eax, [0x10]",
        walk="PML4E ...",
        handler=0x402000,
        why_not="the signal was blocked",
    )
    assert report.line == (
        "SIGSEGV (SEGV_MAPERR), address 0x10, RIP 0x401000: mov eax, [0x10]: nothing is mapped"
        " there"
    )
    assert "handler at 0x402000 was not run: the signal was blocked" in str(report)
    assert str(report).endswith("PML4E ...")
    assert signal_name(34) == "SIGRTMIN+2"


def test_names_of_system_calls() -> None:
    assert (syscall_name(28), syscall_name(231), syscall_name(462)) == (
        "madvise",
        "exit_group",
        "mseal",
    )
    assert syscall_name(9999) == "syscall 9999"
    assert len(SYSCALL_NAMES) == len(set(SYSCALL_NAMES.values()))
    assert TABLE[28].__name__ == "sys_madvise"
