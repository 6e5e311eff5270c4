# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an attached instance is recorded from attach() to detach(), in a file or by a writer of
one's own, and the trace is whole; a file that cannot be made or written is one line, and the
instance as it was.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RBX

import cpu
from mmu.errors import MmuError
from mmu.events import EventRing
from mmu.trace.format import TraceError
from mmu.trace.reader import TraceFile
from mmu.trace.writer import TraceWriter

CODE, DATA = 0x10000, 0x20000
PROGRAM = bytes.fromhex("4889 03  488b 0b  ff c0  90".replace(" ", ""))
"""mov [rbx], rax; mov rcx, [rbx]; inc eax; nop."""


def instance() -> Uc:
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(CODE, 0x1000, UC_PROT_ALL)
    uc.mem_map(DATA, 0x1000, UC_PROT_ALL)
    uc.mem_write(CODE, PROGRAM)
    uc.reg_write(UC_X86_REG_RBX, DATA)
    return uc


def kinds(trace: TraceFile) -> Counter[str]:
    return Counter(one.event.name for one in trace.events())


def test_a_file_has_every_instruction_and_the_head_says_of_what(tmp_path: Path) -> None:
    path, uc = tmp_path / "x.trace", instance()
    with cpu.attach(uc, identity=True, fidelity="trace", geometry="tiny", record=path) as mmu:
        assert mmu.trace is not None
        mmu.trace.note("symbols", file="code", functions=[[CODE, len(PROGRAM), "main"]])
        uc.emu_start(CODE, CODE + len(PROGRAM))
        counters = mmu.counters()
    trace = TraceFile(str(path))
    seen = kinds(trace)
    assert trace.torn is None
    assert seen["insn"] == 4
    assert seen["page_fault"] == 0
    walks = sum(counters[f"{kind}.miss_causes_a_walk"] for kind in WALKS)
    assert seen["tlb_miss"] == walks == 2
    assert (trace.head["fidelity"], trace.head["cpus"], trace.head["levels"]) == ("trace", 1, 4)
    assert [array["name"] for array in trace.head["arrays"]]
    assert [note.kind for note in trace.notes] == ["symbols"]


WALKS = ("dtlb_load_misses", "dtlb_store_misses", "itlb_misses")


def test_a_writer_of_ones_own_goes_on_after_detach() -> None:
    file = io.BytesIO()
    writer = TraceWriter(file, {})
    for _ in range(2):
        uc = instance()
        with cpu.attach(uc, identity=True, fidelity="trace", record=writer):
            uc.emu_start(CODE, CODE + len(PROGRAM))
    writer.close()
    file.seek(0)
    assert kinds(TraceFile("memory", file))["insn"] == 8


def test_recording_changes_nothing_for_the_guest(tmp_path: Path) -> None:
    results = []
    for record in (None, tmp_path / "x"):
        uc = instance()
        with cpu.attach(uc, identity=True, fidelity="exact", record=record) as mmu:
            uc.emu_start(CODE, CODE + len(PROGRAM))
            results.append((uc.reg_read(UC_X86_REG_RAX), mmu.counters()))
    assert results[0] == results[1]


def test_a_file_that_cannot_be_made_leaves_the_instance_as_it_was() -> None:
    uc = instance()
    with pytest.raises(TraceError, match=r"^/nonexistent/x: No such file or directory"):
        cpu.attach(uc, identity=True, record="/nonexistent/x")
    uc.emu_start(CODE, CODE + len(PROGRAM))
    assert uc.reg_read(UC_X86_REG_RAX) == 1


def test_a_full_disk_is_told_by_attach_or_detach() -> None:
    uc = instance()
    with (
        pytest.raises(TraceError, match=r"^/dev/full: No space left on device"),
        cpu.attach(uc, identity=True, fidelity="trace", record="/dev/full"),
    ):
        uc.emu_start(CODE, CODE + len(PROGRAM))
    uc.emu_start(CODE, CODE + len(PROGRAM))


def test_a_ring_and_a_record_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(MmuError, match="leave ring out"):
        cpu.attach(instance(), identity=True, ring=EventRing(64), record=tmp_path / "x")
