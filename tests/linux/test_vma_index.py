# SPDX-License-Identifier: GPL-2.0-or-later
"""The index of VMAs finds what find_vma() finds, the first VMA that ends above an address."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mmu._native import ffi, lib

TOP = 400  # pages
LOOK_UPS = st.lists(st.integers(0, TOP + 10), min_size=1, max_size=20)


def new_vma(start: int, end: int) -> Any:
    """A VMA of pages [start, end) that can be told from others."""
    vma = ffi.new("struct vm_area_struct *")
    vma.vm_start, vma.vm_end = start << 12, end << 12
    vma.vm_flags, vma.vm_pgoff = start, end
    vma.vm_file = (start ^ end) & 0xFFFF
    return vma


class VmaIndex(RuleBasedStateMachine):
    """Random inserts, removals, look-ups; the model is a sorted list of (start, end) in pages."""

    def __init__(self) -> None:
        super().__init__()
        self.mm = ffi.new("struct mm_struct *")
        self.model: list[tuple[int, int]] = []

    def _first_ending_above(self, page: int) -> int:
        return next((i for i, (_, end) in enumerate(self.model) if end > page), len(self.model))

    @rule(start=st.integers(0, TOP - 1), pages=st.integers(1, 5))
    def insert(self, start: int, pages: int) -> None:
        """Put a VMA where there is a hole for it."""
        end = start + pages
        if any(start < other_end and other_start < end for other_start, other_end in self.model):
            return
        assert lib.vma_insert(self.mm, new_vma(start, end)) == 0
        self.model = sorted([*self.model, (start, end)])

    @rule(first=st.integers(0, TOP), count=st.integers(0, 6))
    def remove(self, first: int, count: int) -> None:
        """Take neighbours out."""
        first = min(first, len(self.model))
        count = min(count, len(self.model) - first)
        lib.vma_remove(self.mm, first, count)
        del self.model[first : first + count]

    @rule(pages=LOOK_UPS, offset=st.sampled_from([0, 1, 4095]))
    def find(self, pages: list[int], offset: int) -> None:
        """Look addresses up in any order, so that the hint is now right and now wrong."""
        for page in pages:
            expected = self._first_ending_above(page)
            address = (page << 12) + offset
            assert lib.vma_index_of(self.mm, address) == expected
            vma = lib.find_vma(self.mm, address)
            if expected == len(self.model):
                assert vma == ffi.NULL
            else:
                assert (vma.vm_start >> 12, vma.vm_end >> 12) == self.model[expected]

    @invariant()
    def same_as_the_model(self) -> None:
        """Every VMA is in its place, with all its fields."""
        vmas = self.mm.vmas
        assert vmas.nr == len(self.model)
        for i, (start, end) in enumerate(self.model):
            vma = vmas.vma[i]
            assert (vma.vm_start, vma.vm_end) == (start << 12, end << 12)
            assert (vma.vm_flags, vma.vm_pgoff, vma.vm_file) == (start, end, (start ^ end) & 0xFFFF)

    def teardown(self) -> None:
        """Empty the index, which gives its memory back."""
        lib.vma_remove(self.mm, 0, self.mm.vmas.nr)
        assert self.mm.vmas.vma == ffi.NULL


TestVmaIndex = VmaIndex.TestCase


@given(
    pages=st.lists(st.integers(0, (1 << 35) - 1), max_size=200, unique=True),
    address=st.integers(0, (1 << 64) - 1),
)
def test_many_vmas_all_over_the_address_space(pages: list[int], address: int) -> None:
    mm = ffi.new("struct mm_struct *")
    for page in pages:
        assert lib.vma_insert(mm, new_vma(page, page + 1)) == 0
    pages.sort()
    assert [mm.vmas.vma[i].vm_start >> 12 for i in range(len(pages))] == pages
    assert lib.vma_index_of(mm, address) == sum((page + 1) << 12 <= address for page in pages)
    lib.vma_remove(mm, 0, len(pages))
