# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's own kernel: what a fault costs, and what freeing a page table at once costs.

A kernel with CONFIG_PT_RECLAIM (6.14 and later) frees a table if one call of MADV_DONTNEED covers
its whole 2 MiB. The same pages given back by a call that leaves the last 4 KiB out keep it. The
difference of the two is the price of freeing, in a real kernel.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import BenchmarkError
from benchmarks.priority import real_time
from native import on_demand

HERE = Path(__file__).resolve().parent
AREA = 2 << 20
SYS_MEMBARRIER, MEMBARRIER_CMD_QUERY, MEMBARRIER_CMD_GLOBAL = 324, 0, 1
UNDISTURBED = 0.97
"""Of its time, what each thread must have had its CPU for a round to count."""


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    return on_demand.load("ucmmu_benchmark_host", [HERE / "host.h"], [HERE / "host.c"])


@dataclass(frozen=True)
class Rate:
    """Faults of several threads at once. Medians of the rounds that nothing disturbed."""

    threads: int
    pages: int
    """Touched in each area of 2 MiB."""
    chunk: int
    """Bytes given back by a call."""
    own_vmas: bool
    fault_ns: float
    zap_ns: float
    """Of a page."""
    ns: float
    """Both: time of a thread by its pages."""
    rounds: int
    busy: float
    """The lowest share of its time in which a thread had its CPU, of these rounds."""


def rate(
    threads: int, pages: int, chunk: int, own_vmas: bool = True, rounds: int = 40, areas: int = 4
) -> Rate:
    """Measure it. Where every round was disturbed, those that were least so; BenchmarkError if the
    kernel refuses.
    """
    module = load()
    each = max(1, 8192 // (areas * pages))
    found = []
    for _ in range(rounds):
        rates = module.ffi.new("struct host_rates *")
        with real_time():
            error = module.lib.host_faults(threads, areas, pages, each, chunk, own_vmas, rates)
        _check(error)
        found.append((rates.busy, rates.fault_ns, rates.zap_ns, rates.round_ns))
    found.sort(reverse=True)
    calm = [each for each in found if each[0] >= UNDISTURBED] or found[: rounds // 4 + 1]
    _, fault_ns, zap_ns, ns = (median(column) for column in zip(*calm, strict=True))
    return Rate(threads, pages, chunk, own_vmas, fault_ns, zap_ns, ns, len(calm), calm[-1][0])


@dataclass(frozen=True)
class Refill:
    """One table, given back and touched again, over and over; ns, sorted."""

    pages: int
    freed: bool
    """Whether the call covers the whole area, so that the kernel frees the table."""
    zap_ns: list[float]
    touch_ns: list[float]
    """The first touch after it."""

    def record(self) -> dict[str, Any]:
        """Percentiles of both."""
        return {
            "pages": self.pages,
            "freed": self.freed,
            "zap_ns": percentiles(self.zap_ns),
            "touch_ns": percentiles(self.touch_ns),
        }


def percentiles(ordered: list[float]) -> dict[str, float]:
    """Of a sorted list: the median and what follows it."""
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[round(share * last)] for name, share in shares.items()}


def refill(pages: int, freed: bool, number: int, spin: bool = False) -> Refill:
    """Measure it ``number`` times."""
    module = load()
    zap, touch = (module.ffi.new("double[]", number) for _ in range(2))
    with real_time():
        error = module.lib.host_refill(number, pages, freed, spin, zap, touch)
    _check(error)
    return Refill(pages, freed, sorted(zap), sorted(touch))


def _check(error: int) -> None:
    if error:
        raise BenchmarkError(f"the host's kernel refuses the measurement: {os.strerror(error)}")


def frees_tables() -> bool:
    """Whether this kernel frees a table at once: VmPTE after a call that covers all of 2 MiB."""
    import mmap

    def vmpte() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmPTE")))

    areas = 64
    with mmap.mmap(-1, (areas + 1) * AREA, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        area.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, len(area), AREA):
            area[at] = 1
        before = vmpte()
        area.madvise(mmap.MADV_DONTNEED)
        return before - vmpte() > 2 * areas


def grace_period(number: int = 15) -> float:
    """The median wait for a grace period of RCU, ns. BenchmarkError without membarrier(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_MEMBARRIER, MEMBARRIER_CMD_QUERY, 0) & MEMBARRIER_CMD_GLOBAL == 0:
        raise BenchmarkError("membarrier(2) has no MEMBARRIER_CMD_GLOBAL here")
    waits = []
    for _ in range(number):
        started = time.perf_counter_ns()
        libc.syscall(SYS_MEMBARRIER, MEMBARRIER_CMD_GLOBAL, 0)
        waits.append(float(time.perf_counter_ns() - started))
    return median(waits)


def measure(scale: float = 1.0) -> dict[str, Any]:
    """All of it; ``parameters`` are those of the model that come from here. ``scale``: of the
    rounds, for a quick look.
    """
    number = max(50, int(4000 * scale))
    rounds = max(3, int(40 * scale))
    one = rate(1, 512, AREA // 2, rounds=rounds)
    refills = [
        refill(pages, freed, max(20, number // pages if pages > 8 else number))
        for pages in (1, 64, 511)
        for freed in (False, True)
    ]
    kept, freed = (each for each in refills if each.pages == 1)
    many = next(each for each in refills if each.pages == 511 and not each.freed)
    zap_page = (percentiles(many.zap_ns)["p50"] - percentiles(kept.zap_ns)["p50"]) / 510
    frees = frees_tables()
    parameters = {
        "fault": one.fault_ns,
        "zap_page": zap_page,
        "zap_call": percentiles(kept.zap_ns)["p50"] - zap_page,
        "grace_period": grace_period(max(3, int(15 * scale))),
    }
    if frees:
        parameters["table_free"] = median(freed.zap_ns) - median(kept.zap_ns)
        parameters["table_alloc"] = median(freed.touch_ns) - median(kept.touch_ns)
    rates = [one] + [
        rate(threads, 512, AREA // 2, own, rounds=rounds)
        for threads in (1, 2)
        for own in (True, False)
        if threads <= (os.cpu_count() or 1)
    ]
    return {
        "kernel": os.uname().release,
        "cpus": os.cpu_count(),
        "frees_tables": frees,
        "parameters": parameters,
        "rates": [asdict(each) for each in rates[1:]],
        "refill": [each.record() for each in refills],
    }
