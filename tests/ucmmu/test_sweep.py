# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ``ucmmu sweep`` runs each missing cell once, keeps what is done whatever happens, and goes
on where it was.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.children import children_of
from ucmmu.cli import _command_parsers, main
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import write_whole
from ucmmu.sweep import command
from ucmmu.sweep.cells import make_cells
from ucmmu.sweep.going import MAX_DEATHS, Sweep, Tally
from ucmmu.sweep.jobs import Done
from ucmmu.sweep.plan import Planner
from ucmmu.sweep.results import Results
from ucmmu.sweep.spec import read_spec
from ucmmu.sweep.worker import run_cell, was_stopped
from ucmmu.sweep.workers import Lost, could_not

ROOT = Path(__file__).resolve().parents[2]

SPEC = """\
[workloads]
w = "hello"
[matrix]
seed = { from = 0, to = 5 }
"""


class Died(Exception):
    """A worker did."""


class Ended(Died):
    """A worker was ended because another one died."""


class FakeWorkers:
    """Threads that make up results; ``fault`` may raise what a worker would end with."""

    def __init__(self, size=2, fault=lambda job: None):
        self.size, self._fault = size, fault
        self.broken = False
        self.ran = []
        self.mended = self.deaths = 0
        self._blamed = set()
        self._pool = ThreadPoolExecutor(size)

    def submit(self, job):
        if self.broken:
            future: Future[Done] = Future()
            future.set_exception(Died())
            return future
        return self._pool.submit(self._run, job)

    def _run(self, job):
        self.ran.append(seed_of(job.words))
        try:
            given = self._fault(job)
        except Died as died:
            if not isinstance(died, Ended):
                self._blamed.add(job.key)
            raise
        if given is not None:
            return given
        report = {"VmPTE": 28, "error": None, "ended": "exit", "exit_code": 0, "mm": {"x": 1}}
        return Done(job.key, report, None, 0, 0.5, "here")

    def verdict(self, error):
        if isinstance(error, Lost):
            raise error
        if isinstance(error, Died):
            self.broken = True
            return None
        return could_not(error)

    def mend(self):
        self.broken = False
        self.mended += 1
        self.deaths += 1
        blamed, self._blamed = self._blamed, set()
        return list(blamed)


def seed_of(words):
    return next(int(word[7:], 0) for word in words if word.startswith("--seed="))


@pytest.fixture
def workers(monkeypatch):
    """Puts made-up workers in the place of processes."""

    def put(**how):
        fake = FakeWorkers(**how)

        @contextmanager
        def have(_size):
            yield fake

        monkeypatch.setattr(command, "local_workers", have)
        return fake

    return put


@pytest.fixture
def sweep(tmp_path, monkeypatch, capfd):
    """Runs `ucmmu sweep s.toml`; returns exit code, JSON and what was printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(SPEC)

    def run(*words):
        Path("s.json").unlink(missing_ok=True)
        code = main(["sweep", "--json", "s.json", *words, "s.toml"])
        out, err = capfd.readouterr()
        value = json.loads(Path("s.json").read_text()) if Path("s.json").exists() else None
        return code, value, out + err

    return run


def results():
    return sorted(Path("s.results").glob("*.json"))


def test_each_cell_runs_once_and_never_again(workers, sweep):
    fake = workers()
    code, value, text = sweep()
    assert (code, value["counts"]) == (0, {"done": 6, "failed": 0, "missing": 0})
    assert sorted(fake.ran) == list(range(6)) and len(results()) == 6
    assert "6 cells: 6 done, 0 failed, 0 missing (6 ran now; s.results)" in text
    assert sweep()[1]["ran"] == 0 and len(fake.ran) == 6
    assert not list(Path("s.results").glob("*.claim"))


def test_new_cells_of_a_spec_that_grew(workers, sweep, tmp_path):
    fake = workers()
    sweep()
    (tmp_path / "s.toml").write_text(SPEC.replace("5", "7"))
    assert sweep()[1]["ran"] == 2 and sorted(fake.ran) == list(range(8))


def test_cells_that_are_equal_run_once_and_are_all_shown(workers, sweep, tmp_path):
    fake = workers()
    (tmp_path / "s.toml").write_text(SPEC + '[[include]]\nseed = ["0x1", 1]\n')
    code, value, _ = sweep()
    assert code == 0 and len(value["cells"]) == 7 and sorted(fake.ran) == list(range(6))


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[:-9],
        lambda data: data.replace(b'"VmPTE": 28', b'"VmPTE": 29'),
        lambda data: b"[]",
        lambda data: b"\xff\xfe",
        lambda data: b"[" * 100_000,
    ],
)
def test_a_damaged_result_is_noticed_and_made_again(workers, sweep, harm):
    workers()
    sweep()
    good = results()[3].read_bytes()
    results()[3].write_bytes(harm(good))
    code, value, text = sweep()
    assert (code, value["ran"]) == (0, 1)
    assert f"{results()[3].name} in s.results is damaged: its cell is run again" in text
    assert results()[3].read_bytes() == good


def test_the_result_of_another_cell_is_none(workers, sweep):
    workers()
    sweep()
    results()[0].write_bytes(results()[1].read_bytes())
    assert sweep()[1]["ran"] == 1


def bad(job):
    if seed_of(job.words) == 3:
        return Done(job.key, None, "it is \x1b[bad", 71, 0.1, "here")
    return None


def test_a_bad_cell_stops_no_other_and_is_kept(workers, sweep):
    fake = workers(fault=bad)
    code, value, text = sweep()
    assert (code, value["counts"]) == (1, {"done": 5, "failed": 1, "missing": 0})
    assert "w seed=3: it is \\x1b[bad\n" in text
    assert sweep()[1]["ran"] == 0
    assert sweep("--retry")[1]["ran"] == 1 and fake.ran.count(3) == 2
    workers()
    assert sweep("--retry")[0] == 0
    assert sweep("--redo")[1]["ran"] == 6


def test_a_cell_that_failed_runs_again_with_other_limits(workers, sweep, tmp_path):
    workers(fault=bad)
    sweep()
    (tmp_path / "s.toml").write_text(SPEC + "[options]\ntimeout = 9\n")
    assert sweep()[1]["ran"] == 1 and sweep()[1]["ran"] == 0


def test_a_limit_in_a_workloads_words_is_remembered(workers, sweep, tmp_path):
    workers(fault=bad)
    (tmp_path / "s.toml").write_text(SPEC.replace("hello", "--timeout 8 hello"))
    sweep()
    (tmp_path / "s.toml").write_text(SPEC.replace("hello", "--timeout 9 hello"))
    assert sweep()[1]["ran"] == 1 and sweep()[1]["ran"] == 0


def test_a_cell_that_its_worker_ended_has_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text("[workloads]\nw = '--timeout 9 sh -c \"while :; do :; done\"'\n")
    spec, parsers = read_spec("s.toml"), _command_parsers()
    (planned,) = Planner(spec, parsers).plan(make_cells(spec, parsers))
    done = run_cell(replace(planned.job, seconds=1.5))
    assert done.late and not was_stopped(done) and done.exit_code == ExitCode.TIMEOUT
    assert done.error == "killed: it went on after its time limit, 1.5 s in all"


def test_a_cell_that_is_always_ended_from_outside_is_given_up(workers, sweep):
    def fault(job):
        if seed_of(job.words) == 2:
            return Done(job.key, None, "interrupted", 128 + signal.SIGTERM, 0.1, "here")
        return None

    fake = workers(fault=fault)
    code, value, text = sweep()
    assert (code, value["counts"]["failed"], fake.ran.count(2)) == (1, 1, MAX_DEATHS)
    assert f"w seed=2: it was ended from outside, {MAX_DEATHS} times" in text


def test_what_a_worker_cannot_run_is_a_cell_that_failed(workers, sweep):
    def fault(job):
        if seed_of(job.words) == 2:
            raise OSError("no room for a directory")
        return

    workers(fault=fault)
    code, value, text = sweep()
    assert code == 1 and value["counts"]["done"] == 5
    assert "w seed=2: its worker could not run it: OSError: no room for a directory" in text


def test_cells_of_a_worker_that_died_run_again(workers, sweep):
    dead = set()

    def fault(job):
        if seed_of(job.words) == 2 and not dead:
            dead.add(2)
            raise Died
        return

    fake = workers(fault=fault)
    code, value, _ = sweep()
    assert (code, value["counts"]["done"], value["ran"], fake.mended) == (0, 6, 6, 1)
    assert value["worker_deaths"] == 1


def test_a_cell_whose_worker_always_dies_is_given_up(workers, sweep):
    def fault(job):
        if seed_of(job.words) == 5:
            raise Died
        return

    fake = workers(size=1, fault=fault)
    code, value, text = sweep()
    assert (code, value["counts"]) == (1, {"done": 5, "failed": 1, "missing": 0})
    assert f"w seed=5: its worker died, {MAX_DEATHS} times" in text
    assert fake.ran.count(5) == fake.mended == MAX_DEATHS
    assert len(results()) == 5, "it may not be the cell's fault: nothing is kept"
    workers()
    assert sweep()[1]["ran"] == 1


def test_cells_beside_one_whose_worker_dies_are_not_blamed(workers, sweep):
    def fault(job):
        if seed_of(job.words) == 0:
            raise Died
        time.sleep(0.02)
        if seed_of(job.words) == 1 and fake.ran.count(0) < MAX_DEATHS:
            raise Ended
        return

    fake = workers(fault=fault)
    _, value, _ = sweep()
    assert value["counts"] == {"done": 5, "failed": 1, "missing": 0}


def test_workers_that_die_of_nothing_end_the_sweep(workers, sweep):
    def fault(job):
        raise Ended

    fake = workers(fault=fault)
    code, value, text = sweep()
    assert code == ExitCode.ENGINE_DIED and value["counts"]["missing"] == 6
    assert f"the workers died, {MAX_DEATHS + 1} times one after another; 0 of 6 cells" in text
    assert fake.mended == MAX_DEATHS + 1


def test_without_workers_what_is_done_is_kept(workers, sweep):
    def fault(job):
        if seed_of(job.words) >= 4:
            raise Lost("the cluster is gone")

    workers(size=1, fault=fault)
    code, value, text = sweep()
    assert code == ExitCode.ENGINE_DIED and value["counts"]["missing"] == 2
    assert "ucmmu: the cluster is gone; 4 of 6 cells are kept: the same command goes on\n" in text
    assert not list(Path("s.results").glob("*.claim"))
    workers()
    assert sweep()[1]["ran"] == 2


def test_a_stop_keeps_what_is_done(workers, sweep):
    def fault(job):
        if seed_of(job.words) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        return

    workers(size=1, fault=fault)
    code, value, text = sweep()
    assert code == 130 and value["counts"] == {"done": 4, "failed": 0, "missing": 2}
    assert "ucmmu: stopped by SIGINT; 4 of 6 cells are kept: the same command goes on\n" in text


def test_two_sweeps_at_a_time_share_the_cells(tmp_path, monkeypatch):
    """Threads are as good as processes here: each open of a claim has its own lock."""
    monkeypatch.chdir(tmp_path)
    Path("s.toml").write_text(SPEC)
    spec, parsers = read_spec("s.toml"), _command_parsers()
    planned = Planner(spec, parsers).plan(make_cells(spec, parsers))
    fake = FakeWorkers(size=2, fault=lambda job: time.sleep(0.05))
    told = []

    def one():
        results = Results("s.results")
        results.open()
        tally = Tally(len(planned))
        Sweep(results, tally, lambda planned, record: told.append(planned.key)).run(
            dict.fromkeys(planned), fake, [], lambda text: None
        )
        return tally

    with ThreadPoolExecutor(2) as pool:
        tallies = [future.result() for future in [pool.submit(one), pool.submit(one)]]
    assert sorted(fake.ran) == list(range(6)) and len(told) == len(set(told)) == 6
    assert [tally.done for tally in tallies] == [6, 6]
    assert sum(tally.ran for tally in tallies) == 6
    assert not list(Path("s.results").glob("*.claim"))


def test_what_killed_sweeps_left_is_taken_away(workers, sweep):
    workers()
    Path("s.results").mkdir()
    half = Path("s.results", f".ucmmu-{'0' * 16}.tmp")
    claim = Path("s.results", f"{'0' * 64}.claim")
    foreign = Path("s.results", "notes.tmp")
    for path in (half, claim, foreign):
        path.touch()
    sweep()
    assert half.exists() and claim.exists()
    for path in (half, claim, foreign):
        os.utime(path, (0, 0))
    sweep()
    assert not half.exists() and not claim.exists() and foreign.exists()


def test_a_dry_run_says_what_is_missing_and_writes_nothing(workers, sweep):
    fake = workers(fault=bad)
    code, value, text = sweep("--dry-run")
    assert code == 0 and not fake.ran and not Path("s.results").exists()
    assert text.startswith("missing ") and "  ucmmu run --seed=0 hello\n" in text
    assert text.endswith("6 cells: 0 done, 0 failed, 6 missing; nothing was run (--dry-run)\n"), (
        text
    )
    assert [cell["state"] for cell in value["cells"]] == ["missing"] * 6
    real = sweep()[1]
    assert "\nfailed " in sweep("--dry-run")[2]
    assert value.keys() == real.keys() and value["cells"][0].keys() == real["cells"][0].keys()


def test_a_dry_run_says_what_would_run_again(workers, sweep, tmp_path):
    workers(fault=bad)
    sweep()
    one = {"done": 5, "failed": 0, "missing": 0, "again": 1}
    code, value, text = sweep("--dry-run", "--retry", "--csv", "s.csv")
    assert (code, value["counts"]) == (0, one) and "\nagain   " in text
    assert "6 cells: 5 done, 0 failed, 0 missing, 1 again; nothing was run (--dry-run)\n" in text
    with open("s.csv", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)].count("again") == 1
    assert sweep("--dry-run", "--redo")[1]["counts"]["again"] == 6
    (tmp_path / "s.toml").write_text(SPEC + "[options]\ntimeout = 9\n")
    assert sweep("--dry-run")[1]["counts"] == one


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--csv", "s.toml"], "--csv s.toml: is the spec: give --csv a file of its own"),
        (["--csv", "./link"], "--csv ./link: is the spec: give --csv a file of its own"),
        (
            ["--parquet", "s.results/x"],
            "--parquet s.results/x: lies among the results: give --parquet a file of its own",
        ),
        (["--csv", "s.json"], "--json and --csv cannot both have the same file or stdout"),
        (
            ["--csv", "-", "--parquet", "/dev/stdout"],
            "--csv and --parquet cannot both have the same file or stdout",
        ),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_no_output_takes_the_place_of_another_file(workers, sweep, tmp_path, words, line, dry):
    pytest.importorskip("pyarrow")
    fake = workers()
    (tmp_path / "link").symlink_to("s.toml")
    code, _, text = sweep(*words, *dry)
    assert (code, text) == (ExitCode.USAGE, f"ucmmu: {line}\n") and not fake.ran
    assert (tmp_path / "s.toml").read_text() == SPEC and not Path("s.results").exists()


def test_tables_for_other_programs(workers, sweep):
    pq = pytest.importorskip("pyarrow.parquet")
    workers(fault=bad)
    sweep("--csv", "s.csv", "--parquet", "s.parquet")
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == list("012345")
    assert rows[0]["report.VmPTE"] == "28" and rows[0]["report.mm.x"] == "1"
    assert (rows[3]["state"], rows[3]["report.VmPTE"]) == ("failed", "")
    table = pq.read_table("s.parquet").to_pydict()
    assert table["seed"] == list(range(6))
    assert table["report.VmPTE"] == [28, 28, 28, None, 28, 28]
    assert table["error"][2:4] == [None, "it is \x1b[bad"]


def test_numbers_too_large_for_parquet_are_text(workers, sweep, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    workers()
    (tmp_path / "s.toml").write_text(
        SPEC.replace("{ from = 0, to = 5 }", "[1, 0x7fffffffffffffff]")
    )
    sweep("--parquet", "s.parquet")
    assert pq.read_table("s.parquet")["seed"].to_pylist() == [1, 2**63 - 1]
    (tmp_path / "s.toml").write_text(
        SPEC.replace("{ from = 0, to = 5 }", '[1, "18446744073709551615"]')
    )
    sweep("--parquet", "s.parquet")
    assert pq.read_table("s.parquet")["seed"].to_pylist() == ["1", "18446744073709551615"]


def test_figures_that_the_spec_asks_for(workers, sweep, tmp_path):
    workers()
    (tmp_path / "s.toml").write_text(SPEC + "[table]\nfigures = ['mm.x', 'mm.no', 'ended']\n")
    text = sweep()[2]
    assert next(line.split() for line in text.splitlines() if " w " in line) == [
        *("w", "0", "1", "–", "exit", "exit", "0")
    ]
    assert "no report has 'mm.no'; did you mean 'mm.x'?\n" in text
    (tmp_path / "s.toml").write_text(SPEC + "[table]\nfigures = ['VmPTE', 'VmTPE', 'mm']\n")
    assert [line for line in sweep()[2].splitlines() if "no report" in line] == [
        "no report has 'VmTPE'; did you mean 'VmPTE'?"
    ]


def test_a_table_with_many_settings_keeps_its_words_whole(workers, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("ucmmu.terminal.WIDTH", 80)
    workers()
    (tmp_path / "s.toml").write_text(
        "[workloads]\nw = 'hello'\n[matrix]\nfree-tables = ['never', 'refcount-pmdlock']\n"
        "tlb = ['tiny']\nseed = [1]\nfidelity = 'exact'\ncpus = [1, 2]\nram = '1G'\n"
        "[table]\nfigures = ['VmPTE']\n"
    )
    lines = sweep()[2].splitlines()
    head = next(line for line in lines if "workload" in line)
    assert head.split() == ["workload", "free-tables", "cpus", "VmPTE/kB", "ended"]
    assert sum("refcount-pmdlock" in line for line in lines) == 2
    assert sum(" exit 0" in line for line in lines) == 4


def test_the_time_of_a_race_is_not_the_setting(workers, sweep, tmp_path):
    workers()
    (tmp_path / "s.toml").write_text(
        "[workloads]\nw = { race = 'fault-zap' }\n[matrix]\nseconds = [7]\nseed = [1]\n"
    )
    (cell,) = sweep()[1]["cells"]
    assert (cell["seconds"], cell["wall_seconds"]) == (7, 0.5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--csv", "no/s.csv"], "--csv no/s.csv: No such file or directory"),
        (["--parquet", "."], "--parquet .: Is a directory"),
        (["--results", "s.toml"], "--results s.toml: Not a directory"),
        (["--results", "s.toml/x"], "--results s.toml/x: Not a directory"),
        (["--results", "/proc/x"], "--results /proc/x: No such file or directory"),
    ],
)
def test_where_nothing_can_be_written_nothing_is_run(workers, sweep, words, line):
    fake = workers()
    code, _, text = sweep(*words)
    assert (code, text) == (ExitCode.NO_OUTPUT, f"ucmmu: {line}\n") and not fake.ran


def test_a_full_disk_ends_the_sweep_with_a_line(workers, sweep, monkeypatch):
    fake = workers(size=1)

    def full(option, target, data):
        if len(fake.ran) > 2:
            raise Failure(ExitCode.NO_OUTPUT, f"{option} {target}: No space left on device")
        write_whole(option, target, data)

    monkeypatch.setattr("ucmmu.sweep.results.write_whole", full)
    code, value, text = sweep("--csv", "s.csv")
    kept = value["counts"]["done"]
    assert code == ExitCode.NO_OUTPUT and 1 <= kept == len(results())
    assert text.endswith(
        f"No space left on device; {kept} of 6 cells are kept: the same command goes on\n"
    )
    assert f"6 cells: {kept} done, 0 failed, {6 - kept} missing" in text and Path("s.csv").exists()
    assert not list(Path("s.results").glob("*.claim"))


def test_results_that_cannot_be_written_are_shown_if_all_are_there(workers, sweep, monkeypatch):
    workers()
    sweep()

    def refuse(self):
        raise Failure(ExitCode.NO_OUTPUT, "--results s.results: Read-only file system")

    monkeypatch.setattr(Results, "open", refuse)
    assert sweep()[0] == 0
    assert sweep("--redo")[0] == ExitCode.NO_OUTPUT


def test_without_what_an_option_needs(workers, sweep, monkeypatch):
    workers()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, text = sweep("--parquet", "x")
    assert code == ExitCode.NO_EXTRA and "pip install 'ucmmu[trace]'" in text
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, text = sweep("--cluster", "tcp://127.0.0.1:1")
    assert code == ExitCode.NO_EXTRA
    assert "ucmmu: --cluster needs distributed: pip install 'ucmmu[cluster]'\n" in text


def test_real_cells_are_as_ucmmu_run_has_them(sweep, tmp_path):
    (tmp_path / "s.toml").write_text(
        "[workloads]\nw = '--env=A=1 dontneed_loop 4M 2M'\nno = 'sh -c \"exit 3\"'\n"
        "[options]\nfree-tables = 'scan'\n"
    )
    code, value, text = sweep("--jobs", "2")
    scan, three = (cell["report"] for cell in value["cells"])
    assert code == 0 and scan["free_tables"] == "scan"
    assert (three["exit_code"], three["ended"]) == (3, "exit") and " exit 3 " in text
    words = ["--free-tables=scan", "--env=A=1", "dontneed_loop", "4M", "2M"]
    assert main(["run", "--json", "one.json", *words]) == 0
    one = json.loads(Path("one.json").read_text())
    assert one["mm_counters"] == scan["mm_counters"]
    assert one["instructions"] == scan["instructions"]


def test_a_time_limit_is_of_each_cell(sweep, tmp_path):
    (tmp_path / "s.toml").write_text(
        "[workloads]\nw = 'sh -c \"while :; do :; done\"'\n[options]\ntimeout = 0.5\n"
    )
    code, value, text = sweep()
    assert code == 1 and value["cells"][0]["exit_code"] == ExitCode.TIMEOUT
    assert "w: stopped after 0.5 s (--timeout)\n" in text


LOOP = "sh -c 'i=0; while [ $i -lt {} ]; do i=$((i+1)); done'"


def begin(tmp_path, times, seeds):
    """Start a sweep of cells that count so far, with two workers."""
    (tmp_path / "s.toml").write_text(
        f'[workloads]\nw = "{LOOP.format(times)}"\n[matrix]\nseed = {seeds}\n'
    )
    words = ["sweep", "--jobs", "2", "--json", "s.json", "s.toml"]
    return subprocess.Popen(
        [sys.executable, "-m", "ucmmu", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def at_work(pid, count):
    """All workers as soon as so many have a cell whose guest runs."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        workers = children_of(pid)
        busy = [one for one in workers if any(children_of(cell) for cell in children_of(one))]
        if len(busy) == count:
            return workers
        time.sleep(0.02)
    raise AssertionError("no cells")


def family(pid):
    """A process's children, and theirs."""
    return [one for child in children_of(pid) for one in [child, *family(child)]]


def gone(pids):
    """Whether all these processes end soon."""
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_worker_or_a_cell_that_is_killed_loses_no_other(tmp_path):
    process = begin(tmp_path, 4000, [1, 2])
    before = at_work(process.pid, 2)
    os.kill(before[0], signal.SIGKILL)
    assert gone(before)
    (cell,) = children_of(at_work(process.pid, 2)[0])
    os.kill(cell, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    value = json.loads((tmp_path / "s.json").read_text())
    assert process.returncode == 1, out
    assert value["counts"] == {"done": 1, "failed": 1, "missing": 0}
    assert (value["ran"], value["worker_deaths"]) == (2, 1)
    assert "the cell's process died of SIGKILL and left no result" in out
    assert not list(tmp_path.glob("ucmmu-sweep-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_running(tmp_path, number):
    process = begin(tmp_path, 10**9, [1])
    at_work(process.pid, 1)
    everybody = family(process.pid)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), out
    assert gone(everybody)
    if number == signal.SIGINT:
        line = "ucmmu: stopped by SIGINT; 0 of 1 cells are kept: the same command goes on\n"
        assert out.endswith(line)
    assert not list((tmp_path / "s.results").glob("*.json"))
    assert not list(tmp_path.glob("ucmmu-sweep-*"))
