# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces for the tests of readers: some written event by event, some of a guest that ran."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpu.machine import Machine
from cpu.recorder import Recorder
from cpu.vcpu import Fidelity
from mmu.events import EVENTS
from mmu.linux.policy import FreeLevels, FreeTables
from mmu.memory import Memory
from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from mmu.trace.writer import TraceWriter
from mmu.x86 import load_geometry
from tests.guests.machine import BUILD
from ucmmu.cli import _command_parsers
from ucmmu.event_filter import EventFilter

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = EventFilter(Where())
_KINDS = {desc.name: desc for desc in EVENTS}


class Script:
    """Writes a trace to ``path``: notes, and events with their fields by name."""

    def __init__(self, path: Path, **head: Any) -> None:
        self.path = path
        self._file = path.open("wb")
        self.writer = TraceWriter(self._file, {"program": "script", **head})
        self.writer.ring.enable()
        self.note = self.writer.note

    def at(self, instruction: int, *, time: int | None = None, cpu: int = 0, task: int = 0) -> None:
        """Where what follows happens."""
        ring = self.writer.ring.c
        ring.instruction, ring.cpu, ring.task = instruction, cpu, task
        ring.ahead_ns = (instruction if time is None else time) - instruction

    def emit(self, name: str, **fields: int) -> None:
        self.emit_from("", name, **fields)

    def emit_from(self, site: str, name: str, **fields: int) -> None:
        """An event that the kernel function ``site`` caused."""
        desc = _KINDS[name]
        assert set(fields) <= set(desc.fields)
        values = [fields.get(field, 0) & (1 << 64) - 1 for field in desc.fields]
        self.writer.ring.emit(desc.id, *values, site=site)

    def insn(self, ip: int, code: bytes = b"\x90") -> None:
        self.emit("insn", ip=ip, size=len(code), code=int.from_bytes(code, "little"))

    def close(self, summary: Mapping[str, Any] | None = None) -> Path:
        self.writer.close(summary)
        self._file.close()
        return self.path

    def trace(self, summary: Mapping[str, Any] | None = None) -> TraceFile:
        return TraceFile(str(self.close(summary)))


def _arrays(geometry: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    first = 0
    for array in load_geometry(geometry).arrays:
        shape = {"first": first, "sets": array.sets, "ways": array.ways.value}
        found.append({"name": array.name, "kind": array.kind, **shape})
        first += array.entries.value
    return found


def record(
    path: Path,
    program: str,
    *args: str,
    policy: str = "refcount",
    cpus: int = 1,
    seed: int = 0,
    geometry: str = "skylake",
    free_levels: FreeLevels = FreeLevels.PTE,
) -> Path:
    """Run a guest of ours, its output to nowhere, and write its trace."""
    memory = Memory(1 << 30)
    with path.open("wb") as file, tempfile.TemporaryFile() as nowhere:
        head = {"program": program, "args": args, "free_tables": policy, "cpus": cpus}
        writer = TraceWriter(
            file, head | {"seed": seed, "tlb": geometry, "arrays": _arrays(geometry)}
        )
        writer.ring.enable()
        memory.record(writer.ring)
        with Machine(
            memory,
            cpus=cpus,
            policy=FreeTables.from_label(policy),
            free_levels=free_levels,
            fidelity=Fidelity.TRACE,
            geometry=geometry,
            seed=seed,
            ring=writer.ring,
        ) as machine:
            Recorder(machine.system, writer)
            streams = (nowhere.fileno(),) * 3
            machine.spawn(str(BUILD / program), args=args, streams=streams)
            result = machine.run()
            assert result.problems == []
            writer.close(result.as_dict())
    memory.close()
    return path


def examples(command: str) -> list[list[str]]:
    """The words of the examples in a command's help, without ``ucmmu``."""
    (parser,) = (parser for name, parser in _command_parsers().items() if name == command)
    found = re.findall(r"^  ucmmu (.+)$", parser.format_help().partition("examples:")[2], re.M)
    assert found
    return [shlex.split(line) for line in found]
