# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a run gives the guest's output and exit code, one table, one JSON object; or one line that
says why not.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.guests.build import build
from tests.ucmmu.spinning import once_begun, start_spinning
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.options import guests_directory
from ucmmu.run import FIGURES

UCMMU = [sys.executable, "-m", "ucmmu"]
POLICIES = ["never", "scan", "refcount", "refcount-pmdlock"]
ROOT = Path(__file__).resolve().parents[2]


def ucmmu(*args, cwd=None, **options):
    """Run the command as a user does."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*UCMMU, *args],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=env,
        **options,
    )


def report_of(*args):
    done = ucmmu("run", "--json", "-", *args)
    return json.loads(done.stdout), done


def last_line(done):
    return done.stderr.splitlines()[-1]


def test_stdout_is_the_guests_and_the_table_is_on_stderr():
    done = ucmmu("run", "hello")
    assert done.returncode == 0
    assert done.stdout.startswith("hello, world\n")
    assert "VmPTE at the end" not in done.stdout
    for label in (
        "VmSize",
        "VmRSS",
        "VmPTE at the end",
        "PTE tables allocated",
        "freed before exit",
        "page faults",
    ):
        assert label in done.stderr


def test_json_on_stdout_is_pure_and_complete():
    report, done = report_of("hello")
    assert done.stderr.startswith("hello, world\n")
    assert all(report[key] is not None for key in FIGURES)
    assert (report["ended"], report["exit_code"], report["error"], report["signal"]) == (
        "exit",
        0,
        None,
        None,
    )
    assert report["samples"][-1] == {
        key: report[key] for key in ("instructions", "VmSize", "VmRSS", "VmPTE")
    }


def test_json_in_a_file(tmp_path):
    done = ucmmu("run", "--json", str(tmp_path / "x.json"), "hello")
    assert done.stdout.startswith("hello, world\n")
    assert json.loads((tmp_path / "x.json").read_text())["program"] == "hello"
    assert os.listdir(tmp_path) == ["x.json"]


def test_without_counting_there_is_no_count():
    report, _ = report_of("--no-count", "hello")
    assert report["instructions"] is None
    assert report["samples"] == []


def test_the_machine_is_told_and_reported():
    report, _ = report_of("--cpus", "3", "--seed", "0x10", "--quantum", "1000", "hello")
    assert (report["cpus"], report["seed"], report["quantum"]) == (3, 16, 1000)
    (process,) = report["processes"]
    assert (process["pid"], process["ppid"], process["threads"]) == (1000, 0, 1)
    assert process["instructions"] == report["instructions"]
    report, _ = report_of("hello")
    assert (report["cpus"], report["seed"], report["quantum"]) == (1, 0, 100_000)


@pytest.mark.parametrize(
    ("args", "code"), [("exit 77", 77), ("exit 0", 0), ("kill 15", 143), ("null", 139)]
)
def test_the_guests_end_is_ours(args, code):
    assert ucmmu("run", "faults", *args.split()).returncode == code


def test_a_signal_is_explained():
    report, _ = report_of("faults", "null")
    assert (report["ended"], report["signal"]) == ("signal", "SIGSEGV")
    assert "SEGV_MAPERR" in report["signal_report"]
    assert "SIGSEGV (SEGV_MAPERR), address 0x0, RIP" in ucmmu("run", "faults", "null").stderr


def test_an_unknown_system_call_is_named_with_its_rip():
    report, _ = report_of("faults", "syscall", "1000")
    (call,) = report["unknown_syscalls"]
    assert (call["nr"], call["count"]) == (1000, 3)
    assert (
        f"unknown system call 1000 (syscall 1000) at RIP {call['rip']:#x}"
        in ucmmu("run", "faults", "syscall", "1000").stderr
    )


def test_a_program_that_is_none(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"#!/bin/sh\n")
    done = ucmmu("run", str(program))
    assert done.returncode == ExitCode.NO_PROGRAM
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("ram", ["4K", "1000T", "7E"])
def test_ram_that_cannot_be(ram):
    done = ucmmu("run", "--ram", ram, "hello")
    assert done.returncode == ExitCode.NO_RAM
    assert done.stderr.startswith("ucmmu: --ram: ") and done.stderr.count("\n") == 1


def test_a_geometry_that_is_none():
    done = ucmmu("run", "--tlb", "nosuch", "hello")
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.count("\n") == 1


def test_a_timeout_ends_the_run_with_its_figures(tmp_path):
    def run(seconds):
        options = ["--timeout", seconds, "--json", str(tmp_path / "x.json")]
        done = ucmmu("run", *options, "faults", "spin")
        assert done.returncode == ExitCode.TIMEOUT
        assert last_line(done) == f"ucmmu: stopped after {seconds} s (--timeout)"
        report = json.loads((tmp_path / "x.json").read_text())
        assert (report["ended"], report["exit_code"]) == ("timeout", ExitCode.TIMEOUT)
        assert report["error"] in last_line(done)
        return report

    assert once_begun(run)["instructions"] > 0


def test_a_timeout_reports_every_process(tmp_path):
    """A process that computes, and seven that wait for each other's files for ever."""
    program = str(build("waiting_files.c", "-static", "-O1", "-Wno-unused-result"))

    def run(seconds):
        args = ("--cpus", "2", "--timeout", seconds, "--json", str(tmp_path / "x.json"))
        done = ucmmu("run", *args, program, "processes", "never")
        assert done.returncode == ExitCode.TIMEOUT
        assert last_line(done) == f"ucmmu: stopped after {seconds} s (--timeout)"
        return {**json.loads((tmp_path / "x.json").read_text()), "stderr": done.stderr}

    report = once_begun(run, processes=8)
    assert (report["ended"], report["problems"], report["checks_finished"]) == ("timeout", [], True)
    processes = report["processes"]
    assert [process["pid"] for process in processes] == list(range(1000, 1008))
    assert {process["ppid"] for process in processes[1:]} == {1000}
    assert {process["ended"] for process in processes} == {"stopped"}
    for name in ("VmRSS", "VmPTE", "page_faults", "pte_tables_allocated"):
        assert report[name] == sum(process[name] for process in processes)
    assert "total of 8 processes" in report["stderr"]
    assert sum(line.split()[:2][-1:] == ["1000"] for line in report["stderr"].splitlines()) == 7


def test_without_counting_a_timeout_ends_it_too():
    assert (
        ucmmu("run", "--timeout", "1", "--no-count", "faults", "spin").returncode
        == ExitCode.TIMEOUT
    )


def test_host_memory_is_limited():
    done = ucmmu("run", "--ram", "16G", "--memory-limit", "200M", "faults", "oom")
    assert done.returncode == ExitCode.MEMORY_LIMIT
    assert "used more than 200M of host memory (--memory-limit)" in last_line(done)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_dead_engine_is_one_line(number):
    process, child = start_spinning()
    os.kill(child, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.ENGINE_DIED
    assert (out, err) == (
        "",
        f"ucmmu: the engine died: killed by {number.name}, its statistics are lost\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_shows_its_table(number):
    process, _ = start_spinning()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "VmPTE at the end" in err
    assert err.endswith(f"ucmmu: stopped by {number.name}\n")


def test_a_dead_parent_takes_its_child_along():
    process, child = start_spinning()
    process.kill()
    process.communicate(timeout=60)
    for _ in range(500):
        if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the child lives on")


def test_a_broken_check_is_an_internal_error(monkeypatch, capfd):
    from mmu.linux.mm import Mm
    from mmu.linux.tables import TablesReport

    monkeypatch.setattr(
        Mm, "check_tables", lambda mm: TablesReport(problems=["one table too many"])
    )
    assert main(["run", "hello"]) == ExitCode.INTERNAL
    assert (
        "internal error: a check failed: task 1000 (hello): one table too many"
        in capfd.readouterr().err
    )


def test_tlb_rates_are_shown_where_there_is_a_tlb():
    assert "TLB loads" in ucmmu("run", "--fidelity", "exact", "hello").stderr
    assert "TLB loads" not in ucmmu("run", "hello").stderr


def test_compare_shows_each_policy_in_a_column_and_hides_the_guest():
    done = ucmmu("compare", "dontneed_loop", "64M", "1M")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "end:" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["empty", "PTE", "tables", "are", "freed", *POLICIES] in lines
    (figures,) = (line[3:] for line in lines if line[:3] == ["freed", "before", "exit"])
    never, scan, refcount, pmdlock = (int(word) for word in figures)
    assert never == scan == 0 < refcount == pmdlock


def test_compare_writes_json_by_policy(tmp_path):
    done = ucmmu("compare", "--json", str(tmp_path / "x.json"), "sparse", "64M")
    reports = json.loads((tmp_path / "x.json").read_text())
    assert list(reports) == POLICIES
    assert all(reports[policy]["free_tables"] == policy for policy in POLICIES)
    assert "never" in done.stdout


def test_compare_can_show_the_guests_output():
    assert ucmmu("compare", "--show-output", "hello").stderr.count("hello, world\n") == len(
        POLICIES
    )


def test_compare_ends_with_the_first_code_that_is_not_zero():
    done = ucmmu("compare", "faults", "exit", "9")
    assert done.returncode == 9
    assert done.stdout.splitlines()[-2].split() == ["ended", *["exit", "9"] * len(POLICIES)]


def examples():
    for command in ("run", "compare", "list"):
        text = subprocess.run(
            [*UCMMU, command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        yield from re.findall(r"^  ucmmu (.+)$", text.partition("examples:")[2], re.MULTILINE)


@pytest.mark.parametrize("example", list(examples()))
def test_the_examples_of_help_run(example, tmp_path):
    for name in ("program", "threaded_program"):
        shutil.copy(guests_directory() / "hello", tmp_path / name)
    for name in ("data", "results"):
        (tmp_path / name).mkdir()
    done = ucmmu(*shlex.split(example), cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def never_end(*_):
    while True:
        time.sleep(3600)


@pytest.fixture
def slow_checks(monkeypatch):
    """Checks of the tables that never end, as they did not of hundreds of thousands."""
    from mmu.linux.mm import Mm

    monkeypatch.setattr(Mm, "check_tables", never_end)


def test_checks_that_last_do_not_cost_the_figures(slow_checks, tmp_path, capfd):
    def run(seconds):
        words = ["run", "--timeout", seconds, "--json", str(tmp_path / "x"), "faults", "spin"]
        assert main(words) == ExitCode.TIMEOUT
        return json.loads((tmp_path / "x").read_text())

    report = once_begun(run)
    assert all(report[key] is not None for key in FIGURES)
    assert (report["ended"], report["checks_finished"]) == ("timeout", False)
    assert report["instructions"] > 1000
    assert any("checks" in note for note in report["notes"])
    assert "checks at the end were not finished" in capfd.readouterr().err


def test_a_guest_in_a_call_that_does_not_end_is_reported(monkeypatch, tmp_path):
    """Any system call of ours that looks at no stop, in Python or C."""
    from cpu.syscalls.numbers import syscall_name
    from cpu.syscalls.table import TABLE

    number = next(nr for nr in range(len(TABLE)) if syscall_name(nr) == "write")
    for_ever = [*TABLE[:number], never_end, *TABLE[number + 1 :]]
    monkeypatch.setattr("cpu.entry.TABLE", for_ever)

    def run(seconds):
        words = ["run", "--timeout", seconds, "--json", str(tmp_path / "x"), "hello"]
        assert main(words) == ExitCode.TIMEOUT
        return json.loads((tmp_path / "x").read_text())

    report = once_begun(run)
    assert report["instructions"] > 1000 and report["VmPTE"] > 0
    assert any("did not end" in note for note in report["notes"])


@pytest.mark.stress
def test_64_tib_end_with_all_figures(tmp_path):
    """One page touched in each 2 MiB: hundreds of thousands of tables in ten seconds."""
    done = ucmmu("run", "--timeout", "10", "--json", str(tmp_path / "x"), "sparse", "64T")
    assert done.returncode == ExitCode.TIMEOUT
    report = json.loads((tmp_path / "x").read_text())
    assert all(report[key] is not None for key in FIGURES)
    assert report["VmSize"] > 64 << 30 and report["pte_tables_allocated"] > 10_000


def test_the_checker_says_that_it_found_nothing():
    assert "no stale translation was used" in ucmmu("run", "--check-tlb", "hello").stderr


def test_the_title_names_the_tlb():
    assert (
        "hello (exact, TLB tiny, engine c)"
        in ucmmu("run", "--fidelity", "exact", "--tlb", "tiny", "hello").stderr
    )
    assert "had no effect" in ucmmu("run", "--tlb", "tiny", "hello").stderr


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_an_option_after_the_program_gets_a_hint_unless_it_is_meant(tmp_path, dashes):
    done = ucmmu("run", *dashes, "hello", "--json", "x", cwd=tmp_path)
    assert done.returncode == 0
    assert ("ucmmu: hint: --json stands after PROGRAM" in done.stderr) == (not dashes)


def test_ram_is_refused_by_its_limits():
    done = ucmmu("run", "--ram", "100T", "hello")
    assert (
        done.stderr
        == "ucmmu: --ram: 100T is not possible: guest RAM is at least 8K and less than 16T\n"
    )


def test_escape_sequences_in_a_programs_name_are_text(tmp_path):
    program = tmp_path / "a\x1b[31mb"
    shutil.copy(guests_directory() / "hello", program)
    done = ucmmu("run", str(program), "x\x1b]0;y\x07")
    assert "\x1b" not in done.stderr and "\x07" not in done.stderr
    assert r"a\x1b[31mb x\x1b]0;y\x07" in done.stderr


@pytest.mark.parametrize("kind", ["pipe", "directory", "socket", "empty"])
def test_a_program_of_another_kind_is_one_line(tmp_path, kind):
    import socket

    target = tmp_path / "program"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(target)
        elif kind == "directory":
            target.mkdir()
        elif kind == "socket":
            server.bind(str(target))
        else:
            target.touch()
        done = ucmmu("run", "./program", cwd=tmp_path, timeout=30)
    assert (done.returncode, done.stderr.count("\n")) == (ExitCode.NO_PROGRAM, 1)


def test_a_given_relative_name_is_the_guests_too(tmp_path):
    (tmp_path / "data.txt").write_text("a line\n")
    (tmp_path / "link").symlink_to("data.txt")
    for name in ("data.txt", "link"):
        done = ucmmu("run", "--read", name, "faults", "cat", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "a line\n")
    done = ucmmu("run", "--read", "nosuch", "hello", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        ExitCode.USAGE,
        "ucmmu: argument --read: 'nosuch': No such file or directory\n",
    )
