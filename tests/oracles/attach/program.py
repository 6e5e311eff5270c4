# SPDX-License-Identifier: GPL-2.0-or-later
"""Small random programs: straight code, branches forward, counted loops, calls."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from tests.oracles.attach.encode import COUNTER, RAX, SCRATCH, Chooser, encode, mov_imm, mov_imm32


@dataclass(frozen=True)
class Program:
    """Code at ``begin``; ``marks`` are addresses where its instructions begin, the end among them.

    Behind the end stands a HLT.
    """

    begin: int
    pieces: tuple[bytes, ...]
    marks: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.marks[-1]


class Builder:
    """Writes one program, instruction by instruction."""

    def __init__(self, random: Random, begin: int, chooser: Chooser) -> None:
        self.random = random
        self.chooser = chooser
        self.begin = begin
        self.pieces: list[bytes] = []
        self.size = 0
        self.marks = [begin]

    def put(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.pieces.append(piece)
            self.size += len(piece)
            self.marks.append(self.begin + self.size)

    def straight(self, count: int) -> None:
        for _ in range(count):
            self.put(self.chooser.instruction())

    def branch(self) -> None:
        """A conditional jump over a few instructions."""
        skipped = [self.chooser.instruction() for _ in range(self.random.randrange(1, 4))]
        size = sum(map(len, skipped))
        self.put(bytes([0x0F, 0x80 + self.random.randrange(16)]) + struct.pack("<i", size))
        self.put(*skipped)

    def loop(self) -> None:
        count = self.random.choice((2, 3, 3, 7, 20))
        self.put(mov_imm32(COUNTER, count))
        start = self.size
        self.straight(self.random.randrange(1, 5))
        dec = encode(b"\xff", 1, COUNTER)
        back = start - self.size - len(dec) - 6
        self.put(dec, b"\x0f\x8f" + struct.pack("<i", back))

    def change_itself(self, ahead: int) -> None:
        """A store into the immediate of a MOV some instructions further on."""
        between = [self.chooser.registers() for _ in range(ahead)]
        # 7 bytes of this store, 6 of the next instruction's opcode and immediate.
        disp = sum(map(len, between)) + 2
        store = b"\xc6\x05" + struct.pack("<i", disp) + bytes([self.random.randrange(256)])
        self.put(store, *between, mov_imm32(RAX, self.random.getrandbits(32)))

    def call(self) -> None:
        """A call of a function that stands behind a jump, which returns."""
        body = [self.chooser.balanced() for _ in range(self.random.randrange(1, 4))]
        size = sum(map(len, body)) + 1
        self.put(b"\xe9" + struct.pack("<i", size))
        start = self.size
        self.put(*body, b"\xc3")
        if self.random.random() < 0.6:
            self.put(b"\xe8" + struct.pack("<i", start - self.size - 5))
        else:
            register = self.random.choice(SCRATCH)
            self.put(mov_imm(register, self.begin + start), encode(b"\xff", 2, register))

    def part(self) -> None:
        choice = self.random.random()
        if choice < 0.62:
            self.straight(self.random.randrange(1, 6))
        elif choice < 0.75:
            self.branch()
        elif choice < 0.87:
            self.loop()
        elif choice < 0.95:
            self.call()
        else:
            self.change_itself(self.random.randrange(4))

    def program(self) -> Program:
        return Program(self.begin, (*self.pieces, b"\xf4"), tuple(self.marks))


def build(random: Random, begin: int, parts: int, targets: list[int], events: float) -> Program:
    """A program of so many parts at ``begin``, whose pointers lead to ``targets``."""
    builder = Builder(random, begin, Chooser(random, targets, events))
    for _ in range(parts):
        builder.part()
    return builder.program()
