# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 2, large pages: where an address lies in a page of 2 MiB or 1 GiB (SDM 4.5.4)."""


def physical(va: int, entry: int, level: int) -> int:
    """The physical address of va, by its leaf entry at level 1, 2 (2 MiB) or 3 (1 GiB)."""
    # TODO: the frame is in bits 51:n of the entry, the offset in bits n-1:0 of va; n follows from
    # the level.
    raise NotImplementedError("TODO: put frame and offset together")


def test_each_size(mmu, assert_walk):
    for level, size, va, pa in (
        (1, "4K", 0x40_0000, 0x7000),
        (2, "2M", 0x8060_0000, 0x20_0000),
        (3, "1G", 0x40_4000_0000, 0x8000_0000),
    ):
        mmu.map(va, pa=pa, size=size)
        walk = assert_walk(va + 0x123, level=level)
        assert physical(va + 0x123, walk.entry[level], level) == walk.pa
