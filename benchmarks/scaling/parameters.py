# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model of scaling is calibrated with: each parameter, its unit and where it comes from.

Times are nanoseconds. A parameter comes from the benchmarks of threads (``threads``: measured on
this host's CPUs in C), from the host's own kernel (``host``: `benchmarks/scaling/host.py`), or is
assumed, with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

THREADS, HOST, ASSUMED = "threads", "host", "assumed"


def _parameter(origin: str, meaning: str, value: float) -> Any:
    return field(default=value, metadata={"origin": origin, "meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """One machine and its kernel. The defaults are those of a 2.4 GHz EPYC of Zen 3."""

    atomic: float = _parameter(THREADS, "a LOCK read-modify-write of a line this CPU owns", 2.5)
    transfer: float = _parameter(
        THREADS, "a modified line goes from one core to another of its cluster", 25.0
    )
    lock: float = _parameter(THREADS, "a spinlock nobody else wants, taken and released", 6.0)
    lock_handoff: float = _parameter(
        THREADS, "from the release of a spinlock to its next owner's first instruction", 35.0
    )
    rcu_read: float = _parameter(THREADS, "an RCU read section, entered and left", 1.5)
    percpu_pair: float = _parameter(THREADS, "a get and a put of a per-CPU reference", 2.0)
    fault: float = _parameter(
        HOST, "a first touch of an anonymous page whose table exists, one thread", 1000.0
    )
    zap_page: float = _parameter(HOST, "a page given back, within a call of MADV_DONTNEED", 250.0)
    zap_call: float = _parameter(HOST, "a call of MADV_DONTNEED, without its pages", 1000.0)
    table_alloc: float = _parameter(
        HOST, "a PTE table allocated, zeroed and installed: what a first touch takes longer", 900.0
    )
    table_free: float = _parameter(
        HOST, "an empty PTE table taken out and handed to RCU: what the call takes longer", 800.0
    )
    free_hold: float = _parameter(
        THREADS,
        "of that, under the PMD lock: all 512 entries are looked at, the PMD is cleared",
        100.0,
    )
    grace_period: float = _parameter(
        HOST, "a grace period of RCU (membarrier(2) waits for one)", 8e6
    )
    far: float = _parameter(
        ASSUMED,
        "a transfer or a hand-off to another cluster, in those of a cluster: what this host showed"
        " when its two CPUs stood in different ones",
        5.0,
    )
    cluster: float = _parameter(ASSUMED, "cores that share a last-level cache (Zen 3: 8)", 8)
    ipi_wait: float = _parameter(
        ASSUMED,
        "from sending a flush to its acknowledgement by one CPU (bare metal: 1 to 2 µs)",
        1500.0,
    )
    ipi_each: float = _parameter(ASSUMED, "what each CPU more adds to that wait", 50.0)
    ipi_receive: float = _parameter(ASSUMED, "what a flush takes from a CPU that is told", 700.0)
    shared_accesses: float = _parameter(
        ASSUMED,
        "read-modify-writes of the line of the VMA's (before 6.4: the mm's) lock in a fault and in"
        " a call: one to lock, one to unlock (v6.18: vma_start_read(), vma_end_read())",
        2,
    )
    jitter: float = _parameter(
        ASSUMED, "local times vary evenly by this share, so that CPUs do not march in step", 0.2
    )

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 0:
                raise ValueError(f"{name} is {value}: no time and no number is below 0")
        if self.cluster < 1:
            raise ValueError("cluster is less than 1 core")
        if self.jitter > 1:
            raise ValueError(f"jitter is {self.jitter}: a time cannot vary by more than itself")

    def replace(self, **changes: float) -> Parameters:
        """The same with some changed."""
        return dataclasses.replace(self, **changes)


def calibrated(measured: Mapping[str, float]) -> Parameters:
    """The parameters with those that ``measured`` has. A difference that came out below 0 in the
    noise is 0. ValueError for a name that is none.
    """
    names = {each.name for each in dataclasses.fields(Parameters)}
    if unknown := set(measured) - names:
        raise ValueError(f"no parameters of the model: {', '.join(sorted(unknown))}")
    return Parameters(**{name: max(0.0, value) for name, value in measured.items()})


def described(parameters: Parameters, measured: Mapping[str, float] = {}) -> list[dict[str, Any]]:
    """A row for each: name, value, where it comes from, meaning. What is to be measured and is not
    among ``measured`` has its default.
    """
    rows = []
    for each in dataclasses.fields(parameters):
        origin = each.metadata["origin"]
        if each.name in measured and origin == ASSUMED:
            origin = THREADS
        elif each.name not in measured and origin != ASSUMED:
            origin = "default"
        value = getattr(parameters, each.name)
        meaning = each.metadata["meaning"]
        rows.append({"name": each.name, "value": value, "origin": origin, "meaning": meaning})
    return rows
