# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a program is found and started as its user typed it, with the documented part of the user's
environment, or with what the options say.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ucmmu.environment import DEFAULT_PATH, environment_of
from ucmmu.options import RunOptions, find_program, guests_directory

ROOT = Path(__file__).resolve().parents[2]


def ucmmu(*args, env=None, cwd=None, stdin=""):
    """Run the command as a user with this environment does; its stdout and report."""
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--timeout", "60", *args],
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(env or {})},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def need(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} in PATH")
    return path


USER = {
    "HOME": "/home/me",
    "LC_ALL": "C",
    "TZ": "Asia/Tokyo",
    "LD_LIBRARY_PATH": "/secret",
    "API_TOKEN": "secret",
    "MALLOC_CONF": "dirty_decay_ms:0",
    "MIMALLOC_VERBOSE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}


def test_the_default_is_a_documented_part_of_the_users(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in USER.items():
        monkeypatch.setenv(name, value)
    passed = {key: USER[key] for key in USER if key not in ("LD_LIBRARY_PATH", "API_TOKEN")}
    assert environment_of(RunOptions("x")) == {**passed, "PATH": DEFAULT_PATH}


def test_what_is_asked_for_comes_on_top(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    options = RunOptions("x", clear_env=True, env=("A=1", "API_TOKEN", "B=", "A=2=3"))
    assert environment_of(options) == {"A": "2=3", "API_TOKEN": "secret", "B": ""}


def test_a_root_has_the_usual_path(monkeypatch):
    monkeypatch.setenv("PATH", "/home/me/bin")
    assert environment_of(RunOptions("x", root="/somewhere"))["PATH"] == DEFAULT_PATH


def test_the_documentation_names_every_variable():
    from ucmmu.environment import PASSED

    text = (ROOT / "docs" / "programs.md").read_text()
    assert [name for name in PASSED if f"`{name}`" not in text] == []


def test_the_program_gets_it():
    need("env")
    args = ("--clear-env", "--env", "ONE=1", "--env", "TWO=a b", "env")
    assert ucmmu(*args) == "ONE=1\nTWO=a b\n"
    assert "API_TOKEN" not in ucmmu("env", env=USER)
    assert "TZ=Asia/Tokyo\n" in ucmmu("env", env=USER)


def test_a_guest_comes_before_a_file_here_and_that_before_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("hello", "env"):
        (tmp_path / name).write_bytes(b"x")
    assert find_program("hello") == guests_directory() / "hello"
    assert find_program("env") == Path("env")
    assert str(find_program("sh")) == need("sh")


def test_argv_0_is_what_was_typed():
    need("dash")
    assert ucmmu("dash", "-c", "echo $0") == "dash\n"
    path = need("dash")
    assert ucmmu(path, "-c", "echo $0") == f"{path}\n"


def test_a_script_is_started_by_its_interpreter(tmp_path):
    need("dash")
    script = tmp_path / "script"
    script.write_text('#!/usr/bin/env dash\necho "$0: $# $1"\nread line; echo $line\n')
    script.chmod(0o755)
    assert ucmmu("./script", "a b", cwd=tmp_path, stdin="input\n") == "./script: 1 a b\ninput\n"


def test_working_directory_and_user(tmp_path):
    need("dash")
    (tmp_path / "below").mkdir()
    assert ucmmu("--cwd", "below", "dash", "-c", "pwd", cwd=tmp_path) == f"{tmp_path}/below\n"
    told = ucmmu("--cwd", "/usr/lib", "--uid", "12345", "dash", "-c", "pwd; id -u; id -g")
    assert told == "/usr/lib\n12345\n12345\n"
    assert ucmmu("dash", "-c", "id -u") == f"{os.getuid()}\n"


def test_the_report_names_them(tmp_path):
    report = tmp_path / "report.json"
    ucmmu("--json", str(report), "--clear-env", "--env", "A=secret", "--uid", "7", "hello")
    told = json.loads(report.read_text())
    assert (told["env"], told["uid"], told["preload"]) == (["A"], 7, [])
    assert told["cwd"] == os.getcwd()


def test_a_library_is_preloaded_by_path_by_file_and_by_name(tmp_path):
    gcc = need("gcc")
    source = tmp_path / "told.c"
    source.write_text(
        "#include <unistd.h>\n"
        '__attribute__((constructor)) static void told(void) { write(1, "here\\n", 5); }\n'
    )
    library = tmp_path / "libtold.so.1"
    subprocess.run([gcc, "-shared", "-fPIC", "-o", library, source], check=True)
    assert ucmmu("--preload", str(library), "/bin/true") == "here\n"
    assert ucmmu("--preload", "./libtold.so.1", "/bin/true", cwd=tmp_path) == "here\n"


def test_a_name_for_preload_is_looked_for_in_the_usual_directories(monkeypatch):
    import ucmmu.environment

    for name in ("m", "libm.so.6"):
        found = environment_of(RunOptions("x", clear_env=True, preload=(name,)))
        assert found["LD_PRELOAD"].endswith("/libm.so.6")
    monkeypatch.setattr(ucmmu.environment, "LIBRARY_DIRECTORIES", ("/nowhere",))
    with pytest.raises(Exception, match="no such library in /nowhere"):
        environment_of(RunOptions("x", preload=("m",)))


def test_of_a_static_program_it_is_said_that_nothing_is_preloaded(tmp_path):
    report = tmp_path / "report.json"
    ucmmu("--preload", "libm.so.6", "--json", str(report), "hello")
    notes = json.loads(report.read_text())["notes"]
    assert "--preload has no effect: the program is static" in notes


def test_time_zone_and_locale():
    need("date")
    assert ucmmu("--env", "TZ=Asia/Tokyo", "date", "+%Z%z") == "JST+0900\n"
    need("locale")
    assert ucmmu("--env", "LC_ALL=C.UTF-8", "locale", "charmap") == "UTF-8\n"


def test_a_loader_is_a_program_too():
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if not loader.exists():
        pytest.skip("no glibc here")
    assert ucmmu(str(loader), need("echo"), "through it") == "through it\n"


def test_system_calls_go_where_the_user_wants_them(tmp_path):
    calls = tmp_path / "calls"
    assert ucmmu("--strace-out", str(calls), "hello").startswith("hello, world\n")
    lines = calls.read_text().splitlines()
    assert lines[0].startswith("execve(") and lines[-1] == "+++ exited with 0 +++"
    assert any(line.startswith('write(1, "hello, world\\n') for line in lines)
    assert "\n".join(lines[1:]) in ucmmu("--strace-out", "-", "hello")


def test_system_calls_that_cannot_be_written_are_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--strace-out", "/dev/full", "hello"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 73
    assert done.stderr.endswith("ucmmu: --strace-out /dev/full: No space left on device\n")
