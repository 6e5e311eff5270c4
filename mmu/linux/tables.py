# SPDX-License-Identifier: GPL-2.0-or-later
"""An independent look at an mm's page tables: walk them from CR3 in RAM and compare with what the kernel counted.

Nothing here uses the engines, so it can judge both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.events import MM_COUNTER_ID
from mmu.linux.vma import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmu.linux.mm import MmStruct

_P: int = lib.X86_P
_PS: int = lib.X86_PS
_PRESENT: int = lib.X86_P | lib._PAGE_PROTNONE
_SPECIAL: int = lib._PAGE_SPECIAL
_ADDR: int = lib.X86_ADDR_MASK
_ALLOCATED = MM_COUNTER_ID["pte_tables_allocated"]
_FREED = MM_COUNTER_ID["pte_tables_freed"]


@dataclass(slots=True)
class TablesReport:
    """What a walk of the tables found: tables of each level, resident pages, and every disagreement, in words."""

    pud_tables: int = 0
    pmd_tables: int = 0
    pte_tables: int = 0
    entries: int = 0
    anon_pages: int = 0
    file_pages: int = 0
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
            f"{self.pte_tables} PTE, {self.pmd_tables} PMD, {self.pud_tables} PUD tables, {self.vm_pte} kB;"
            f" {self.entries} entries, {self.anon_pages} anonymous and {self.file_pages} file pages"
        )
        return "\n".join([head, *self.problems])


def _entries(mm: MmStruct, table: int) -> list[int]:
    first = table - mm.memory.base >> 3
    return mm.memory.words[first : first + 512].tolist()


def _tables_of(
    mm: MmStruct, report: TablesReport, table: int, base: int, level: int
) -> Iterator[tuple[int, int]]:
    """(virtual address, guest-physical address) of each table that this one, of level, refers to."""
    span = 1 << (12 + 9 * (level - 1))
    say = report.problems.append
    for index, entry in enumerate(_entries(mm, table)):
        if not entry:
            continue
        address, below = base + index * span, entry & _ADDR
        if not entry & _P or not mm.memory.holds(below, PAGE_SIZE):
            say(f"the level-{level} entry of {address:#x} is {entry:#x}: it refers to no table in RAM")
        elif entry & _PS:
            say(f"the level-{level} entry of {address:#x} is {entry:#x}: a large page")
        else:
            if not mm.memory.page(below >> PAGE_SHIFT).flags & lib.PG_table:
                say(f"the table of {address:#x} lies in frame {below >> PAGE_SHIFT:#x}, which is none")
            yield address, below


def _check_pte_table(mm: MmStruct, report: TablesReport, address: int, table: int) -> None:
    entries = _entries(mm, table)
    used = 512 - entries.count(0)
    page = mm.memory.page(table >> PAGE_SHIFT)
    report.pte_tables += 1
    report.entries += used
    report.references[address] = int(page.pte_refcount)
    if mm.c.policy == lib.FREE_TABLES_REFCOUNT and page.pte_refcount != used:
        report.problems.append(
            f"the PTE table of {address:#x} has {used} entries and counts {page.pte_refcount} references"
        )
    if page.ptl:
        report.problems.append(f"the PTE table of {address:#x} is locked")
    for entry in filter(None, entries) if used else ():
        if not entry & _PRESENT or entry & _SPECIAL:
            continue
        if mm.memory.page((entry & _ADDR) >> PAGE_SHIFT).flags & lib.PG_anon:
            report.anon_pages += 1
        else:
            report.file_pages += 1


def check_tables(mm: MmStruct) -> TablesReport:
    """Walk all of user space from CR3; recompute VmPTE, RSS and, under refcount, every table's references."""
    report = TablesReport()
    root = int(mm.mmu.c.cr3) & _ADDR
    if root != mm.c.pgd:
        report.problems.append(f"CR3 points to {root:#x}, the mm's PGD is at {mm.c.pgd:#x}")
        root = int(mm.c.pgd)
    for pud_address, pud_table in _tables_of(mm, report, root, 0, 4):
        report.pud_tables += 1
        for pmd_address, pmd_table in _tables_of(mm, report, pud_table, pud_address, 3):
            report.pmd_tables += 1
            for address, table in _tables_of(mm, report, pmd_table, pmd_address, 2):
                _check_pte_table(mm, report, address, table)
    _compare(mm, report)
    return report


def _compare(mm: MmStruct, report: TablesReport) -> None:
    c = mm.c
    counted = {
        "VmPTE, kB": (report.vm_pte, c.pgtables_bytes >> 10),
        "PTE tables": (
            report.pte_tables,
            c.counter[_ALLOCATED] - c.counter[_FREED],
        ),
        "anonymous pages": (report.anon_pages, c.rss_stat[lib.MM_ANONPAGES]),
        "file pages": (report.file_pages, c.rss_stat[lib.MM_FILEPAGES] + c.rss_stat[lib.MM_SHMEMPAGES]),
    }
    for what, (walked, count) in counted.items():
        if walked != count:
            report.problems.append(f"{what}: the walk from CR3 finds {walked}, the counter says {count}")
