# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the text of a trace shows each event once, in order, with every field, in words where there
are words, and where it happened.
"""

from __future__ import annotations

import pytest

from mmu.events import EVENTS
from mmu.linux.pte_ref import TryGet
from mmu.linux.tlbflush import TlbFlushReason
from mmu.x86 import Access
from tests.ucmmu.trace_files import HEAD, Recording, event, insn, process
from ucmmu.reading.names import EntryWord, Names, entry_text, error_name
from ucmmu.reading.phrases import Phrases
from ucmmu.reading.symbols import History
from ucmmu.reading.text import TextPrinter

LONG = 0x5A5A5A5A5A5A5A5A
OTHER = {"old": LONG, "new": LONG, "entry": LONG, "freed_tables": 0}
MOV = b"\x48\x89\xe5"


def disassemble(code, address):
    return f"{len(code)} bytes"


def printed(*events, recording=None, wanted=lambda _event: True, source_text=lambda *_: None):
    recording = recording or Recording()
    printer = TextPrinter(
        Names(HEAD),
        History(recording.read()),
        disassemble,
        source_text=source_text,
        wanted=wanted,
    )
    lines = [line for number, one in enumerate(events) for line in printer.lines(number, one)]
    return [line for line in lines if not line.startswith("CPU ")]


def phrase(name, *values, site=""):
    one = event(name, *values)
    return Phrases(Names(HEAD), lambda pid: f"task-{pid}").phrase(name, one.fields, site)


def indents(lines):
    """Columns between an event's number and its name."""
    return [len(line[6:]) - len(line[6:].lstrip()) for line in lines]


def test_an_instruction_and_what_it_did():
    assert printed(
        insn(0x401000, MOV, instruction=7),
        event("tlb_miss", 0x7FFF0000, 1),
        event("walk_entry", 0x7FFF0000, 0x1FF8, 0x3067, 4),
        event("page_fault", 0x7FFF0000, 6),
        event("pte_put", 7, 3, 2, 1, site="zap_pte_range"),
    ) == [
        "     0      7  0x401000  48 89 e5                 3 bytes",
        "     1           tlb_miss           write 0x7fff0000",
        "     2           walk_entry         PML4E at 0x1ff8    = 0x0000000000003067"
        "  P R/W U/S A D -> table 0x3000",
        "     3           page_fault         0x7fff0000, error code 0x6: user write:"
        " not-present page",
        "     4           pte_put            table 0x7: 3 -> 2 (-1, entries)  zap_pte_range()",
    ]


@pytest.mark.parametrize("desc", EVENTS, ids=lambda desc: desc.name)
def test_every_kind_shows_every_field(desc):
    """Each field changes the text; the address of a walk may be that of the lines above it."""
    if desc.name == "insn":
        return
    base = [3 + i for i in range(len(desc.fields))]
    texts = {phrase(desc.name, *base, site="f")}
    for at, field in enumerate(desc.fields):
        values = list(base)
        values[at] = OTHER.get(field, 0x5A5A)
        texts.add(phrase(desc.name, *values, site="f"))
    assert len(texts) == len(desc.fields) + 1, sorted(texts)


@pytest.mark.parametrize("access", Access)
def test_every_kind_of_access_has_its_name(access):
    assert phrase("tlb_miss", 0x1000, int(access)).startswith(access.label)


@pytest.mark.parametrize("result", TryGet)
def test_every_result_of_tryget_has_its_name(result):
    name = result.name.lower().removeprefix("failed_")
    assert f": {name}," in phrase("pte_tryget", 7, int(result), 0)


@pytest.mark.parametrize("reason", TlbFlushReason)
def test_a_flush_says_why_and_how_much(reason):
    assert phrase("tlb_flush", int(reason), 5).startswith(
        f"5 pages, {int(reason)} ({reason.label})"
    )
    assert phrase("tlb_flush", int(reason), (1 << 64) - 1).startswith("all, ")


def test_numbers_beyond_the_names_are_shown_as_numbers():
    assert phrase("tlb_hit", 0x1000, 9, 9, 12) == "access 9 0x1000: array 9 slot 12"
    assert "level 7" in phrase("walk_entry", 0x1000, 0, 0, 7)


def test_a_walk_does_not_repeat_the_address_that_the_lines_above_are_about():
    lines = printed(
        event("tlb_miss", 0x5000, 0),
        event("walk_entry", 0x5000, 0x10, 0, 4),
        event("walk_entry", 0x6000, 0x10, 0, 4),
        insn(0x400000, MOV),
        event("walk_entry", 0x6000, 0x10, 0, 4),
    )
    assert [line.endswith("for 0x6000") for line in lines] == [False, False, True, False, True]


def test_the_cpu_the_task_and_the_time_stand_above_what_happens_there():
    recording = Recording()
    process(recording)
    printer = TextPrinter(Names(HEAD), History(recording.read()), disassemble)
    events = [
        event("invlpg", 0x1000),
        event("invlpg", 0x1000, cpu=1, task=1, instruction=12, time=1_500_000),
        event("invlpg", 0x1000, cpu=1, task=1),
        event("invlpg", 0x1000, cpu=1, task=9),
    ]
    lines = [line for one in events for line in printer.lines(0, one) if line.startswith("CPU")]
    assert lines == [
        "CPU 0  idle  from instruction 0, 0.000000 ms",
        "CPU 1  guest-1  from instruction 12, 1.500000 ms",
        "CPU 1  task 9  from instruction 0, 0.000000 ms",
    ]


def test_function_and_source_line_stand_above_their_instructions():
    recording = Recording()
    process(
        recording,
        functions=[[0x401000, 0x20, "main"], [0x401020, 0x10, "touch"]],
        lines=[[0x401000, "/src/a.c", 3], [0x401008, "/src/a.c", 4], [0x401030, "", 0]],
    )
    ips = (0x401000, 0x401004, 0x401008, 0x401020, 0x401040, 0x600000)
    lines = printed(
        *(insn(ip, MOV, task=1) for ip in ips),
        recording=recording,
        source_text=lambda file, line: f"\tline {line};",
    )
    assert [line for line in lines if not line.startswith(" ")] == [
        "main  a.c:3:  line 3;",
        "main+0x8  a.c:4:  line 4;",
        "touch  a.c:4:  line 4;",
        "guest+0x1040",
    ]


def test_what_takes_time_indents_what_happens_in_it():
    lines = printed(
        event("sys_enter", 28, 0x1000, 0x1000, 4, task=1),
        event("funcgraph_entry", 0x1000, 0x2000, 0, task=1, site="zap_page_range"),
        event("pte_put", 7, 1, 0, 1, task=1, site="zap_pte_range"),
        event("funcgraph_exit", 0, task=1, site="zap_page_range"),
        event("sys_exit", 28, (1 << 64) - 22, task=1),
        event("invlpg", 0, task=1),
    )
    assert indents(lines) == [11, 13, 15, 13, 11, 11]
    assert lines[0].endswith("madvise(0x1000, 0x1000, 0x4, ...) {")
    assert lines[1].endswith("zap_page_range([0x1000, 0x2000)) {")
    assert lines[3].endswith("} zap_page_range() = 0")
    assert lines[4].endswith("} madvise = -EINVAL")


def test_spans_do_not_indent_where_their_ends_are_left_out():
    lines = printed(
        *(event("sys_enter", 39, task=1) for _ in range(3)),
        wanted=lambda event: event != "sys_exit",
    )
    assert set(indents(lines)) == {11}


def test_what_never_ended_does_not_indent_what_comes_later():
    lines = printed(
        event("sys_enter", 60, task=1),
        event("funcgraph_entry", 0, 0, 0, task=1, site="do_exit"),
        event("invlpg", 0, task=2),
        event("sys_enter", 39, task=1),
        insn(0x400000, MOV, task=1),
        event("invlpg", 0, task=1),
        event("funcgraph_exit", 0, task=1, site="nobody"),
    )
    found = indents(lines)
    assert [*found[:4], *found[5:]] == [11, 13, 11, 11, 11, 11]


def test_bytes_that_could_not_be_read_are_said_so():
    (line,) = printed(event("insn", 0x999000, 2))
    assert line.endswith("(its bytes could not be read)")


def test_names_cannot_steer_the_terminal():
    recording = Recording()
    process(recording, functions=[[0x401000, 0x20, "a\x1b[31m\n"]])
    lines = printed(insn(0x401000, MOV, task=1), recording=recording)
    assert lines[0] == r"a\x1b[31m\n"


@pytest.mark.parametrize(
    ("entry", "level", "text"),
    [
        (0, 1, "none"),
        (0x8000000000005067, 1, "P R/W U/S A D XD -> page 0x5000"),
        (0x5225, 1, "P U/S A SPECIAL -> page 0x5000"),
        (0x3067, 4, "P R/W U/S A D -> table 0x3000"),
        (0x2000E7, 2, "P R/W U/S A D PS -> page 0x200000"),
        (0x5160, 1, "PROT_NONE -> page 0x5000"),
        (0xFFFFFFFFFFFFF600, 1, "guard marker"),
        (0x1234, 1, "not present"),
    ],
)
def test_an_entry_in_words(entry, level, text):
    assert entry_text(entry, level) == text


def test_the_place_of_an_entry_is_as_walk_has_it():
    arrays = [
        {"name": "STLB", "first": 0, "sets": 3, "ways": 4},
        {"name": "PML4E", "first": 12, "sets": 1, "ways": 2},
    ]
    names = Names({"arrays": arrays})
    assert [names.place(0, 11), names.place(1, 12), names.place(1, 13)] == [
        *("STLB[2][3]", "PML4E[0][0]", "PML4E[0][1]")
    ]
    assert [names.array_of(slot) for slot in (0, 11, 12, 99)] == [0, 0, 1, 1]
    assert [names.place(1, 11), names.place(1, 14)] == ["PML4E slot 11", "PML4E slot 14"]
    assert (names.place(2, 5), Names({}).array_of(5)) == ("array 2 slot 5", None)
    assert Names({"arrays": ["STLB"]}).place(0, 5) == "STLB slot 5"


def test_an_entry_of_a_tlb_in_words():
    word = 12 | 1 << 16 | 1 << 32 | 2 << 36 | 5 << 40 | 0x17 << 48
    assert str(EntryWord.of(word)) == "4 KiB of a 2 MiB page PCID 1 R/W U/S D PK=5"
    assert str(EntryWord.of(3 | 2 << 32 | 0x81 << 48)) == "PDE PCID 0"


def test_errors_have_their_names():
    assert error_name((1 << 64) - 12) == "ENOMEM"
    assert error_name((1 << 64) - 512) == "E512"
    assert error_name(0) is None
    assert error_name((1 << 64) - 4096) is None


def test_a_pid_in_a_switch_has_its_name():
    recording = Recording()
    process(recording)
    (line,) = printed(event("sched_switch", 0, 1), recording=recording)
    assert line.endswith("idle ==> guest-1")
