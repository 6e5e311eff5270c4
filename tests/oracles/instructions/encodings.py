# SPDX-License-Identifier: GPL-2.0-or-later
"""Encodings at random, every opcode map and prefix among them, each with a state that lets it do
something.

The opcodes of each map come in shuffled rounds, so that a few thousand cases meet every one. What
capstone decodes is cut to its length; of the rest a share is kept as it is, up to 15 bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any, Final

from capstone import x86_const as x86

from tests.oracles.instructions.encoding import decoder
from tests.oracles.instructions.state import (
    CODE,
    DATA,
    DATA_SIZE,
    GPR_NAMES,
    READ_ONLY,
    RSP,
    STACK,
    U64,
    USER_CS,
    USER_SS,
    Case,
    State,
    random_fp,
    random_gpr,
    random_rflags,
)

MAX_INSTRUCTION: Final = 15
KEPT_UNDECODED: Final = 6
"""One of so many encodings that capstone does not know is kept."""
STEERED: Final = 12
"""All memory operands but one of so many lead into data."""

MAPS: Final = {
    "one byte": 26,
    "0f": 26,
    "0f38": 12,
    "0f3a": 8,
    "x87": 12,
    "vex2": 3,
    "vex3": 5,
    "evex": 4,
    "xop": 2,
    "3dnow": 2,
}
"""How often each opcode map is taken, of 100."""
_LEGACY: Final = (
    (b"",) * 9
    + (b"\x66",) * 4
    + (b"\xf3",) * 3
    + (b"\xf2",) * 3
    + (b"\xf0",) * 2
    + (
        b"\x67",
        b"\x64",
        b"\x65",
        b"\x2e",
        b"\x36",
        b"\x3e",
        b"\x26",
        b"\x66\xf3",
        b"\x66\xf2",
        b"\xf3\x66",
        b"\xf2\xf3",
    )
)
_SYSCALLS: Final = (b"\x0f\x05", b"\x0f\x34", b"\xcd\x80")
_HYPERCALLS: Final = (b"\x0f\x01\xc1", b"\x0f\x01\xd9")
_WAITS: Final = (
    b"\x0f\x01\xfb",
    b"\x0f\x01\xfa",
    *(b"\x0f\xae" + bytes((0xF0 + n,)) for n in range(8)),
)
LEFT_OUT: Final = {
    "a system call": _SYSCALLS,
    "a call of the hypervisor": _HYPERCALLS,
}
"""What is not executed natively, by the bytes that it contains, and why."""
_WAIT: Final = "waits for an event"
_REPS: Final = (0xF2, 0xF3)
_STRINGS: Final = frozenset(["ins", "outs", "movs", "cmps", "scas", "stos", "lods"])


@dataclass
class Coverage:
    """What was generated: by map, by legacy prefix, and what was left out."""

    maps: Counter[str] = field(default_factory=Counter)
    prefixes: Counter[str] = field(default_factory=Counter)
    opcodes: set[tuple[str, int]] = field(default_factory=set)
    decoded: int = 0
    undecoded: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Generator:
    """Cases from one seed: the same seed, the same cases."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.coverage = Coverage()
        self._rounds: dict[str, list[int]] = {}
        self._maps = [name for name, share in MAPS.items() for _ in range(share)]

    def __iter__(self) -> Iterator[Case]:
        return self

    def __next__(self) -> Case:
        while True:
            name = self.rng.choice(self._maps)
            opcode = self._next_opcode(name)
            prefixes = self._prefixes(name)
            code = prefixes + _opcode_bytes(self.rng, name, opcode)
            case = self._case(name, (code + _tail(self.rng))[:MAX_INSTRUCTION])
            if case is not None:
                self._note(name, opcode, prefixes)
                return case

    def _next_opcode(self, name: str) -> int:
        left = self._rounds.get(name)
        if not left:
            left = self._rounds[name] = list(range(0xD8, 0xE0) if name == "x87" else range(256))
            self.rng.shuffle(left)
        return left.pop()

    def _prefixes(self, name: str) -> bytes:
        legacy = self.rng.choice(_LEGACY)
        if name in ("vex2", "vex3", "evex", "xop"):
            return legacy if self.rng.randrange(12) == 0 else b""
        rex = bytes((0x40 | self.rng.randrange(16),)) if self.rng.randrange(5) < 2 else b""
        return legacy + rex

    def _case(self, name: str, code: bytes) -> Case | None:
        insn = next(decoder().disasm(code, CODE, 1), None)
        if insn is None:
            if self.rng.randrange(KEPT_UNDECODED):
                return None
            self.coverage.undecoded += 1
        else:
            code = bytes(insn.bytes)
            self.coverage.decoded += 1
        reason = left_out(code)
        if reason:
            self.coverage.left_out[reason] += 1
            return None
        state = random_state(self.rng)
        if insn is not None:
            code, state = steer(self.rng, insn, code, state)
            if left_out(code):
                return None
        return Case(code, state, name)

    def _note(self, name: str, opcode: int, prefixes: bytes) -> None:
        self.coverage.maps[name] += 1
        self.coverage.opcodes.add((name, opcode))
        for prefix in prefixes or (0,):
            self.coverage.prefixes[
                "rex" if prefix & 0xF0 == 0x40 else f"{prefix:02x}" if prefix else "none"
            ] += 1


def left_out(code: bytes) -> str:
    """Why this is not executed natively; empty if it is."""
    for reason, parts in LEFT_OUT.items():
        if any(part in code for part in parts):
            return reason
    if any(wait in code for wait in _WAITS) and not code.endswith((b"\x0f\xae\xf0",)):
        return _WAIT
    return ""


def random_state(rng: Random) -> State:
    """A state at random, the stack where it should be."""
    gpr = [random_gpr(rng) for _ in GPR_NAMES]
    gpr[RSP] = STACK + 0x1000 + rng.randrange(-32, 32) * 8
    bases = [rng.choice((0, 0, rng.randrange(0x1000) * 8, DATA)) for _ in range(2)]
    return State(
        gpr=tuple(gpr),
        rip=CODE,
        rflags=random_rflags(rng),
        fs_base=bases[0],
        gs_base=bases[1],
        segments=(USER_CS, USER_SS, 0, 0, 0, 0),
        fp=random_fp(rng),
    )


def _opcode_bytes(rng: Random, name: str, opcode: int) -> bytes:
    """From the map's escape to the opcode."""
    if name in ("one byte", "x87"):
        return bytes((opcode,))
    if name == "0f":
        return bytes((0x0F, opcode))
    if name in ("0f38", "0f3a"):
        return bytes((0x0F, int(name[2:], 16), opcode))
    if name == "3dnow":
        return bytes((0x0F, 0x0F, 0xC0 | rng.randrange(64), opcode))
    vvvv = 0x78 if rng.randrange(2) else rng.randrange(16) << 3
    if name == "vex2":
        return bytes((0xC5, rng.randrange(2) << 7 | vvvv | rng.randrange(8), opcode))
    if name == "vex3":
        return bytes(
            (
                0xC4,
                rng.randrange(8) << 5 | rng.choice((1, 1, 2, 2, 3)),
                rng.randrange(2) << 7 | vvvv | rng.randrange(8),
                opcode,
            )
        )
    if name == "xop":
        return bytes(
            (
                0x8F,
                rng.randrange(8) << 5 | rng.choice((8, 9, 10)),
                rng.randrange(2) << 7 | vvvv | rng.randrange(8),
                opcode,
            )
        )
    payload = (
        rng.randrange(16) << 4 | rng.choice((1, 2, 3)),
        rng.randrange(2) << 7 | vvvv | 4 | rng.randrange(4),
    )
    return bytes((0x62, *payload, rng.choice((0x08, 0x28, 0x48, rng.randrange(256))), opcode))


def _tail(rng: Random) -> bytes:
    """ModRM, SIB, displacement and immediates, as far as the opcode has them."""
    modrm = rng.randrange(256)
    if rng.randrange(5) < 2:
        modrm |= 0xC0
    return bytes((modrm,)) + rng.randbytes(14)


def steer(rng: Random, insn: Any, code: bytes, state: State) -> tuple[bytes, State]:
    """Registers, or the displacement, so that memory operands lie in data; a REP's count small."""
    gpr, segment_bases = (
        list(state.gpr),
        {x86.X86_REG_FS: state.fs_base, x86.X86_REG_GS: state.gs_base},
    )
    if any(prefix in code[:4] for prefix in _REPS) and insn.mnemonic.split()[-1][:4] in _STRINGS:
        gpr[1] = rng.randrange(20)
    for operand in insn.operands:
        if operand.type == x86.X86_OP_MEM and rng.randrange(STEERED):
            target = _target(rng, max(operand.size, 1))
            target -= segment_bases.get(operand.mem.segment, 0)
            code = _steer_operand(rng, insn, operand.mem, target, code, gpr)
    return code, replace(state, gpr=tuple(gpr))


def _target(rng: Random, size: int) -> int:
    kind = rng.randrange(12)
    if kind == 0:
        return DATA + DATA_SIZE - READ_ONLY + rng.randrange(-size, READ_ONLY)
    at = DATA + 128 + rng.randrange(DATA_SIZE - READ_ONLY - 1024)
    return at if kind < 4 else at & -64 if size > 16 else at & -16


def _steer_operand(
    rng: Random, insn: Any, mem: Any, target: int, code: bytes, gpr: list[int]
) -> bytes:
    base, index = _gpr_number(insn, mem.base), _gpr_number(insn, mem.index)
    if index is not None and index != base and index != RSP:
        gpr[index] = rng.randrange(24)
    offset = gpr[index] * mem.scale if index is not None else 0
    wide = insn.addr_size == 8
    if base is not None and base != index:
        value = target - mem.disp - offset
        gpr[base] = value & U64 if wide else value & 0xFFFFFFFF | rng.getrandbits(32) << 32
        return code
    if insn.disp_size in (4, 8) and base is None:
        after = insn.address + insn.size if mem.base in (x86.X86_REG_RIP, x86.X86_REG_EIP) else 0
        disp = (target - after - offset) & ((1 << 8 * insn.disp_size) - 1)
        at = insn.disp_offset
        return code[:at] + disp.to_bytes(insn.disp_size, "little") + code[at + insn.disp_size :]
    return code


@cache
def _gpr_names() -> dict[str, int]:
    names = {name: number for number, name in enumerate(GPR_NAMES)}
    for number, name in enumerate(GPR_NAMES):
        names["e" + name[1:] if number < 8 else name + "d"] = number
    return names


def _gpr_number(insn: Any, reg: int) -> int | None:
    return _gpr_names().get(insn.reg_name(reg)) if reg else None
