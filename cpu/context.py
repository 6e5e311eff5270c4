# SPDX-License-Identifier: GPL-2.0-or-later
"""A program's registers while it is on no CPU.

::

    vcpu.save_context(task.context)      the task leaves the CPU       __switch_to(), v6.18
    vcpu.load_context(next.context)      the next one goes on there, or this one elsewhere
    child.context = parent.context.copy()                              fork

A context is all of a program's state: integer registers, RIP, RFLAGS, the bases of FS and GS,
segments, privilege level, x87, SSE and MXCSR.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from unicorn.x86_const import UC_X86_REG_FS_BASE, UC_X86_REG_GS_BASE

from cpu._engine import ffi, lib
from mmu.errors import MmuError
from mmu.units import U64

FXSAVE_SIZE: Final[int] = lib.FXSAVE_SIZE
"""Bytes of the image that FXSAVE64 writes (SDM vol. 1 10.5.1)."""


class Vcpu(Protocol):
    """What of a VCpu is needed here."""

    c: Any


def fxsave_image(image: bytes) -> Any:
    """The image as C takes it. Raises MmuError unless it has FXSAVE_SIZE bytes."""
    if len(image) != FXSAVE_SIZE:
        raise MmuError(f"an FXSAVE image has {FXSAVE_SIZE} bytes, not {len(image)}")
    return ffi.from_buffer("u8[]", image)


class Context:
    """The registers of one program. ``vcpu`` is any of the machine's vCPUs; its registers are the
    first value.

    Raises MemoryError if the host has none.
    """

    __slots__ = ("_vcpu", "c")

    def __init__(self, vcpu: Vcpu) -> None:
        """Room for one program's registers."""
        c = lib.vcpu_context_alloc(vcpu.c)
        if c == ffi.NULL:
            raise MemoryError("the host has no memory for a task's registers")
        self._vcpu = vcpu
        self.c = ffi.gc(c, lib.vcpu_context_free)

    def copy(self) -> Context:
        """A context of its own with the same registers."""
        other = Context(self._vcpu)
        lib.vcpu_context_copy(other.c, self.c)
        return other

    def read_reg(self, reg: int) -> int:
        """A register of at most 64 bits, by its UC_X86_REG_* number."""
        return int(lib.vcpu_context_reg_read(self.c, reg))

    def write_reg(self, reg: int, value: int) -> None:
        """Set a register of at most 64 bits, by its UC_X86_REG_* number."""
        lib.vcpu_context_reg_write(self.c, reg, value & U64)

    @property
    def fs_base(self) -> int:
        """Base of FS."""
        return self.read_reg(UC_X86_REG_FS_BASE)

    @fs_base.setter
    def fs_base(self, value: int) -> None:
        self.write_reg(UC_X86_REG_FS_BASE, value)

    @property
    def gs_base(self) -> int:
        """Base of GS."""
        return self.read_reg(UC_X86_REG_GS_BASE)

    @gs_base.setter
    def gs_base(self, value: int) -> None:
        self.write_reg(UC_X86_REG_GS_BASE, value)

    def get_regs(self) -> Any:
        """All integer registers, a new ``struct user_regs`` (native/unicorn/user_regs.h)."""
        regs = ffi.new("struct user_regs *")
        lib.vcpu_context_get_regs(self.c, regs)
        return regs

    def set_regs(self, regs: Any) -> None:
        """Set all integer registers from a ``struct user_regs``."""
        lib.vcpu_context_set_regs(self.c, regs)

    def fxsave(self) -> bytes:
        """x87 and SSE state, as VCpu.fxsave()."""
        image = ffi.new("u8[]", FXSAVE_SIZE)
        lib.vcpu_context_fxsave(self.c, image)
        return bytes(ffi.buffer(image))

    def fxrstor(self, image: bytes) -> None:
        """Set x87 and SSE state, as VCpu.fxrstor(). Raises MmuError."""
        lib.vcpu_context_fxrstor(self.c, fxsave_image(image))
