# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest can execute, and the state of tables and registers in which it does."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from mmu.x86.entries import X86_A, X86_D, X86_P, X86_RW, X86_US
from mmu.x86.registers import (
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_LA57,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
    is_canonical,
)
from mmu.x86.walk import Access, Privilege

USER: Final = X86_P | X86_RW | X86_US
SUPERVISOR: Final = X86_P | X86_RW

VA: Final = 0x7F12_0020_5128
"""An address whose index differs at every level; that of the PDE is 1, as a 1-GiB leaf needs
(layout.py).
"""


class Pointer(Enum):
    """Which register holds the address."""

    RSI = "rsi"
    RSP = "rsp"
    LDTR = "ldtr"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction that accesses memory once at an address.

    ``access`` is what our MMU is asked for it. One that ``pushes`` has its data at the address; one
    that ``modifies`` reads, then writes.
    """

    text: str
    code: bytes
    access: Access
    size: int = 1
    pointer: Pointer = Pointer.RSI
    implicit: bool = False
    pushes: bool = False
    modifies: bool = False


def _instruction(
    text: str, code: str, access: Access, size: int = 1, **more: object
) -> Instruction:
    return Instruction(text, bytes.fromhex(code), access, size, **more)  # type: ignore[arg-type]


def _modifies(text: str, code: str, size: int = 1) -> Instruction:
    return _instruction(text, code, Access.WRITE, size, modifies=True)


READ: Final = _instruction("mov al, [rsi]", "8a06", Access.READ)
READ8: Final = _instruction("mov rax, [rsi]", "488b06", Access.READ, 8)
WRITE: Final = _instruction("mov [rsi], al", "8806", Access.WRITE)
WRITE8: Final = _instruction("mov [rsi], rax", "488906", Access.WRITE, 8)
FETCH: Final = _instruction("jmp rsi", "ffe6", Access.FETCH)
LDT_READ: Final = _instruction(
    "mov fs, eax", "8ee0", Access.READ, 8, pointer=Pointer.LDTR, implicit=True
)
"""Reads the descriptor at the address: an implicit supervisor access (SDM 4.6)."""
PUSH: Final = _instruction("push rax", "50", Access.WRITE, 8, pointer=Pointer.RSP, pushes=True)
CALL: Final = _instruction(
    "call $+5", "e800000000", Access.WRITE, 8, pointer=Pointer.RSP, pushes=True
)
POP: Final = _instruction("pop rax", "58", Access.READ, 8, pointer=Pointer.RSP)

READ_MODIFY_WRITE: Final = (
    _modifies("inc byte [rsi]", "fe06"),
    _modifies("lock inc byte [rsi]", "f0fe06"),
    _modifies("xchg [rsi], ecx", "870e", 4),
    _modifies("cmpxchg [rsi], ecx", "0fb10e", 4),
    _modifies("lock cmpxchg [rsi], ecx", "f00fb10e", 4),
    _modifies("bts dword [rsi], 1", "0fba2e01", 4),
    _modifies("add [rsi], ecx", "010e", 4),
    _modifies("and dword [rsi], -1", "8326ff", 4),
    _modifies("shl dword [rsi], 0", "c12600", 4),
)
"""They read, and some of them then do not change what they read: to the MMU each is a write from
the start.
"""
READ_ONLY_ARITHMETIC: Final = (
    _instruction("cmp [rsi], ecx", "390e", Access.READ, 4),
    _instruction("bt dword [rsi], 1", "0fba2601", Access.READ, 4),
)

ALL: Final = (
    READ, READ8, WRITE, WRITE8, FETCH, LDT_READ, PUSH, CALL, POP,
    *READ_MODIFY_WRITE, *READ_ONLY_ARITHMETIC,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """Everything that decides one access.

    ``bits`` gives, by level, the bits of the address's entry besides the address of the table or
    page that it leads to, which is added. ``leaf`` is the level where tables end; what lies below
    is not made. ``next_bits`` are those of the following page's PTE, if that is to exist.
    """

    instruction: Instruction = READ
    cpl: int = 0
    va: int = VA
    bits: dict[int, int] = field(default_factory=dict)
    leaf: int = 1
    next_bits: int | None = None
    cr0: int = CR0_PE | CR0_PG | CR0_WP | 0x32
    cr4: int = CR4_PAE | 0x600
    efer: int = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
    rflags: int = 0
    pkru: int = 0

    @property
    def levels(self) -> int:
        """Levels of paging."""
        return 5 if self.cr4 & CR4_LA57 else 4

    @property
    def last(self) -> int:
        """The address of the last byte that is accessed."""
        return self.va + self.instruction.size - 1 & (1 << 64) - 1

    @property
    def canonical(self) -> bool:
        """Whether every byte's address is canonical."""
        return is_canonical(self.va, self.levels) and is_canonical(self.last, self.levels)

    @property
    def pages(self) -> tuple[int, ...]:
        """Where in each page, lowest first, the access begins."""
        return (self.va,) if self.va >> 12 == self.last >> 12 else (self.va, self.last & -0x1000)

    @property
    def privilege(self) -> Privilege:
        """Who our MMU is told makes the access."""
        if self.instruction.implicit:
            return Privilege.IMPLICIT
        return Privilege.USER if self.cpl == 3 else Privilege.SUPERVISOR

    def bits_of(self, level: int) -> int:
        """The bits of the entry of that level: by default present and with every right."""
        return self.bits.get(level, USER)

    def with_bits(self, level: int, *, set: int = 0, clear: int = 0) -> State:
        """The same with bits of one level set and cleared."""
        return replace(self, bits={**self.bits, level: self.bits_of(level) & ~clear | set})

    def __str__(self) -> str:
        entries = ", ".join(
            f"{level}: {self.bits_of(level):#x}" for level in range(self.levels, self.leaf - 1, -1)
        )
        more = "" if self.next_bits is None else f", next page {self.next_bits:#x}"
        return (
            f"{self.instruction.text} at {self.va:#x}, CPL {self.cpl}, bits by level"
            f" {{{entries}}}{more}, cr0={self.cr0:#x} cr4={self.cr4:#x} efer={self.efer:#x}"
            f" rflags={self.rflags:#x} pkru={self.pkru:#x}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an access ended, in a virtual machine or in our MMU.

    ``vector`` is None where the access was made, 13 #GP, 12 #SS, 14 #PF. ``accessed_dirty`` are A
    and D of every entry afterwards, topmost first, the next page's last. ``text`` explains an
    ending that is none of these.
    """

    vector: int | None
    error_code: int = 0
    cr2: int = 0
    accessed_dirty: tuple[int, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        bits = " ".join(
            ("A" if entry & X86_A else "-") + ("D" if entry & X86_D else "-")
            for entry in self.accessed_dirty
        )
        if self.text:
            return f"{self.text}; {bits}"
        if self.vector is None:
            return f"made; {bits}"
        if self.vector != 14:
            return f"exception {self.vector}; {bits}"
        return f"#PF error code {self.error_code:#x} CR2 {self.cr2:#x}; {bits}"
