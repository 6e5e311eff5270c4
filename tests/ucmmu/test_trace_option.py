# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ``--trace`` records a run in a file that can be read up to where the run, the disk or the
reader ended, and says in one line what went wrong; a filter or a limit leaves out, and counts, what
was not asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.options import POLICIES

UCMMU = [sys.executable, "-m", "ucmmu"]


def ucmmu(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*UCMMU, *words], capture_output=True, text=True, timeout=60, check=False, **options
    )


def here(*words: str) -> int:
    """Run the command in this process, where everything is imported already; its exit code."""
    return main(list(words))


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


def counts(trace: TraceFile, where: Where = Where()) -> Counter[str]:  # noqa: B008 - frozen
    return Counter(one.event.name for one in trace.events(where))


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> tuple[TraceFile, dict[str, Any]]:
    """A trace of hello, and the report of the same run."""
    file = tmp_path_factory.mktemp("trace") / "hello.trace"
    done = ucmmu("run", "--trace", str(file), "--json", "-", "hello")
    assert done.returncode == 0 and "hello, world" in done.stderr
    return TraceFile(str(file)), json.loads(done.stdout)


def test_the_trace_has_every_instruction_and_every_event(
    hello: tuple[TraceFile, dict[str, Any]],
) -> None:
    trace, report = hello
    seen = counts(trace)
    assert trace.torn is None
    assert seen["insn"] == report["instructions"]
    assert seen["pte_alloc"] == report["pte_tables_allocated"]
    assert seen["page_fault_user"] <= report["page_faults"]
    assert seen["sys_enter"] == report["syscalls"]
    assert report["fidelity"] == "trace" and report["trace"].endswith("hello.trace")


def test_the_head_says_what_ran_and_the_summary_what_came_of_it(
    hello: tuple[TraceFile, dict[str, Any]],
) -> None:
    trace, report = hello
    head = trace.head
    for key in ("program", "args", "free_tables", "fidelity", "engine", "tlb", "cpus", "seed"):
        assert head[key] == report[key], key
    assert (head["levels"], head["vendor"]) == (4, "intel")
    first = 0
    for array in head["arrays"]:
        assert array["first"] == first and array["name"] and array["kind"]
        first += array["sets"] * array["ways"]
    assert trace.summary is not None
    for key in ("instructions", "counters", "mm_counters", "exit_code", "processes"):
        assert trace.summary[key] == report[key], key
    assert "seconds" not in trace.summary, "the host's clock is no part of a trace"


def test_a_trace_on_stdout_is_alone_there_and_the_same(
    hello: tuple[TraceFile, dict[str, Any]],
) -> None:
    done = subprocess.run(
        [*UCMMU, "run", "--trace", "-", "hello"], capture_output=True, timeout=60, check=True
    )
    assert b"hello, world" in done.stderr
    assert done.stdout == Path(hello[0].path).read_bytes()


@pytest.mark.parametrize(("fidelity", "kinds"), [("fast", 0), ("exact", 0), ("trace", 1)])
def test_a_fidelity_that_is_asked_for_stays(fidelity: str, kinds: int, tmp_path: Path) -> None:
    """Its own events are recorded: every instruction in trace alone."""
    file = str(tmp_path / "x")
    assert here("run", "--fidelity", fidelity, "--trace", file, "hello") == 0
    seen = counts(TraceFile(file))
    assert bool(seen["insn"]) == bool(kinds)
    assert seen["pte_alloc"] == 3 and seen["sys_enter"] > 5 and seen["page_fault"] > 10


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("event=pte_alloc,pte_free", lambda seen: seen == {"pte_alloc": 3, "pte_free": 3}),
        ("!event=insn,tlb_*,access", lambda seen: not seen["insn"] and seen["set_pte"] > 100),
        ("event=sys_enter cpu=0 task=1000", lambda seen: list(seen) == ["sys_enter"]),
        ("event=sys_enter task=7", lambda seen: not seen),
        ("function=main", lambda seen: 5 < seen["insn"] < 1000),
        ("function=main event=insn", lambda seen: list(seen) == ["insn"]),
        ("around=pte_free:20", lambda seen: 20 <= seen["insn"] <= 41 and seen["pte_free"] == 3),
        ("faults=1-", lambda seen: seen["page_fault"] == 28 and seen["insn"] > 20_000),
        ("faults=9- event=page_fault", lambda seen: seen == {"page_fault": 20}),
    ],
)
def test_a_filter_records_what_it_says(words: str, right: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    assert here("run", "--trace", file, "--trace-filter", words, "hello") == 0
    trace = TraceFile(file)
    seen = counts(trace)
    assert right(seen), seen
    assert trace.torn is None and trace.head["filter"] == [words]
    assert trace.summary is not None and trace.summary["instructions"] > 20_000


def test_a_limit_ends_the_trace_and_not_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x"
    assert here("run", "--trace", str(file), "--trace-limit", "20K", "hello") == 0
    assert "--trace-limit: the trace ends before the run does" in capfd.readouterr().err
    trace = TraceFile(str(file))
    assert trace.torn is None and file.stat().st_size < 40 << 10
    assert trace.summary is not None and trace.summary["left_out"]["limit"] > 1000


# What goes wrong.


def test_a_full_disk_is_one_line() -> None:
    done = ucmmu("run", "--trace", "/dev/full", "hello")
    assert done.returncode == ExitCode.NO_OUTPUT
    assert last_line(done) == "ucmmu: --trace /dev/full: No space left on device"


def test_a_disk_that_gets_full_leaves_a_trace_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "x"
    words = ["run", "--trace", str(file), "faults", "spin"]
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 200; trap '' XFSZ; exec {' '.join([*UCMMU, *words])}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.NO_OUTPUT
    assert last_line(done) == f"ucmmu: --trace {file}: File too large"
    trace = TraceFile(str(file))
    assert trace.nr_events > 10_000
    assert trace.torn is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_a_whole_trace(number: int, tmp_path: Path) -> None:
    file = tmp_path / "x"
    process = subprocess.Popen(
        [*UCMMU, "run", "--trace", str(file), "faults", "spin"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while file.stat().st_size < 30_000 if file.exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1].startswith(f"ucmmu: stopped by {signal.Signals(number).name}")
    trace = TraceFile(str(file))
    assert trace.torn is None and trace.summary is not None
    assert trace.kinds_count()["insn"] == trace.summary["instructions"]


def test_a_killed_run_leaves_a_trace_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "x"
    process = subprocess.Popen(
        [*UCMMU, "run", "--trace", str(file), "faults", "spin"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while file.stat().st_size < 30_000 if file.exists() else True:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(0.2)
    trace = TraceFile(str(file))
    assert trace.nr_events > 50_000
    assert trace.torn is not None and trace.summary is None
    assert [note.kind for note in trace.notes][:1] == ["process"]


def test_a_guest_that_crashes_leaves_a_whole_trace(tmp_path: Path) -> None:
    file = str(tmp_path / "x")
    assert here("run", "--trace", file, "faults", "null") == 128 + signal.SIGSEGV
    trace = TraceFile(file)
    assert trace.torn is None
    (end,) = (note.fields for note in trace.notes if note.kind == "exit")
    assert end["signal"] == signal.SIGSEGV


def test_the_program_is_not_written_over(tmp_path: Path) -> None:
    from ucmmu.options import guests_directory

    program = tmp_path / "program"
    shutil.copy(guests_directory() / "hello", program)
    before = program.read_bytes()
    done = ucmmu("run", "--trace", str(program), str(program))
    assert done.returncode == ExitCode.NO_OUTPUT and "is a program" in done.stderr
    assert program.read_bytes() == before


def test_a_terminal_gets_no_trace() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(
        [*UCMMU, "run", "--trace", "-", "hello"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == ExitCode.NO_OUTPUT
    assert "| ucmmu trace -" in done.stderr


# Several runs.


def test_compare_makes_a_trace_of_each_policy(tmp_path: Path) -> None:
    where = tmp_path / "runs"
    assert here("compare", "--fidelity", "fast", "--trace", str(where), "hello") == 0
    assert {path.name for path in where.iterdir()} == {f"{policy}.trace" for policy in POLICIES}
    for policy in POLICIES:
        trace = TraceFile(str(where / f"{policy}.trace"))
        assert trace.torn is None and trace.head["free_tables"] == policy


def test_compare_says_where_no_directory_can_be() -> None:
    done = ucmmu("compare", "--trace", "/dev/null", "hello")
    assert done.returncode == ExitCode.NO_OUTPUT
    assert done.stderr.startswith("ucmmu: --trace /dev/null: File exists (compare makes")
