# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM costs the host what is written to it: a tebibyte takes a few page faults and pages."""

from __future__ import annotations

import resource
from pathlib import Path

from mmu.memory import Memory

TIB = 1 << 40


def rss_kib() -> int:
    """What this process holds in host memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def page_faults() -> int:
    """This process's page faults on the host so far: reading a page takes one too, and no RSS."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_a_tebibyte_costs_next_to_nothing() -> None:
    before, faults_before = rss_kib(), page_faults()
    memory = Memory(TIB)
    pfns = [memory.alloc_pages(order) for order in (0, 10, 0, 9)]
    assert len(set(pfns)) == 4
    assert page_faults() - faults_before < 512
    assert rss_kib() - before < 2048
    memory.close()


def test_frames_are_carved_off_from_the_bottom() -> None:
    memory = Memory(TIB)
    highest = max(memory.alloc_pages() for _ in range(5000))
    assert highest < 8192
    assert memory.c.frontier <= 8192


def test_both_ends_of_a_tebibyte_can_be_read_and_written() -> None:
    memory = Memory(TIB, base=1 << 41)
    for pa in (memory.base, memory.base + TIB - 8):
        memory.write_u64(pa, pa)
        assert memory.read_u64(pa) == memory.words[(pa - memory.base) >> 3] == pa
