# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest run in this process, with every event of it in a trace in memory."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from typing import Any

from cpu.recorder import Recorder
from mmu.trace.reader import TraceFile
from mmu.trace.writer import TraceWriter
from mmu.x86.geometry import load_geometry
from tests.guests.machine import guest_machine


@dataclass
class Recorded:
    """A trace, what the run says of itself, and the counters of each mm that it had when it ended
    or, of one that ended before, when that did.
    """

    trace: TraceFile
    figures: dict[str, Any]

    def counters(self) -> dict[str, int]:
        """Every counter that the run tells, by name."""
        groups = ("counters", "mm_counters", "kernel_counters")
        return {name: value for group in groups for name, value in self.figures[group].items()}


def record(program: str, *args: str, fidelity: str = "trace", **options: Any) -> Recorded:
    """Run it to its end, recorded from its first event on."""
    file = io.BytesIO()
    arrays = [{"name": a.name, "kind": a.kind} for a in load_geometry("skylake").arrays]
    writer = TraceWriter(file, {"levels": 4, "arrays": arrays})
    writer.ring.enable()
    with tempfile.TemporaryFile() as out:
        streams = (out.fileno(),) * 3
        with guest_machine(
            program, *args, ring=writer.ring, fidelity=fidelity, streams=streams, **options
        ) as machine:
            machine.memory.record(writer.ring)
            Recorder(machine, writer)
            result = machine.run()
            writer.ring.enable(False)
            assert result.problems == []
            writer.close(result.as_dict())
    file.seek(0)
    return Recorded(TraceFile("memory", file), result.as_dict())
