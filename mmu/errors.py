# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, as types: every error of ours is an MmuError whose text is one clear line."""

from __future__ import annotations

import errno as errno_names
import os

_ERROR_CODE_BITS = ("P", "W/R", "U/S", "RSVD", "I/D", "PK", "SS")


class MmuError(Exception):
    """Base of all errors that this project raises on purpose."""


class OutOfMemory(MmuError):
    """No free frame, or no free block of the order asked for, is left in guest RAM."""


class BadTable(MmuError):
    """A paging-structure entry refers to a guest-physical address where no memory is.

    x86 does not say what happens then; we stop with this error instead of guessing.
    ``address`` is the virtual address that was being translated, 0 if there was none; ``walk`` the
    page walk that led there, where it is known.
    """

    def __init__(self, message: str, address: int = 0, walk: object = None) -> None:
        super().__init__(message)
        self.address = address
        self.walk = walk


class ProcessorException(MmuError):
    """An exception that an x86 processor would raise; ``vector`` is its number (SDM vol. 3A table
    6-1).
    """

    vector: int
    address: int
    rip: int | None

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
        self.text = text
        """The one line that describes it."""

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.address, self.rip)


class PageFault(ProcessorException):
    """#PF: no translation allows the access (SDM vol. 3A 4.7).

    ``address`` is what CR2 holds, ``error_code`` the 32-bit code, ``rip`` the instruction's
    address where it is known.
    """

    vector = 14

    def __init__(self, address: int, error_code: int, rip: int | None = None) -> None:
        bits = (
            "|".join(name for bit, name in enumerate(_ERROR_CODE_BITS) if error_code >> bit & 1)
            or "none"
        )
        at = "" if rip is None else f" at RIP {rip:#x}"
        super().__init__(f"page fault on {address:#x}{at}, error code {error_code:#x} ({bits})")
        self.address = address
        self.error_code = error_code
        self.rip = rip

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.address, self.error_code, self.rip)


class GeneralProtection(ProcessorException):
    """#GP(0): here, an access to a non-canonical ``address`` (SDM vol. 1 3.3.7.1) or an illegal
    operand.
    """

    vector = 13

    def __init__(self, address: int, rip: int | None = None) -> None:
        at = "" if rip is None else f" at RIP {rip:#x}"
        super().__init__(f"general protection fault on {address:#x}{at}")
        self.address = address
        self.rip = rip


class StackFault(ProcessorException):
    """#SS(0): a reference through the stack segment to a non-canonical ``address`` (SDM vol. 1
    3.3.7.1).
    """

    vector = 12

    def __init__(self, address: int, rip: int | None = None) -> None:
        at = "" if rip is None else f" at RIP {rip:#x}"
        super().__init__(f"stack fault on {address:#x}{at}")
        self.address = address
        self.rip = rip


class TripleFault(MmuError):
    """The processor would shut down: not even a double fault could be delivered (SDM vol. 3A 6.15).

    It began as an exception of ``vector`` with ``error_code`` at the instruction at ``rip``.
    """

    def __init__(self, vector: int, error_code: int, rip: int) -> None:
        super().__init__(
            f"triple fault: exception {vector} at RIP {rip:#x}, error code {error_code:#x},"
            " could not be delivered through the guest's IDT, nor could the double fault"
        )
        self.vector = vector
        self.error_code = error_code
        self.rip = rip

    def __reduce__(self) -> tuple[type[TripleFault], tuple[int, int, int]]:
        return type(self), (self.vector, self.error_code, self.rip)


class LinuxError(MmuError):
    """A system call's failure: ``errno`` is the number that Linux returns negated in rax."""

    def __init__(self, errno: int) -> None:
        super().__init__(f"{errno_names.errorcode.get(errno, errno)}: {os.strerror(errno)}")
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errno,)
