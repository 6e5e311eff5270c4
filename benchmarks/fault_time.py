# SPDX-License-Identifier: GPL-2.0-or-later
"""What the count's instructions and atomics take in time, against a fault of the host's own kernel.

A fault looks its table up and counts; the reference becomes that of the entry it sets. Timed are a
lookup and a put, one after the other with nothing else to do meanwhile. That is more than the count
adds: there is one atomic too many, and the RCU read section is there without a count as well. (The
difference to ``never`` would be less than it adds: the processor overlaps the two.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import calm, peers
from benchmarks.calm import Round
from benchmarks.measure import Result
from benchmarks.priority import real_time
from benchmarks.scaling import host
from mmu import _native
from mmu.linux import engine
from mmu.linux.mm import boot
from mmu.linux.policy import FreeTables
from mmu.memory import Memory
from mmu.x86 import Mmu

ADDRESS = 1 << 30
PAIRS = 20_000
ROUNDS = 101
GOAL = 0.012
"""Of the host kernel's own fault."""
BASE, POLICIES = "never", ("refcount", "refcount-pmdlock")


def refcount_fault_time(rounds: int = ROUNDS, patience: float = 6.0) -> Iterator[Result]:
    """Lookup and put of a table with an entry; the policies take turns. Calm rounds count."""
    pairs = {policy: lookup_and_put(policy) for policy in (BASE, *POLICIES)}
    order = list(pairs)

    def once() -> Iterator[Round]:
        order.reverse()
        with real_time():
            before = calm.probe()
            found = {policy: pairs[policy]() for policy in order}
            probe = max(before, calm.probe())
        yield Round(tuple(found[policy] for policy in pairs), probe)

    never, *counted = calm.measure(once, rounds, patience)
    fault = host.rate(wanted=max(3, rounds // 5), patience=patience).fault_ns
    for policy, pair in zip(POLICIES, counted, strict=True):
        yield Result(
            f"refcount_fault_time_{policy}",
            pair.median,
            fault.median,
            "ns",
            f"<= {GOAL}",
            (pair.low / fault.high, pair.high / fault.low),
            f"a lookup and its put under {policy}, all of it, against a fault of the host's kernel;"
            " the bounds are quartiles",
            {"pair_never": never.median, "fault_spread": fault.share, **pair.record()}
            | {"noisy": pair.noisy or fault.noisy},
        )


def lookup_and_put(policy: str, pairs: int = PAIRS) -> Callable[[], float]:
    """A function that measures what a pair takes, ns, on one CPU."""
    module = peers.load()
    memory = Memory(64 << 20)
    mm = boot(memory, Mmu(memory), policy=FreeTables.from_label(policy))
    mm.mmap(ADDRESS, 2 << 20, 3, 0x32)
    engine.do_anonymous_fault(mm, ADDRESS, True)
    pmd = engine.pmd_alloc(mm, ADDRESS)
    assert pmd is not None
    lookup, put = (
        module.ffi.cast(kind, peers.address_of(_native.ffi, _native.lib, name))
        for kind, name in (("lookup_fn", "pte_try_get"), ("put_fn", "pte_put"))
    )
    c_mm = module.ffi.cast("void *", int(_native.ffi.cast("uintptr_t", mm.c)))
    ram = int(_native.ffi.cast("uintptr_t", memory.c.ram))
    c_pmd = module.ffi.cast("void *", ram + pmd - memory.base)

    def measure() -> float:
        ns = float(module.lib.time_lookups(lookup, put, c_mm, c_pmd, ADDRESS, pairs))
        if mm.kernel.c.bug:
            raise AssertionError("the pairs did not balance")
        return ns

    return measure
