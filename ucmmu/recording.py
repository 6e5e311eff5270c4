# SPDX-License-Identifier: GPL-2.0-or-later
"""``--trace``: what the child writes down of its run while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpu.recorder import Recorder, processor_head
from mmu.trace.writer import TraceWriter
from ucmmu.event_filter import EventFilter, parse_filter
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.host_file import HostFile
from ucmmu.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cpu.machine import Machine
    from mmu.x86.geometry import Geometry
    from ucmmu.options import RunOptions

HOST_FIELDS = frozenset({"seconds", "host_rss_peak", "isolation", "given"})
"""What a report says of the host and its clock: the summary in a trace leaves it out, so that one
seed gives one file.
"""


class Recording:
    """A run of ``options`` that goes to the descriptor ``fd``: give ``ring``, which records from
    now on, to memory and machine, attach() the machine, close() it at the end. The run is stopped
    when the trace cannot be written.
    """

    def __init__(self, options: RunOptions, geometry: Geometry, fd: int) -> None:
        self._options = options
        self._machine: Machine | None = None
        self._error: OSError | None = None
        self.cut_off = False
        """Nobody read it when the run was stopped."""
        self._wanted = parse_filter(options.trace_filter, option="--trace-filter", recording=True)
        try:
            self._writer = TraceWriter(
                HostFile(fd, self._stopping),
                head_of(options, geometry),
                **_selection(self._wanted),
                limit=options.trace_limit,
                on_error=self._failed,
            )
        except OSError as error:
            raise Failure(ExitCode.NO_OUTPUT, self._line(error)) from None
        self.ring = self._writer.ring
        self.ring.enable()

    def attach(self, machine: Machine) -> None:
        """Record what the machine does from now on."""
        self._machine = machine
        if self._error is not None:
            machine.stop()
        functions = self._wanted.functions
        Recorder(machine.system, self._writer, None if functions is None else self._mapped)

    def _mapped(self, file: str, functions: list[tuple[int, int, str]], bias: int) -> None:
        """Functions of these names were asked for: these are where they lie."""
        names = self._wanted.functions or ()
        found = [
            (start + bias, start + bias + size) for start, size, name in functions if name in names
        ]
        if found:
            self._writer.add_code(tuple(found))

    def _failed(self, error: OSError) -> None:
        if isinstance(error, InterruptedError):
            self.cut_off = True
        else:
            self._error = error
            if self._machine is not None:
                self._machine.stop()

    def _stopping(self) -> bool:
        return self._machine is not None and self._machine.system.stopping

    def close(self, report: Mapping[str, Any]) -> str | None:
        """Write what is left, and the report; returns the line to say if the trace could not be
        written.
        """
        self.ring.enable(False)
        self._writer.close({key: value for key, value in report.items() if key not in HOST_FIELDS})
        if self._error is None:
            return None
        return self._line(self._error)

    def _line(self, error: OSError) -> str:
        return f"--trace {printable(self._options.trace or '')}: {error.strerror}"

    def notes(self) -> list[str]:
        """What the user should know of the trace."""
        notes = []
        if self.cut_off:
            notes.append("the trace is cut off: nobody read it when the run was stopped")
        if self._writer.limited:
            notes.append("--trace-limit: the trace ends before the run does")
        return notes


def _selection(wanted: EventFilter) -> dict[str, Any]:
    return {
        "where": wanted.where,
        "windows": wanted.windows,
        "code": () if wanted.functions is not None else None,
    }


def head_of(options: RunOptions, geometry: Geometry) -> dict[str, Any]:
    """What a trace says of its run at its beginning: docs/recording.md lists it."""
    return {
        "program": options.program,
        "args": list(options.args),
        "free_tables": options.free_tables,
        "free_levels": options.free_levels,
        "fidelity": options.fidelity,
        "engine": options.engine,
        "tlb": options.tlb,
        **processor_head(geometry),
        "cpus": options.cpus,
        "seed": options.seed,
        "quantum": options.quantum,
        "ram": options.ram,
        "filter": list(options.trace_filter),
        "limit": options.trace_limit,
    }
