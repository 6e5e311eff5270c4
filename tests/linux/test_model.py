# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: after any sequence of operations each page has the rights and the contents that a
page-by-page model says.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mmu.errors import LinuxError
from mmu.linux import engine, procfs
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.policy import FreeTables
from mmu.x86 import Access
from ucmmu.testing.mm import access_once, check_mm, make_mm
from ucmmu.testing.options import MachineOptions

PAGE = 4096
PAGES = 20
# The window straddles a PTE table, a PMD table and a PUD table.
BASE = (0x20 << 39) - 10 * PAGE
FILE = bytes(page + 1 for page in range(PAGES) for _ in range(PAGE))
LETTERS = ((1, "r"), (2, "w"), (4, "x"))

pages = st.integers(0, PAGES - 1)
counts = st.integers(1, 8)
prots = st.sampled_from([0, 1, 3, 5, 7])


class AddressSpace(RuleBasedStateMachine):
    """An mm beside dicts: page number to rights, to file page or None, to the byte last written."""

    @initialize(
        engine=st.sampled_from(["c", "python"]),
        policy=st.sampled_from(list(FreeTables)),
        exact=st.booleans(),
    )
    def start(self, engine: str, policy: FreeTables, exact: bool) -> None:
        self.mm = make_mm(
            MachineOptions(
                engine, policy.label, ram=16 << 20, fidelity="exact" if exact else "fast"
            )
        )
        self.file = MappedFile(FILE)
        self.prot: dict[int, int] = {}
        self.source: dict[int, int | None] = {}
        self.written: dict[int, int] = {}

    def forget(self, first: int, end: int) -> None:
        for page in range(first, end):
            for what in (self.prot, self.source, self.written):
                what.pop(page, None)

    @rule(page=pages, count=counts, prot=prots)
    def map_anonymous(self, page: int, count: int, prot: int) -> None:
        self.mm.mmap(
            BASE + page * PAGE, count * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
        )
        self.forget(page, page + count)
        for n in range(page, page + count):
            self.prot[n], self.source[n] = prot, None

    @rule(page=pages, count=counts, prot=prots, offset=st.integers(0, 8))
    def map_file(self, page: int, count: int, prot: int, offset: int) -> None:
        self.mm.mmap(
            BASE + page * PAGE, count * PAGE, prot, MAP_PRIVATE | MAP_FIXED, self.file, offset
        )
        self.forget(page, page + count)
        for n in range(page, page + count):
            self.prot[n], self.source[n] = prot, offset + n - page

    @rule(page=pages, count=counts)
    def unmap(self, page: int, count: int) -> None:
        self.mm.munmap(BASE + page * PAGE, count * PAGE)
        self.forget(page, page + count)

    @rule(page=pages, count=counts, prot=prots)
    def protect(self, page: int, count: int, prot: int) -> None:
        try:
            self.mm.mprotect(BASE + page * PAGE, count * PAGE, prot)
            failed = False
        except LinuxError:
            failed = True
        mapped = 0
        while mapped < count and page + mapped in self.prot:
            self.prot[page + mapped] = prot
            mapped += 1
        assert failed == (mapped < count)

    @rule(page=pages, count=counts)
    def dontneed(self, page: int, count: int) -> None:
        wanted = range(page, page + count)
        try:
            self.mm.madvise(BASE + page * PAGE, count * PAGE, MADV_DONTNEED)
            assert all(n in self.prot for n in wanted)
        except LinuxError:
            assert not all(n in self.prot for n in wanted)
        for n in wanted:
            self.written.pop(n, None)

    @precondition(lambda self: self.prot)
    @rule(
        data=st.data(),
        access=st.sampled_from((Access.READ, Access.WRITE, Access.FETCH)),
        value=st.integers(1, 255),
    )
    def access(self, data: st.DataObject, access: Access, value: int) -> None:
        page = data.draw(st.sampled_from([*self.prot, PAGES + 8]))
        addr = BASE + page * PAGE
        prot = self.prot.get(page)
        # x86 has no page that may be written or executed but not read.
        allowed = (
            prot is not None
            and {Access.READ: prot != 0, Access.WRITE: prot & 2, Access.FETCH: prot & 4}[access]
        )
        segv = access_once(self.mm, addr, access)
        if not allowed:
            assert segv is not None
            assert (segv.signal, segv.code) == (11, 1 if prot is None else 2)
            return
        assert segv is None
        if access is Access.WRITE:
            self.mm.copy_to_user(addr + 100, bytes([value]))
            self.written[page] = value

    @precondition(lambda self: self.prot)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        page = data.draw(st.sampled_from(list(self.prot)))
        if not self.prot[page]:
            return
        source = self.source[page]
        before = 0 if source is None else source + 1
        addr = BASE + page * PAGE
        assert self.mm.copy_from_user(addr + 99, 3) == bytes(
            [before, self.written.get(page, before), before]
        )

    @rule()
    def end_a_grace_period(self) -> None:
        engine.rcu_process_callbacks(self.mm.kernel)

    @invariant()
    def tables_and_counters_agree(self) -> None:
        check_mm(self.mm)

    @invariant()
    def maps_say_what_the_model_says(self) -> None:
        ours: dict[int, str] = {}
        for line in procfs.maps(self.mm).splitlines():
            extent, perms = line.split()[:2]
            start, end = (int(n, 16) - BASE >> 12 for n in extent.split("-"))
            ours |= dict.fromkeys(range(start, end), perms)
        assert ours == {
            n: "".join(letter if prot & bit else "-" for bit, letter in LETTERS) + "p"
            for n, prot in self.prot.items()
        }
        assert self.mm.vm_stats()["VmSize"] == 4 * len(self.prot)

    def teardown(self) -> None:
        if hasattr(self, "mm"):
            self.mm.exit_mmap()
            assert self.mm.memory.frames_in_use == 0


TestAddressSpace = AddressSpace.TestCase
TestAddressSpace.settings = settings(
    max_examples=60 if settings().max_examples < 1000 else settings().max_examples
)
