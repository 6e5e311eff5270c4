# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ``ucmmu diff`` finds the first event of each subject in which two runs part, whatever turns
their tasks take and wherever their frames lie.
"""

from __future__ import annotations

import json

import pytest

from mmu.events import EVENTS
from mmu.trace.reader import TraceFile
from tests.ucmmu.recorded import EVERYTHING, Script, examples, record
from ucmmu.cli import main
from ucmmu.event_filter import parse_filter
from ucmmu.exit_codes import ExitCode
from ucmmu.reading.diff import compare
from ucmmu.reading.strands import BLOCK
from ucmmu.reading.subjects import SUBJECTS, subject_of

MM = 0x1000


@pytest.fixture
def scripts(tmp_path):
    def made(name, **head):
        script = Script(tmp_path / name, **head)
        script.note("process", pid=7, tgid=7, comm="guest", exe="/bin/g", mm=MM, parent=0)
        script.at(0, task=7)
        return script

    return made("a.trace", seed=0), made("b.trace", seed=1)


def partings(a, b, wanted=EVERYTHING):
    """Place and events of the first parting of each subject."""
    found = compare(a.trace(), b.trace(), wanted)
    return {
        one.subject: (one.place, one.a and one.a.event.values, one.b and one.b.event.values)
        for one in found.partings
    }


def insns(script, ips):
    for at, ip in enumerate(ips):
        script.at(at, task=7)
        script.insn(ip)


def test_equal_runs_are_equal_whatever_their_parameters(scripts):
    for script in scripts:
        insns(script, range(0x400000, 0x400100))
    a, b = (script.trace() for script in scripts)
    found = compare(a, b, EVERYTHING)
    assert found.equal and found.same == {"instructions": 256}
    assert found.parameters == {"seed": (0, 1)}


@pytest.mark.parametrize("at", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 17, 4 * BLOCK - 1])
def test_the_first_instruction_that_differs_is_found(scripts, at):
    ips = list(range(4 * BLOCK))
    insns(scripts[0], ips)
    insns(scripts[1], [*ips[:at], 0x999999, *ips[at + 1 :]])
    (place, mine, its) = partings(*scripts)["instructions"]
    assert (place, mine[0], its[0]) == (at, at, 0x999999)


@pytest.mark.parametrize("at", [0, BLOCK, BLOCK + 5])
def test_one_more_event_is_the_first_that_differs(scripts, at):
    ips = list(range(2 * BLOCK))
    insns(scripts[0], ips)
    insns(scripts[1], [*ips[:at], 0x999999, *ips[at:]])
    (place, mine, its) = partings(*scripts)["instructions"]
    assert (place, mine[0], its[0]) == (at, at, 0x999999)


@pytest.mark.parametrize("length", [1, 5, BLOCK, 2 * BLOCK - 1])
def test_a_run_that_ends_early_has_no_more(scripts, length):
    ips = list(range(2 * BLOCK))
    insns(scripts[0], ips)
    insns(scripts[1], ips[:length])
    (place, mine, its) = partings(*scripts)["instructions"]
    assert (place, mine[0], its) == (length, length, None)


def test_the_events_before_are_shown(scripts):
    insns(scripts[0], range(20))
    insns(scripts[1], [*range(10), 99])
    (parting,) = compare(scripts[0].trace(), scripts[1].trace(), EVERYTHING).partings
    assert [one.event["ip"] for one in parting.before] == [7, 8, 9]


def test_the_same_code_elsewhere_or_other_code_there_differs(scripts):
    scripts[0].insn(0x400000, b"\x90")
    scripts[1].insn(0x400000, b"\xcc")
    assert partings(*scripts)["instructions"][0] == 0


def test_tasks_may_take_turns_otherwise(scripts):
    a, b = scripts
    for task in (7, 8, 7, 8):
        a.at(0, task=task)
        a.insn(task)
    for task in (7, 7, 8, 8):
        b.at(0, task=task, cpu=1)
        b.insn(task)
    assert partings(a, b) == {}


def test_other_frames_for_the_same_pages_are_no_difference(scripts):
    for script, frame in zip(scripts, (0x5000, 0x9000), strict=True):
        pfn = frame >> 12
        script.emit("pte_alloc", address=0x200000, pfn=pfn, mm=frame, pmd_pa=frame + 8)
        script.emit("set_pte", address=0x200000, old=0, new=frame | 0x67, entry_pa=frame)
        script.emit("walk_entry", address=1, entry_pa=frame, entry=frame | 0x67, level=1)
        script.emit("pte_get", pfn=pfn, old=1, count=2, holder=1)
        script.emit("tlb_fill", address=0x200000, pa=frame, array=1, entry=pfn)
        script.emit("mm_page_free", pfn=pfn, order=0)
    assert partings(*scripts) == {}


@pytest.mark.parametrize(
    ("event", "field", "subject"),
    [
        ("set_pte", "new", "entries set"),
        ("walk_set_ad", "entry", "page walks"),
        ("pte_get", "count", "references"),
        ("pte_put", "holder", "references"),
        ("tlb_miss", "address", "TLB"),
        ("page_fault", "error_code", "page faults"),
        ("sys_exit", "ret", "system calls"),
        ("tlb_flush", "reason", "shootdowns"),
        ("access", "address", "accesses"),
    ],
)
def test_what_an_event_says_counts(scripts, event, field, subject):
    for value, script in enumerate(scripts):
        script.emit(event, **{field: value})
    assert set(partings(*scripts)) == {subject}


def test_the_kernel_function_that_did_it_counts(scripts):
    for script, site in zip(scripts, ("zap_pte_range", "move_ptes"), strict=True):
        script.emit("invlpg", address=1)
        script.emit_from(site, "pte_put", pfn=1, old=2, count=1)
    assert set(partings(*scripts)) == {"references"}


def test_tasks_of_other_pids_are_compared_in_their_order(scripts):
    for script, pid in zip(scripts, (20, 30), strict=True):
        script.at(0, task=pid)
        script.insn(0x400000)
    found = compare(scripts[0].trace(), scripts[1].trace(), EVERYTHING)
    assert found.equal


def test_a_task_that_only_one_has_is_told(scripts, capfd):
    scripts[0].insn(1)
    scripts[1].insn(1)
    scripts[1].at(0, task=8)
    scripts[1].insn(2)
    paths = [str(script.close()) for script in scripts]
    assert main(["diff", *paths]) == 1
    assert "Only in B: task 8." in capfd.readouterr().out


def test_a_filter_leaves_out_what_it_does(scripts):
    insns(scripts[0], range(5))
    insns(scripts[1], range(6))
    assert partings(*scripts, parse_filter(["event=sys_*"])) == {}


def test_every_event_has_a_subject():
    for desc in EVENTS:
        assert subject_of(desc.name) in SUBJECTS
    assert subject_of("pte_free") == "PTE tables"
    assert subject_of("tlb_flush_all") == "invalidations"
    assert subject_of("tlb_flush") == "shootdowns"
    assert subject_of("rcu_grace_period") == "other events"


def test_what_is_printed(scripts, capfd):
    a, b = scripts
    for script in scripts:
        script.emit("page_fault", address=0x5000, error_code=6)
        insns(script, range(0x400000, 0x400004))
    a.insn(0x400004, b"\x31\xc0")
    b.insn(0x400005, b"\xf4")
    summaries = ({"counters": {"tlb_evictions": n}} for n in (3, 4))
    paths = [str(s.close(summary)) for s, summary in zip(scripts, summaries, strict=True)]
    assert main(["diff", *paths]) == 1
    text = capfd.readouterr().out
    assert "seed       0  1" in text
    assert "The same in both: page faults (1)." in text
    assert "instructions: first differ at number 4 of guest-7" in text
    assert "xor eax, eax" in text and "hlt" in text
    assert "tlb_evictions  3  4" in text
    lines = text.splitlines()
    assert sum("nop" in line for line in lines) == 3


def test_json_has_it_all(scripts, capfd):
    insns(scripts[0], (1, 2))
    insns(scripts[1], (1, 3))
    paths = [str(script.close()) for script in scripts]
    assert main(["diff", "--json", "-", *paths]) == 1
    value = json.loads(capfd.readouterr().out)
    (parting,) = value["partings"]
    assert (parting["subject"], parting["place"], parting["task"]) == ("instructions", 1, 7)
    assert [parting[which]["fields"]["ip"] for which in "ab"] == [2, 3]
    assert value["parameters"] == {"seed": {"a": 0, "b": 1}}
    assert not value["equal"]


def test_a_trace_is_equal_to_itself(scripts, capfd):
    insns(scripts[0], range(9))
    path = str(scripts[0].close())
    assert main(["diff", path, path]) == 0
    assert "Both did the same: instructions (9)." in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["{}", "-"], ExitCode.USAGE, "not - for stdin"),
        (["{}", "nowhere.trace"], ExitCode.BAD_TRACE, "nowhere.trace: No such file"),
        (["{}"], ExitCode.USAGE, "B"),
        (["--filter", "cpu=x", "{}", "{}"], ExitCode.USAGE, "cpu=x"),
    ],
)
def test_bad_words_are_refused_in_one_line(scripts, words, code, complaint, capfd):
    path = str(scripts[0].close())
    assert main(["diff", *(word.format(path) for word in words)]) == code
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and complaint in error


def test_the_examples_of_the_help_run(tmp_path, monkeypatch):
    """One after the other; the runs differ, so diff itself says 1."""
    monkeypatch.chdir(tmp_path)
    for words in examples("diff"):
        assert main(words) == (words[0] == "diff"), words


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A guest under two policies, and under another geometry."""
    place = tmp_path_factory.mktemp("diff")
    program = ("dontneed_loop", "2M", "2M")
    return {
        "refcount": TraceFile(str(record(place / "a", *program))),
        "again": TraceFile(str(record(place / "b", *program))),
        "never": TraceFile(str(record(place / "c", *program, policy="never"))),
        "tiny": TraceFile(str(record(place / "d", *program, geometry="tiny"))),
    }


def test_a_run_is_like_itself_again(runs):
    found = compare(runs["refcount"], runs["again"], EVERYTHING)
    assert found.equal and found.parameters == {}


def test_two_geometries_part_in_the_tlb_alone(runs):
    found = compare(runs["refcount"], runs["tiny"], EVERYTHING)
    assert {"tlb", "arrays"} <= set(found.parameters)
    assert {"instructions", "system calls", "references", "PTE tables"} <= set(found.same)
    assert {one.subject for one in found.partings} <= {"TLB", "page walks"}
    assert "tlb_evictions" in found.counters


def test_two_policies_part_where_the_first_table_is_freed(runs):
    found = compare(runs["refcount"], runs["never"], parse_filter(["event=pte_free,sys_*"]))
    assert set(found.same) == {"system calls"}
    (parting,) = found.partings
    assert parting.subject == "PTE tables"
    assert parting.a.event.name == "pte_free"
    assert parting.a.event.instruction < parting.b.event.instruction
