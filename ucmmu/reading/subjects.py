# SPDX-License-Identifier: GPL-2.0-or-later
"""What of an event must be equal in two runs that do the same: not where the host of it put it.

Two runs of one program under two policies, geometries or seeds get other frames for the same pages.
So frame numbers, guest-physical addresses and places in arrays are left out, and of entries the
frame.  What else an event says counts, the kernel function that did it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mmu.events import EventDesc

SUBJECTS: Final = {
    "instructions": ("insn",),
    "accesses": ("access",),
    "TLB": ("tlb_",),
    "page walks": ("walk_",),
    "invalidations": ("inv", "mov_cr", "tlb_flush_all"),
    "page faults": ("page_fault",),
    "system calls": ("sys_",),
    "PTE tables": ("pte_alloc", "pte_free", "rcu_callback", "rcu_invoke_callback"),
    "PMD and PUD tables": ("pmd_alloc", "pmd_free", "pud_alloc", "pud_free"),
    "references": ("pte_get", "pte_tryget", "pte_put", "pmd_get", "pmd_put", "pud_get", "pud_put"),
    "entries set": ("set_",),
    "shootdowns": ("flush_tlb", "csd_", "ipi_", "call_function"),
    "scheduling": ("sched_", "switch_mm"),
    "memory": ("mm_page", "rss_stat", "total_vm"),
    "locks": ("mmap_lock", "vma_lock", "contention"),
    "kernel functions": ("funcgraph_",),
    "other events": ("",),
}
"""Kinds of events by what they are about: beginnings of their names; the first that fits holds,
the longest beginning first.
"""
_PLACES: Final = frozenset(
    {"pa", "pfn", "entry_pa", "pmd_pa", "table", "mm", "cr3", "prev", "next", "lock", "slot", "csd"}
    | {"gp_seq", "value", "pud_pa", "p4d_pa"}
)
_ENTRIES: Final = frozenset({"old", "new", "entry"})
_COUNTS: Final = frozenset({"pte_get", "pte_put", "pmd_get", "pmd_put", "pud_get", "pud_put"})
_NO_FRAME: Final = ~0x000F_FFFF_FFFF_F000 & (1 << 64) - 1
_ALL: Final = (1 << 64) - 1
_MIX: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_MIX_PLACE: Final = np.uint64(0xD6E8_FEB8_6659_FD93)
_SHIFT: Final = np.uint64(29)
U64 = npt.NDArray[np.uint64]


def subject_of(event: str) -> str:
    """What an event is about: a key of SUBJECTS."""
    if event == "tlb_flush":
        return "shootdowns"
    fits = [
        (len(start), subject)
        for subject, starts in SUBJECTS.items()
        for start in starts
        if event.startswith(start)
    ]
    return max(fits, key=lambda one: one[0])[1]


class Fingerprints:
    """Numbers that are equal if what two events say is equal, whatever trace they are from."""

    def __init__(self, descs: Sequence[EventDesc], sites: Sequence[str]) -> None:
        self._names = np.zeros(256, dtype=np.uint64)
        self._masks = np.zeros((256, 4), dtype=np.uint64)
        for desc in descs:
            self._names[desc.id] = text_hash(desc.name)
            for at, field in enumerate(desc.fields):
                self._masks[desc.id, at] = _mask(desc.name, field)
        self._sites = np.zeros(1 << 16, dtype=np.uint64)
        self._sites[: len(sites)] = [text_hash(site) for site in sites]

    def of(self, records: npt.NDArray[np.void], places: npt.NDArray[np.int64]) -> U64:
        """Fingerprints of events that stand at these places among theirs."""
        ids = records["id"]
        found = self._names[ids] ^ self._sites[records["site"]]
        for at, column in enumerate("abcd"):
            found = (found ^ (records[column] & self._masks[ids, at])) * _MIX
            found ^= found >> _SHIFT
        found = (found ^ places.astype(np.uint64)) * _MIX_PLACE
        mixed: U64 = found ^ (found >> _SHIFT)
        return mixed


def _mask(event: str, field: str) -> int:
    if event in _COUNTS and field != "pfn":
        return _ALL
    if field in _PLACES:
        return 0
    if field in _ENTRIES:
        return 0 if event.startswith(("tlb_", "walk_cache_")) else _NO_FRAME
    return _ALL


def text_hash(text: str) -> int:
    """The same number for the same text, everywhere."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest(), "little"
    )
