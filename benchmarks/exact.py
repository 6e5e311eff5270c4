# SPDX-License-Identifier: GPL-2.0-or-later
"""``exact`` against bare Unicorn, and against simulators that see every access of a program, as we
do.

cachegrind simulates caches and lackey prints every access; both run on valgrind, which translates
code to code and no addresses. All run whole commands, measured in CPU time; slow-downs are over the
program run natively.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.cpu_speed import Bare, Ours, assemble
from benchmarks.measure import Outcome, Result, Skipped, compare
from cpu.linkage import private_parts
from cpu.vcpu import Fidelity
from mmu.events import EventRing
from ucmmu.options import find_program

NATIVE_RUNS = 9
CACHEGRIND = ("--tool=cachegrind", "--cachegrind-out-file=/dev/null")
LACKEY = ("--tool=lackey", "--trace-mem=yes", "--log-file=/dev/null")


@contextmanager
def _public_api() -> Iterator[None]:
    """vCPUs made meanwhile use nothing of Unicorn that is private."""
    before = os.environ.get("UCMMU_PRIVATE")
    os.environ["UCMMU_PRIVATE"] = "0"
    private_parts.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ["UCMMU_PRIVATE"]
        else:
            os.environ["UCMMU_PRIVATE"] = before
        private_parts.cache_clear()


def exact_memory() -> Iterator[Outcome]:
    """The loop of ``fast_memory`` in ``exact``, on Unicorn's public API alone."""
    loop = assemble("loop_memory")
    with _public_api():
        ours = Ours(loop, fidelity=Fidelity.EXACT)
    yield _against_bare("exact_memory", ours, goal=">= 0.2", how="on the public API")


def exact_memory_private() -> Iterator[Outcome]:
    """The same with the private parts of Unicorn that passed their self-test."""
    if not private_parts():
        yield Skipped("exact_memory_private", "this Unicorn has none of the private parts we know")
        return
    ours = Ours(assemble("loop_memory"), fidelity=Fidelity.EXACT)
    yield _against_bare(
        "exact_memory_private", ours, goal=">= 0.4", how="with private parts of Unicorn"
    )


def trace_null() -> Iterator[Outcome]:
    """The same in ``trace``, whose events go to a ring that throws them away, against ``exact``."""
    loop = assemble("loop_memory")
    events = 0

    def drop(ring: EventRing) -> None:
        nonlocal events
        events += ring.c.head - ring.c.tail
        ring.c.tail = ring.c.head

    ring = EventRing(1 << 16, on_full=drop)
    ring.enable()
    traced = Ours(loop, fidelity=Fidelity.TRACE, ring=ring)
    result = compare(
        "trace_null",
        traced.rate,
        Ours(loop, fidelity=Fidelity.EXACT).rate,
        unit="MIPS",
        goal=">= 0.3",
        note="15 instructions, 3 accesses a turn, trace, every event thrown away, against exact",
    )
    if traced.vcpu.shared.broken:
        raise AssertionError("Unicorn used a translation that was not the model's")
    drop(ring)
    result.more.update(events_per_instruction=events / (traced.vcpu.instructions or 1))
    yield result


def _against_bare(name: str, ours: Ours, *, goal: str, how: str) -> Result:
    result = compare(
        name,
        ours.rate,
        Bare(ours.loop).rate,
        unit="MIPS",
        goal=goal,
        note=f"15 instructions, 3 accesses a turn, exact, {how}, against bare Unicorn without"
        " hooks or paging",
    )
    if ours.vcpu.shared.broken:
        raise AssertionError("Unicorn used a translation that was not the model's")
    return result


def exact_cachegrind() -> Iterator[Outcome]:
    """A loop through 16 MiB that then stays in 128 KiB for a while, and one that scatters over all
    16 MiB.
    """
    for name, arguments in (
        ("exact_cachegrind", ("16M", "48")),
        ("exact_cachegrind_scattered", ("16M", "6", "16M")),
    ):
        yield _against_valgrind(name, CACHEGRIND, arguments, goal="<= 2.5", rounds=3)


def exact_lackey() -> Iterator[Outcome]:
    """The first of these loops, with every access printed, to nowhere."""
    yield _against_valgrind("exact_lackey", LACKEY, ("16M", "16"), goal="<= 0.05", rounds=1)


def _against_valgrind(
    name: str, tool: tuple[str, ...], arguments: tuple[str, ...], *, goal: str, rounds: int
) -> Outcome:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return Skipped(name, "valgrind is not installed")
    program = (str(find_program("memory_loop")), *arguments)
    ours = (sys.executable, "-m", "ucmmu", "run", "--fidelity", "exact", *program)
    native = median(_seconds(*program) for _ in range(NATIVE_RUNS))

    def slowdown(*command: str) -> Callable[[], float]:
        return lambda: _seconds(*command) / native

    result = compare(
        name,
        slowdown(*ours),
        slowdown(valgrind, *tool, *program),
        unit="times native",
        goal=goal,
        note=f"{' '.join(['memory_loop', *arguments])}, exact, CPU time of whole commands, against"
        f" valgrind {tool[0]}",
        rounds=rounds,
        warm_up=False,
    )
    public = _seconds(*ours, UCMMU_PRIVATE="0") / native
    result.more.update(native_seconds=native, ours_public_api=public)
    return result


def _seconds(*command: str, **environment: str) -> float:
    """CPU seconds of a command and its children, which must succeed."""
    started = _children()
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return _children() - started


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
