# SPDX-License-Identifier: GPL-2.0-or-later
"""From a frame to its caller's, by the unwind information in memory (.eh_frame; System V ABI AMD64
4.2.4, DWARF 5 section 6.4), by a signal's frame, or by frame pointers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cpu.strace.peek import peek
from cpu.symbols.modules import Module, module_at
from mmu.linux.mm import Mm
from mmu.units import U64

RBP, RSP, RIP = 6, 7, 16
"""DWARF's numbers of registers."""
_RT_SIGRETURN: Final = b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05"
"""mov $15, %rax; syscall: what a handler returns to."""
_UC_MCONTEXT: Final = 40
_SIGCONTEXT: Final = (8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16)
"""DWARF's numbers of the registers in a sigcontext, in its order."""
_MAX_TABLE: Final = 1 << 20
_MAX_FDE: Final = 1 << 16

_PCREL, _DATAREL = 0x10, 0x30
_FORMATS: Final = {
    0x00: "<Q", 0x02: "<H", 0x03: "<I", 0x04: "<Q", 0x0A: "<h", 0x0B: "<i", 0x0C: "<q",
}  # fmt: skip

Registers = dict[int, int]
EhFrame = Callable[[Module], "tuple[int, int] | None"]
"""Address and size of a module's .eh_frame, as its section headers say."""


@dataclass
class _Rules:
    """How the caller's registers are found: the CFA, and where each was saved, relative to it."""

    cfa_register: int = RSP
    cfa_offset: int = 8
    saved: dict[int, int] = field(default_factory=dict)

    def copy(self) -> _Rules:
        return _Rules(self.cfa_register, self.cfa_offset, dict(self.saved))


class _Cannot(Exception):
    """The information is of a kind that is not read here, or there is none."""


@dataclass(frozen=True)
class Frame:
    """A frame's registers, as far as they are known. ``returns``: RIP is where a call returns to,
    not an instruction that runs.
    """

    registers: Registers
    returns: bool = False

    @property
    def rip(self) -> int:
        """The instruction that the frame stands at."""
        return self.registers[RIP] - self.returns


def caller(mm: Mm, frame: Frame, eh_frame_of: EhFrame) -> Frame | None:
    """The caller's frame; None: there is no caller, or none can be found."""
    registers = frame.registers
    if peek(mm, registers[RIP], len(_RT_SIGRETURN)) == _RT_SIGRETURN:
        interrupted = _interrupted(mm, registers)
        return None if interrupted is None else Frame(interrupted)
    try:
        found = _by_rules(mm, registers, _rules(mm, frame.rip, eh_frame_of))
    except _Cannot:
        found = _by_frame_pointer(mm, registers)
    if found is None or found[RSP] <= registers[RSP]:
        return None
    return Frame(found, returns=True)


def _word(mm: Mm, addr: int) -> int:
    data = peek(mm, addr & U64, 8)
    if len(data) < 8:
        raise _Cannot
    return int.from_bytes(data, "little")


def _interrupted(mm: Mm, registers: Registers) -> Registers | None:
    """What a signal interrupted: its frame begins at RSP."""
    data = peek(mm, registers[RSP] + _UC_MCONTEXT, 8 * len(_SIGCONTEXT))
    if len(data) < 8 * len(_SIGCONTEXT):
        return None
    return dict(zip(_SIGCONTEXT, struct.unpack(f"<{len(_SIGCONTEXT)}Q", data), strict=True))


def _by_rules(mm: Mm, registers: Registers, rules: _Rules) -> Registers | None:
    if rules.cfa_register not in registers:
        raise _Cannot
    cfa = registers[rules.cfa_register] + rules.cfa_offset & U64
    if RIP not in rules.saved:
        return None
    found = {**registers, RSP: cfa}
    for register, offset in rules.saved.items():
        found[register] = _word(mm, cfa + offset)
    return found if found[RIP] else None


def _by_frame_pointer(mm: Mm, registers: Registers) -> Registers | None:
    frame = registers.get(RBP, 0)
    if frame < registers[RSP] or frame % 8:
        return None
    try:
        rip = _word(mm, frame + 8)
        return {**registers, RBP: _word(mm, frame), RSP: frame + 16, RIP: rip} if rip else None
    except _Cannot:
        return None


# .eh_frame_hdr and .eh_frame.


class _Reader:
    """Bytes of the program's memory, from ``at`` on."""

    def __init__(self, mm: Mm, at: int, end: int) -> None:
        self.mm, self.start, self.at = mm, at, at
        self.data = peek(mm, at, min(end - at, _MAX_FDE))

    def take(self, layout: str) -> int:
        size = struct.calcsize(layout)
        place = self.at - self.start
        if place + size > len(self.data):
            raise _Cannot
        self.at += size
        (value,) = struct.unpack_from(layout, self.data, place)
        return int(value)

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.take("<B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def sleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.take("<B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if byte & 0x40 else value

    def encoded(self, encoding: int, data_base: int = 0) -> int:
        """A pointer of a DW_EH_PE_* kind."""
        place = self.at
        if encoding & 0xF == 0x01:
            value = self.uleb()
        elif encoding & 0xF == 0x09:
            value = self.sleb()
        else:
            value = self._plain(encoding)
        base = {_PCREL: place, _DATAREL: data_base, 0: 0}.get(encoding & 0x70)
        if base is None or encoding & 0x80:
            raise _Cannot
        return base + value & U64

    def _plain(self, encoding: int) -> int:
        layout = _FORMATS.get(encoding & 0xF)
        if layout is None:
            raise _Cannot
        return self.take(layout)


def _rules(mm: Mm, rip: int, eh_frame_of: EhFrame) -> _Rules:
    """The rules for the instruction at ``rip``."""
    module = module_at(mm, rip)
    if module is None:
        raise _Cannot
    header = module.eh_frame_hdr
    if header is not None:
        fde = _Fde(mm, _by_table(mm, header, rip))
    else:
        fde = _by_scan(mm, eh_frame_of(module), rip)
    if not fde.start <= rip < fde.start + fde.size:
        raise _Cannot
    cie, reader = fde.cie, fde.instructions
    if cie.augmented:
        skipped = reader.uleb()
        reader.at += skipped
    rules = _Program(cie, _Rules()).run(cie.instructions, cie.end, fde.start, U64)
    return _Program(cie, rules).run(reader, fde.end, fde.start, rip)


class _Fde:
    """An FDE: of the function [start, start + size)."""

    def __init__(self, mm: Mm, at: int, cies: dict[int, _Cie] | None = None) -> None:
        reader = self.instructions = _Reader(mm, at, at + _MAX_FDE)
        length = reader.take("<I")
        if not 0 < length < _MAX_FDE:
            raise _Cannot
        self.end = reader.at + length
        place = reader.at
        cie_at = place - reader.take("<I")
        self.is_cie = cie_at == place
        self.start = self.size = 0
        if self.is_cie:
            return
        found = cies.get(cie_at) if cies is not None else None
        self.cie = found or _Cie(mm, cie_at)
        if cies is not None:
            cies[cie_at] = self.cie
        self.start = reader.encoded(self.cie.encoding)
        self.size = reader.encoded(self.cie.encoding & 0xF)


def _by_scan(mm: Mm, section: tuple[int, int] | None, rip: int) -> _Fde:
    """The FDE in all of .eh_frame: a static program has no table."""
    if section is None:
        raise _Cannot
    at, end = section[0], section[0] + section[1]
    cies: dict[int, _Cie] = {}
    while at < end:
        fde = _Fde(mm, at, cies)
        if fde.start <= rip < fde.start + fde.size:
            return fde
        at = fde.end
    raise _Cannot


def _by_table(mm: Mm, header: int, rip: int) -> int:
    """The address of the FDE of the function at ``rip``, by the sorted table of .eh_frame_hdr."""
    reader = _Reader(mm, header, header + 64)
    version, frame_encoding, count_encoding, table_encoding = (reader.take("<B") for _ in range(4))
    if version != 1 or table_encoding != 0x3B:  # DW_EH_PE_datarel | sdata4: a table to search
        raise _Cannot
    reader.encoded(frame_encoding)
    count = reader.encoded(count_encoding)
    if not 0 < count < _MAX_TABLE:
        raise _Cannot
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if _entry(mm, reader.at + 8 * middle)[0] + header <= rip:
            low = middle
        else:
            high = middle
    return _entry(mm, reader.at + 8 * low)[1] + header


def _entry(mm: Mm, at: int) -> tuple[int, int]:
    data = peek(mm, at, 8)
    if len(data) < 8:
        raise _Cannot
    first, second = struct.unpack("<ii", data)
    return first, second


class _Cie:
    """A CIE: what the FDEs of several functions have in common."""

    def __init__(self, mm: Mm, at: int) -> None:
        reader = self.instructions = _Reader(mm, at, 1 << 62)
        self.end = reader.take("<I") + reader.at
        if reader.take("<I") != 0 or reader.take("<B") not in (1, 3):
            raise _Cannot
        augmentation = ""
        while byte := reader.take("<B"):
            augmentation += chr(byte)
        self.code_align = reader.uleb()
        self.data_align = reader.sleb()
        self.return_register = reader.uleb()
        self.encoding = 0
        self.augmented = augmentation.startswith("z")
        if not self.augmented:
            return
        after = reader.uleb() + reader.at
        for letter in augmentation[1:]:
            if letter == "R":
                self.encoding = reader.take("<B")
            elif letter == "P":
                reader.encoded(reader.take("<B") & 0x7F)
            elif letter == "L":
                reader.take("<B")
            elif letter not in "SB":
                raise _Cannot
        reader.at = after


class _Program:
    """The instructions of a CIE or an FDE, as far as C and C++ compilers use them."""

    def __init__(self, cie: _Cie, rules: _Rules) -> None:
        self.cie = cie
        self.rules = rules
        self.initial = rules.copy()
        self.stack: list[_Rules] = []
        self.location = 0

    def run(self, reader: _Reader, end: int, start: int, rip: int) -> _Rules:
        """The rules at ``rip``."""
        self.location = start
        while reader.at < end and self.location <= rip:
            self._step(reader)
        return self.rules

    def _step(self, reader: _Reader) -> None:
        """Carry out one instruction."""
        operation = reader.take("<B")
        low = operation & 0x3F
        if operation >> 6 == 1:
            self.location += low * self.cie.code_align
        elif operation >> 6 == 2:
            self.save(low, reader.uleb())
        elif operation >> 6 == 3:
            self.restore(low)
        elif operation:
            known = _OPERATIONS.get(operation)
            if known is None:
                raise _Cannot
            known(self, reader)

    def save(self, register: int, factored: int) -> None:
        number = RIP if register == self.cie.return_register else register
        self.rules.saved[number] = factored * self.cie.data_align

    def restore(self, register: int) -> None:
        if register in self.initial.saved:
            self.rules.saved[register] = self.initial.saved[register]
        else:
            self.rules.saved.pop(register, None)

    def advance(self, delta: int) -> None:
        self.location += delta * self.cie.code_align

    def define(self, register: int, offset: int) -> None:
        self.rules.cfa_register, self.rules.cfa_offset = register, offset

    def ignore(self, size: int) -> None:
        """DW_CFA_GNU_args_size says nothing of where registers are."""

    def remember(self) -> None:
        self.stack.append(self.rules.copy())

    def recall(self) -> None:
        if not self.stack:
            raise _Cannot
        self.rules = self.stack.pop()

    def forget(self, register: int) -> None:
        """Undefined, or the same: RIP undefined is the end of the stack."""
        self.rules.saved.pop(RIP if register == self.cie.return_register else register, None)


_OPERATIONS: Final[dict[int, Callable[[_Program, _Reader], None]]] = {
    0x02: lambda program, reader: program.advance(reader.take("<B")),
    0x03: lambda program, reader: program.advance(reader.take("<H")),
    0x04: lambda program, reader: program.advance(reader.take("<I")),
    0x05: lambda program, reader: program.save(reader.uleb(), reader.uleb()),
    0x06: lambda program, reader: program.restore(reader.uleb()),
    0x07: lambda program, reader: program.forget(reader.uleb()),
    0x08: lambda program, reader: program.forget(reader.uleb()),
    0x0A: lambda program, reader: program.remember(),
    0x0B: lambda program, reader: program.recall(),
    0x0C: lambda program, reader: program.define(reader.uleb(), reader.uleb()),
    0x0D: lambda program, reader: program.define(reader.uleb(), program.rules.cfa_offset),
    0x0E: lambda program, reader: program.define(program.rules.cfa_register, reader.uleb()),
    0x11: lambda program, reader: program.save(reader.uleb(), reader.sleb()),
    0x12: lambda program, reader: program.define(
        reader.uleb(), reader.sleb() * program.cie.data_align
    ),
    0x13: lambda program, reader: program.define(
        program.rules.cfa_register, reader.sleb() * program.cie.data_align
    ),
    0x2E: lambda program, reader: program.ignore(reader.uleb()),
}
"""By their numbers, DW_CFA_*."""
