# SPDX-License-Identifier: GPL-2.0-or-later
"""The instance's own methods while it is attached to.

A script goes on calling ``uc.mem_map()``, ``uc.emu_start()`` and the rest. Each does what it does
without an MMU, and tells the MMU. What would switch the MMU off is refused. ``open_door()`` gives
an instance these methods, ``close_door()`` its own back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from unicorn import (
    UC_CTL_CONTEXT_MODE,
    UC_CTL_CPU_MODEL,
    UC_CTL_IO_WRITE,
    UC_CTL_TB_REMOVE_CACHE,
    UC_CTL_TLB_TYPE,
    UC_HOOK_TLB_FILL,
    UC_PROT_ALL,
    Uc,
)
from unicorn.unicorn_const import UC_CTL_CONTEXT_MEMORY
from unicorn.x86_const import UC_X86_REG_EIP, UC_X86_REG_IP, UC_X86_REG_RIP

from cpu._engine import lib
from mmu.errors import MmuError

if TYPE_CHECKING:

    class _Base(Uc):  # type: ignore[misc]
        pass
else:
    _Base = object


class Listener(Protocol):
    """Who is told: cpu.attached.Attached has the meaning of each."""

    # ruff: noqa: D102
    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None: ...
    def stop(self) -> None: ...
    def restored(self) -> None: ...
    def region_added(self, address: int, size: int, perms: int) -> None: ...
    def regions_changed(self, address: int, size: int, perms: int | None) -> None: ...
    def check_not_ours(self, address: int, size: int) -> None: ...
    def is_ours(self, address: int) -> bool: ...
    def wrote(self, pa: int, size: int) -> None: ...
    def remove_code(self, begin: Any, end: Any) -> bool: ...
    def jumping(self, rip: int) -> None: ...
    def hook_added(self, handle: int, htype: int, begin: int, end: int) -> None: ...
    def hook_gone(self, handle: int) -> None: ...


_INSTRUCTION_POINTERS: Final = (UC_X86_REG_RIP, UC_X86_REG_EIP, UC_X86_REG_IP)


class Door(_Base):
    """What an attached instance does in Unicorn's place; see Uc for each method."""

    _ucmmu: Listener
    _ucmmu_kind: type[Uc]

    def emu_start(self, begin: int, until: int, timeout: int = 0, count: int = 0) -> None:
        """Uc.emu_start() through the MMU: the same run as Attached.emu_start()."""
        self._ucmmu.emu_start(begin, until, timeout, count)

    def emu_stop(self) -> None:
        """Uc.emu_stop() of the innermost run under way."""
        self._ucmmu.stop()

    def mem_map(self, address: int, size: int, perms: int = UC_PROT_ALL) -> None:
        """Uc.mem_map(); with identity the pages are mapped at their own addresses too."""
        self._ucmmu.check_not_ours(address, size)
        super().mem_map(address, size, perms)
        self._added(address, size, perms)

    def mem_map_ptr(self, address: int, size: int, perms: int, ptr: int) -> None:
        """Uc.mem_map_ptr(); with identity the pages are mapped at their own addresses too."""
        self._ucmmu.check_not_ours(address, size)
        super().mem_map_ptr(address, size, perms, ptr)
        self._added(address, size, perms)

    def mmio_map(
        self, address: int, size: int, read_cb: Any, read_ud: Any, write_cb: Any, write_ud: Any
    ) -> None:
        """Uc.mmio_map(); with identity the pages are mapped at their own addresses too."""
        self._ucmmu.check_not_ours(address, size)
        super().mmio_map(address, size, read_cb, read_ud, write_cb, write_ud)
        self._added(address, size, UC_PROT_ALL | lib.REGION_MMIO)

    def _added(self, address: int, size: int, perms: int) -> None:
        """Tell of a new region; it goes again if the MMU has no memory for it."""
        try:
            self._ucmmu.region_added(address, size, perms)
        except BaseException:
            self.mem_unmap(address, size)
            raise

    def mem_unmap(self, address: int, size: int) -> None:
        """Uc.mem_unmap(); with identity the pages' mappings go too."""
        self._ucmmu.check_not_ours(address, size)
        super().mem_unmap(address, size)
        self._ucmmu.regions_changed(address, size, None)

    def mem_protect(self, address: int, size: int, perms: int = UC_PROT_ALL) -> None:
        """Uc.mem_protect(); with identity the pages' rights follow."""
        self._ucmmu.check_not_ours(address, size)
        super().mem_protect(address, size, perms)
        self._ucmmu.regions_changed(address, size, perms)

    def mem_regions(self) -> Iterator[tuple[int, int, int]]:
        """Uc.mem_regions(), without RAM of ours."""
        return (region for region in super().mem_regions() if not self._ucmmu.is_ours(region[0]))

    def mem_write(self, address: int, data: bytes) -> None:
        """Uc.mem_write(), by guest-physical address; code translated from there is dropped."""
        super().mem_write(address, data)
        self._ucmmu.wrote(address, len(data))

    def reg_write(self, reg_id: int, value: Any) -> None:
        """Uc.reg_write(); control registers count from the next access on."""
        if reg_id in _INSTRUCTION_POINTERS:
            self._ucmmu.jumping(value)
        super().reg_write(reg_id, value)

    def reg_write_batch(self, reg_data: Sequence[tuple[int, Any]]) -> None:
        """Uc.reg_write_batch(); control registers count from the next access on."""
        reg_data = list(reg_data)
        for reg_id, value in reg_data:
            if reg_id in _INSTRUCTION_POINTERS:
                self._ucmmu.jumping(value)
        super().reg_write_batch(reg_data)

    def context_restore(self, context: Any) -> None:
        """Uc.context_restore(); CR3, EFER and PKRU are among what comes back."""
        super().context_restore(context)
        self._ucmmu.restored()

    def hook_add(
        self,
        htype: int,
        callback: Callable[..., Any],
        user_data: Any = None,
        begin: int = 1,
        end: int = 0,
        aux1: int = 0,
        aux2: int = 0,
    ) -> int:
        """Uc.hook_add(): memory hooks put on here speak of guest-physical addresses.

        MmuError for UC_HOOK_TLB_FILL, which would take the translation away from the MMU.
        """
        if htype & UC_HOOK_TLB_FILL:
            raise MmuError("UC_HOOK_TLB_FILL: the attached MMU translates; detach() it first")
        handle = int(super().hook_add(htype, callback, user_data, begin, end, aux1, aux2))
        self._ucmmu.hook_added(handle, htype, begin, end)
        return handle

    def hook_del(self, handle: int) -> None:
        """Uc.hook_del()."""
        super().hook_del(handle)
        self._ucmmu.hook_gone(handle)

    def ctl(self, ctl: int, op: int, *args: Any) -> None:
        """Uc.ctl() and all that rests on it; MmuError for what would switch the MMU off."""
        if op == UC_CTL_IO_WRITE:
            _refuse(ctl, args)
            if ctl == UC_CTL_TB_REMOVE_CACHE and self._ucmmu.remove_code(*args):
                return
        super().ctl(ctl, op, *args)


def _refuse(ctl: int, args: tuple[Any, ...]) -> None:
    """MmuError for a setting that an attached MMU cannot live with."""
    if ctl == UC_CTL_TLB_TYPE:
        raise MmuError("the TLB mode is the attached MMU's: detach() it first")
    if ctl == UC_CTL_CPU_MODEL:
        raise MmuError("the CPU model is set before attach(), not after")
    if (
        ctl == UC_CTL_CONTEXT_MODE
        and int(getattr(args[0], "value", args[0])) & UC_CTL_CONTEXT_MEMORY
    ):
        raise MmuError(
            "UC_CTL_CONTEXT_MEMORY: a snapshot of memory would not hold what the MMU writes"
            " to page tables; save memory with mem_read()"
        )


@cache
def _door_of(kind: type[Uc]) -> type[Uc]:
    """The class of an attached instance that was of this kind: Door stands before Unicorn's class,
    and behind those that a script derived from it, whose methods go on being called.
    """
    unicorns = next(base for base in kind.__mro__ if base.__module__.startswith("unicorn."))
    bases: tuple[type, ...] = (Door, unicorns)
    if kind is not unicorns:
        bases = (kind, _door_of(unicorns))
    names = {"__doc__": kind.__doc__, "__module__": kind.__module__, "_ucmmu_kind": kind}
    return type(kind.__name__, bases, names)


def is_attached(uc: Uc) -> bool:
    """Whether an MMU is attached to the instance."""
    return isinstance(uc, Door)


def open_door(uc: Uc, attached: Listener) -> None:
    """Let the instance tell ``attached``, which it keeps alive."""
    uc._ucmmu = attached
    kind: Any = type(uc)
    uc.__class__ = _door_of(kind)


def close_door(uc: Uc) -> None:
    """Give the instance its own methods back."""
    assert isinstance(uc, Door)
    uc.__class__ = uc._ucmmu_kind
    del uc._ucmmu
