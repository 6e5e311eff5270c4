# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a benchmark's record says what it compared, and its ratio is ours / peer; ours and peer
take turns.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import callgrind, exact, tlb
from benchmarks.measure import BenchmarkError, Result, compare
from benchmarks.refcount import refcount_pair
from mmu import _native


def result(ours, peer, goal):
    return Result("name", ours, peer, "ns", goal, (0.0, 1.0), "note")


def test_the_two_take_turns_and_change_places():
    calls = []

    def figure(name, value):
        calls.append(name)
        return value

    measured = compare(
        "name",
        lambda: figure("ours", 3.0),
        lambda: figure("peer", 2.0),
        unit="s",
        goal="<= 1",
        note="",
        rounds=2,
        warm_up=False,
    )
    assert calls == ["ours", "peer", "peer", "ours"]
    assert (measured.ratio, measured.met) == (1.5, False)


@pytest.mark.parametrize(
    ("ours", "goal", "met"),
    [(6, ">= 0.6", True), (5, ">= 0.6", False), (2, "<= 0.2", True), (3, "<= 0.2", False)],
)
def test_goals_go_both_ways(ours, goal, met):
    assert result(ours, 10, goal).met is met


def test_one_that_is_run_gives_a_record_of_json():
    (measured,) = refcount_pair()
    record = json.loads(json.dumps(measured.record()))
    assert {"name", "ours", "peer", "ratio", "unit"} <= set(record)
    assert record["ratio"] == record["ours"] / record["peer"]


def test_results_are_one_object_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results" / "latest.jsonl")
    monkeypatch.setattr(
        command, "BENCHMARKS", {"first": lambda: [result(1, 2, "<= 1")], "second": list}
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", "first"])
    assert command.main() == 0
    (line,) = (tmp_path / "results" / "latest.jsonl").read_text().splitlines()
    assert json.loads(line)["ratio"] == 0.5
    assert "0.500" in capsys.readouterr().out


def test_one_that_cannot_be_made_is_told_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "latest.jsonl")

    def fails():
        raise BenchmarkError("no such thing here")
        yield

    def dies():
        raise subprocess.CalledProcessError(70, "ucmmu")
        yield

    benchmarks = {"bad": fails, "dies": dies, "good": lambda: [result(1, 2, "<= 1")]}
    monkeypatch.setattr(command, "BENCHMARKS", benchmarks)
    monkeypatch.setattr("sys.argv", ["benchmarks", *benchmarks])
    assert command.main() == 1
    told = capsys.readouterr().err
    assert "bad: no such thing here" in told
    assert "dies: Command 'ucmmu' returned non-zero exit status 70." in told
    (line,) = (tmp_path / "latest.jsonl").read_text().splitlines()
    assert json.loads(line)["ratio"] == 0.5


def test_what_was_measured_before_an_interrupt_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "latest.jsonl")

    def interrupted():
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(
        command, "BENCHMARKS", {"good": lambda: [result(1, 2, "<= 1")], "long": interrupted}
    )
    monkeypatch.setattr("sys.argv", ["benchmarks", "good", "long"])
    assert command.main() == 130
    assert (tmp_path / "latest.jsonl").read_text().count("\n") == 1
    kept = f"what was measured is in {tmp_path / 'latest.jsonl'}"
    assert capsys.readouterr().err.splitlines()[-1] == f"interrupted: {kept}"
    monkeypatch.setattr("sys.argv", ["benchmarks", "long"])
    assert command.main() == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted: nothing was measured"


def test_without_valgrind_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.argv", ["benchmarks", "refcount_fault"])
    assert command.main() == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "refcount_fault: valgrind is not installed: apt-get install valgrind"
    ]


def test_atomics_are_found_by_disassembly_and_counted_as_often_as_executed(tmp_path):
    """A callgrind file with two instructions of ours, one of them an atomic, and a call's line."""
    module = Path(_native.__file__)
    atomics = callgrind._atomics(module)
    assert len(atomics) > 5
    first = min(atomics)
    lines = [
        f"ob=/somewhere/{module.name}",
        f"0x{first:x} 0 7",
        f"0x{first - 1:x} 0 5",
        "calls=3 0x10 0",
        f"0x{first:x} 0 1000",
        "ob=/lib/libc.so.6",
        f"0x{first:x} 0 2",
    ]
    (tmp_path / "part").write_text("\n".join(lines))
    counted = callgrind._read(tmp_path / "part", module, atomics)
    assert counted == callgrind.Executed(instructions=14, atomics=7)


def test_what_cannot_run_here_is_recorded_with_the_reason(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "latest.jsonl")
    monkeypatch.setattr(exact.shutil, "which", lambda _: None)
    monkeypatch.setattr("sys.argv", ["benchmarks", "exact_lackey"])
    assert command.main() == 0
    (line,) = (tmp_path / "latest.jsonl").read_text().splitlines()
    assert json.loads(line) == {"name": "exact_lackey", "skipped": "valgrind is not installed"}
    assert "skipped" in capsys.readouterr().out


def test_the_public_api_is_measured_without_private_parts(monkeypatch):
    monkeypatch.setattr(exact, "compare", lambda name, ours, peer, **_: ours.__self__.vcpu)
    vcpus = list(exact.exact_memory())
    assert [vcpu.shared.private for vcpu in vcpus] == [0]


def test_hits_hit_and_misses_miss(monkeypatch):
    """The benchmarks of the TLB check their own counters: they raise if they measured something
    else.
    """
    monkeypatch.setattr(tlb, "compare", lambda name, ours, peer, **_: (ours(), peer()))
    (hit,), (miss,) = tlb.tlb_hit(), tlb.tlb_miss()
    assert min(*hit, *miss) > 0
    monkeypatch.setattr(tlb, "MISS_TABLES", 1)
    with pytest.raises(AssertionError, match="walks, not"):
        list(tlb.tlb_miss())
