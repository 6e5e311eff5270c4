# SPDX-License-Identifier: GPL-2.0-or-later
"""Random states: registers, tables and one instruction; most nearly allowed, so that each rule
decides some.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from enum import IntEnum
from random import Random
from typing import Final, NamedTuple

from mmu.x86.entries import (
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_G,
    X86_P,
    X86_PCD,
    X86_PS,
    X86_PWT,
    X86_RW,
    X86_US,
    X86_XD,
    entry_offset,
    is_leaf,
    level_size,
    reserved_bits,
)
from mmu.x86.registers import (
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
    RFLAGS_AC,
    is_canonical,
)
from mmu.x86.walk import Access
from tests.oracles.bochs import layout

CR4_OSFXSR: Final = 1 << 9
CR0: Final = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG
CR4: Final = CR4_PAE | CR4_OSFXSR
EFER: Final = EFER_SCE | EFER_LME | EFER_LMA
RFLAGS: Final = 2
CR2: Final = 0x1234_5000
"""CR2 before the instruction, which only a page fault changes."""


class Register(IntEnum):
    """The index of a register among a state's."""

    RAX = 0
    RBX = 1
    RCX = 2
    RSP = 3
    RSI = 4
    RDI = 5


class Step(NamedTuple):
    """One access of an instruction: ``offset`` from what the register holds."""

    register: Register
    offset: int
    size: int
    access: Access
    implicit: bool = False


@dataclass(frozen=True)
class Kind:
    """An instruction, and the accesses it makes, in order."""

    name: str
    code: bytes
    steps: tuple[Step, ...]

    @property
    def repeats(self) -> bool:
        """Whether it is done again, RCX times."""
        return self.name.startswith("rep ")

    @property
    def jumps(self) -> bool:
        """Whether it is a jump to the address."""
        return self.steps[0].access is Access.FETCH

    @property
    def implicit(self) -> bool:
        """Whether it reads a descriptor of the LDT."""
        return self.steps[0].implicit


def _at(size: int, access: Access, *, implicit: bool = False) -> tuple[Step, ...]:
    return (Step(Register.RBX, 0, size, access, implicit),)


def _kind(name: str, code: str, steps: tuple[Step, ...]) -> Kind:
    return Kind(name, bytes.fromhex(code), steps)


REPEATS: Final = 8
"""RCX of an instruction that repeats."""


def _element(register: Register, access: Access) -> Step:
    """All that a repeated instruction does through a register, a byte at a time."""
    return Step(register, 0, REPEATS, access)


_STORED: Final = _element(Register.RDI, Access.WRITE)
LDT_SELECTOR: Final = 0x0F
"""The second descriptor of the LDT, for CPL 3; VERR reads it."""

KINDS: Final = (
    _kind("mov rax, [rbx]", "488b03", _at(8, Access.READ)),
    _kind("mov eax, [rbx]", "8b03", _at(4, Access.READ)),
    _kind("mov al, [rbx]", "8a03", _at(1, Access.READ)),
    _kind("mov [rbx], rax", "488903", _at(8, Access.WRITE)),
    _kind("mov [rbx], ax", "668903", _at(2, Access.WRITE)),
    _kind("mov [rbx], al", "8803", _at(1, Access.WRITE)),
    _kind("add [rbx], rax", "480103", _at(8, Access.RMW)),
    _kind("lock xadd [rbx], rax", "f0480fc103", _at(8, Access.RMW)),
    _kind("xchg [rbx], eax", "8703", _at(4, Access.RMW)),
    _kind("lock cmpxchg [rbx], rcx", "f0480fb10b", _at(8, Access.RMW)),
    _kind("push rax", "50", (Step(Register.RSP, -8, 8, Access.WRITE),)),
    _kind("pop rax", "58", (Step(Register.RSP, 0, 8, Access.READ),)),
    _kind(
        "movsq",
        "48a5",
        (Step(Register.RSI, 0, 8, Access.READ), Step(Register.RDI, 0, 8, Access.WRITE)),
    ),
    _kind("jmp rbx", "ffe3", _at(1, Access.FETCH)),
    _kind("jmp rbx, across", "ffe3", _at(2, Access.FETCH)),
    _kind("verr cx", "0f00e1", _at(8, Access.READ, implicit=True)),
    _kind("movdqu xmm0, [rbx]", "f30f6f03", _at(16, Access.READ)),
    _kind("push [rbx]", "ff33", (*_at(8, Access.READ), Step(Register.RSP, -8, 8, Access.WRITE))),
    _kind("pop [rbx]", "8f03", (Step(Register.RSP, 0, 8, Access.READ), *_at(8, Access.WRITE))),
    _kind("rep movsb", "f3a4", (_element(Register.RSI, Access.READ), _STORED)),
    _kind("rep stosb", "f3aa", (_STORED,)),
)
JUMP_ACROSS: Final = 14


def code_at(cpl: int, kind: int) -> int:
    """The address of a kind's instruction, which UD2 follows."""
    return layout.CODE + (layout.CODE_CPL3 if cpl else layout.CODE_CPL0) + 64 * kind


def fixed_bytes() -> list[tuple[int, bytes]]:
    """What the guest's own pages hold in every state."""
    handlers = bytes([layout.HLT]) * (16 * layout.VECTORS)
    idt = b"".join(
        layout.gate(layout.CODE + layout.HANDLERS + 16 * vector) for vector in range(layout.VECTORS)
    )
    fixed = [
        (layout.IDT, idt),
        (layout.GDT, layout.descriptors()),
        (layout.TSS, layout.task_state()),
        (layout.HANDLERS, handlers),
    ]
    for cpl in (0, 3):
        for number, kind in enumerate(KINDS):
            fixed.append((code_at(cpl, number) - layout.CODE, kind.code + layout.UD2))
    fixed += [
        (pa, entry.to_bytes(8, "little"))
        for pa, entry in layout.own_tables(frozenset({layout.CODE_CPL3}))
    ]
    return fixed


class State(NamedTuple):
    """What an instruction is executed in, whole."""

    seed: int
    number: int
    kind: int
    cpl: int
    cr0: int
    cr3: int
    cr4: int
    efer: int
    rflags: int
    registers: tuple[int, ...]
    """By Register."""
    words: tuple[tuple[int, int], ...]
    """(guest-physical address, entry): all that the tables hold, the root's entry for the guest's
    own pages last.
    """
    cells: tuple[tuple[int, int], ...]
    """(guest-physical address, bytes) of the data that the instruction can reach."""
    ldt: int = 0
    """Base of the LDT."""


class Result(NamedTuple):
    """What an instruction did."""

    vector: int
    error: int
    cr2: int
    rip: int
    registers: tuple[int, ...]
    rflags: int
    words: tuple[int, ...]
    cells: tuple[bytes, ...]


DONE: Final = 6
"""The vector of UD2: the instruction before it is done."""
PAGE_FAULT: Final = 14
GENERAL_PROTECTION: Final = 13
STACK_FAULT: Final = 12
NO_VECTOR: Final = -1
"""Of what we execute ourselves, when the instruction is done."""

_CHANCES: Final = {
    X86_P: 0.95, X86_RW: 0.8, X86_US: 0.8, X86_PWT: 0.2, X86_PCD: 0.1,
    X86_A: 0.5, X86_D: 0.5, X86_G: 0.1,
    1 << 9: 0.2, 1 << 10: 0.2, 1 << 11: 0.2, X86_XD: 0.1,
}  # fmt: skip
_PS_CHANCES: Final = {4: 0.02, 3: 0.08, 2: 0.25, 1: 0.3}
_POOL: Final = 1 << 12
_FRAMES: Final = frozenset(layout.FRAMES)


@functools.cache
def _flags(level: int) -> list[int]:
    """Many random values of an entry's bits, to draw from."""
    random_ = random.Random(level)
    pool = []
    for _ in range(_POOL):
        bits = sum(bit for bit, chance in _CHANCES.items() if random_.random() < chance)
        if random_.random() < _PS_CHANCES[level]:
            bits |= X86_PS
        if random_.random() < 0.3:
            bits |= random_.getrandbits(11) << 52
        if random_.random() < 0.02:
            bits |= 1 << random_.randrange(layout.MAXPHYADDR, 52)
        if level in (2, 3) and bits & X86_PS and random_.random() < 0.2:
            bits |= 1 << random_.randrange(12, 12 + 9 * (level - 1))
        pool.append(bits)
    return pool


class Astray(Exception):
    """These tables lead out of all memory, or code out of the data: what then happens is not
    compared.
    """


class Tables:
    """Tables that grow as addresses are mapped in them, at random places.

    Bochs keeps the last 8 instructions that cross pages decoded, whatever their second page is
    mapped to since. So for these ``index`` gives the page, va[20:0] at one of all blocks in turn,
    and none comes again soon.
    """

    def __init__(self, random_: Random, root: int, index: int | None) -> None:
        self.random = random_
        self.root = root
        self.index = index
        self.words: dict[int, int] = {}

    def map(self, va: int, *, own: bool = True) -> int | None:
        """Make the entries for va that are missing; where they lead in the end, whatever their
        rights, None if to a fault. ``own`` lets a page lie in a table.
        """
        table = self.root
        for level in (4, 3, 2, 1):
            pa = table + entry_offset(va, level)
            entry = self.words.get(pa)
            if entry is None:
                if table not in _FRAMES:
                    raise Astray
                entry = self.words[pa] = self._entry(va, level, own)
            if not entry & X86_P or entry & reserved_bits(entry, level, layout.MAXPHYADDR, True):
                return None
            if is_leaf(entry, level):
                return self._led_to(entry, level, va, own)
            table = entry & X86_ADDR_MASK
        raise AssertionError("the PTE is a leaf")

    def _entry(self, va: int, level: int, own: bool) -> int:
        bits = _flags(level)[self.random.getrandbits(12)]
        if level == 1:
            return self._page(va, own) | bits
        if level < 4 and bits & X86_PS:
            return self._large_page(va, level) | bits
        return layout.FRAMES[self.random.getrandbits(32) % len(layout.FRAMES)] | bits

    def _page(self, va: int, own: bool) -> int:
        number = self.random.getrandbits(32)
        if own and number % 32 == 0:
            return layout.FRAMES[(number >> 8) % len(layout.FRAMES)]
        page = (number >> 8) % 512 if self.index is None else va >> 12 & 511
        return self._block(number) + page * layout.PAGE

    def _block(self, number: int) -> int:
        return layout.BLOCKS[
            (number if self.index is None else self.index >> 9) % len(layout.BLOCKS)
        ]

    def _large_page(self, va: int, level: int) -> int:
        if level == 3:
            return layout.GIB_OF[va >> 21 & 511] << 30
        return self._block(self.random.getrandbits(32))

    def _led_to(self, entry: int, level: int, va: int, own: bool) -> int:
        size = level_size(level)
        pa = entry & X86_ADDR_MASK & -size | va & size - 1
        if not (layout.is_data(pa) or (own and pa & -layout.PAGE in _FRAMES)):
            raise Astray
        return pa


def random_state(seed: int, index: int) -> State:
    """State number ``index`` of a seed."""
    random_ = Random((seed << 40) + index)
    while True:
        try:
            return Maker(seed, index, random_).make()
        except Astray:
            continue


class Maker:
    """The making of one state."""

    def __init__(self, seed: int, index: int, random_: Random) -> None:
        self.seed, self.index = seed, index
        self.random = random_
        self.number = self.random.getrandbits(32) % len(KINDS)
        self.kind = KINDS[self.number]
        frames = layout.FRAMES
        root = frames[self.random.getrandbits(32) % len(frames)]
        self.tables = Tables(self.random, root, index if self.number == JUMP_ACROSS else None)
        self.cells: list[tuple[int, int]] = []

    def make(self) -> State:
        coin = self.random.getrandbits(8)
        cpl = 3 if coin & 1 else 0
        registers = self._registers()
        self._map(registers)
        cr4 = CR4 | (self.random.getrandbits(32) & (CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
        self.tables.words[self.tables.root + layout.CODE_SLOT * 8] = layout.ROOT_ENTRY
        low = self.random.getrandbits(12) if cr4 & CR4_PCIDE else coin & 0x18
        return State(
            self.seed,
            self.index,
            self.number,
            cpl,
            CR0 | (CR0_WP if coin & 2 else 0),
            self.tables.root | low,
            cr4,
            EFER | (EFER_NXE if coin & 0xC0 else 0),
            RFLAGS | (RFLAGS_AC if coin & 4 else 0),
            tuple(registers),
            tuple(self.tables.words.items()),
            tuple(self.cells),
            registers[Register.RBX] - 8 & (1 << 64) - 1 if self.kind.implicit else 0,
        )

    def _registers(self) -> list[int]:
        registers = [self.random.getrandbits(64) for _ in Register]
        registers[Register.RSP] = layout.CODE + layout.KERNEL_STACK
        if self.kind.implicit:
            registers[Register.RCX] = LDT_SELECTOR
        if self.kind.repeats:
            registers[Register.RCX] = REPEATS
        for step in self.kind.steps:
            address = self._address(step)
            registers[step.register] = address - step.offset & (1 << 64) - 1
        return registers

    def _address(self, step: Step) -> int:
        """An address; one in eight of an access of several bytes crosses into the next page."""
        bits = self.random.getrandbits(64)
        slot = bits % 510  # neither CODE_SLOT nor the slot before it, which may lead into it
        slot += 2 * (slot >= layout.CODE_SLOT - 1)
        block = (511, 0, 1, 2)[bits >> 9 & 3]
        page = bits >> 11 & 511
        if self.number == JUMP_ACROSS:
            page, block = self.index % 512, (511, 0, 1, 2)[self.index >> 9 & 3]
        if step.access is Access.FETCH:
            offset = 0xFFF if self.number == JUMP_ACROSS else layout.NOPS + (bits >> 20 & 7)
        elif step.size > 1 and bits >> 20 & 7 == 0:
            offset = layout.PAGE - 1 - (bits >> 23) % (step.size - 1)
        else:
            offset = (bits >> 23) % (layout.PAGE - 8)
        if step.implicit or (bits >> 40 & 1 and step.access is not Access.FETCH):
            offset &= -step.size
        va = slot << 39 | (bits >> 41 & 511) << 30 | block << 21 | page << 12 | offset
        va |= 0xFFFF << 48 if va >> 47 else 0
        unusual = bits >> 50 & 127
        if unusual == 0:
            va ^= 1 << 47 + (bits >> 57) % 17
        elif unusual == 1:
            va = 0x7FFF_FFFF_F000 | offset
        return va

    def _map(self, registers: list[int]) -> None:
        for step in self.kind.steps:
            va = registers[step.register] + step.offset & (1 << 64) - 1
            first = min(step.size, layout.PAGE - va % layout.PAGE)
            self._reach(va, first, step)
            if first < step.size:
                self._reach(va + first & (1 << 64) - 1, step.size - first, step)

    def _reach(self, va: int, n: int, step: Step) -> None:
        if not is_canonical(va):
            return
        whole = not (step.access is Access.FETCH or step.implicit or self.kind.repeats)
        pa = self.tables.map(va, own=whole)
        if pa is None or pa in self.tables.words:
            return
        if step.implicit:
            self.tables.words[pa] = layout.READ_DESCRIPTOR
        else:
            self.cells.append((pa, n))
