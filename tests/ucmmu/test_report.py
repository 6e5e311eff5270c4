# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: one process has the short table alone; several have a row each below the total."""

from __future__ import annotations

from ucmmu.report import MAX_PROCESSES, compare_text, run_text
from ucmmu.streams import STDOUT

FIGURES = {
    "VmSize": 4,
    "VmRSS": 123_456,
    "VmPTE": 1_244,
    "VmPTE_peak": 98_765,
    "pte_tables_allocated": 12_345,
    "pte_tables_freed_before_exit": 3_456,
    "page_faults": 1_234_567,
    "instructions": 1_234_567_890,
    "seconds": 0.5,
}
OPTIONS = {
    "fidelity": "fast",
    "tlb": "skylake",
    "engine": "c",
    "cpus": 1,
    "seed": 0,
    "free_tables": "scan",
    "free_levels": "pte",
}


def process(pid, ppid=0, **more):
    ending = {"ended": "exit", "exit_code": 3, "signal": None}
    return {
        **FIGURES,
        **ending,
        "pid": pid,
        "ppid": ppid,
        "program": "/bin/tree",
        "threads": 1,
        "shares_mm": False,
        **more,
    }


def report(*processes, **more):
    return {**process(0), **OPTIONS, "args": ["9"], "processes": list(processes), **more}


def rows(text):
    return text.partition("the processes\n")[2].splitlines()[3:-1]


def test_one_process_has_one_table():
    text = run_text(report(process(1000)))
    assert text.startswith("/bin/tree 9 (fast, engine c)\n")
    assert "the processes" not in text


def test_each_process_has_a_row_with_its_end():
    dead = process(1001, 1000, ended="signal", exit_code=137, signal="SIGKILL")
    text = run_text(report(process(1000), dead))
    assert text.startswith("/bin/tree 9 (fast, engine c), total of 2 processes\n")
    first, second = (row.split() for row in rows(text))
    figures = ["123,456", "1,244", "98,765", "12,345", "3,456", "1,234,567", "1,234,567,890"]
    assert first == ["1000", "–", "tree", "exit", "3", *figures]
    assert second == ["1001", "1000", "tree", "SIGKILL", *figures]


def test_a_shared_address_space_is_counted_once():
    text = run_text(report(process(1000), process(1001, 1000, shares_mm=True)))
    assert rows(text)[1].split()[5:] == ["shared"] * 6 + ["1,234,567,890"]


def test_a_row_is_never_folded_and_many_are_cut_off():
    long = process(32_767, 32_766, program="/a/" + "very_long_name" * 20)
    lines = rows(run_text(report(*[long] * (MAX_PROCESSES + 2))))
    assert len(lines) == MAX_PROCESSES + 1
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["…", "…", "2", "more"]


def test_the_title_names_the_machine():
    title = run_text(report(process(1000), cpus=4, seed=7)).splitlines()[0]
    assert title == "/bin/tree 9 (fast, 4 CPUs, seed 7, engine c)"
    title = compare_text({"scan": report(cpus=2)}, STDOUT).splitlines()[0]
    assert title == "/bin/tree 9 (fast, 2 CPUs, seed 0, engine c)"


def test_a_note_of_several_lines_is_shown_on_as_many():
    note = "process 1001: SIGSEGV\n  page walk of the address:\n    PGD \x1b[31m"
    lines = run_text(report(process(1000), notes=[note])).splitlines()[-3:]
    assert lines == ["process 1001: SIGSEGV", "  page walk of the address:", "    PGD \\x1b[31m"]


def test_several_cpus_tell_of_their_shootdowns():
    counters = {
        "mm_counters": {"nr_tlb_remote_flush": 1040},
        "kernel_counters": {"irq_tlb_count": 2965},
    }
    text = run_text(report(process(1000), **counters, cpus=4))
    lines = [line.split() for line in text.splitlines()]
    assert ["remote", "TLB", "flushes", "1,040"] in lines
    assert ["interrupts", "for", "them", "2,965"] in lines
    assert "remote" not in run_text(report(process(1000), **counters))


def test_what_a_policy_says_is_no_markup():
    """Names of its figures and of its file are shown as they are; one of ours as the policy's."""
    own = {"[/x] kept": 1, "tables [a]": 2, "tables [b]": 3, "VmRSS": 4}
    said = report(process(1000), policy=own, free_tables="dir/br[a].py:Z", program="/bin/[/x]")
    for text in (run_text(said), compare_text({"one": said}, STDOUT)):
        assert "br[a].py:Z" in text
        figures = [tuple(line.split()) for line in text.splitlines()]
        for name, value in own.items():
            label = f"policy: {name}" if name == "VmRSS" else name
            assert (*label.split(), str(value)) in figures
        assert sum(words[:1] == ("VmRSS",) for words in figures) == 1


def test_a_programs_name_is_no_markup():
    text = run_text(report(process(1000, program="/bin/[b]"), process(1001, program="/bin/[x]")))
    assert [row.split()[2] for row in rows(text)] == ["[b]", "[x]"]
