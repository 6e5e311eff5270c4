# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever several processes on two CPUs do, and in whatever order, each reads what a model
of one dict a process says; every owner is counted, no translation is stale, nothing is left at the
end; and both engines do the same.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.filemap import MappedFile
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmget, mmput
from mmu.linux.mman import (
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_REMOVE,
    MADV_WIPEONFORK,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAP_SHARED,
)
from mmu.linux.policy import FreeTables
from mmu.x86 import Mmu
from tests.linux.processes import check_processes, read, run, write
from tests.linux.world import World, plain

PAGE = 4096
# Two tables' worth of pages, of which few are used: private, private of a file, shared.
BASE = 0x10_0000_0000
PAGES = [0, 1, 2, 510, 511, 512, 513]
PRIVATE, FILE, SHARED = (BASE + n * 1024 * PAGE for n in range(3))
LENGTH = 514
FILE_BYTES = b"".join(bytes([n & 0x7F | 0x80]) * PAGE for n in range(LENGTH))
ALIVE_MAX = 4

Step = tuple[str, int, str, int, int]

OPERATIONS: dict[str, tuple[int, ...]] = {
    "write": tuple(range(1, 121)),
    "write again": tuple(range(1, 121)),
    "read": (0,),
    "fork": (0, 0, 1, 2, 5, 9, 12),
    "share": (0,),
    "exit": (0,),
    "dontneed": (1, 2, 512),
    "unmap": (1, 1, 2),
    "remove": (1, 2),
    "protect": (1,),
    "dontfork": (1,),
    "wipeonfork": (1,),
    "move": (0,),
}
"""What a process does, and with which arguments."""


def random_steps(seed: int, length: int) -> list[Step]:
    """(what, process, kind of memory, page, argument) of each step."""
    choose = random.Random(seed)
    steps = []
    for _ in range(length):
        what = choose.choice(list(OPERATIONS))
        argument = choose.choice(OPERATIONS[what])
        process, kind, page = (
            choose.randrange(ALIVE_MAX),
            choose.choice("pfs"),
            choose.choice(PAGES),
        )
        steps.append((what.split()[0], process, kind, page, argument))
    return steps


class Model:
    """What each page holds: by process for private ones, once for shared ones."""

    def __init__(self) -> None:
        self.private: dict[tuple[str, int], int] = {}
        self.unmapped: set[tuple[str, int]] = set()
        self.dontfork: set[tuple[str, int]] = set()
        self.wiped: set[tuple[str, int]] = set()

    def fork(self) -> Model:
        child = Model()
        child.wiped = set(self.wiped)
        child.unmapped = self.unmapped | self.dontfork
        child.private = {
            key: value
            for key, value in self.private.items()
            if key not in self.wiped and key not in child.unmapped
        }
        return child


class Processes:
    """The same processes on one engine, and their model."""

    def __init__(self, name: str, policy: FreeTables) -> None:
        self.world = World(name, policy, ram=16 << 20)
        kernel = self.world.mm.kernel
        kernel.add_cpu(
            Mmu(
                self.world.memory,
                geometry="tiny",
                engine=name,
                exact=True,
                ring=self.world.ring,
                check=True,
            )
        )
        self.kernel = kernel
        self.file = MappedFile(FILE_BYTES)
        self.shared: dict[int, int] = {}
        self.alive: list[tuple[Mm, Model]] = [(self.world.mm, Model())]
        self.cpu_of: dict[int, int] = {}
        mm = self.world.mm
        private = MAP_PRIVATE | MAP_FIXED
        mm.mmap(PRIVATE, LENGTH * PAGE, 3, private | MAP_ANONYMOUS)
        mm.mmap(FILE, LENGTH * PAGE, 3, private, self.file)
        mm.mmap(SHARED, LENGTH * PAGE, 3, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS)

    def expected(self, model: Model, kind: str, page: int) -> int:
        if kind == "s":
            return self.shared.get(page, 0)
        return model.private.get((kind, page), FILE_BYTES[page * PAGE] if kind == "f" else 0)

    def on(self, mm: Mm) -> Mm:
        """Have the CPU that the process is on run it."""
        self.kernel.this_cpu = self.kernel.cpus[self.cpu_of.get(id(mm), 0)]
        return run(mm)

    def perform(self, what: str, number: int, kind: str, page: int, argument: int) -> object:
        mm, model = self.alive[number % len(self.alive)]
        self.on(mm)
        addr = {"p": PRIVATE, "f": FILE, "s": SHARED}[kind] + page * PAGE
        if what in ("dontneed", "unmap", "remove"):
            argument = min(argument, LENGTH - page)
        here = {(kind, n) for n in range(page, page + max(argument, 1))}
        if what in ("write", "read"):
            return self.access(mm, model, what == "write", kind, page, addr, argument)
        if what == "fork":
            return self.fork(mm, model, argument)
        if what == "share":
            mmget(mm)
            self.alive.append((mm, model))
            return self.shrink()
        if what == "exit":
            return self.exit(number % len(self.alive)) if len(self.alive) > 1 else None
        if what == "move":
            self.cpu_of[id(mm)] = 1 - self.cpu_of.get(id(mm), 0)
            return None
        try:
            if what == "dontneed":
                mm.madvise(addr, argument * PAGE, MADV_DONTNEED)
            elif what == "unmap":
                mm.munmap(addr, argument * PAGE)
            elif what == "remove":
                mm.madvise(addr, argument * PAGE, MADV_REMOVE)
            elif what == "protect":
                mm.mprotect(addr, argument * PAGE, 1)
                mm.mprotect(addr, argument * PAGE, 3)
            elif what == "dontfork":
                mm.madvise(addr, PAGE, MADV_DONTFORK)
            else:
                mm.madvise(addr, PAGE, MADV_WIPEONFORK)
        except LinuxError as error:
            if what == "dontneed":
                self.forget(model, here, kind)
            if what == "remove" and kind == "s":
                self.drop_shared(model, here)
            return str(error)
        if what in ("dontneed", "unmap"):
            self.forget(model, here, kind)
        if what == "remove":
            self.drop_shared(model, here)
        if what == "unmap":
            model.unmapped |= here
        elif what == "dontfork":
            model.dontfork |= here
        elif what == "wipeonfork":
            model.wiped |= here
        return None

    @staticmethod
    def forget(model: Model, pages: set[tuple[str, int]], kind: str) -> None:
        for key in pages:
            model.private.pop(key, None)

    def drop_shared(self, model: Model, pages: set[tuple[str, int]]) -> None:
        for key in pages - model.unmapped:
            self.shared.pop(key[1], None)

    def access(
        self, mm: Mm, model: Model, is_write: bool, kind: str, page: int, addr: int, byte: int
    ) -> object:
        try:
            if is_write:
                write(mm, addr + 7, bytes([byte]))
                if kind == "s":
                    self.shared[page] = byte
                else:
                    model.private[kind, page] = byte
                return None
            got = read(mm, addr + 7)[0]
        except LinuxError as error:
            assert (kind, page) in model.unmapped
            return str(error)
        assert (kind, page) not in model.unmapped
        assert got == self.expected(model, kind, page)
        return got

    def fork(self, mm: Mm, model: Model, allocations: int) -> object:
        """``allocations``: how many there are before one fails; 0 for all."""
        self.world.memory.c.fail_after = allocations - 1 if allocations else (1 << 64) - 1
        try:
            child = mm.dup_mm()
        except LinuxError as error:
            return str(error)
        finally:
            self.world.memory.c.fail_after = (1 << 64) - 1
        self.alive.append((child, model.fork()))
        self.cpu_of[id(child)] = len(self.alive) % 2
        return self.shrink()

    def shrink(self) -> None:
        if len(self.alive) > ALIVE_MAX:
            self.exit(1)

    def exit(self, number: int) -> None:
        """Exit on whatever CPU runs, which need not be the one that the process was on."""
        mm, _ = self.alive.pop(number)
        self.on(self.alive[0][0])
        mmput(mm)
        self.on(self.alive[0][0])

    def check(self) -> None:
        """Every page that is mapped holds what the model says; every owner is counted."""
        check_processes(self.kernel)
        for mm, model in self.alive:
            for kind in "pfs":
                for number in PAGES:
                    self.perform_read(mm, model, kind, number)
        check_processes(self.kernel)
        for cpu in self.kernel.cpus:
            if cpu.mmu.check is not None:
                assert cpu.mmu.check.uses() == []

    def perform_read(self, mm: Mm, model: Model, kind: str, number: int) -> None:
        addr = {"p": PRIVATE, "f": FILE, "s": SHARED}[kind] + number * PAGE
        self.on(mm)
        self.access(mm, model, False, kind, number, addr, 0)

    def end(self) -> None:
        while len(self.alive) > 1:
            self.exit(len(self.alive) - 1)
            check_processes(self.kernel)
        self.alive[0][0].exit_mmap()
        engine.rcu_process_callbacks(self.kernel)
        assert self.kernel.mms == [] and self.file.users == 0
        assert self.world.memory.frames_in_use == 0

    def state(self) -> dict[str, Any]:
        return {
            "mms": [plain(mm.c) for mm in self.kernel.mms],
            "vmas": [
                plain(mm.c.vmas.vma[i]) for mm in self.kernel.mms for i in range(mm.c.vmas.nr)
            ],
            "events": [str(event) for event in self.world.ring.read()],
        }


FIRST = [
    *[("write", 0, kind, number, number % 100 + 1) for kind in "pfs" for number in PAGES[1::2]],
    ("read", 0, "f", 0, 0),
    ("read", 0, "p", 2, 0),
    ("write", 0, "p", PAGES[1], 7),
    ("fork", 0, "p", 0, 0),
    ("write", 0, "p", PAGES[1], 8),
    ("read", 1, "p", PAGES[1], 0),
]
"""Pages of each kind, written and only read, that two processes map; one of them copied."""


def check_all(policy: FreeTables, seed: int, length: int = 30) -> None:
    """Make the steps of this seed on both engines."""
    c, python = Processes("c", policy), Processes("python", policy)
    for step in [*FIRST, *random_steps(seed, length)]:
        assert c.perform(*step) == python.perform(*step), step
    for both in (c, python):
        both.check()
    ours, theirs = c.state(), python.state()
    for part, value in ours.items():
        assert value == theirs[part], f"the engines differ in {part}"
    for both in (c, python):
        both.end()


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@pytest.mark.parametrize("seed", range(4))
def test_random_processes(policy: FreeTables, seed: int) -> None:
    check_all(policy, seed)


@pytest.mark.fuzz
@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_many_random_processes(policy: FreeTables) -> None:
    """From new seeds: HYPOTHESIS_EXAMPLES says how many."""
    first = random.SystemRandom().randrange(1 << 32)
    for seed in range(first, first + int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000"))):
        print("seed", seed)
        check_all(policy, seed, 80)
