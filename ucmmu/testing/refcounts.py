# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test says of the PTE tables of an mm: their reference counts, and VmPTE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmu.linux.mm import Mm
from mmu.linux.pgtable import PMD_SIZE, mm_find_pmd
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import X86_ADDR_MASK
from ucmmu.testing.scene import scene

_COUNTS_DIFFER = "references"
"""What check_tables() says of a table whose count is not its entries."""


@dataclass(frozen=True, slots=True)
class PteTable:
    """One PTE table: the first address it maps, its frame, its entries that are not none, its
    reference count.
    """

    address: int
    pfn: int
    entries: int
    references: int

    def __str__(self) -> str:
        return (
            f"{self.address:#14x}  pfn {self.pfn:#6x}  {self.entries:3} entries"
            f"  {self.references:3} references"
        )


def pte_tables(mm: Mm) -> list[PteTable]:
    """The PTE tables of an mm, in the order of their addresses."""
    return [
        _pte_table(mm, address, references)
        for address, references in sorted(mm.check_tables(references=True).references.items())
    ]


def _pte_table(mm: Mm, address: int, references: int) -> PteTable:
    pmd = mm_find_pmd(mm, address)
    assert pmd is not None
    table = mm.memory.read_u64(pmd) & X86_ADDR_MASK
    words = memoryview(mm.memory.read(table, PAGE_SIZE)).cast("Q")
    entries = sum(word != 0 for word in words)
    return PteTable(address, table >> PAGE_SHIFT, entries, references)


def assert_refcounts(
    mm: Mm,
    expected: Mapping[int, int] | None = None,
    *,
    visitors: Mapping[int, int] | None = None,
) -> None:
    """The count of each PTE table of the mm is its entries that are not none, and its visitors;
    VmPTE and all else that the kernel counts are what a walk from CR3 finds.

    ``visitors``: references that are held besides, by an address that the table maps. ``expected``:
    these tables, by such an address, and no others, are there with these counts; 0: no table.
    Under a policy that counts no references the numbers are not compared. AssertionError shows
    every table.
    """
    __tracebackhide__ = True
    if not isinstance(mm, Mm):
        raise TypeError(f"an mm comes first, as in assert_refcounts(mm, {{va: 1}}): not {mm!r}")
    scene().mm = mm
    counted = pte_ref_is_enabled(mm)
    held = _by_table(visitors or {})
    report = mm.check_tables(references=True)
    tables = pte_tables(mm)
    problems = [one for one in report.problems if not (held and _is_of_counts(one))]
    if counted:
        problems += [
            f"{table.address:#x}: {table.references} references, but {table.entries} entries and"
            f" {held.get(table.address, 0)} visitors"
            for table in tables
            if held and table.references != table.entries + held.get(table.address, 0)
        ]
        if expected is not None:
            problems += _differences(tables, _by_table(expected))
    if problems:
        lines = [*problems, "PTE tables:", *(f"  {table}" for table in tables)]
        raise AssertionError("\n".join([*lines, *([] if tables else ["  none"])]))


def _is_of_counts(problem: str) -> bool:
    return problem.endswith(_COUNTS_DIFFER)


def _by_table(numbers: Mapping[int, int]) -> dict[int, int]:
    return {address & -PMD_SIZE: number for address, number in numbers.items()}


def _differences(tables: list[PteTable], expected: Mapping[int, int]) -> list[str]:
    have = {table.address: table.references for table in tables}
    return [
        f"PTE table of {address:#x}: {_count(have.get(address, 0))},"
        f" not {_count(expected.get(address, 0))}"
        for address in sorted(have.keys() | expected.keys())
        if have.get(address, 0) != expected.get(address, 0)
    ]


def _count(number: int) -> str:
    if not number:
        return "no table"
    return f"{number} reference{'' if number == 1 else 's'}"
