# SPDX-License-Identifier: GPL-2.0-or-later
"""States by our walk alone: each page that an instruction touches is asked of ``Mmu.translate()``,
and what the instruction does with the data is done here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.memory import Memory
from mmu.units import U64
from mmu.x86 import Mmu
from mmu.x86.registers import is_canonical
from mmu.x86.walk import Access, Outcome, Privilege
from tests.oracles.bochs import layout, states
from tests.oracles.bochs.states import (
    GENERAL_PROTECTION,
    KINDS,
    NO_VECTOR,
    PAGE_FAULT,
    STACK_FAULT,
    Kind,
    Register,
    Result,
    State,
    Step,
)

ZF: Final = 1 << 6


class Fault(Exception):
    """An access that may not be made."""

    def __init__(
        self, vector: int, error: int = 0, cr2: int = states.CR2, *, arrived: bool = False
    ) -> None:
        super().__init__(vector)
        self.vector, self.error, self.cr2 = vector, error, cr2
        self.arrived = arrived
        """Whether it happens at the target of the jump, not at the jump."""


class Walk:
    """Executes states over RAM of ours."""

    def __init__(self, *, engine: str = "c") -> None:
        self.memory = Memory(layout.TOP)
        self.mmu = Mmu(self.memory, geometry="skylake", engine=engine, maxphyaddr=layout.MAXPHYADDR)
        for base, size in layout.DATA:
            for pa in range(base, base + size, layout.PAGE):
                self.memory.write(pa, layout.background(pa))

    def close(self) -> None:
        self.memory.close()

    def run(self, state: State) -> Result:
        """Execute a state, and leave memory as it was."""
        memory, words = self.memory, self.memory.words
        saved = [words[pa >> 3] for pa, _ in state.words]
        for pa, value in state.words:
            words[pa >> 3] = value
        before = [memory.read(pa, n) for pa, n in state.cells]
        result = self._execute(state)
        for (pa, _), data in zip(state.cells, before, strict=True):
            memory.write(pa, data)
        for (pa, _), word in zip(state.words, saved, strict=True):
            words[pa >> 3] = word
        return result

    def _execute(self, state: State) -> Result:
        c = self.mmu.c
        c.cr0, c.cr3, c.cr4, c.efer = state.cr0, state.cr3, state.cr4, state.efer
        c.rflags = state.rflags
        kind = KINDS[state.kind]
        registers = list(state.registers)
        rip = states.code_at(state.cpl, state.kind)
        vector, error, cr2 = NO_VECTOR, 0, states.CR2
        try:
            rip = self._instruction(state, kind, registers, rip)
        except Fault as fault:
            vector, error, cr2 = fault.vector, fault.error, fault.cr2
            registers = list(state.registers)
            if fault.arrived:
                rip = registers[Register.RBX]
        memory = self.memory.words
        words = tuple([memory[pa >> 3] for pa, _ in state.words])
        cells = tuple([self.memory.read(pa, n) for pa, n in state.cells])
        return Result(vector, error, cr2, rip, tuple(registers), state.rflags, words, cells)

    def _instruction(self, state: State, kind: Kind, registers: list[int], rip: int) -> int:
        """Do it; the RIP after it."""
        places = [self._places(state, kind, step, registers) for step in kind.steps]
        if kind.jumps:
            va = registers[Register.RBX]
            if va % layout.PAGE == layout.PAGE - 1:
                return va + 2
            return va & -layout.PAGE | layout.NOPS_END
        if not kind.implicit:
            _DO[kind.name](self, registers, *places)
        return rip + len(kind.code)

    def _places(
        self, state: State, kind: Kind, step: Step, registers: list[int]
    ) -> list[tuple[int, int]]:
        """(guest-physical address, bytes) of an access, translated."""
        va = registers[step.register] + step.offset & U64
        last = va + step.size - 1 & U64
        if not is_canonical(va) or (not is_canonical(last) and not kind.jumps):
            raise Fault(STACK_FAULT if kind.stack else GENERAL_PROTECTION)
        first = min(step.size, layout.PAGE - va % layout.PAGE)
        places = [(self._translate(state, step, va), first)]
        if first < step.size:
            if not is_canonical(last):
                raise Fault(GENERAL_PROTECTION, arrived=True)
            places.append((self._translate(state, step, va + first & U64), step.size - first))
        return places

    def _translate(self, state: State, step: Step, va: int) -> int:
        who = Privilege.USER if state.cpl else Privilege.SUPERVISOR
        if step.implicit:
            who = Privilege.IMPLICIT
        answer = self.mmu.translate(va, step.access, user=who)
        if answer.result != Outcome.OK:
            assert answer.result == Outcome.PAGE_FAULT, answer
            arrived = step.access is Access.FETCH
            raise Fault(PAGE_FAULT, answer.error_code, va, arrived=arrived)
        return answer.pa

    def read(self, places: list[tuple[int, int]]) -> int:
        return int.from_bytes(b"".join(self.memory.read(pa, n) for pa, n in places), "little")

    def write(self, places: list[tuple[int, int]], value: int) -> None:
        size = sum(n for _, n in places)
        data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        at = 0
        for pa, n in places:
            self.memory.write(pa, data[at : at + n])
            at += n


Places = list[tuple[int, int]]
Do = Callable[..., None]
RAX: Final = Register.RAX


def _load(bits: int) -> Do:
    keep = 0 if bits >= 32 else U64 & -(1 << bits)

    def do(walk: Walk, registers: list[int], at: Places) -> None:
        registers[RAX] = registers[RAX] & keep | walk.read(at)

    return do


def _store(walk: Walk, registers: list[int], at: Places) -> None:
    walk.write(at, registers[RAX])


def _add(walk: Walk, registers: list[int], at: Places) -> None:
    walk.write(at, walk.read(at) + registers[RAX])


def _xadd(walk: Walk, registers: list[int], at: Places) -> None:
    old = walk.read(at)
    walk.write(at, old + registers[RAX])
    registers[RAX] = old


def _xchg(walk: Walk, registers: list[int], at: Places) -> None:
    old = walk.read(at)
    walk.write(at, registers[RAX])
    registers[RAX] = old


def _cmpxchg(walk: Walk, registers: list[int], at: Places) -> None:
    old = walk.read(at)
    if old == registers[RAX]:
        walk.write(at, registers[Register.RCX])
    registers[RAX] = old


def _push(walk: Walk, registers: list[int], at: Places) -> None:
    walk.write(at, registers[RAX])
    registers[Register.RSP] = registers[Register.RSP] - 8 & U64


def _pop(walk: Walk, registers: list[int], at: Places) -> None:
    registers[RAX] = walk.read(at)
    registers[Register.RSP] = registers[Register.RSP] + 8 & U64


def _movs(walk: Walk, registers: list[int], source: Places, target: Places) -> None:
    walk.write(target, walk.read(source))
    for register in (Register.RSI, Register.RDI):
        registers[register] = registers[register] + 8 & U64


_DO: Final[dict[str, Do]] = {
    "mov rax, [rbx]": _load(64),
    "mov eax, [rbx]": _load(32),
    "mov al, [rbx]": _load(8),
    "mov [rbx], rax": _store,
    "mov [rbx], ax": _store,
    "mov [rbx], al": _store,
    "add [rbx], rax": _add,
    "lock xadd [rbx], rax": _xadd,
    "xchg [rbx], eax": _xchg,
    "lock cmpxchg [rbx], rcx": _cmpxchg,
    "push rax": _push,
    "pop rax": _pop,
    "movsq": _movs,
}
