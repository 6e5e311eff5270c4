# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine code of random x86-64 instructions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
COUNTER = 15
"""The register that counts loops: no random instruction writes it."""
POINTERS = (RBX, RBP, RSI, RDI, 12, 13, 14)
"""Registers that scripts set to addresses, and that most instructions leave alone."""
SCRATCH = (RAX, RCX, RDX, 8, 9, 10, 11)
_CPUID = b"\x0f\xa2"
ALU = (0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38)
"""ADD, OR, ADC, SBB, AND, SUB, XOR, CMP: opcodes of their form r/m8, r8."""


@dataclass(frozen=True)
class Mem:
    """[base + index * scale + disp]; without a base, [disp]; with ``rip``, [rip + disp]."""

    base: int | None
    disp: int = 0
    index: int | None = None
    scale: int = 0
    rip: bool = False


def _modrm(reg: int, rm: int | Mem) -> tuple[int, bytes]:
    """The REX bits R, X and B, and ModRM with what follows it."""
    rex, reg = (reg >> 3) << 2, (reg & 7) << 3
    if isinstance(rm, int):
        return rex | rm >> 3, bytes([0xC0 | reg | rm & 7])
    if rm.rip:
        return rex, bytes([reg | 5]) + struct.pack("<i", rm.disp)
    index = 4 if rm.index is None else rm.index & 7
    if rm.index is not None:
        rex |= (rm.index >> 3) << 1
    if rm.base is None:
        return rex, bytes([reg | 4, rm.scale << 6 | index << 3 | 5]) + struct.pack("<i", rm.disp)
    small = -128 <= rm.disp < 128
    sib = bytes([rm.scale << 6 | index << 3 | rm.base & 7])
    disp = struct.pack("<b" if small else "<i", rm.disp)
    return rex | rm.base >> 3, bytes([(0x40 if small else 0x80) | reg | 4]) + sib + disp


def encode(
    opcode: bytes, reg: int, rm: int | Mem, *, wide: bool = False, before: bytes = b""
) -> bytes:
    """One instruction with a ModRM byte; ``before`` are its legacy prefixes."""
    rex, rest = _modrm(reg, rm)
    return before + bytes([0x40 | wide << 3 | rex]) + opcode + rest


def mov_imm(reg: int, value: int) -> bytes:
    """MOV r64, imm64."""
    return bytes([0x48 | reg >> 3, 0xB8 | reg & 7]) + struct.pack("<Q", value & (1 << 64) - 1)


def mov_imm32(reg: int, value: int) -> bytes:
    """MOV r32, imm32."""
    return bytes([0x40 | reg >> 3, 0xB8 | reg & 7]) + struct.pack("<I", value)


def dec_jnz(back: int) -> bytes:
    """DEC of the loop counter, and JNZ to ``back`` bytes before the DEC."""
    dec = encode(b"\xff", 1, COUNTER)
    return dec + b"\x0f\x85" + struct.pack("<i", -back - len(dec) - 6)


class Chooser:
    """Random instructions, whose memory operands lie around the pointers and ``targets``."""

    def __init__(self, random: Random, targets: list[int], events: float) -> None:
        self.random = random
        self.targets = targets
        self.events = events

    def address(self) -> int:
        """An address of interest, often at the edge of a page."""
        at = self.random.choice(self.targets)
        return at + self.random.choice(
            (0, 0, 8, 16, 0x20, 0x7F8, 0xFF0, 0xFF8, 0x100, 0x200, 0xFFC, 0xFFE, -2)
        )

    def mem(self) -> Mem:
        random = self.random
        choice = random.random()
        if choice < 0.01:
            return Mem(None, random.randrange(0, 0x40000, 4))
        if choice < 0.04:
            return Mem(None, random.randrange(0x300, 0x600), rip=True)
        disp = random.choice((0, 0, 0, 0, 8, 8, -8, 1, 3, 0x40, -1, 0x100))
        if choice < 0.1:
            disp = random.choice((0xFFC, 0x1000, -0x1000, 0x7FFC))
        base = random.choice(POINTERS) if random.random() < 0.98 else random.choice(SCRATCH)
        if random.random() < 0.01:
            return Mem(base, disp, random.choice((RCX, RDX, 8)), random.randrange(4))
        return Mem(base, disp)

    def _size(self) -> tuple[bytes, int, bool]:
        """Legacy prefixes, what to add to a byte form's opcode, and REX.W of a random width."""
        return self.random.choice(
            ((b"", 0, False), (b"\x66", 1, False), (b"", 1, False), (b"", 1, True), (b"", 1, True))
        )

    def registers(self) -> bytes:
        random = self.random
        before, form, wide = self._size()
        to, source = random.choice(SCRATCH), random.choice(SCRATCH + POINTERS)
        choice = random.randrange(8)
        if choice < 4:
            return encode(bytes([random.choice(ALU) + form]), source, to, wide=wide, before=before)
        if choice == 4:
            return mov_imm32(to, random.getrandbits(random.choice((4, 8, 32))))
        if choice == 5:
            count = bytes([random.randrange(64)])
            return encode(b"\xc1", random.choice((0, 1, 4, 5, 7)), to, wide=wide) + count
        if choice == 6:
            return encode(b"\x0f\xaf", to, source, wide=True)
        return encode(bytes([0x0F, 0x40 + random.randrange(16)]), to, source, wide=True)

    def load(self) -> bytes:
        random, mem, to = self.random, self.mem(), self.random.choice(SCRATCH)
        before, form, wide = self._size()
        choice = random.randrange(7)
        if choice < 3:
            return encode(bytes([0x8A + form]), to, mem, wide=wide, before=before)
        if choice == 3:
            return encode(bytes([random.choice(ALU) + 2 + form]), to, mem, wide=wide, before=before)
        if choice == 4:
            return encode(
                bytes([0x0F, random.choice((0xB6, 0xB7, 0xBE, 0xBF))]), to, mem, wide=wide
            )
        if choice == 5:
            return encode(b"\x0f\x10", random.randrange(8), mem)
        return encode(b"\x0f\x6f", random.randrange(8), mem, before=b"\xf3")

    def store(self) -> bytes:
        random, mem = self.random, self.mem()
        before, form, wide = self._size()
        source = random.choice(SCRATCH + POINTERS)
        choice = random.randrange(7)
        if choice < 4:
            return encode(bytes([0x88 + form]), source, mem, wide=wide, before=before)
        if choice == 4:
            return encode(b"\xc6", 0, mem) + bytes([random.randrange(256)])
        if choice == 5:
            return encode(b"\x0f\x11", random.randrange(8), mem)
        return encode(b"\x0f\xd6", random.randrange(8), mem, before=b"\x66")

    def modify(self) -> bytes:
        """A read-modify-write of memory."""
        random, mem, source = self.random, self.mem(), self.random.choice(SCRATCH)
        before, form, wide = self._size()
        if random.random() < 0.3:
            before = b"\xf0" + before
        choice = random.randrange(7)
        if choice < 2:
            return encode(
                bytes([random.choice(ALU[:7]) + form]), source, mem, wide=wide, before=before
            )
        if choice == 2:
            return encode(bytes([0xFE + form]), random.randrange(2), mem, wide=wide, before=before)
        if choice == 3:
            return encode(
                bytes([0xF6 + form]), random.choice((2, 3)), mem, wide=wide, before=before
            )
        if choice == 4:
            return encode(bytes([0x0F, 0xB0 + form]), source, mem, wide=wide, before=before)
        if choice == 5:
            return encode(bytes([0x0F, 0xC0 + form]), source, mem, wide=wide, before=before)
        return encode(bytes([0x86 + form]), source, mem, wide=wide, before=before[-1:])

    def stack(self) -> bytes:
        random = self.random
        register = random.choice(SCRATCH)
        choice = random.randrange(8)
        if choice < 3:
            return bytes([0x40 | register >> 3, 0x50 | register & 7])
        if choice < 6:
            return bytes([0x40 | register >> 3, 0x58 | register & 7])
        if choice == 6:
            return encode(b"\xff", 6, self.mem())
        return encode(b"\x8f", 0, self.mem())

    def string(self) -> bytes:
        """A REP string instruction of some elements, RCX set before."""
        random = self.random
        operation = random.choice((0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAD, 0xA6, 0xA7, 0xAE, 0xAF))
        rep = random.choice((b"\xf3", b"\xf3", b"\xf3", b"\xf2", b""))
        if operation not in (0xA6, 0xA7, 0xAE, 0xAF) and rep == b"\xf2":
            rep = b"\xf3"
        wide = b"\x48" if operation & 1 and random.random() < 0.5 else b""
        direction = b"\xfd" if random.random() < 0.15 else b"\xfc"
        return (
            mov_imm32(RCX, random.choice((0, 1, 2, 5, 17, 40)))
            + direction
            + rep
            + wide
            + bytes([operation])
            + b"\xfc"
        )

    def pointer(self) -> bytes:
        """Set a pointer, or move it a little."""
        register = self.random.choice(POINTERS)
        if self.random.random() < 0.6:
            return mov_imm(register, self.address())
        return encode(b"\x83", 0, register, wide=True) + bytes(
            [self.random.choice((1, 8, 16, 0xF8))]
        )

    def fpu(self) -> bytes:
        """x87 and SSE; no store by a helper, whose fault plain Unicorn runs past."""
        random, mem = self.random, self.mem()
        return random.choice(
            (
                encode(b"\xdb", 5, mem),
                encode(b"\xdd", 0, mem),
                encode(b"\xdd", 3, mem),
                b"\xd9\xe8",
                encode(b"\x0f\xef", random.randrange(8), random.randrange(8), before=b"\x66"),
                encode(b"\x0f\xfe", random.randrange(8), random.randrange(8), before=b"\x66"),
                encode(b"\x0f\x6e", random.randrange(8), random.choice(SCRATCH), before=b"\x66"),
            )
        )

    def segment(self) -> bytes:
        """A load or a store through FS or GS."""
        opcode = self.random.choice((b"\x8b", b"\x89"))
        mem = Mem(None, self.random.choice((0, 8, 0x28, 0xFFC)))
        before = self.random.choice((b"\x64", b"\x65"))
        return encode(opcode, self.random.choice(SCRATCH), mem, wide=True, before=before)

    def event(self) -> bytes:
        """What hooks are asked about: interrupts, SYSCALL, ports, CPUID, no instruction at all."""
        return self.random.choice(
            (
                b"\x0f\x05",
                b"\x0f\x05",
                b"\xcd\x80",
                bytes([0xCD, self.random.choice((0x20, 0x21, 0x80, 0xFF))]),
                b"\xcc",
                b"\xe4\x60",
                b"\xe6\x61",
                b"\xec",
                b"\xef",
                _CPUID,
                b"\x0f\x0b",
                b"\xf7\xf0",
                b"\xf4",
                b"\x0f\xff",
            )
        )

    def quiet(self) -> bytes:
        return self.random.choice((b"\x90", b"\xf5", b"\xf9", b"\x98", _CPUID, b"\x9c\x58"))

    def balanced(self) -> bytes:
        """An instruction that leaves the stack alone: a function's, which shall return."""
        return self.random.choice((self.registers, self.load, self.store, self.string))()

    def instruction(self) -> bytes:
        """One of all kinds, in proportion to how often programs use them."""
        kinds = (
            self.registers,
            self.load,
            self.store,
            self.modify,
            self.stack,
            self.string,
            self.pointer,
            self.fpu,
            self.segment,
            self.event,
            self.quiet,
        )
        weights = (20, 18, 18, 8, 9, 4, 12, 2, 0.5, self.events, 2)
        return self.random.choices(kinds, weights)[0]()
