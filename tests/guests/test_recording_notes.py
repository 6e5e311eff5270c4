# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a trace says who ran what where. Its notes alone give each address space's VMAs, at every
point, and each file's functions; each event carries the task and the virtual time of its CPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cpu.machine import Machine
from mmu.linux.procfs import maps
from mmu.trace.reader import Note, TraceFile
from mmu.trace.writer import TraceWriter
from tests.guests.machine import guest_machine

Vma = tuple[int, int, str, int, str]


def vmas_of(machine: Machine) -> dict[int, list[Vma]]:
    """Of each mm, what /proc/PID/maps says now."""
    return {int(mm.c.pgd): [_vma(line) for line in maps(mm).splitlines()] for mm in _mms(machine)}


def _mms(machine: Machine) -> list[Any]:
    return [mm for mm in machine.kernel.mms if mm.mm_users]


def _vma(line: str) -> Vma:
    where, perms, offset, _, _, *name = line.split(maxsplit=5)
    start, _, end = where.partition("-")
    return int(start, 16), int(end, 16), perms, int(offset, 16), "".join(name)


class Spaces:
    """Address spaces as the notes tell them."""

    def __init__(self) -> None:
        self.vmas: dict[int, list[Vma]] = {}

    def take(self, note: Note) -> None:
        f = note.fields
        if note.kind in ("map", "unmap"):
            kept = [v for v in self.vmas.get(f["mm"], []) if v[1] <= f["start"] or v[0] >= f["end"]]
            if note.kind == "map":
                assert len(kept) == len(self.vmas.get(f["mm"], [])), "mapped over what is there"
                text = f["file"] or f["name"]
                kept.append((f["start"], f["end"], f["prot"], f["offset"], text))
            self.vmas[f["mm"]] = sorted(kept)


class Watched:
    """A recorded run, with what was mapped at some of its events."""

    def __init__(self, path: Path, program: str, *args: str, **options: Any) -> None:
        self.truth: list[tuple[int, dict[int, list[Vma]]]] = []
        null = os.open(os.devnull, os.O_RDWR)
        writer = self.writer = TraceWriter(file := path.open("wb"), {})
        with guest_machine(
            program, *args, ring=writer.ring, streams=(null, null, null), **options
        ) as machine:
            machine.record(writer)
            machine.scheduler.before_switch = lambda: self._look(machine)
            self.result = machine.run()
        writer.close(self.result.as_dict())
        file.close()
        os.close(null)
        self.trace = TraceFile(str(path))

    def _look(self, machine: Machine) -> None:
        if any(mm.mmap_lock.c.count for mm in machine.kernel.mms):
            return
        self.truth.append((self.writer.nr_events, vmas_of(machine)))


@pytest.mark.parametrize(
    ("program", "args"),
    [("fork_tree", ("2", "64K")), ("threads", ("2", "8"))],
)
def test_the_notes_of_maps_are_the_vmas(program: str, args: tuple[str, ...], tmp_path: Path):
    ran = Watched(tmp_path / "x", program, *args, cpus=2, quantum=500)
    assert ran.result.exit_code == 0 and len(ran.truth) > 5
    spaces, notes = Spaces(), list(ran.trace.notes)
    for number, truth in ran.truth:
        while notes and notes[0].event <= number:
            spaces.take(notes.pop(0))
        for mm, vmas in truth.items():
            assert spaces.vmas.get(mm, []) == vmas
    for note in notes:
        spaces.take(note)
    assert not any(spaces.vmas.values()), "everything is unmapped at the end"


def notes_of(trace: TraceFile, kind: str) -> list[dict[str, Any]]:
    return [note.fields for note in trace.notes if note.kind == kind]


def test_tasks_are_told_from_their_making_to_their_end(tmp_path: Path) -> None:
    ran = Watched(tmp_path / "x", "threads", "2", "8", cpus=2)
    first, *threads = notes_of(ran.trace, "process")
    assert first["pid"] == first["tgid"] == 1000 and not first["thread"]
    assert (first["comm"], first["parent"]) == ("threads", 0)
    assert first["exe"].endswith("/threads") and first["args"] == ["2", "8"]
    assert threads
    for thread in threads:
        assert thread["thread"] and thread["tgid"] == 1000 and thread["mm"] == first["mm"]
    ends = {end["pid"]: (end["code"], end["signal"]) for end in notes_of(ran.trace, "exit")}
    assert ends == {task["pid"]: (0, 0) for task in (first, *threads)}


def test_functions_lie_where_they_are_executed(tmp_path: Path) -> None:
    ran = Watched(tmp_path / "x", "hello_pie", fidelity="trace")
    maps = notes_of(ran.trace, "map")
    (symbols,) = (s for s in notes_of(ran.trace, "symbols") if s["file"].endswith("hello_pie"))
    (code,) = (m for m in maps if m["file"] == symbols["file"] and m["prot"] == "r-xp")
    assert len(symbols["build_id"]) == 40
    (main,) = (f for f in symbols["functions"] if f[2] == "main")
    assert code["start"] <= main[0] + code["bias"] < code["end"]
    executed = {int(ip) for batch in ran.trace.batches() for ip in _ips(batch.records)}
    assert main[0] + code["bias"] in executed
    assert symbols["functions"] == sorted(symbols["functions"])


def _ips(records: Any) -> Any:
    from mmu.events import EVENT_ID

    return records["a"][records["id"] == EVENT_ID["insn"]]
