# SPDX-License-Identifier: GPL-2.0-or-later
"""mmap_lock: guards the VMAs of an mm (include/linux/mmap_lock.h, mm/mmap_lock.c, v6.18).

Writers change VMAs, readers keep them as they are. While a writer holds it ``mm_lock_seq`` is odd,
and every VMA that it write-locked (mmu.linux.vma_lock) has that number: all of them are unlocked
at once when the number moves on.
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mmu._native import ffi
from mmu.errors import LinuxError
from mmu.events import EVENT_ID
from mmu.linux.contention import LOCK_MMAP
from mmu.linux.rwsem import RwSemaphore, Sleeper
from mmu.linux.sched import Sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu._native import struct_mm_struct_ptr

_START: Final = EVENT_ID["mmap_lock_start_locking"]
_RETURNED: Final = EVENT_ID["mmap_lock_acquire_returned"]
_RELEASED: Final = EVENT_ID["mmap_lock_released"]


class MmapLock(RwSemaphore):
    """The mmap_lock of one mm, whose ``struct mm_struct *`` is given."""

    def __init__(self, kernel: Sleeper, mm: struct_mm_struct_ptr) -> None:
        number = int(mm.pgd)
        c = ffi.addressof(mm, "mmap_lock")
        super().__init__(kernel, f"the mmap_lock of mm {number:#x}", LOCK_MMAP, number, c)
        self._mm = mm
        self.before_write_unlock: Callable[[], object] | None = None
        """Called where VMAs may have changed, before others see them."""

    def _emit(self, event: int, write: bool, success: int = 0) -> None:
        if self.kernel.ring is not None:
            self.kernel.ring.emit(event, self.number, write, success)

    def lock(self, write: bool, sleep: Sleep = Sleep.UNINTERRUPTIBLE, *, subclass: int = 0) -> int:
        """mmap_write_lock(), mmap_read_lock() and their killable forms: 0, or -EINTR."""
        self._emit(_START, write)
        error = self.down_write(sleep, subclass) if write else self.down_read(sleep)
        if write and not error:
            self._mm.mm_lock_seq += 1
        self._emit(_RETURNED, write, not error)
        return error

    def read_trylock(self) -> bool:
        """mmap_read_trylock(): whether it is held now."""
        return self._try_to_lock(write=False)

    def write_trylock(self) -> bool:
        """mmap_write_trylock(): whether it is held now."""
        return self._try_to_lock(write=True)

    def _try_to_lock(self, write: bool) -> bool:
        self._emit(_START, write)
        taken = self._trylock(write)
        if write and taken:
            self._mm.mm_lock_seq += 1
        self._emit(_RETURNED, write, taken)
        return taken

    def unlock(self, write: bool) -> None:
        """mmap_write_unlock(), which unlocks every VMA too; or mmap_read_unlock()."""
        if write and self.before_write_unlock is not None:
            self.before_write_unlock()
        self._emit(_RELEASED, write)
        if write:
            self._must_be_written()
            self._mm.mm_lock_seq += 1
            self.up_write()
        else:
            self.up_read()

    def downgrade(self) -> None:
        """mmap_write_downgrade(): VMAs are unlocked, readers come in, no writer does."""
        if self.before_write_unlock is not None:
            self.before_write_unlock()
        self._emit(_RETURNED, False, 1)
        self._must_be_written()
        self._mm.mm_lock_seq += 1
        self.downgrade_write()


class MmapLocked:
    """``with``: the mmap_lock is held, for writing or reading; ``downgrade()`` midway."""

    def __init__(
        self, lock: MmapLock, write: bool, *, killable: bool = False, subclass: int = 0
    ) -> None:
        self._lock = lock
        self._write = write
        self._subclass = subclass
        self._sleep = Sleep.KILLABLE if killable else Sleep.UNINTERRUPTIBLE

    def __enter__(self) -> MmapLocked:
        """Take it; LinuxError EINTR if it is killable and the process is to end first."""
        if self._lock.lock(self._write, self._sleep, subclass=self._subclass):
            raise LinuxError(errno.EINTR)
        return self

    def downgrade(self) -> None:
        """From writing to reading."""
        self._lock.downgrade()
        self._write = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.unlock(self._write)
