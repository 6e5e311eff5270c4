# SPDX-License-Identifier: GPL-2.0-or-later
"""A million random requests leave the frame allocator whole, and no frame has two owners."""

from __future__ import annotations

import random

import pytest

from mmu.errors import OutOfMemory
from mmu.memory import Memory
from tests.memory.checks import check_allocator


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(4))
def test_a_million_requests(seed: int) -> None:
    rng = random.Random(seed)
    memory = Memory(rng.randrange(8 << 20, 64 << 20, 4096))
    blocks: list[tuple[int, int]] = []
    in_use: set[int] = set()
    for step in range(1_000_000):
        if rng.random() < 0.5 + 0.1 * (-1) ** (step // 20_000):
            order = min(10, int(rng.expovariate(0.8)))
            try:
                pfn = memory.alloc_pages(order, zero=False)
            except OutOfMemory:
                continue
            frames = range(pfn, pfn + (1 << order))
            assert in_use.isdisjoint(frames)
            in_use.update(frames)
            blocks.append((pfn, order))
        elif blocks:
            at = rng.randrange(len(blocks))
            blocks[at], blocks[-1] = blocks[-1], blocks[at]
            pfn, order = blocks.pop()
            memory.free_pages(pfn, order)
            in_use.difference_update(range(pfn, pfn + (1 << order)))
        if step % 25_000 == 0:
            check_allocator(memory, in_use)
    for pfn, order in blocks:
        memory.free_pages(pfn, order)
    check_allocator(memory, set())
