# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: on several CPUs both engines do the same to every register, TLB, counter and event, and no
access ever uses a translation that memory no longer says, whatever is done in whichever order.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu._native import ffi
from mmu.errors import LinuxError
from mmu.linux.mm import Mm
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.units import PAGE_SIZE
from mmu.x86 import Access, Outcome
from tests.linux.cpus import BASE, RW, SECOND_NS, Cpus
from tests.linux.world import plain

SPAN = 2 * 512
cpus = st.integers(0, 3)
mms = st.integers(0, 2)
pages = st.sampled_from([0, 1, 2, 40, 511, 512, 513, SPAN - 1])
lengths = st.sampled_from([1, 2, 33, 34, 512, SPAN])
accesses = st.sampled_from([Access.READ, Access.WRITE])
operation = st.one_of(
    st.tuples(st.just("switch"), cpus, st.one_of(st.none(), mms)),
    st.tuples(st.just("lazy"), cpus, st.none()),
    st.tuples(st.just("touch"), cpus, st.tuples(pages, accesses)),
    st.tuples(st.just("dontneed"), cpus, st.tuples(mms, pages, lengths)),
    st.tuples(st.just("munmap"), cpus, st.tuples(mms, pages, lengths)),
    st.tuples(st.just("map"), cpus, st.tuples(mms, pages, lengths)),
    st.tuples(
        st.just("mprotect"), cpus, st.tuples(mms, pages, lengths, st.sampled_from([0, 1, 3]))
    ),
    st.tuples(st.just("exit"), cpus, mms),
    st.tuples(st.just("second"), cpus, st.none()),
)


class Players:
    """Four CPUs and three mms; one that has exited is replaced by a new one."""

    def __init__(self, engine: str, invlpgb: bool) -> None:
        self.m = Cpus(engine, nr=4, invlpgb=invlpgb)
        self.mms = [self.m.mm, Mm(self.m.kernel), Mm(self.m.kernel)]
        for mm in self.mms:
            self.map(mm, 0, SPAN)

    def map(self, mm: Mm, page: int, length: int) -> object:
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        return mm.mmap(BASE + page * PAGE_SIZE, length * PAGE_SIZE, RW, flags)

    def perform(self, what: str, number: int, argument: Any) -> object:
        """Do one operation on that CPU; its outcome."""
        m = self.m
        with m.running_on(number) as cpu:
            if what == "switch":
                return m.switch(number, None if argument is None else self.mms[argument])
            if what == "lazy":
                return m.lazy(number)
            if what == "touch":
                if cpu.loaded_mm is None or cpu.c.is_lazy:
                    return None
                return self.touch(cpu.loaded_mm, BASE + argument[0] * PAGE_SIZE, argument[1])
            if what == "second":
                m.now += SECOND_NS
                return None
            if what == "exit":
                return self.exit(argument)
            mm, page, length, *prot = argument
            addr, size = BASE + page * PAGE_SIZE, length * PAGE_SIZE
            try:
                if what == "map":
                    return self.map(self.mms[mm], page, length)
                if what == "munmap":
                    return self.mms[mm].munmap(addr, size)
                if what == "dontneed":
                    return self.mms[mm].madvise(addr, size, MADV_DONTNEED)
                return self.mms[mm].mprotect(addr, size, prot[0])
            except LinuxError as error:
                return str(error)

    def touch(self, mm: Any, addr: int, access: Access) -> object:
        """One access, as far as its faults can be handled."""
        cpu = mm.kernel.this_cpu
        for _ in range(3):
            answer = cpu.mmu.translate(addr, access)
            if answer.result == Outcome.OK:
                return answer
            signal = mm.handle_user_fault(addr, answer.error_code)
            if signal is not None:
                return str(signal)
        raise AssertionError(f"{addr:#x} faults for ever")

    def exit(self, which: int) -> object:
        """The process ends: no CPU runs it any more."""
        self.mms[which].exit_mmap()
        self.mms[which] = Mm(self.m.kernel)
        return self.map(self.mms[which], 0, SPAN)

    def state(self) -> dict[str, Any]:
        """All that the engines must agree on."""
        kernel = self.m.kernel
        return {
            "cpus": [
                {k: v for k, v in plain(cpu.c).items() if k != "code_written"}
                for cpu in kernel.cpus
            ],
            "cr3": [int(cpu.mmu.c.cr3) for cpu in kernel.cpus],
            "tlb": [bytes(ffi.buffer(ffi.addressof(cpu.mmu.c, "tlb"))) for cpu in kernel.cpus],
            "mms": [plain(mm.c) for mm in self.mms],
            "kernel": kernel.counters(),
            "events": [(event.cpu, str(event)) for event in self.m.ring.read()],
        }


@pytest.mark.parametrize("invlpgb", [False, True], ids=["ipi", "invlpgb"])
@given(operations=st.lists(operation, max_size=25))
def test_random_operations(invlpgb: bool, operations: list[tuple[str, int, Any]]) -> None:
    c, python = Players("c", invlpgb), Players("python", invlpgb)
    for what, number, argument in operations:
        assert c.perform(what, number, argument) == python.perform(what, number, argument), what
    ours, theirs = c.state(), python.state()
    for part, value in ours.items():
        assert value == theirs[part], f"the engines differ in {part}"
    for players in (c, python):
        assert not players.m.stale_uses()
        for mm in players.mms:
            report = mm.check_tables()
            assert report.ok, str(report)
        players.m.kernel.memory.close()
