# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the campaign says in one line what it lacks, keeps what it has, and makes the documents
from results alone.
"""

from __future__ import annotations

import csv
import errno
import json
import sys
from pathlib import Path

import pytest

from benchmarks.measure import BenchmarkError
from benchmarks.scaling import __main__ as command
from ucmmu.exit_codes import ExitCode

PAIR = {
    "pair": "lookup_put",
    "design": "RCU",
    "threads": 1,
    "own_tables": False,
    "ns": 5.0,
    "operations_per_s": 2e8,
    "distance": None,
    "waits": 0.0,
    "spread": 0.01,
    "noisy": False,
}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["scaling", *arguments])
    return command.main()


def test_without_simpy_one_line_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "simpy", None)
    status = run(monkeypatch, "--only", "simulated", "--output", str(tmp_path))
    assert status == ExitCode.NO_EXTRA
    assert capsys.readouterr().err == ("simpy is not installed: pip install 'ucmmu[simulation]'\n")


def test_a_part_that_fails_is_told_and_the_others_stay(monkeypatch, tmp_path, capsys):
    def fails(_results, _quick):
        raise BenchmarkError("no such thing here")

    monkeypatch.setitem(command.PARTS, "threads", measured)
    monkeypatch.setitem(command.PARTS, "host", fails)
    status = run(monkeypatch, "--only", "threads", "--only", "host", "--output", str(tmp_path))
    assert status == 1
    assert capsys.readouterr().err.splitlines()[-1] == "host: no such thing here"
    kept = json.loads((tmp_path / "benchmarks" / "results" / "scaling.json").read_text())
    assert kept["threads"]["pairs"][0]["ns"] == 5


def measured(*_):
    return {"pairs": [{**PAIR, "transfers": 0}]}


def test_an_interrupt_is_one_line_and_what_ended_is_kept(monkeypatch, tmp_path, capsys):
    def interrupted(_results, _quick):
        raise KeyboardInterrupt

    monkeypatch.setitem(command.PARTS, "threads", measured)
    monkeypatch.setitem(command.PARTS, "host", interrupted)
    status = run(monkeypatch, "--only", "threads", "--only", "host", "--output", str(tmp_path))
    assert status == 130
    results = tmp_path / "benchmarks" / "results" / "scaling.json"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted: the parts that ended are in {results}"
    assert "threads" in json.loads(results.read_text())


def test_a_full_disk_is_one_line_and_leaves_the_last_results(monkeypatch, tmp_path, capsys):
    results = tmp_path / "benchmarks" / "results" / "scaling.json"
    results.parent.mkdir(parents=True)
    results.write_text("{}")

    def full(path, *_, **__):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setitem(command.PARTS, "threads", measured)
    monkeypatch.setattr(Path, "write_text", full)
    status = run(monkeypatch, "--only", "threads", "--output", str(tmp_path))
    assert status == ExitCode.NO_OUTPUT
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"cannot write {results}: No space left on device; the parts that")
    assert [path.name for path in results.parent.iterdir()] == ["scaling.json"]
    assert results.read_text() == "{}"


def test_results_that_are_damaged_are_told(monkeypatch, tmp_path, capsys):
    results = tmp_path / "benchmarks" / "results" / "scaling.json"
    results.parent.mkdir(parents=True)
    results.write_text("{")
    assert run(monkeypatch, "--report", "--output", str(tmp_path)) == ExitCode.USAGE
    assert capsys.readouterr().err == f"{results} is damaged: move it away\n"


def test_without_matplotlib_the_tables_are_there_and_one_line_says_what_to_install(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "matplotlib" else name)
    monkeypatch.setitem(command.PARTS, "threads", measured)
    status = run(monkeypatch, "--only", "threads", "--output", str(tmp_path))
    assert status == ExitCode.NO_EXTRA
    assert (tmp_path / "docs" / "performance" / "threads.csv").exists()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "no plots: matplotlib is not installed: pip install 'ucmmu[plots]'"


def test_the_documents_are_made_from_results_alone(monkeypatch, tmp_path):
    results = tmp_path / "benchmarks" / "results" / "scaling.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"threads": {"pairs": [{**PAIR, "transfers": 0.25}]}}))
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text("<!-- table threads -->\n<!-- end -->\n")
    assert run(monkeypatch, "--report", "--output", str(tmp_path)) == 0
    assert (
        "| lookup and put | RCU | 1 | 5.00 | ±1.0% | 200 |  | 0.250 | 0.000 |" in page.read_text()
    )
    with (page.parent / "performance" / "threads.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["design"], row["transfers"]) == ("RCU", "0.25")


def test_a_small_model_makes_its_tables_and_plots(monkeypatch, tmp_path):
    pytest.importorskip("simpy")
    pytest.importorskip("matplotlib")
    from benchmarks.scaling import campaign

    monkeypatch.setattr(campaign, "SETTINGS", campaign.SETTINGS[:1])
    monkeypatch.setattr(campaign, "QUICK", campaign.Scale((1, 2), 0.02))
    assert run(monkeypatch, "--quick", "--only", "simulated", "--output", str(tmp_path)) == 0
    rows = json.loads((tmp_path / "benchmarks" / "results" / "scaling.json").read_text())
    assert len(rows["simulated"]["rows"]) == 2 * 4
    assert {row["origin"] for row in rows["simulated"]["parameters"]} == {"default", "assumed"}
    folder = tmp_path / "docs" / "performance"
    for name in ("throughput.svg", "throughput.png", "change.svg", "simulated.csv"):
        assert (folder / name).stat().st_size > 200


def test_a_quick_run_leaves_the_record_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setitem(command.PARTS, "threads", measured)
    for arguments, place in ((["--quick"], tmp_path / "build" / "scaling"), ([], tmp_path)):
        assert run(monkeypatch, *arguments, "--only", "threads") == 0
        assert (place / "benchmarks" / "results" / "scaling.json").exists()
        assert (tmp_path / "docs").exists() is (not arguments)
