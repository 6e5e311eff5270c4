# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that led to where a task stands, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_RDONLY
from cpu.symbols.lines import Lines
from cpu.symbols.modules import Module, module_at
from cpu.symbols.unwind import RBP, RIP, RSP, EhFrame, Frame, caller
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

MAX_FRAMES: Final = 16


def backtrace(task: Task) -> tuple[str, ...]:
    """A line for each frame, the innermost first: address, function, source line, file. At most
    MAX_FRAMES; those without a known function at the end are left out.
    """
    known: dict[str, Lines] = {}
    with ExitStack() as stack:

        def lines_of(module: Module) -> Lines:
            if module.path not in known:
                lines = Lines(module.path, lambda path: _open(task, path))
                known[module.path] = stack.enter_context(closing(lines))
            return known[module.path]

        def eh_frame_of(module: Module) -> tuple[int, int] | None:
            found = lines_of(module).section(".eh_frame")
            return None if found is None else (found[0] + module.bias, found[1])

        told = [
            f"#{number} {_shown(task, frame, lines_of)}"
            for number, frame in enumerate(_frames(task, eh_frame_of))
        ]
    while len(told) > 1 and " in " not in told[-1]:
        told.pop()
    return tuple(told)


def _frames(task: Task, eh_frame_of: EhFrame) -> Iterator[Frame]:
    regs = task.vcpu.get_regs()
    registers = {
        0: regs.ax, 1: regs.dx, 2: regs.cx, 3: regs.bx, 4: regs.si, 5: regs.di,
        RBP: regs.bp, RSP: regs.sp, RIP: regs.ip,
        8: regs.r8, 9: regs.r9, 10: regs.r10, 11: regs.r11,
        12: regs.r12, 13: regs.r13, 14: regs.r14, 15: regs.r15,
    }  # fmt: skip
    frame: Frame | None = Frame({number: int(value) for number, value in registers.items()})
    for _ in range(MAX_FRAMES):
        if frame is None:
            return
        yield frame
        frame = caller(task.mm, frame, eh_frame_of)


def _shown(task: Task, frame: Frame, lines_of: Callable[[Module], Lines]) -> str:
    rip = frame.rip
    text = f"{frame.registers[RIP]:#x}"
    module = module_at(task.mm, rip)
    if module is None:
        return text
    lines = lines_of(module)
    function, line = lines.function(rip - module.bias), lines.line(rip - module.bias)
    text += f" in {function}()" if function is not None else ""
    return f"{text} at {line}" if line is not None else f"{text} ({module.path})"


def _open(task: Task, path: str) -> OpenFile | None:
    """The guest's file there; None if it cannot be read."""
    try:
        return task.fs.open(path, O_RDONLY)
    except LinuxError:
        return None
