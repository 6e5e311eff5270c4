# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the printed trace shows each event of the ring once, in order, in words where it has
words.
"""

from __future__ import annotations

import io

import pytest

from mmu.events import EVENT_ID, EventRing
from mmu.linux.pte_ref import TryGet
from mmu.x86 import Access
from ucmmu.trace_text import TracePrinter

CODE = {0x401000: b"\x48\x89\xe5"}


def printer(out):
    def read_code(address, size):
        return CODE.get(address, b"")

    def disassemble(code, address):
        return f"mov rbp, rsp ; {len(code)} bytes"

    return TracePrinter(out, read_code, disassemble, arrays=["itlb", "dtlb", "stlb"])


def emit(ring, name, a=0, b=0, c=0):
    ring.emit(EVENT_ID[name], a, b, c)


def printed(*events):
    out = io.StringIO()
    text = printer(out)
    ring = EventRing(64, on_full=text.drain)
    ring.enable()
    for event in events:
        emit(ring, *event)
    text.close(ring)
    return out.getvalue().splitlines()


def test_an_instruction_and_what_it_did():
    assert printed(
        ("insn", 0x401000, 3),
        ("tlb_miss", 0x7FFF0000, 1),
        ("tlb_fill", 0x7FFF0000, 0x5000, 2),
        ("pte_put", 7, 1, 3),
        ("pte_tryget", 7, 1, 0),
    ) == [
        "       0 0x401000  48 89 e5                 mov rbp, rsp ; 3 bytes",
        "               tlb_miss            address=0x7fff0000 access=write",
        "               tlb_fill            address=0x7fff0000 pa=0x5000 array=stlb",
        "               pte_put             pfn=0x7 nr=1 count=3",
        "               pte_tryget          pfn=0x7 result=zero count=0",
    ]


def test_another_cpu_has_a_line_above_its_events():
    out = io.StringIO()
    text, ring = printer(out), EventRing(64)
    ring.enable()
    for cpu in (0, 1, 1, 0):
        ring.c.cpu = cpu
        emit(ring, "invlpg", cpu << 12)
    text.close(ring)
    words = [line.split()[0] for line in out.getvalue().splitlines()]
    assert words == ["invlpg", "CPU", "invlpg", "invlpg", "CPU", "invlpg"]
    assert "CPU 1\n" in out.getvalue()


def test_code_that_is_gone_is_said_so():
    assert printed(("insn", 0x999000, 2)) == ["       0 0x999000  (its page is gone)"]


def test_numbers_beyond_the_names_are_shown_as_numbers():
    assert printed(("tlb_hit", 0x1000, 9, 9))[0].endswith("address=0x1000 access=0x9 array=9")


def test_more_events_than_the_ring_holds_are_all_printed():
    lines = printed(*[("invlpg", number << 12) for number in range(1000)])
    assert len(lines) == 1000
    assert lines[-1].endswith(f"address={999 << 12:#x}")


def test_a_full_disk_ends_the_printing_and_is_raised_at_the_end():
    class Full(io.StringIO):
        def writelines(self, lines):
            raise OSError(28, "No space left on device")

    text = printer(Full())
    ring = EventRing(16, on_full=text.drain)
    ring.enable()
    for number in range(100):
        emit(ring, "invlpg", number)
    with pytest.raises(OSError, match="No space"):
        text.close(ring)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("event", [("tlb_hit", 0), ("tlb_miss",)])
def test_every_kind_of_access_has_its_name(event, access):
    name, *rest = event
    (line,) = printed((name, 0x1000, int(access), *rest))
    assert f"access={access.name.lower()}" in line


def test_every_result_of_tryget_has_its_name():
    for result in TryGet:
        (line,) = printed(("pte_tryget", 7, int(result), 0))
        assert f"result={result.name.lower().removeprefix('failed_')} " in line


def test_a_flush_says_why_and_how_much():
    names = ["flush on task switch", "remote shootdown", "local shootdown"]
    names += ["local MM shootdown", "remote IPI send", "remote wrong CPU"]
    for reason, name in enumerate(names):
        (line,) = printed(("tlb_flush", reason, 5))
        assert line.endswith(f"reason={name} pages=5")
    (line,) = printed(("tlb_flush", 0, (1 << 64) - 1))
    assert line.endswith("pages=all")


def test_an_error_is_told_when_it_comes():
    class Full(io.StringIO):
        def writelines(self, lines):
            raise OSError(28, "No space left on device")

    told = []
    text = TracePrinter(Full(), lambda *_: b"", lambda *_: "", on_error=lambda: told.append(1))
    ring = EventRing(16, on_full=text.drain)
    ring.enable()
    for number in range(100):
        emit(ring, "invlpg", number)
    assert told == [1]
