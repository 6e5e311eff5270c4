# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever is asked wrongly gives one clear line on stderr, nothing on stdout, and its own
code.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from ucmmu import exit_codes
from ucmmu.cli import build_parser, main
from ucmmu.exit_codes import ExitCode
from ucmmu.options import RunOptions, find_program, guests_directory


def one_line(capfd, argv, code):
    """Run the command, expect the code and one line, and return that."""
    assert main(argv) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("ucmmu: ")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    "line",
    [
        "frobnicate",
        "run",
        "run --",
        "run --bogus hello",
        "run --ram",
        "run --ram 0 hello",
        "run --ram many hello",
        "run --ram 4097 hello",
        "run --ram -1 hello",
        "run --memory-limit none hello",
        "run --timeout 0 hello",
        "run --timeout soon hello",
        "run --timeout nan hello",
        "run --free-tables sometimes hello",
        "run --fidelity exactly hello",
        "run --engine rust hello",
        "run --cpus 0 hello",
        "run --cpus 65 hello",
        "run --cpus two hello",
        "run --cpus 2 --no-count hello",
        "run --quantum 0 hello",
        "run --quantum 1e3 hello",
        "run --quantum 1000 --no-count hello",
        "run --seed -1 hello",
        "run --seed 18446744073709551616 hello",
        "compare --cpus 65 hello",
        "run --fidelity trace hello",
        "run --trace-limit 1M hello",
        "run --trace-filter event=pte_get hello",
        "run --trace x --trace-limit many hello",
        "run --trace x --trace-filter event=pte_gt hello",
        "run --trace x --trace-filter faults=3 hello",
        "run --trace x --trace-filter around=pte_free hello",
        "run --trace x --no-count hello",
        "run --json - --trace - hello",
        "run --fid exact hello",
        "run --json - --strace-out - hello",
        "compare",
        "run --env =x hello",
        "run --env UCMMU_NOT_SET hello",
        "run --uid -1 hello",
        "run --uid root hello",
        "run --uid 4294967295 hello",
        "run --cwd /nowhere hello",
        "run --cwd /etc/passwd hello",
        "run --preload nosuchlibrary hello",
        "run --preload /nowhere/lib.so hello",
        "run --preload /etc/passwd hello",
        "run --preload= hello",
        "list hello",
        "list --bogus",
    ],
)
def test_usage(capfd, line):
    one_line(capfd, shlex.split(line), ExitCode.USAGE)


@pytest.mark.parametrize("command", ["run", "compare"])
@pytest.mark.parametrize("name", ["./nosuch", "/", "nosuch", "", "a/b\0c", "/dev/null"])
def test_no_program(capfd, command, name):
    one_line(capfd, [command, "--", name], ExitCode.NO_PROGRAM)


def test_a_missing_guest_names_what_makes_it(capfd):
    assert "`make guests`" in one_line(capfd, ["run", "nosuch"], ExitCode.NO_PROGRAM)


def test_an_unreadable_program(capfd, tmp_path, monkeypatch):
    program = tmp_path / "program"
    program.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "permission denied" in one_line(capfd, ["run", str(program)], ExitCode.NO_PROGRAM)


def test_a_file_here_is_found_by_its_bare_name_but_a_guest_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_bytes(b"x")
    assert find_program("mine").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["/nonexistent/x.json", "/", "a\0b"])
def test_json_that_cannot_be_written_is_known_before_the_run(capfd, tmp_path, target):
    program = tmp_path / "program"
    program.write_bytes(b"not even run")
    one_line(capfd, ["run", "--json", target, str(program)], ExitCode.NO_OUTPUT)


def test_a_trace_that_cannot_be_written_is_known_before_the_run(capfd, tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"not even run")
    argv = ["run", "--trace", "/nonexistent/trace", str(program)]
    one_line(capfd, argv, ExitCode.NO_OUTPUT)


@pytest.mark.parametrize("json_target", [[], ["--json", "-"]])
def test_list(capfd, json_target):
    assert main(["list", *json_target]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for name in ("never", "scan", "refcount", "refcount-pmdlock", "tiny", "skylake"):
        assert name in out
    if json_target:
        assert set(json.loads(out)) == {"guests", "geometries", "policies"}


def test_a_closed_stdout_is_one_line():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "list"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.returncode == ExitCode.NO_OUTPUT
    assert done.stderr == "ucmmu: stdout was closed before the report was written\n"


@pytest.mark.parametrize(
    "argv",
    [["--help"], *([name, "--help"] for name in ("run", "compare", "sweep", "list"))],
)
def test_every_help_has_an_example_that_parses(capfd, argv):
    with pytest.raises(SystemExit) as done:
        main(argv)
    assert done.value.code == 0
    out = capfd.readouterr().out
    examples = re.findall(r"^  ucmmu (.+)$", out.partition("example")[2], re.MULTILINE)
    assert examples
    for example in examples:
        assert build_parser().parse_args(shlex.split(example)).command


def test_help_lists_every_exit_code(capfd):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capfd.readouterr().out
    assert set(exit_codes.MEANING) == set(ExitCode)
    for code in ExitCode:
        assert code == 0 or re.search(rf"^ +{code.value}  ", out, re.MULTILINE)


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from ucmmu.cli import build_parser; build_parser().format_help();"
        "heavy = {'rich', 'cffi', 'unicorn', 'mmu', 'cpu', 'elftools', 'capstone'};"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


def test_the_guests_arguments_are_its_own():
    parsed = build_parser().parse_args(["run", "--ram", "1G", "--", "./x", "--ram", "--", "-h"])
    assert parsed.ram == 1 << 30
    assert parsed.program == ["--", "./x", "--ram", "--", "-h"]


def test_names_are_those_of_the_mm():
    from mmu.linux.policy import FreeTables
    from ucmmu.options import POLICIES

    assert list(POLICIES) == [policy.label for policy in FreeTables]


def test_defaults_are_documented():
    options = RunOptions("hello")
    assert (options.free_tables, options.fidelity, options.engine, options.ram) == (
        "refcount",
        "fast",
        "c",
        16 << 30,
    )
    assert guests_directory().name == "build"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("rn hello", "did you mean 'run'?"),
        ("lst", "did you mean 'list'?"),
        ("hello", "did you mean `ucmmu run hello`?"),
        ("version", "did you mean '--version'?"),
        ("--fidelity exact run hello", "`ucmmu run --fidelity`"),
        ("help rn", "did you mean 'run'?"),
        ("run --fidelty exact hello", "did you mean '--fidelity'?"),
        ("run --engine c --fidelty=exact hello", "did you mean '--fidelity'?"),
        ("run --fidelity exat hello", "did you mean 'exact'?"),
        ("run --fidelity EXACT hello", "did you mean 'exact'?"),
        ("run --engine pyton hello", "did you mean 'python'?"),
        ("run --free-tables refcnt hello", "did you mean 'refcount'?"),
        ("compare --strace hello", "which is of `ucmmu run`"),
        ("run --show-output hello", "which is of `ucmmu compare`"),
        ("list --jsn -", "did you mean '--json'?"),
        ("run --no-count --fidelity exact hello", "leave it out"),
        ("run --no-count --check-tlb hello", "leave it out"),
        ("run --json x --trace ./x hello", "cannot both"),
        ("run --fidelity trace hello", "needs --trace FILE"),
        ("run --trace x --trace-filter event=pte_gt hello", "did you mean 'pte_get'?"),
        ("run --trace x --trace-filter fault=3- hello", "did you mean 'faults'?"),
        ("run --trace x --trace-filter around=pte_fre:3 hello", "did you mean 'pte_free'?"),
    ],
)
def test_a_usage_error_says_what_was_meant(capfd, line, hint):
    assert hint in one_line(capfd, shlex.split(line), ExitCode.USAGE)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("helo", "did you mean 'hello'?"),
        ("pyhton3", "did you mean 'python3'?"),
        ("", "PROGRAM is empty"),
        ("/dev/null", "character device"),
    ],
)
def test_a_program_that_is_none_says_what_was_meant(capfd, name, hint):
    assert hint in one_line(capfd, ["run", "--", name], ExitCode.NO_PROGRAM)


def test_without_a_checkout_nobody_is_sent_to_make_guests(capfd, tmp_path, monkeypatch):
    from ucmmu import options

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        options, "__file__", str(tmp_path / "site-packages" / "ucmmu" / "options.py")
    )
    assert "in ucmmu's source tree" in one_line(capfd, ["run", "nosuch"], ExitCode.NO_PROGRAM)
    assert main(["list"]) == 0
    assert "in ucmmu's source tree" in capfd.readouterr().out


@pytest.mark.parametrize("argv", [[], ["help"], ["help", "help"]])
def test_asking_for_help_gives_it(capfd, argv):
    assert main(argv) == 0
    assert "exit codes:" in capfd.readouterr().out


@pytest.mark.parametrize("command", ["run", "compare", "list"])
def test_help_on_a_command_is_that_commands(capfd, command):
    assert main(["help", command]) == 0
    out = capfd.readouterr().out
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert out == capfd.readouterr().out
    assert ("working directory" in out and "environment" in out) == (command != "list")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(capfd, option):
    with pytest.raises(SystemExit) as done:
        main([option])
    assert done.value.code == 0
    assert re.fullmatch(r"ucmmu \S+\n", capfd.readouterr().out)


@pytest.mark.parametrize("name", ["a\x1b]0;title\x07", "a\nb", "./\x9b31m", "a\u202eb", "\udcff/x"])
def test_names_cannot_steer_the_terminal(capfd, name):
    err = one_line(capfd, ["run", "--", name], ExitCode.NO_PROGRAM)
    assert err[:-1].isprintable()


def test_a_huge_name_is_shown_short(capfd):
    assert len(one_line(capfd, ["run", "x" * 100_000], ExitCode.NO_PROGRAM)) < 1000
