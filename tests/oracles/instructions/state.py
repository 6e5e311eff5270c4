# SPDX-License-Identifier: GPL-2.0-or-later
"""What user mode sees of a processor, as a value; where text, data and stack lie; states made at
random.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from random import Random
from typing import Final

TEXT: Final = 0x400000
TEXT_SIZE: Final = 0x2000
DATA: Final = 0x600000
DATA_SIZE: Final = 0x4000
READ_ONLY: Final = 0x1000
"""Bytes at the end of data that are mapped to be read only; behind them nothing is mapped."""
STACK: Final = 0x7E0000
STACK_SIZE: Final = 0x2000
MEMORY_SIZE: Final = DATA_SIZE + STACK_SIZE
CODE: Final = TEXT + 0x1000 - 64
"""Where the instruction stands. All else of the text is INT3."""
INT3: Final = 0xCC
U64: Final = (1 << 64) - 1

GPR_NAMES: Final = (
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    *(f"r{n}" for n in range(8, 16)),
)
RSP: Final = 4
SEGMENT_NAMES: Final = ("cs", "ss", "ds", "es", "fs", "gs")
USER_CS, USER_SS = 0x33, 0x2B
RFLAGS_FIXED: Final = 0x202
"""IF, and the bit that is always 1."""
CF, PF, AF, ZF, SF, TF, DF, OF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 8, 1 << 10, 1 << 11
NT, RF, AC, ID = 1 << 14, 1 << 16, 1 << 18, 1 << 21
FLAG_NAMES: Final = {
    CF: "CF",
    PF: "PF",
    AF: "AF",
    ZF: "ZF",
    SF: "SF",
    DF: "DF",
    OF: "OF",
    NT: "NT",
    AC: "AC",
    ID: "ID",
}
STATUS_FLAGS: Final = CF | PF | AF | ZF | SF | OF

FCW_DEFAULT, MXCSR_DEFAULT = 0x37F, 0x1F80
_INTERESTING_80 = (
    (0x8000000000000000, 0x3FFF),
    (0x8000000000000000, 0xBFFF),
    (0, 0),
    (0, 0x8000),
    (0x8000000000000000, 0x7FFF),
    (0x8000000000000000, 0xFFFF),
    (0xC000000000000000, 0x7FFF),
    (0xA000000000000000, 0x7FFF),
    (0xC90FDAA22168C235, 0x4000),
    (0x0000000000000123, 0),
    (0xFFFFFFFFFFFFFFFF, 0x43FF),
)
"""Mantissa and sign with exponent: ±1, ±0, ±∞, quiet and signalling NaN, π, a denormal, one too
large for a double.
"""


@dataclass(frozen=True)
class Fp:
    """x87 and SSE state: ``st`` by place on the stack, mantissa and sign with exponent; one tag bit
    a register.
    """

    fcw: int
    fsw: int
    tags: int
    """One bit for each physical register that is not empty."""
    st: tuple[tuple[int, int], ...]
    mxcsr: int
    xmm: tuple[int, ...]

    @property
    def top(self) -> int:
        """Number of the physical register that is ST(0)."""
        return self.fsw >> 11 & 7

    def fxsave(self) -> bytes:
        """As FXSAVE64 writes it (SDM vol. 1 10.5.1), pointers to the last instruction 0."""
        head = struct.pack("<HHBxHQQII", self.fcw, self.fsw, self.tags, 0, 0, 0, self.mxcsr, 0xFFFF)
        st = b"".join(struct.pack("<QH6x", *register) for register in self.st)
        xmm = b"".join(register.to_bytes(16, "little") for register in self.xmm)
        return (head + st + xmm).ljust(512, b"\0")

    @classmethod
    def from_fxsave(cls, image: bytes) -> Fp:
        """The state that FXSAVE64 wrote."""
        fcw, fsw, tags, _, _, _, mxcsr, _ = struct.unpack_from("<HHBxHQQII", image)
        st = tuple(struct.unpack_from("<QH", image, 32 + 16 * n) for n in range(8))
        xmm = tuple(int.from_bytes(image[160 + 16 * n : 176 + 16 * n], "little") for n in range(16))
        return cls(fcw, fsw, tags, st, mxcsr, xmm)


@dataclass(frozen=True)
class State:
    """Registers of user mode."""

    gpr: tuple[int, ...]
    rip: int
    rflags: int
    fs_base: int
    gs_base: int
    segments: tuple[int, ...]
    """By SEGMENT_NAMES."""
    fp: Fp


@dataclass(frozen=True)
class Case:
    """One instruction, and the state it finds."""

    code: bytes
    before: State
    origin: str = ""
    """How the generator came to it."""


@dataclass(frozen=True)
class Outcome:
    """How an instruction ended: executed, or with a signal, of which rip and registers are as its
    handler sees them.
    """

    ended: str
    """"done", "signal", "loop", "died", or a word of the machine's own for what must never be."""
    after: State
    signal: tuple[int, str, int | None] = (0, "", None)
    """Number, name of si_code, si_addr where the kind of signal has one."""
    memory: dict[int, int] = field(default_factory=dict)
    """Each byte of data and stack that changed, by address."""


def address_of(offset: int) -> int:
    """The address of a byte of data and stack, one after the other."""
    return DATA + offset if offset < DATA_SIZE else STACK + offset - DATA_SIZE


def offset_of(address: int) -> int:
    """Where the byte at an address of data or stack is among them."""
    return address - DATA if DATA <= address < DATA + DATA_SIZE else address - STACK + DATA_SIZE


def random_memory(rng: Random) -> bytes:
    """Data and stack, one after the other: random bytes, small integers, and floating-point numbers
    of all kinds.
    """
    chunks = []
    for _ in range(MEMORY_SIZE // 16):
        kind = rng.randrange(8)
        if kind < 3:
            chunks.append(rng.randbytes(16))
        elif kind == 3:
            chunks.append(struct.pack("<4i", *(rng.randrange(-9, 99) for _ in range(4))))
        elif kind == 4:
            chunks.append(struct.pack("<2d", *(_double(rng) for _ in range(2))))
        elif kind == 5:
            chunks.append(struct.pack("<4f", *(_single(rng) for _ in range(4))))
        elif kind == 6:
            chunks.append(struct.pack("<QH6x", *_extended(rng)))
        else:
            chunks.append(
                struct.pack(
                    "<2Q", DATA + rng.randrange(DATA_SIZE), STACK + rng.randrange(STACK_SIZE)
                )
            )
    return b"".join(chunks)


def random_gpr(rng: Random) -> int:
    """A general register: an address of data, a small number, one of every width, or an extreme."""
    kind = rng.randrange(10)
    if kind < 4:
        return DATA + 64 + rng.randrange(DATA_SIZE - READ_ONLY - 256)
    if kind < 6:
        return rng.randrange(-40, 80) & U64
    if kind == 6:
        return rng.choice(
            (
                0,
                1,
                U64,
                1 << 63,
                (1 << 63) - 1,
                1 << 31,
                (1 << 31) - 1,
                0xFFFFFFFF,
                0x80,
                0x7FFF,
                0x8000,
            )
        )
    return rng.getrandbits(rng.choice((8, 16, 32, 64, 64)))


def random_rflags(rng: Random) -> int:
    """Status flags at random; the others now and then."""
    flags = RFLAGS_FIXED | rng.getrandbits(12) & STATUS_FLAGS
    for flag, odds in ((DF, 8), (NT, 60), (AC, 80)):
        if rng.randrange(odds) == 0:
            flags |= flag
    return flags


def random_fp(rng: Random) -> Fp:
    """x87 and SSE registers at random; every exception is masked, but for a few states."""
    fcw, mxcsr, fsw = FCW_DEFAULT, MXCSR_DEFAULT, 0
    if rng.randrange(4) == 0:
        fcw = 0x7F | rng.choice((0, 2, 3)) << 8 | rng.randrange(4) << 10
        mxcsr |= rng.randrange(4) << 13
    if rng.randrange(16) == 0:
        mxcsr |= rng.choice((0x40, 0x8000, 0x8040))
    if rng.randrange(40) == 0:
        fcw &= ~(1 << rng.randrange(6))
    if rng.randrange(40) == 0:
        mxcsr &= ~(0x80 << rng.randrange(6))
    if rng.randrange(4) == 0:
        fsw = rng.getrandbits(16) & 0x7800 & ~0x3800 | rng.getrandbits(6) & fcw & 0x3F
        mxcsr |= rng.getrandbits(6) & mxcsr >> 7 & 0x3F
    top = rng.choice((0, rng.randrange(8)))
    depth = rng.choice((8, 8, 7, 5, 3, 1, 0))
    tags = sum(1 << ((top + n) & 7) for n in range(depth))
    st = tuple(_extended(rng) for _ in range(8))
    return Fp(fcw, fsw | top << 11, tags, st, mxcsr, tuple(_xmm(rng) for _ in range(16)))


def _double(rng: Random) -> float:
    kind = rng.randrange(6)
    if kind < 4:
        return (
            rng.choice((1.0, -1.0, 0.5, 3.0, 1e10)) * rng.uniform(0.5, 2.0)
            if kind
            else float(rng.randrange(-9, 99))
        )
    if kind == 4:
        return rng.choice((0.0, -0.0, float("inf"), float("-inf"), 1e308, 5e-324))
    return rng.uniform(-1.0, 1.0) * 10.0 ** rng.randrange(-30, 30)


def _single(rng: Random) -> float:
    value = _double(rng)
    return value if abs(value) < 3e38 or value in (float("inf"), float("-inf")) else 1.5


def _extended(rng: Random) -> tuple[int, int]:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(_INTERESTING_80)
    sign, mantissa = rng.getrandbits(1) << 15, rng.getrandbits(64) | 1 << 63
    if kind == 1:
        return mantissa, sign | rng.randrange(0x7FFF)
    if kind == 2:
        return mantissa & ~((1 << rng.randrange(64)) - 1) | 1 << 63, sign | 0x3FFF + rng.randrange(
            -4, 40
        )
    return mantissa, sign | 0x3FFF + rng.randrange(-70, 70)


def _xmm(rng: Random) -> int:
    kind = rng.randrange(5)
    if kind < 2:
        return rng.getrandbits(128)
    if kind == 2:
        data = struct.pack("<2d", *(_double(rng) for _ in range(2)))
    elif kind == 3:
        data = struct.pack("<4f", *(_single(rng) for _ in range(4)))
    else:
        data = struct.pack(
            "<8h", *(rng.choice((0, 1, -1, 5, 127, -128, 32767, -32768)) for _ in range(8))
        )
    return int.from_bytes(data, "little")
