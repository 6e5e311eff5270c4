# SPDX-License-Identifier: GPL-2.0-or-later
"""Which address space a CPU had loaded at an event, and whose a PCID was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmu.trace.tables import last, numbers_of
from mmu.trace.where import Where
from mmu.x86.entries import X86_ADDR_MASK
from mmu.x86.registers import CR3_PCID_MASK

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

LOADS: Final = ("switch_mm", "mov_cr3")
"""A CPU loads CR3."""


@dataclass(frozen=True)
class Loaded:
    """CR3 of a CPU, as event ``number`` loaded it."""

    cr3: int
    number: int

    @property
    def mm(self) -> int:
        """The guest-physical address of the PGD: what names an mm."""
        return self.cr3 & X86_ADDR_MASK

    @property
    def pcid(self) -> int:
        """Bits 11:0."""
        return self.cr3 & CR3_PCID_MASK


def loaded_before(
    trace: TraceFile, cpu: int, end: int, *, pcid: int | None = None, mm: int | None = None
) -> Loaded | None:
    """What CR3 of ``cpu`` was loaded with last before event ``end``; with ``pcid`` or ``mm`` the
    last time with these. None if no event tells.
    """
    switch = numbers_of(trace.descs, "switch_mm")
    mov = numbers_of(trace.descs, "mov_cr3")

    def cr3(batch: Batch) -> npt.NDArray[np.uint64]:
        records = batch.records
        return np.where(np.isin(records["id"], switch), records["c"], records["a"])

    def matches(batch: Batch) -> npt.NDArray[np.bool_]:
        kinds, value = batch.records["id"], cr3(batch)
        found = np.isin(kinds, switch) | np.isin(kinds, mov)
        if pcid is not None:
            found &= value & np.uint64(CR3_PCID_MASK) == np.uint64(pcid)
        if mm is not None:
            found &= value & np.uint64(X86_ADDR_MASK) == np.uint64(mm)
        return np.asarray(found)

    where = Where(events=frozenset(LOADS), cpus=frozenset((cpu,)), end=end)
    found = last(trace, where, matches)
    if found is None:
        return None
    batch, at = found
    return Loaded(int(cr3(batch)[at]), int(batch.numbers[at]))
