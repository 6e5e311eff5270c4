# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a cell's key changes with everything that decides its result, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ucmmu.cli import _command_parsers
from ucmmu.options import RunOptions, guests_directory
from ucmmu.sweep import key as key_module
from ucmmu.sweep.cell import difference
from ucmmu.sweep.cells import make_cells
from ucmmu.sweep.named_files import files_of
from ucmmu.sweep.plan import GRACE, Planner, unique
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


def test_limits_are_those_of_the_whole_command_line(plan):
    one = plan("--timeout 7 ./guest 1M", "options = { timeout = 9, memory-limit = '1G' }")
    assert one.limits == {"timeout": 7.0, "memory-limit": 1 << 30}
    assert one.job.seconds == 7 + GRACE


def test_cells_that_differ_in_limits_are_one_with_the_widest(plan):
    limits = ["--timeout 7", "--timeout 9 --memory-limit 1G", "--timeout 9", "--timeout 8"]
    cells = [plan(f"{words} ./guest 1M") for words in limits]
    assert unique(cells) == [cells[2]]
    assert unique([*cells, free := plan()]) == [free]


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
    before = files_of(words, None, None, {})
    assert before.keys() == {"./mine.py", "g.toml"}
    Path("mine.py").write_text("class Mine: pass\n")
    after = files_of(words, None, None, {})
    assert before["./mine.py"] != after["./mine.py"] and before["g.toml"] == after["g.toml"]


def of_program(name):
    return files_of(["run", name], RunOptions(name), Path(name), {})


def test_what_loads_a_program_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = Path("script")
    script.write_text("#! /bin/sh -e\n")
    assert "/bin/sh" in of_program("./script")
    assert any("ld-linux" in name for name in of_program("/bin/sh"))
    for nonsense in (b"#!\n", b"#!\xff\n", b"\x7fELF\x02", b"\x7fELF\x02" + b"\xff" * 100, b""):
        script.write_bytes(nonsense)
        assert of_program("./script").keys() == {"./script"}


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
    told = {"code": job.code, "words": job.words, "files": job.files}
    assert difference(told) is None
    assert difference({**told, "code": "other"}) == (
        f"{os.uname().nodename} has another ucmmu than the sweep began with"
    )
    with open(tmp_path / "guest", "ab") as file:
        file.write(b"\0")
    assert difference(told) == ("./guest is not the file any more that it was when the sweep began")
    (tmp_path / "guest").unlink()
    assert difference(told) == f"./guest is not there on {os.uname().nodename}"


def named(words, path, plan):
    """Whether the key of a command line changes when the file ``path`` does."""
    before = plan(words).key
    path.write_bytes(path.read_bytes() + b"\n")
    return plan(words).key != before


@pytest.fixture
def root(tmp_path):
    """A tree for --root: a program, its loader behind a link, a file."""
    for name in ("bin", "lib64", "data"):
        (tmp_path / "root" / name).mkdir(parents=True)
    shutil.copy("/bin/true", tmp_path / "root/bin/prog")
    (tmp_path / "root/data/ld").write_text("loader")
    (tmp_path / "root/lib64/ld-linux-x86-64.so.2").symlink_to("/data/../../data/ld")
    (tmp_path / "root/data/in").write_text("1")
    return tmp_path / "root"


@pytest.mark.parametrize("name", ["bin/prog", "data/ld", "data/in"])
@pytest.mark.parametrize("words", ["--root root /bin/prog {}", "--root root --cwd bin prog {}"])
def test_what_is_in_a_root_changes_it(plan, root, name, words):
    assert named(words.format("/data/in"), root / name, plan)
    assert named(words.format("../data/in"), root / name, plan)


def test_names_in_a_root_are_not_those_of_the_host(plan, root, tmp_path):
    (tmp_path / "in").write_text("1")
    words = "--root root --cwd data /bin/prog in"
    assert named(words, root / "data/in", plan)
    assert not named(words, tmp_path / "in", plan)
    (root / "loop").symlink_to("loop")
    assert plan("--root root /bin/prog /loop").key


@pytest.mark.parametrize(
    "words",
    ["--cwd sub ./guest in", "./guest if=sub/in", "./guest a=b=sub/in", "--env A=sub/in ./guest"],
)
def test_files_where_the_guest_looks_for_them(plan, tmp_path, words):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/in").write_text("1")
    assert named(words, tmp_path / "sub/in", plan)


def test_a_library_that_is_named_without_a_path(plan, tmp_path, monkeypatch):
    shutil.copy(Path(key_module.__file__).parents[2] / "mmu/_native.abi3.so", tmp_path / "libx.so")
    monkeypatch.setattr("ucmmu.environment.LIBRARY_DIRECTORIES", (str(tmp_path),))
    assert named("--preload x ./guest", tmp_path / "libx.so", plan)
    assert named("--preload ./libx.so ./guest", tmp_path / "libx.so", plan)


POLICY = """\
from mmu.linux.free_tables import FreeTablesPolicy
import {}

class Mine(FreeTablesPolicy):
    counts = True
"""


@pytest.mark.parametrize("name", ["helper.py", "parts/__init__.py", "parts/more.py", "second.py"])
def test_what_a_policy_imports_beside_it(plan, tmp_path, name):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/__init__.py").write_text("import second\n")
    (tmp_path / "parts/more.py").write_text("")
    (tmp_path / "second.py").write_text("import mine\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "other.py").write_text("")
    (tmp_path / "mine.py").write_text(POLICY.format("helper, parts.more"))
    words = "--free-tables mine.py:Mine ./guest"
    assert named(words, tmp_path / name, plan)
    assert not named(words, tmp_path / "other.py", plan)


def test_a_worker_looks_for_the_same_files(plan, root, tmp_path):
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "mine.py").write_text(POLICY.format("helper"))
    words = "--free-tables mine.py:Mine --root root /bin/prog /data/in /data/new"
    job = plan(words).job
    told = {"code": job.code, "words": job.words, "files": job.files}
    assert difference(told) is None
    (root / "data/new").write_text("")
    assert difference(told) == (
        f"root/data/new is there on {os.uname().nodename}, and was not when the sweep began"
    )
