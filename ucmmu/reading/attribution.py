# SPDX-License-Identifier: GPL-2.0-or-later
"""Which guest instruction each event belongs to, for whole batches at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmu.events import EventDesc
    from mmu.trace.reader import Batch

U64 = npt.NDArray[np.uint64]

NO_KIND = 255
"""A number that no kind of event has."""
_FETCH = 2
_OF_NO_TASK = 1 << 32


class Kinds:
    """The kinds of one trace by name: files number them as the version that wrote them did."""

    def __init__(self, descs: Sequence[EventDesc]) -> None:
        self.descs = list(descs)
        self._ids = {desc.name: desc.id for desc in descs}
        self._at = {
            (desc.name, field): "abcd"[at] for desc in descs for at, field in enumerate(desc.fields)
        }

    def number(self, name: str) -> int:
        """The kind's number, NO_KIND if this trace has no such kind."""
        return self._ids.get(name, NO_KIND)

    def column(self, name: str, field: str) -> str:
        """Which of a to d holds this field of this kind; KeyError if none does."""
        return self._at[name, field]

    def are(self, records: npt.NDArray[np.void], *names: str) -> npt.NDArray[np.bool_]:
        """Which records are of these kinds."""
        table = np.zeros(256, dtype=bool)
        table[[self._ids[name] for name in names if name in self._ids]] = True
        found: npt.NDArray[np.bool_] = table[records["id"]]
        return found

    def having(self, field: str) -> list[EventDesc]:
        """The kinds with a field of this name."""
        return [desc for desc in self.descs if field in desc.fields]


class Attribution:
    """Follows the instruction of each task through a trace, batch after batch.

    An event belongs to the instruction that its task (where there is none, its CPU) last began.  A
    fetch is translated before its instruction begins: what is found out about one, from the look-up
    until the next access, belongs to the address that is fetched.
    """

    def __init__(self, descs: Sequence[EventDesc]) -> None:
        self._kinds = Kinds(descs)
        self._last: dict[int, int] = {}

    def ips(self, batch: Batch) -> U64:
        """Addresses of the instructions that the batch's events belong to, 0 where none is known
        yet.
        """
        records = batch.records
        mark, address = self._marks(records)
        ips = np.zeros(len(records), dtype=np.uint64)
        keys = owners(records)
        for key in np.unique(keys).tolist():
            at = np.flatnonzero(keys == key)
            marked = np.where(mark[at], np.arange(1, len(at) + 1), 0)
            latest = np.maximum.accumulate(marked)
            before = np.uint64(self._last.get(key, 0))
            ips[at] = np.where(latest > 0, address[at[latest - 1]], before)
            self._last[key] = int(ips[at[-1]])
        return ips

    def _marks(self, records: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.bool_], U64]:
        """Where an instruction is named, and its address."""
        kinds = self._kinds
        mark = kinds.are(records, "insn")
        for name in ("tlb_hit", "tlb_miss", "tlb_deny"):
            if kinds.number(name) == NO_KIND:
                continue
            kind = records[kinds.column(name, "access")]
            mark |= (records["id"] == kinds.number(name)) & (kind == _FETCH)
        return mark, records["a"]


def owners(records: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """Whose each event is: the PID of its task, or 2^32 and the number of its CPU if it has none.

    Events of a trace without tasks, as of an attached Unicorn, are those of their CPU.
    """
    task = records["task"].astype(np.int64)
    cpu = records["cpu"].astype(np.int64)
    found: npt.NDArray[np.int64] = np.where(task > 0, task, cpu | _OF_NO_TASK)
    return found


def pid_of(owner: int) -> int:
    """The PID in what owners() gave, 0 for none."""
    return 0 if owner >= _OF_NO_TASK else owner
