# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as text: each instruction, and under it what it made the processor and the kernel do.

::

    CPU 0  guest-1  from instruction 7, 0.000 ms
    touch+0x4  guest.c:12:  *page = 1;
        41      7  0x40100c  c6 00 01                 mov byte ptr [rax], 1
        42           access             write 1 byte at 0x7ffff7ff9000
        43           tlb_miss           write 0x7ffff7ff9000
        44           walk_entry         PML4E at 0x1ff8 = 0x0000000000003067  P R/W U/S A D -> ...

The first column is the event's number, by which other commands name it (``--at``); the second the
number of instructions that the CPU executed before. Events stand in the order in which they
happened: a fetch is translated before its instruction executes, so the events of entering a page
stand above the page's first instruction. What takes time (a system call, a kernel function, an
interrupt) indents what happens in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ucmmu.reading.names import Names
from ucmmu.reading.palette import Paint, plain, style_of
from ucmmu.reading.phrases import ENDS, Phrases
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.events import Event
    from ucmmu.reading.symbols import History

Disassemble = Callable[[bytes, int], str]
"""Bytes of one instruction and its address give its text."""
SourceText = Callable[[str, int], "str | None"]
"""File and line give the line's text, if it can be read."""

_NAME: Final = 18
_CODE: Final = 24
_EVENT_INDENT: Final = " " * 11
_BEGIN_OF: Final = {end: begin for begin, end in ENDS.items()}
_MAX_DEPTH: Final = 24
_MAX_DECODED: Final = 1 << 18


def insn_code(fields: dict[str, int]) -> bytes:
    """The bytes of an ``insn`` event, as far as the event has them."""
    code = fields["code"].to_bytes(8, "little") + fields["code_high"].to_bytes(8, "little")
    return code[: min(fields["size"], 15)]


class TextPrinter:
    """Makes the lines of a trace's events, given one by one in order.

    ``width`` is that of the column of event numbers. ``wanted`` says whether events of a kind are
    among those given: spans of which the ends are left out do not indent.
    """

    def __init__(
        self,
        names: Names,
        history: History,
        disassemble: Disassemble,
        *,
        source_text: SourceText = lambda _file, _line: None,
        paint: Paint = plain,
        width: int = 6,
        wanted: Callable[[str], bool] = lambda _event: True,
    ) -> None:
        self._history = history
        self._disassemble = disassemble
        self._source_text = source_text
        self._paint = paint
        self._width = width
        self._nests = {
            kind
            for begin, end in ENDS.items()
            if wanted(begin) and wanted(end)
            for kind in (begin, end)
        }
        self._number = 0
        self._phrases = Phrases(names, self._task_name)
        self._context: tuple[int, int] | None = None
        self._label: tuple[str, tuple[str, int] | None] | None = None
        self._open: dict[tuple[str, int], list[tuple[str, str]]] = {}
        self._decoded: dict[tuple[int, bytes], str] = {}
        self._names: dict[int, str] = {}

    def lines(self, number: int, event: Event) -> list[str]:
        """The lines of one event: its own, below those that say where it happened if that is
        elsewhere than the one before.
        """
        self._number = number
        fields = event.fields
        above = self._where(event)
        if event.name == "insn":
            above += self._place(event, fields)
            return [*above, self._instruction(event, fields)]
        return [*above, self._event(event, fields)]

    def gap(self) -> None:
        """What follows is not next to what was before."""
        self._context = self._label = None
        self._open.clear()
        self._phrases.forget()

    def _where(self, event: Event) -> list[str]:
        context = event.cpu, event.task
        if context == self._context:
            return []
        self._context = context
        self._label = None
        self._phrases.forget()
        when = f"from instruction {event.instruction}, {event.time / 1e6:.6f} ms"
        text = f"CPU {event.cpu}  {self._task_name(event.task)}  {when}"
        return [self._paint("context", text)]

    def _task_name(self, pid: int) -> str:
        process = self._history.process(pid, self._number) or self._history.first_named(pid)
        if process is None:
            return f"task {pid}" if pid else "idle"
        return printable(str(process))

    def _place(self, event: Event, fields: dict[str, int]) -> list[str]:
        """A line with function and source line, if they are others than those of the instruction
        before.
        """
        mm, ip = self._history.mm_of(event.task, self._number), fields["ip"]
        symbol = self._history.symbol(mm, ip, self._number)
        if symbol is None:
            self._label = None
            return []
        line = self._history.line(mm, ip, self._number)
        label = (symbol.function or symbol.file), line
        if label == self._label:
            return []
        self._label = label
        text = printable(str(symbol))
        if line is not None:
            source = self._source_text(*line)
            text += f"  {printable(line[0].rpartition('/')[2])}:{line[1]}:"
            text += "" if source is None else f"  {printable(' '.join(source.split()))}"
        return [self._paint("label", text)]

    def _instruction(self, event: Event, fields: dict[str, int]) -> str:
        self._open.pop(_stack_of(event), None)
        self._phrases.forget()
        ip, code = fields["ip"], insn_code(fields)
        key = ip, code
        text = self._decoded.get(key)
        if text is None:
            known = any(code)
            text = self._disassemble(code, ip) if known else "(its bytes could not be read)"
            if len(self._decoded) >= _MAX_DECODED:
                self._decoded.clear()
            self._decoded[key] = text
        number = self._paint("number", f"{self._number:>{self._width}}")
        body = f"{event.instruction:>6}  {ip:#x}  {code.hex(' '):<{_CODE}} {text}"
        return f"{number} {self._paint('insn', body)}"

    def _event(self, event: Event, fields: dict[str, int]) -> str:
        name = event.name
        depth = self._depth(event) if name in self._nests else len(self._stack(event))
        indent = "  " * min(depth, _MAX_DEPTH)
        phrase = printable(self._phrases.phrase(name, fields, event.site))
        number = self._paint("number", f"{self._number:>{self._width}}")
        body = self._paint(style_of(name), f"{name:<{_NAME}}")
        return f"{number}{_EVENT_INDENT}{indent}{body} {phrase}".rstrip()

    def _stack(self, event: Event) -> list[tuple[str, str]]:
        return self._open.setdefault(_stack_of(event), [])

    def _depth(self, event: Event) -> int:
        """How far an event that begins or ends something is indented; what it ends, and whatever
        began in that and never ended, is over.
        """
        stack = self._stack(event)
        begin = _BEGIN_OF.get(event.name)
        if begin is None:
            if event.name == "sys_enter":
                stack.clear()
            stack.append((event.name, event.site))
            return len(stack) - 1
        for at in range(len(stack) - 1, -1, -1):
            if stack[at] == (begin, event.site) or (begin, "") == (stack[at][0], event.site):
                del stack[at:]
                return at
        return len(stack)


def _stack_of(event: Event) -> tuple[str, int]:
    """Whose kernel stack the event happened on: the task's, or the idle task's of a CPU."""
    return ("task", event.task) if event.task else ("cpu", event.cpu)
