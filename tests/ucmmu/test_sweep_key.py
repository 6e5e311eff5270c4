# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a cell's key changes with everything that decides its result, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ucmmu.cli import _command_parsers
from ucmmu.options import guests_directory
from ucmmu.sweep import key as key_module
from ucmmu.sweep.cell import difference
from ucmmu.sweep.cells import make_cells
from ucmmu.sweep.plan import Planner
from ucmmu.sweep.spec import read_spec


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Gives the one planned cell of a workload's words and more lines of a spec."""
    monkeypatch.chdir(tmp_path)

    def planned(words="./guest 1M", more=""):
        (tmp_path / "s.toml").write_text(f"{more}\n[workloads]\na = {words!r}\n")
        (one,) = Planner(spec := read_spec("s.toml"), _command_parsers()).plan(
            make_cells(spec, _command_parsers())
        )
        return one

    shutil.copy(guests_directory() / "hello", tmp_path / "guest")
    return planned


def test_equal_cells_have_equal_keys(plan, tmp_path):
    key = plan().key
    assert len(key) == 64 and key == plan().key
    (tmp_path / "guest").touch()
    assert plan().key == key


def test_a_default_that_is_written_out_changes_nothing(plan):
    assert plan("--cpus 1 --tlb skylake -- ./guest 1M").key == plan().key
    assert plan("--cpus=0x1 ./guest 1M", "options = { seed = 0 }").key == plan().key


def test_limits_change_nothing(plan):
    assert plan(more="options = { timeout = 7, memory-limit = '1G' }").key == plan().key


@pytest.mark.parametrize(
    "words",
    [
        "./guest 2M",
        "./guest",
        "guest 1M",
        "--cpus 2 ./guest 1M",
        "--seed 1 ./guest 1M",
        "--free-tables never ./guest 1M",
        "--fidelity exact ./guest 1M",
        "--env A=1 ./guest 1M",
        "--clear-env ./guest 1M",
        "--no-fast-faults ./guest 1M",
        "--ram 1G ./guest 1M",
    ],
)
def test_every_option_and_argument_changes_it(plan, words):
    assert plan(words).key != plan().key


def test_the_program_changes_it(plan, tmp_path):
    before = plan().key
    with open(tmp_path / "guest", "ab") as file:
        file.write(b"\0")
    assert plan().key != before


def test_a_file_among_the_arguments_changes_it(plan, tmp_path):
    before = plan("./guest data --x=other").key
    (tmp_path / "data").write_text("1")
    with_one = plan("./guest data --x=other").key
    (tmp_path / "other").write_text("1")
    with_two = plan("./guest data --x=other").key
    (tmp_path / "data").write_text("2")
    assert len({before, with_one, with_two, plan("./guest data --x=other").key}) == 4


def test_the_file_of_a_policy_and_of_a_geometry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("class Mine: ...\n")
    Path("g.toml").write_text("")
    words = ["run", "--free-tables=./mine.py:Mine", "--tlb=g.toml", "--cpus=2"]
    before = key_module.files_of(words, None)
    assert before.keys() == {"./mine.py", "g.toml"}
    Path("mine.py").write_text("class Mine: pass\n")
    after = key_module.files_of(words, None)
    assert before["./mine.py"] != after["./mine.py"] and before["g.toml"] == after["g.toml"]


def test_what_loads_a_program_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = Path("script")
    script.write_text("#! /bin/sh -e\n")
    assert "/bin/sh" in key_module.files_of([], "./script")
    assert any("ld-linux" in name for name in key_module.files_of([], "/bin/sh"))
    for nonsense in (b"#!\n", b"#!\xff\n", b"\x7fELF\x02", b"\x7fELF\x02" + b"\xff" * 100, b""):
        script.write_bytes(nonsense)
        assert key_module.files_of([], "./script").keys() == {"./script"}


def test_the_environment_the_directory_and_our_code_change_it(plan, tmp_path, monkeypatch):
    keys = {plan().key}
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    keys.add(plan().key)
    monkeypatch.setenv("NOT_PASSED", "1")
    assert plan().key in keys
    monkeypatch.setattr("ucmmu.sweep.plan.code_digest", lambda: "other")
    keys.add(plan().key)
    assert len(keys) == 3
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "guest", elsewhere)
    monkeypatch.chdir(elsewhere)
    (elsewhere / "s.toml").write_text("[workloads]\na = './guest 1M'\n")
    (there,) = Planner(spec := read_spec("s.toml"), _command_parsers()).plan(
        make_cells(spec, _command_parsers())
    )
    assert there.key not in keys


def test_our_code_is_all_that_runs_use(tmp_path, monkeypatch):
    for name in ("mmu/x86/a.py", "mmu/_native.so", "cpu/b.py", "ucmmu/run.py", "ucmmu/sweep/c.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    monkeypatch.setattr(key_module, "__file__", str(tmp_path / "ucmmu/sweep/key.py"))
    seen = {key_module.code_digest()}
    for name in ("mmu/x86/a.py", "mmu/_native.so", "cpu/b.py", "ucmmu/run.py"):
        (tmp_path / name).write_text("2")
        digest = key_module.code_digest()
        assert digest not in seen
        seen.add(digest)
    (tmp_path / "ucmmu/sweep/c.py").write_text("2")
    assert key_module.code_digest() == digest


def test_a_worker_refuses_what_is_not_as_it_was(plan, tmp_path):
    job = plan("./guest data").job
    told = {"code": job.code, "words": job.words, "program": job.program, "files": job.files}
    assert difference(told) is None
    assert difference({**told, "code": "other"}) == (
        f"{os.uname().nodename} has another ucmmu than the sweep began with"
    )
    with open(tmp_path / "guest", "ab") as file:
        file.write(b"\0")
    assert difference(told) == ("./guest is not the file any more that it was when the sweep began")
    (tmp_path / "guest").unlink()
    assert difference(told) == f"./guest is not there on {os.uname().nodename}"
