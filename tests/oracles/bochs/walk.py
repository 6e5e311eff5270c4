# SPDX-License-Identifier: GPL-2.0-or-later
"""States by our walk alone: each page that an instruction touches is asked of ``Mmu.translate()``,
and what the instruction does with the data is done here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.units import U64
from tests.oracles.bochs import layout, states
from tests.oracles.bochs.accesses import Asked, Fault, Guest, Places, Quirk
from tests.oracles.bochs.states import (
    KINDS,
    NO_VECTOR,
    Kind,
    Register,
    Result,
    State,
    Step,
)

ZF: Final = 1 << 6


class Walk(Guest):
    """Executes states over RAM of ours. Of RFLAGS it does what VERR does, and no arithmetic."""

    def __init__(self, *, engine: str = "c") -> None:
        super().__init__(engine=engine, geometry="skylake", exact=False)

    def run(self, state: State, quirks: frozenset[Quirk] = frozenset()) -> Result:
        """Execute a state, with these quirks, and leave memory as it was."""
        self.quirks = quirks
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
            if not kind.repeats:
                registers = list(state.registers)
            if fault.arrived:
                rip = registers[Register.RBX]
        memory = self.memory.words
        words = tuple([memory[pa >> 3] for pa, _ in state.words])
        cells = tuple([self.memory.read(pa, n) for pa, n in state.cells])
        rflags = state.rflags | ZF if kind.implicit and vector == NO_VECTOR else state.rflags
        return Result(vector, error, cr2, rip, tuple(registers), rflags, words, cells)

    def _instruction(self, state: State, kind: Kind, registers: list[int], rip: int) -> int:
        """Do it; the RIP after it."""
        for _ in range(registers[Register.RCX] if kind.repeats else 1):
            places = [self._places(state, kind, step, registers) for step in kind.steps]
            if kind.name in _DO:
                _DO[kind.name](self, registers, *places)
        if not kind.jumps:
            return rip + len(kind.code)
        va = registers[Register.RBX]
        if va % layout.PAGE == layout.PAGE - 1:
            return va + 2
        return va & -layout.PAGE | layout.NOPS_END

    def _places(self, state: State, kind: Kind, step: Step, registers: list[int]) -> Places:
        va = registers[step.register] + step.offset & U64
        size = 1 if kind.repeats else step.size
        stack = step.register is Register.RSP
        return self.places(Asked(va, size, step.access, state.cpl == 3, step.implicit, stack))


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
    _advance(registers, -8, Register.RSP)


def _pop(walk: Walk, registers: list[int], at: Places) -> None:
    registers[RAX] = walk.read(at)
    _advance(registers, 8, Register.RSP)


def _advance(registers: list[int], by: int, *which: Register) -> None:
    for register in which:
        registers[register] = registers[register] + by & U64


def _movs(walk: Walk, registers: list[int], source: Places, target: Places) -> None:
    walk.write(target, walk.read(source))
    _advance(registers, 8, Register.RSI, Register.RDI)


def _rep_movs(walk: Walk, registers: list[int], source: Places, target: Places) -> None:
    walk.write(target, walk.read(source))
    _advance(registers, 1, Register.RSI, Register.RDI)
    _advance(registers, -1, Register.RCX)


def _rep_stos(walk: Walk, registers: list[int], target: Places) -> None:
    walk.write(target, registers[RAX])
    _advance(registers, 1, Register.RDI)
    _advance(registers, -1, Register.RCX)


def _push_memory(walk: Walk, registers: list[int], source: Places, target: Places) -> None:
    walk.write(target, walk.read(source))
    _advance(registers, -8, Register.RSP)


def _pop_memory(walk: Walk, registers: list[int], source: Places, target: Places) -> None:
    walk.write(target, walk.read(source))
    _advance(registers, 8, Register.RSP)


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
    "push [rbx]": _push_memory,
    "pop [rbx]": _pop_memory,
    "rep movsb": _rep_movs,
    "rep stosb": _rep_stos,
}
