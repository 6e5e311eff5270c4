# SPDX-License-Identifier: GPL-2.0-or-later
"""Telling the event ring what the kernel does, and which of its functions did it.

An event's site is the function that did it: of a reference the one that took or dropped it, of a
table entry the one that changed it. In C it is passed down by name (native/mm/site.h); here the
frames of the interpreter tell it, which are looked at only while the ring is on. What merely
carries out another's work is passed by: ``HELPERS``. Private functions have the name of their twin
in C, without the underscore.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from mmu.events import EVENT_ID
from mmu.units import U64

if TYPE_CHECKING:
    from mmu.events import EventRing

P = ParamSpec("P")
R = TypeVar("R")

TOTAL_VM: Final = EVENT_ID["total_vm"]
FUNCGRAPH_ENTRY: Final = EVENT_ID["funcgraph_entry"]
FUNCGRAPH_EXIT: Final = EVENT_ID["funcgraph_exit"]

HELPERS: Final = frozenset(
    [
        # this file, and mmu.twin
        *("emit", "note_caller", "_spanned", "_first_call"),
        # references: whose they are is said by who asks for them
        *("pte_get", "pte_get_many", "pte_entries_set", "pte_get_unless_zero", "pte_try_get"),
        *("table_get", "table_get_unless_zero", "get_named", "tell_get", "tell_put"),
        *("pte_tryget_map", "pte_tryget_map_lock", "pte_relock"),
        *("_try_get_lock", "_lock_same"),
        *("pte_alloc_get", "pte_alloc_get_map", "pte_alloc_get_map_lock", "install_new"),
        "pmd_install",
        *("pte_put", "pte_put_many", "pte_put_tlb", "pte_put_many_tlb", "pte_put_vmf"),
        *("put_many", "put_last", "table_put"),
        # entries
        *("set_pte_at", "xchg_pmd", "ptep_clear_flush", "flush_tlb_mm_range", "_resolve_locked"),
        *("ptep_get_and_clear", "pte_cmpxchg", "ptep_set_wrprotect"),
        *("map_locked", "unlock_put", "_finish_fault", "_map_copy", "_filemap_map_pages"),
        *("_exchange_page", "_drop_rmap", "add_mm_counter"),
        *("_change_pte", "_zap_stretch", "_zap_pte", "_copy_ptes", "_move_locked"),
    ]
)
"""Names of functions that are never a site."""


class Traced(Protocol):
    """What of a Kernel is needed here."""

    @property
    def ring(self) -> EventRing | None:
        """Takes the events; None: nothing is recorded."""


def emit(
    kernel: Traced, event: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, site: str = ""
) -> None:
    """Write an event to the kernel's ring, if it has one that is on.

    ``site`` names the function that did it; "" the caller, HELPERS passed by.
    """
    ring = kernel.ring
    if ring is not None and ring.c.enabled:
        ring.emit(event, a, b, c, d, site=site or site_of(sys._getframe(1)))


def site_of(frame: FrameType | None) -> str:
    """The name of the innermost function from ``frame`` outwards that is none of HELPERS."""
    while frame is not None and frame.f_code.co_name in HELPERS:
        frame = frame.f_back
    return "" if frame is None else frame.f_code.co_name.lstrip("_")


def note_caller(ring: EventRing) -> None:
    """A twin is about to call C: tell the ring which function of ours calls the twin."""
    if ring.c.enabled:
        ring.c.caller = ring.site(site_of(sys._getframe(1)))


class Span:
    """``with``: a kernel function works on [start, end) of the mm with its PGD at ``mm``.

    The ring gets funcgraph_entry and, however it ends, funcgraph_exit, with ``ret``, which the body
    may set.
    """

    __slots__ = ("_args", "_mm", "_ring", "_site", "ret")

    def __init__(self, kernel: Traced, site: str, start: int = 0, end: int = 0, mm: int = 0):
        self._ring = kernel.ring
        self._site = site
        self._args = start, end
        self._mm = mm
        self.ret = 0

    def __enter__(self) -> Span:
        """Begin."""
        if self._ring is not None:
            self._ring.emit(FUNCGRAPH_ENTRY, *self._args, self._mm, site=self._site)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, with the negative errno of a LinuxError that comes out."""
        if self._ring is not None:
            number = getattr(error, "errno", None)
            ret = -number if isinstance(number, int) else self.ret
            self._ring.emit(FUNCGRAPH_EXIT, ret & U64, self._mm, site=self._site)


def spanned(
    where: Callable[P, tuple[Any, int, int]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have each call of the function told as a Span of its name.

    ``where`` gives, of the call's arguments, the mm and the addresses [start, end) that it works
    on. What the function returns is the span's ``ret`` if it is a number.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__.lstrip("_")

        @wraps(function)
        def _spanned(*args: P.args, **kwargs: P.kwargs) -> R:
            mm, start, end = where(*args, **kwargs)
            ring = mm.kernel.ring
            if ring is None or not ring.c.enabled:
                return function(*args, **kwargs)
            with Span(mm.kernel, name, start & U64, end & U64, mm.c.pgd) as span:
                result = function(*args, **kwargs)
                if isinstance(result, int):
                    span.ret = result
            return result

        return _spanned

    return decorate
