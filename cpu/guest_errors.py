# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults of a guest that was attached to: ours, and Unicorn's too.

A script that catches ``UcError`` and looks at its ``errno`` goes on working with an MMU attached;
one that catches ``PageFault`` learns what the processor would report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from unicorn import (
    UC_ERR_EXCEPTION,
    UC_ERR_FETCH_PROT,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_OK,
    UC_ERR_READ_PROT,
    UC_ERR_READ_UNMAPPED,
    UC_ERR_WRITE_PROT,
    UC_ERR_WRITE_UNMAPPED,
    UcError,
)

from mmu.errors import GeneralProtection, PageFault, StackFault
from mmu.x86 import Access
from mmu.x86.faults import PF_P

if TYPE_CHECKING:
    from mmu.x86 import Walk

_UNMAPPED: Final = {
    Access.READ: UC_ERR_READ_UNMAPPED,
    Access.WRITE: UC_ERR_WRITE_UNMAPPED,
    Access.RMW: UC_ERR_WRITE_UNMAPPED,
    Access.FETCH: UC_ERR_FETCH_UNMAPPED,
}
_PROT: Final = {
    Access.READ: UC_ERR_READ_PROT,
    Access.WRITE: UC_ERR_WRITE_PROT,
    Access.RMW: UC_ERR_WRITE_PROT,
    Access.FETCH: UC_ERR_FETCH_PROT,
}


def _rebuild(
    kind: type[BaseException], state: dict[str, Any], args: tuple[Any, ...]
) -> BaseException:
    """An error from its parts: what unpickling calls."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class GuestFault(UcError):  # type: ignore[misc]
    """What the three faults have in common: ``errno`` is the UC_ERR_* that Unicorn without an MMU
    reports.
    """

    walk: Walk | None
    """The page walk that led to the fault, as it was then; None where there is none."""

    def _describe(self, text: str, errno: int, walk: Walk | None = None) -> None:
        self.args = (text,)
        self.errno = errno
        self.walk = walk

    def __str__(self) -> str:
        """One line: address, RIP, code."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)


class GuestPageFault(GuestFault, PageFault):
    """#PF in an attached instance; attributes of PageFault and of GuestFault.

    Without an error of Unicorn's own, ``errno`` is UC_ERR_*_UNMAPPED if P of the code is 0, else
    UC_ERR_*_PROT.
    """

    def __init__(
        self,
        address: int,
        error_code: int,
        rip: int | None,
        *,
        access: Access,
        errno: int = UC_ERR_OK,
        walk: Walk | None = None,
    ) -> None:
        PageFault.__init__(self, address, error_code, rip)
        kinds = _PROT if error_code & PF_P else _UNMAPPED
        self._describe(self.text, errno or kinds[access], walk)


def _errno(access: Access | None) -> int:
    return int(UC_ERR_EXCEPTION if access is None else _UNMAPPED[access])


class GuestGeneralProtection(GuestFault, GeneralProtection):
    """#GP in an attached instance. Without an error of Unicorn's own, ``errno`` is
    UC_ERR_*_UNMAPPED of the ``access`` to an address that is not canonical, UC_ERR_EXCEPTION
    without one.
    """

    def __init__(
        self,
        address: int,
        rip: int | None = None,
        access: Access | None = None,
        errno: int = UC_ERR_OK,
    ) -> None:
        GeneralProtection.__init__(self, address, rip)
        self._describe(self.text, errno or _errno(access))


class GuestStackFault(GuestFault, StackFault):
    """#SS in an attached instance; ``errno`` as of GuestGeneralProtection."""

    def __init__(
        self,
        address: int,
        rip: int | None = None,
        access: Access | None = None,
        errno: int = UC_ERR_OK,
    ) -> None:
        StackFault.__init__(self, address, rip)
        self._describe(self.text, errno or _errno(access))
