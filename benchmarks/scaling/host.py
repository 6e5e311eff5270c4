# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's own kernel: what a fault costs, and what freeing a page table at once costs.

A kernel with CONFIG_PT_RECLAIM (6.14 and later) frees a table if one call of MADV_DONTNEED covers
its whole 2 MiB. The same pages given back by a call that leaves the last 4 KiB out keep it. The
difference of the two is the price of freeing, in a real kernel.

Two threads at once are measured in three ways: as processes that share nothing, which is the limit
of this host, with a VMA each, and with one VMA.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

from benchmarks import calm
from benchmarks.calm import Round, Spread
from benchmarks.measure import BenchmarkError
from benchmarks.priority import real_time
from benchmarks.refcount_threads import at_one_distance
from native import on_demand

HERE = Path(__file__).resolve().parent
AREA = 2 << 20
SYS_MEMBARRIER, MEMBARRIER_CMD_QUERY, MEMBARRIER_CMD_GLOBAL = 324, 0, 1
CHUNK: Final = AREA // 2
"""Bytes given back by a call: no table is freed."""
SHARINGS: Final = {
    "nothing": "HOST_PROCESSES",
    "an address space": "HOST_OWN_VMAS",
    "a VMA": "HOST_ONE_VMA",
}
"""What threads share, by the enumerator of host.h."""


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    return on_demand.load(
        "ucmmu_benchmark_host", [HERE / "host.h"], [HERE / "host.c"], [str(HERE.parent)]
    )


@dataclass(frozen=True)
class Rate:
    """Faults of several threads at once, each on a CPU of its own."""

    threads: int
    shares: str
    """Of SHARINGS."""
    first_cpu: int
    """The first one's CPU; the others have those after it."""
    ns: Spread
    """A page touched and given back, as one thread has it."""
    fault_ns: Spread
    zap_ns: Spread
    """Of a page."""

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "threads": self.threads,
            "shares": self.shares,
            "first_cpu": self.first_cpu,
            "ns": self.ns.median,
            "fault_ns": self.fault_ns.median,
            "zap_ns": self.zap_ns.median,
            **self.ns.record(),
        }


def rate(
    threads: int = 1,
    shares: str = "an address space",
    *,
    first_cpu: int = 0,
    pages: int = 512,
    areas: int = 4,
    wanted: int = 21,
    patience: float = 4.0,
) -> Rate:
    """Measure it, with areas given back by CHUNK. BenchmarkError if the kernel refuses."""
    module = load()
    number = max(1, 8192 // (areas * pages))
    sharing = getattr(module.lib, SHARINGS[shares])

    def once() -> Iterator[Round]:
        rates = module.ffi.new("struct host_rates *")
        with real_time():
            error = module.lib.host_faults(
                threads, first_cpu, areas, pages, number, CHUNK, sharing, rates
            )
        _check(error)
        figures = (rates.round_ns, rates.fault_ns, rates.zap_ns)
        yield Round(figures, rates.probe_ns, rates.busy)

    return Rate(threads, shares, first_cpu, *calm.measure(once, wanted, patience))


@dataclass(frozen=True)
class Refill:
    """One table, given back and touched again, over and over; ns, sorted."""

    pages: int
    freed: bool
    """Whether the call covers the whole area, so that the kernel frees the table."""
    zap_ns: list[float]
    touch_ns: list[float]
    """The first touch after it."""
    lost_ns: float
    """What the other thread that computes loses in a call, on average."""
    median: Spread
    touch_median: Spread
    """Of the rounds' medians."""

    def record(self) -> dict[str, Any]:
        """Percentiles of both."""
        return {
            "pages": self.pages,
            "freed": self.freed,
            "zap_ns": percentiles(self.zap_ns),
            "touch_ns": percentiles(self.touch_ns),
            **self.median.record(),
        }


def percentiles(ordered: list[float]) -> dict[str, float]:
    """Of a sorted list: the median and what follows it."""
    last = len(ordered) - 1
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {name: ordered[round(share * last)] for name, share in shares.items()}


def refill(
    pages: int,
    freed: bool,
    number: int,
    *,
    spin: bool = False,
    wanted: int = 11,
    patience: float = 3.0,
) -> Refill:
    """Measure it ``number`` times a round; ``spin``: while another thread computes on another CPU,
    which the flush must interrupt.
    """
    module = load()
    rounds: dict[Round, tuple[list[float], list[float]]] = {}

    def once() -> Iterator[Round]:
        zap, touch = (module.ffi.new("double[]", number) for _ in range(2))
        lost = module.ffi.new("double *")
        with real_time():
            before = calm.probe()
            error = module.lib.host_refill(number, pages, freed, spin, zap, touch, lost)
            probe = max(before, calm.probe())
        _check(error)
        each = Round((median(zap), median(touch), lost[0]), probe)
        rounds[each] = list(zap), list(touch)
        yield each

    found, good = calm.gather(once, wanted, patience)
    middle, touch_middle, lost_ns = calm.spreads(found, good)
    zaps, touches = zip(*(rounds[each] for each in good or found), strict=True)
    return Refill(
        pages,
        freed,
        sorted(chain(*zaps)),
        sorted(chain(*touches)),
        lost_ns.median,
        middle,
        touch_middle,
    )


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


def measure(quick: bool = False) -> dict[str, Any]:
    """All of it; ``parameters`` are those of the model that come from here."""
    how: dict[str, Any] = {"wanted": 3, "patience": 0.3} if quick else {}
    cpus = len(os.sched_getaffinity(0))
    alone = [rate(first_cpu=cpu, **how) for cpu in range(min(2, cpus))]
    together = [_two(shares, how) for shares in SHARINGS if cpus > 1]
    refills = [
        refill(pages, freed, max(20, 1000 // pages), **how)
        for pages in (1, 64, 511)
        for freed in (False, True)
    ]
    kept, freed = (each for each in refills if each.pages == 1)
    many = next(each for each in refills if each.pages == 511 and not each.freed)
    zap_page = (median(many.zap_ns) - median(kept.zap_ns)) / 510
    frees = frees_tables()
    parameters = {
        "fault": mean(each.fault_ns.median for each in alone),
        "zap_page": zap_page,
        "zap_call": median(kept.zap_ns) - zap_page,
        "grace_period": grace_period(3 if quick else 15),
    }
    spreads = {
        "fault": max(each.fault_ns.share for each in alone),
        "zap_page": _of_difference(many.median, kept.median),
        "zap_call": kept.median.share,
    }
    if frees:
        parameters["table_free"] = median(freed.zap_ns) - median(kept.zap_ns)
        parameters["table_alloc"] = median(freed.touch_ns) - median(kept.touch_ns)
        spreads["table_free"] = _of_difference(freed.median, kept.median)
        spreads["table_alloc"] = _of_difference(freed.touch_median, kept.touch_median)
    return {
        "kernel": os.uname().release,
        "cpus": cpus,
        "frees_tables": frees,
        "parameters": parameters,
        "spreads": spreads,
        "rates": [*(each.record() | {"distance": None} for each in alone), *together],
        "refill": [each.record() for each in refills],
        "interrupt": interrupt(kept, how) if cpus > 1 else None,
    }


def _of_difference(more: Spread, less: Spread) -> float:
    """The spread of a difference, as a share of it."""
    apart = abs(more.median - less.median)
    return (more.share * more.median + less.share * less.median) / apart if apart else 0.0


def _two(shares: str, how: dict[str, Any]) -> dict[str, Any]:
    """rate() of two threads, and the distance of their CPUs meanwhile."""
    found, distance = at_one_distance(lambda: rate(2, shares, **how))
    return found.record() | {"distance": distance}


def interrupt(quiet: Refill, how: dict[str, Any]) -> dict[str, Any]:
    """What a flush that must interrupt another CPU takes, ns: ``wait`` from the CPU that asks,
    beyond a call that asks nobody, and ``receive`` from the one that is told.
    """
    told = refill(1, False, 1000, spin=True, **how)
    return {
        "wait": max(0.0, median(told.zap_ns) - median(quiet.zap_ns)),
        "receive": told.lost_ns,
        **told.median.record(),
    }
