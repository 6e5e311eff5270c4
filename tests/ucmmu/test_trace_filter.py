# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the words of a filter become conditions that all must hold, and a wrong word is told."""

from __future__ import annotations

import pytest

from mmu.events import EVENT_ID
from mmu.trace.where import ALL, Where
from ucmmu.event_filter import KEYS, EventFilter, parse_filter
from ucmmu.exit_codes import ExitCode, Failure


def where(*words):
    return parse_filter(words).where


def test_no_words_keep_everything():
    assert parse_filter([]) == EventFilter(ALL)


def test_each_key_becomes_its_condition():
    assert where(
        "event=page_fault,pte_*",
        "cpu=0,2 task=1000",
        "site=zap_pte_range",
        "table=0x4a,75",
        "address=0x1000-0x3000,0x5000",
        "number=10-20",
        "instruction=100-",
        "time=1.5us-2ms",
    ) == Where(
        events=frozenset({"page_fault", *(name for name in EVENT_ID if name.startswith("pte_"))}),
        cpus=frozenset({0, 2}),
        tasks=frozenset({1000}),
        sites=frozenset({"zap_pte_range"}),
        frames=frozenset({0x4A, 75}),
        addresses=((0x1000, 0x3000), (0x5000, 0x5001)),
        begin=10,
        end=20,
        instructions=(100, 1 << 64),
        times=(1500, 2_000_000),
    )


def test_words_of_one_key_must_both_hold():
    assert where("event=tlb_*", "!event=tlb_hit").events == frozenset(
        name for name in EVENT_ID if name.startswith("tlb_") and name != "tlb_hit"
    )
    assert where("number=5-", "number=-9") == Where(begin=5, end=9)
    assert where("address=0-0x4000", "address=0x3000+8K").addresses == ((0x3000, 0x4000),)


def test_functions_stand_by_themselves():
    assert parse_filter(["function=main,touch"]).functions == frozenset({"main", "touch"})


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("page_fault", "KEY=VALUE"),
        ("evnt=insn", "did you mean 'event'"),
        ("event=page_fualt", "did you mean 'page_fault'"),
        ("event=", "missing"),
        ("cpu=256", "from 0 to 0xff"),
        ("cpu=x", "no CPU"),
        ("task=-1", "no PID"),
        ("address=0x3000-0x1000", "empty"),
        ("address=0x10000000000000000", "no address"),
        ("address=4+0", "no size"),
        ("time=5min", "no time"),
        (f"time={'9' * 400}s", "below 2^64 ns"),
        ("time=18446744074s", "below 2^64 ns"),
        ("number=9-9", "empty"),
        ("!event=*", "no event can be kept"),
        ("cpu=1 cpu=2", "no event can be kept"),
        ("number=1-2 number=5-6", "no event can be kept"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(word, hint):
    with pytest.raises(Failure) as failure:
        parse_filter([word], option="--trace-filter")
    assert failure.value.code == ExitCode.USAGE
    assert failure.value.line.startswith("argument --trace-filter: ")
    assert hint in failure.value.line
    assert "\n" not in failure.value.line


def test_every_key_has_a_line_in_the_table():
    import ucmmu.event_filter

    for key in KEYS:
        assert f"``{key}=" in ucmmu.event_filter.__doc__
