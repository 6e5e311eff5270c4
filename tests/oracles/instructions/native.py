# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's processor: instructions executed by a traced child with the memory of ``state``."""

from __future__ import annotations

import functools
import os
import platform
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from native import on_demand
from tests.oracles.instructions.encoding import decode
from tests.oracles.instructions.state import (
    DATA,
    DATA_SIZE,
    INT3,
    MEMORY_SIZE,
    READ_ONLY,
    RSP,
    STACK,
    STACK_SIZE,
    TEXT,
    TEXT_SIZE,
    Case,
    Fp,
    Outcome,
    State,
    address_of,
    offset_of,
)

HERE = Path(__file__).resolve().parent

SI_CODES: Final[dict[tuple[int, int], str]] = {
    (signal.SIGSEGV, 1): "SEGV_MAPERR",
    (signal.SIGSEGV, 2): "SEGV_ACCERR",
    (signal.SIGBUS, 1): "BUS_ADRALN",
    (signal.SIGBUS, 2): "BUS_ADRERR",
    (signal.SIGTRAP, 1): "TRAP_BRKPT",
    (signal.SIGTRAP, 2): "TRAP_TRACE",
    (signal.SIGILL, 2): "ILL_ILLOPN",
    **{
        (signal.SIGFPE, n + 1): f"FPE_{name}"
        for n, name in enumerate(
            ("INTDIV", "INTOVF", "FLTDIV", "FLTOVF", "FLTUND", "FLTRES", "FLTINV", "FLTSUB")
        )
    },
}
"""include/uapi/asm-generic/siginfo.h."""
SI_KERNEL: Final = 0x80
_BATCH: Final = 512
"""Cases given to C at once: each outcome holds all of memory."""


class Unavailable(Exception):
    """This host cannot execute instructions under ptrace; says why."""


class NativeProcessor:
    """The host's processor. ``memory`` is what every instruction finds in data and stack. Close it:
    it is a process.
    """

    def __init__(self, memory: bytes) -> None:
        """Fork the child; Unavailable where that, or ptrace, is not possible."""
        if platform.machine() != "x86_64" or platform.system() != "Linux":
            raise Unavailable("instructions are executed natively on Linux on x86-64 only")
        self._module = _load()
        self._pristine = memory
        ffi, lib = self._module.ffi, self._module.lib
        stage = ffi.new("const char **")
        layout = ffi.new(
            "struct layout *", (TEXT, TEXT_SIZE, DATA, DATA_SIZE, READ_ONLY, STACK, STACK_SIZE)
        )
        self._c: Any = lib.native_open(layout, stage)
        if self._c == ffi.NULL:
            what = ffi.string(stage[0]).decode()
            raise Unavailable(f"{what} failed: {os.strerror(ffi.errno)}")
        ffi.memmove(lib.native_text(self._c), bytes((INT3,)) * TEXT_SIZE, TEXT_SIZE)
        ffi.memmove(lib.native_memory(self._c), memory, MEMORY_SIZE)

    def __enter__(self) -> NativeProcessor:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._c is not None:
            self._module.lib.native_close(self._c)
            self._c = None

    def execute(self, cases: Sequence[Case]) -> list[Outcome]:
        """Each case's instruction, from its state; Unavailable if the child cannot be traced any
        more.
        """
        return [
            outcome
            for at in range(0, len(cases), _BATCH)
            for outcome in self._execute_batch(cases[at : at + _BATCH])
        ]

    def _execute_batch(self, cases: Sequence[Case]) -> list[Outcome]:
        ffi, lib = self._module.ffi, self._module.lib
        given = ffi.new("struct instruction[]", len(cases))
        found = ffi.new("struct outcome[]", len(cases))
        for at, case in enumerate(cases):
            _put_state(ffi, given[at].before, case.before)
            ffi.memmove(given[at].code, case.code, len(case.code))
            given[at].length = len(case.code)
        error = lib.native_execute(self._c, given, found, len(cases))
        if error:
            raise Unavailable(f"the child cannot be traced any more: {os.strerror(-error)}")
        return [self._outcome(case, found[at]) for at, case in enumerate(cases)]

    def _outcome(self, case: Case, c: Any) -> Outcome:
        ffi, lib = self._module.ffi, self._module.lib
        after = _state(ffi, c.after)
        was = self._pristine[c.changed : c.changed + c.changed_length]
        now = bytes(ffi.buffer(c.bytes, c.changed_length))
        memory = {address_of(c.changed + n): now[n] for n in range(len(was)) if was[n] != now[n]}
        if c.ended == lib.ENDED_DONE and _pushes_flags(case.code):
            self._clear_trap_flag(memory, after.gpr[RSP] + 1)
        if c.ended == lib.ENDED_SIGNAL:
            code = (
                "SI_KERNEL" if c.code == SI_KERNEL else SI_CODES.get((c.signo, c.code), str(c.code))
            )
            return Outcome("signal", after, (c.signo, code, c.address), memory)
        names = {lib.ENDED_DONE: "done", lib.ENDED_LOOP: "loop", lib.ENDED_DIED: "died"}
        return Outcome(names[c.ended], after, memory=memory)

    def _clear_trap_flag(self, memory: dict[int, int], address: int) -> None:
        """PUSHF pushes the TF of single stepping, bit 0 of the byte at the address: not the
        instruction's own.
        """
        was = self._pristine[offset_of(address)]
        now = memory.pop(address, was) & 0xFE
        if now != was:
            memory[address] = now


def _pushes_flags(code: bytes) -> bool:
    insn = decode(code)
    return insn is not None and insn.mnemonic.startswith("pushf")


def _put_state(ffi: Any, c: Any, state: State) -> None:
    c.gpr = state.gpr
    c.rip, c.rflags = state.rip, state.rflags
    c.fs_base, c.gs_base = state.fs_base, state.gs_base
    c.cs, c.ss, c.ds, c.es, c.fs, c.gs = state.segments
    ffi.memmove(c.fx, state.fp.fxsave(), 512)


def _state(ffi: Any, c: Any) -> State:
    return State(
        gpr=tuple(c.gpr),
        rip=c.rip,
        rflags=c.rflags,
        fs_base=c.fs_base,
        gs_base=c.gs_base,
        segments=(c.cs, c.ss, c.ds, c.es, c.fs, c.gs),
        fp=Fp.from_fxsave(bytes(ffi.buffer(c.fx))),
    )


@functools.cache
def _load() -> Any:
    """The compiled module."""
    return on_demand.load("ucmmu_instructions_runner", [HERE / "runner.h"], [HERE / "runner.c"])
