# SPDX-License-Identifier: GPL-2.0-or-later
"""An independent look at an mm's page tables: walk them from CR3 in RAM and compare with what the
kernel counted.

The walk is in C (native/mm/tables.c), since it goes through every table at each exit. It uses
neither engine and none of their functions, so it can judge both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.events import MM_COUNTER_ID
from mmu.linux.pgtable import entry_pfn, mm_find_pmd, pmd_huge, table_is_empty
from mmu.linux.policies import policy_of
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT, PAGE_SIZE

_ADDR: Final = lib.X86_ADDR_MASK
_ALLOCATED = MM_COUNTER_ID["pte_tables_allocated"]
_FREED = MM_COUNTER_ID["pte_tables_freed"]

_WORDS = {
    lib.TABLES_NO_TABLE: (
        "the level-{level} entry of {address:#x} is {value:#x}: it refers to no table in RAM"
    ),
    lib.TABLES_LARGE_PAGE: "the level-{level} entry of {address:#x} is {value:#x}: a large page",
    lib.TABLES_NOT_A_TABLE: "the table of {address:#x} lies in frame {value:#x}, which is none",
    lib.TABLES_REFERENCES: (
        "the {table} table of {address:#x} has {value} entries and counts {other} references"
    ),
    lib.TABLES_LOCKED: "the {table} table of {address:#x} is locked",
    lib.TABLES_NO_PAGE: "the PTE of {address:#x} is {value:#x}: it maps what is not RAM",
}


@dataclass(slots=True)
class TablesReport:
    """What a walk of the tables found: tables of each level, resident pages, and disagreements, in
    words.

    ``references`` are each PTE table's, by its first address, if they were asked for. Of many
    disagreements the first are told, and how many more there are.
    """

    pud_tables: int = 0
    pmd_tables: int = 0
    pte_tables: int = 0
    huge_pmds: int = 0
    entries: int = 0
    anon_pages: int = 0
    file_pages: int = 0
    shmem_pages: int = 0
    references: dict[int, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.problems

    @property
    def vm_pte(self) -> int:
        """VmPTE as the walk finds it, kB."""
        return (self.pud_tables + self.pmd_tables + self.pte_tables) * PAGE_SIZE >> 10

    def __str__(self) -> str:
        """One line, and one for each disagreement."""
        head = (
            f"{self.pte_tables} PTE, {self.pmd_tables} PMD, {self.pud_tables} PUD tables,"
            f" {self.vm_pte} kB; {self.entries} entries, {self.anon_pages} anonymous,"
            f" {self.file_pages} file and {self.shmem_pages} shared memory pages"
        )
        return "\n".join([head, *self.problems])


if TYPE_CHECKING:
    from mmu._native import struct_tables_problem


def _words(problem: struct_tables_problem) -> str:
    values = {name: getattr(problem, name) for name in ("level", "address", "value", "other")}
    return _WORDS[problem.what].format(**values, table=("PTE", "PMD", "PUD")[problem.level - 1])


def check_tables(mm: MmStruct, *, references: bool = False) -> TablesReport:
    """Walk all of user space from the PGD, which CR3 must name where the mm is loaded; recompute
    VmPTE, RSS by kind and, where tables are counted, every table's references.
    """
    problems = []
    root = mm.c.pgd
    for cpu in mm.kernel.cpus:
        if cpu.loaded_mm is mm and int(cpu.mmu.c.cr3) & _ADDR != root:
            problems.append(
                f"CR3 of CPU {cpu.id} points to {cpu.mmu.c.cr3:#x}, the mm's PGD is at {root:#x}"
            )
    c = ffi.new("struct tables_report *")
    lib.walk_tables(mm.c, root, c, ffi.NULL, ffi.NULL, 0)
    problems += [
        _words(problem) for problem in c.problem[0 : min(c.nr_problems, lib.TABLES_PROBLEMS_MAX)]
    ]
    if c.nr_problems > lib.TABLES_PROBLEMS_MAX:
        problems.append(f"and {c.nr_problems - lib.TABLES_PROBLEMS_MAX} more such disagreements")
    counts: dict[int, int] = {}
    if mm.kernel.c.policy == lib.FREE_TABLES_OWN:
        counts = _own_references(mm, root, c.pte_tables, problems)
    elif references:
        counts = _references(mm, root, c.pte_tables)
    report = TablesReport(
        pud_tables=c.pud_tables,
        pmd_tables=c.pmd_tables,
        pte_tables=c.pte_tables + len(mm.pmd_huge_pte),
        huge_pmds=c.huge_pmds,
        entries=c.entries,
        anon_pages=c.pages[lib.MM_ANONPAGES],
        file_pages=c.pages[lib.MM_FILEPAGES],
        shmem_pages=c.pages[lib.MM_SHMEMPAGES],
        references=counts if references else {},
        problems=problems,
    )
    report.problems += _deposited(mm)
    _compare(mm, report)
    return report


def _deposited(mm: MmStruct) -> list[str]:
    """What is wrong with the tables that are deposited for huge PMDs: each huge PMD has one of its
    own, which is empty, unlocked, and has no references.
    """
    problems = []
    if len(set(mm.pmd_huge_pte.values())) < len(mm.pmd_huge_pte):
        problems.append("a table is deposited for more than one huge PMD")
    for address, table in mm.pmd_huge_pte.items():
        pmd, page = mm_find_pmd(mm, address), mm.memory.page(table)
        pmdval = 0 if pmd is None else mm.memory.read_u64(pmd)
        if not page.flags & lib.PG_table or page._refcount != 1:
            problems.append(
                f"what is deposited for {address:#x}, frame {table:#x}, is no table that is owned"
            )
        if not pmd_huge(pmdval):
            problems.append(
                f"a table is deposited for {address:#x}, whose PMD entry is {pmdval:#x}, not huge"
            )
        references = policy_of(mm.kernel).references(table) if pte_ref_is_enabled(mm) else 0
        if references or page.ptl or not table_is_empty(mm.memory, table << PAGE_SHIFT):
            problems.append(
                f"the table that is deposited for {address:#x}, in frame {table:#x}, is in use"
            )
    return problems


def _references(mm: MmStruct, root: int, nr: int) -> dict[int, int]:
    """The reference count of each of nr PTE tables."""
    addresses, counts = ffi.new("u64[]", nr), ffi.new("u32[]", nr)
    lib.walk_tables(mm.c, root, ffi.new("struct tables_report *"), addresses, counts, nr)
    return dict(zip(addresses, counts, strict=True))


def _own_references(mm: MmStruct, root: int, nr: int, problems: list[str]) -> dict[int, int]:
    """The same, as a policy that keeps its own counts tells them; each must be the table's entries
    that are not none.
    """
    policy, counts = policy_of(mm.kernel), {}
    for address in _references(mm, root, nr):
        pmd = mm_find_pmd(mm, address)
        assert pmd is not None
        table = entry_pfn(mm.memory.read_u64(pmd))
        counts[address] = policy.references(table)
        entries = memoryview(mm.memory.read(table << PAGE_SHIFT, PAGE_SIZE)).cast("Q")
        used = sum(entry != 0 for entry in entries)
        if policy.counts and used != counts[address]:
            words = _WORDS[lib.TABLES_REFERENCES]
            problems.append(
                words.format(table="PTE", address=address, value=used, other=counts[address])
            )
    return counts


def _compare(mm: MmStruct, report: TablesReport) -> None:
    c = mm.c
    counted = {
        "VmPTE, kB": (report.vm_pte, c.pgtables_bytes >> 10),
        "PTE tables": (
            report.pte_tables,
            c.counter[_ALLOCATED] - c.counter[_FREED],
        ),
        "huge PMDs": (report.huge_pmds, len(mm.pmd_huge_pte)),
        "anonymous pages": (report.anon_pages, c.rss_stat[lib.MM_ANONPAGES]),
        "file pages": (report.file_pages, c.rss_stat[lib.MM_FILEPAGES]),
        "shared memory pages": (report.shmem_pages, c.rss_stat[lib.MM_SHMEMPAGES]),
    }
    for what, (walked, count) in counted.items():
        if walked != count:
            report.problems.append(
                f"{what}: the walk from CR3 finds {walked}, the counter says {count}"
            )
