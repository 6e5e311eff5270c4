# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as lines of ftrace: what tracefs's ``trace`` shows.

::

               guest-1       [000] .....     0.000010: page_fault_user: address=0x403008 ip=...

The kernel functions that work on page tables are shown as its function_graph tracer shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ucmmu.reading.names import Names
from ucmmu.reading.outlet import Outlet
from ucmmu.reading.printing import Request, selected
from ucmmu.reading.selection import Progress
from ucmmu.reading.symbols import History
from ucmmu.reading.text import insn_code
from ucmmu.reading.tracepoints import TEXT_SIZES, Tracepoint, Tracepoints, Value
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.events import Event
    from mmu.trace.reader import TraceFile

HEADER: Final = """\
# tracer: nop
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
MAX_COMM: Final = 15
"""Characters of a task's name (TASK_COMM_LEN)."""
_INTERRUPT: Final = {"call_function_entry": 1, "call_function_exit": 0}


class FtraceEvents:
    """The tracepoints of a trace's events, one by one, with what only the trace as a whole
    tells.
    """

    def __init__(self, trace: TraceFile) -> None:
        from cpu.disasm import disassemble_one

        self.history = History(trace)
        self._disassemble = disassemble_one
        self._number = 0
        self.points = Tracepoints(
            trace.descs, Names(trace.head), self.comm, self._insn_text, self._mm_of
        )

    def of(self, number: int, event: Event) -> tuple[Tracepoint, dict[str, Value]]:
        """An event's tracepoint and its values."""
        self._number = number
        return self.points.of(event.name, event.fields, event.task, event.site)

    def comm(self, pid: int) -> str:
        """What a task is called, as of the event; ``<idle>`` and ``<...>`` as ftrace has them."""
        process = self.history.process(pid, self._number) or self.history.first_named(pid)
        if process is None:
            return "<...>" if pid else "<idle>"
        return printable(process.comm)[:MAX_COMM]

    def _mm_of(self, pid: int) -> int:
        return self.history.mm_of(pid, self._number)

    def _insn_text(self, task: int, fields: Mapping[str, int]) -> str:
        code = insn_code(dict(fields))
        text = self._disassemble(code, fields["ip"]) if any(code) else ""
        symbol = self.history.symbol(self._mm_of(task), fields["ip"], self._number)
        where = f"<{printable(str(symbol))}> " if symbol is not None else ""
        return (where + text)[: TEXT_SIZES["text"] - 1]


class FtraceLines:
    """Makes the lines of a trace's events."""

    def __init__(self, trace: TraceFile) -> None:
        self.events = FtraceEvents(trace)
        self._in_interrupt: dict[int, bool] = {}
        self._graph: dict[tuple[int, int], list[tuple[str, int]]] = {}

    def line(self, number: int, event: Event) -> str:
        """The line of one event."""
        point, values = self.events.of(number, event)
        graph = event.name.startswith("funcgraph_")
        text = self._function(event) if graph else point.text(values)
        interrupt = self._in_interrupt.get(event.cpu, False)
        if event.name in _INTERRUPT:
            self._in_interrupt[event.cpu] = bool(_INTERRUPT[event.name])
            interrupt = True
        flags = "d.h.." if interrupt else "....."
        seconds, microseconds = divmod(event.time // 1000, 10**6)
        head = f"{self.events.comm(event.task):>16}-{event.task:<7} [{event.cpu:03}] {flags}"
        return f"{head} {seconds:5}.{microseconds:06}: {point.name}: {text}".rstrip()

    def _function(self, event: Event) -> str:
        """As function_graph shows it: what is called; at its end how long it took."""
        stack = self._graph.setdefault((event.task, 0 if event.task else event.cpu), [])
        site = event.site or "?"
        if event.name == "funcgraph_entry":
            if event.task and len(stack) > 64:
                stack.clear()
            stack.append((site, event.time))
            return f"                   | {'  ' * len(stack)}{site}() {{"
        began = event.time
        for at in range(len(stack) - 1, -1, -1):
            if stack[at][0] == site:
                began = stack[at][1]
                del stack[at:]
                break
        took = f"{(event.time - began) / 1000:.3f} us"
        return f"{took:>15}    | {'  ' * (len(stack) + 1)}}} /* {site} */"


def print_ftrace(
    trace: TraceFile, request: Request, out: Outlet, progress: Progress | None
) -> None:
    """Write the header and the lines."""
    out.text(HEADER)
    lines = FtraceLines(trace)
    for one in selected(trace, request, progress):
        if one is not None:
            out.text(lines.line(one.number, one.event) + "\n")
