# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: `ucmmu trace` shows the events that are asked for, where they are asked for, and says in
one line what is wrong.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ucmmu.trace_files import PGD, Recording, event, insn, process
from ucmmu.cli import main
from ucmmu.exit_codes import SIGNALLED, ExitCode

ROOT = Path(__file__).resolve().parents[2]
UCMMU = [sys.executable, "-m", "ucmmu"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "PAGER": "cat"}
ENVIRONMENT.pop("NO_COLOR", None)
STORE = b"\xc6\x00\x01"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Two functions of a guest, three faults, on two CPUs."""
    recording = Recording()
    process(recording, functions=[[0x401000, 0x10, "main"], [0x401010, 0x10, "touch"]])
    for number, (ip, cpu) in enumerate(((0x401000, 0), (0x401010, 1), (0x401014, 1))):
        where = {"cpu": cpu, "task": 1, "instruction": number}
        recording.add(
            insn(ip, STORE, **where),
            event("tlb_miss", 0x7000 + number * 0x1000, 1, **where),
            event("page_fault", 0x7000 + number * 0x1000, 6, **where),
            event("page_fault_user", 0x7000 + number * 0x1000, 6, PGD, **where),
        )
    return recording.save(tmp_path_factory.mktemp("traces") / "a.trace")


def ran(capfd, *argv):
    code = main(["trace", *map(str, argv)])
    out, err = capfd.readouterr()
    return code, out, err


def numbers(out):
    """The numbers of the events that a text shows."""
    return [int(line.split()[0]) for line in out.splitlines() if re.match(r" *\d", line)]


def test_everything_is_shown_once_in_order(capfd, file):
    code, out, err = ran(capfd, file)
    assert (code, err) == (0, "")
    assert numbers(out) == list(range(12))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--filter", "event=page_fault*"], [2, 3, 6, 7, 10, 11]),
        (["--filter", "event=page_fault*", "--filter", "cpu=0"], [2, 3]),
        (["--filter", "number=3-6"], [3, 4, 5]),
        (["--filter", "address=0x8000+4K"], [5, 6, 7]),
        (["--filter", "function=touch event=tlb_miss"], [5, 9]),
        (["--filter", "instruction=2"], [8, 9, 10, 11]),
        (["--limit", "2"], [0, 1]),
        (["--around", "page_fault:1", "--limit", "4"], [1, 2, 3, 5]),
        (["--around", "5:2"], [3, 4, 5, 6, 7]),
        (["--around", "5:0", "--filter", "cpu=1"], [5]),
        (["--filter", "task=2"], []),
    ],
)
def test_only_what_is_asked_for_is_shown(capfd, file, options, shown):
    code, out, _ = ran(capfd, *options, file)
    assert (code, numbers(out)) == (0, shown)


def test_groups_are_parted_as_grep_parts_them(capfd, file):
    _, out, _ = ran(capfd, "--around", "page_fault:0", file)
    assert [line for line in out.splitlines() if line == "--"] == ["--", "--"]


def test_json_lines_have_every_value_and_its_meaning(capfd, file):
    code, out, _ = ran(capfd, "--json", "-", "--filter", "function=touch", "--limit", "2", file)
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert first == {
        "number": 4,
        "event": "insn",
        "cpu": 1,
        "task": 1,
        "instruction": 1,
        "time_ns": 1,
        "fields": {"ip": "0x401010", "size": 3, "code": "0x100c6", "code_high": "0x0"},
        "bytes": "c60001",
        "text": "mov byte ptr [rax], 1",
        "function": "touch",
    }
    assert second["fields"] == {"address": "0x8000", "access": 1}
    assert second["words"] == {"access": "write"}


@pytest.mark.parametrize("form", ["text", "jsonl", "ftrace", "trace.dat", "perfetto", "parquet"])
def test_every_format_goes_into_a_file(capfd, file, tmp_path, form):
    target = tmp_path / "out"
    code, out, err = ran(capfd, "--format", form, "-o", target, file)
    assert (code, out, err) == (0, "", "")
    assert target.stat().st_size > 100


def test_sql_is_answered(capfd, file):
    pytest.importorskip("duckdb")
    sql = "select count(*) as n from events"
    assert "12" in ran(capfd, "--query", sql, file)[1]
    assert json.loads(ran(capfd, "--query", sql, "--json", "-", file)[1]) == [{"n": 12}]
    assert ran(capfd, "--query", sql, "--csv", file)[1].splitlines() == ["n", "12"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--format", "xml"], "none of text"),
        (["--limit", "0"], "'0' is no number of events"),
        (["--around", "page_falt"], "did you mean 'page_fault'"),
        (["--around", "page_fault:x"], "'x' is no number of events"),
        (["--filter", "event=page_falt"], "did you mean 'page_fault'"),
        (["--filter", "function=tuch"], "names no such function; did you mean 'touch'?"),
        (["--csv"], "needs --query"),
        (["--query", "select 1", "--limit", "3"], "says it in SQL"),
        (["--query", "select 1", "--csv", "--json"], "does not go with --json"),
        (["--json", "-", "-o", "x"], "does not go with -o"),
        (["--json", "-", "--format", "ftrace"], "does not go with --format ftrace"),
        (["--format", "parquet", "--limit", "3"], "without --around and --limit"),
        (["--colour", "never"], "unknown option '--colour'; did you mean '--color'"),
    ],
)
def test_what_does_not_go_together_is_told(capfd, file, options, hint):
    code, out, err = ran(capfd, file, *options)
    assert (code, out) == (ExitCode.USAGE, "")
    assert hint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("missing", None, "No such file"),
        ("empty", b"", ""),
        ("program", b"\x7fELF" + bytes(5000), ""),
        ("text", b"Hello, world.\n" * 100, ""),
    ],
)
def test_what_is_no_trace_is_told(capfd, tmp_path, name, content, hint):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    code, out, err = ran(capfd, path)
    assert (code, out) == (ExitCode.BAD_TRACE, "")
    assert str(path) in err and hint in err
    assert err.count("\n") == 1


def test_a_directory_is_no_trace(capfd, tmp_path):
    code, _, err = ran(capfd, tmp_path)
    assert code == ExitCode.BAD_TRACE
    assert err.count("\n") == 1


def test_a_torn_trace_is_shown_up_to_its_tear(capfd, file, tmp_path):
    torn = tmp_path / "torn.trace"
    torn.write_bytes(file.read_bytes()[:-40])
    code, out, err = ran(capfd, torn)
    assert (code, numbers(out)) == (0, list(range(12)))
    assert err.startswith(f"ucmmu: warning: {torn}: ")
    assert err.count("\n") == 1


def test_the_trace_itself_is_not_written_over(capfd, file):
    before = file.read_bytes()
    code, _, err = ran(capfd, "-o", file, file)
    assert code == ExitCode.NO_OUTPUT
    assert "is the trace itself" in err
    assert file.read_bytes() == before


@pytest.mark.parametrize("target", ["/dev/full", "/nowhere/out", "/"])
def test_a_place_that_cannot_be_written_is_told(capfd, file, target):
    code, _, err = ran(capfd, "-o", target, file)
    assert code == ExitCode.NO_OUTPUT
    assert err.startswith(f"ucmmu: -o {target}: ")
    assert err.count("\n") == 1


def start(*words, **options):
    return subprocess.Popen([*UCMMU, *map(str, words)], env=ENVIRONMENT, cwd=ROOT, **options)


def test_a_reader_that_leaves_ends_it_quietly(file):
    reader, writer = os.pipe()
    os.close(reader)
    with start("trace", file, stdout=writer, stderr=subprocess.PIPE) as child:
        os.close(writer)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (SIGNALLED + 13, b"")


def test_a_trace_comes_through_a_pipe(file):
    with open(file, "rb") as source:
        cat = subprocess.Popen(["cat"], stdin=source, stdout=subprocess.PIPE)
        done = subprocess.run(
            [*UCMMU, "trace", "-"],
            stdin=cat.stdout,
            capture_output=True,
            env=ENVIRONMENT,
            timeout=30,
            text=True,
        )
        cat.wait(timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    assert numbers(done.stdout) == list(range(12))


def on_a_terminal(*words, **environment):
    """What the command shows on a terminal, and its exit code."""
    ours, theirs = pty.openpty()
    env = {**ENVIRONMENT, **environment}
    child = subprocess.Popen(
        [*UCMMU, *map(str, words)], stdout=theirs, stderr=theirs, stdin=theirs, env=env, cwd=ROOT
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass
    os.close(ours)
    return child.wait(timeout=30), shown.decode().replace("\r\n", "\n")


def test_a_terminal_has_colours_and_a_pager(file):
    code, shown = on_a_terminal("trace", file, PAGER="sed s/^/PAGED/")
    assert code == 0
    lines = [line for line in shown.splitlines() if line]
    assert all(line.startswith("PAGED") for line in lines)
    assert "\x1b[1m" in shown and "\x1b[1;31m" in shown
    assert numbers(re.sub(r"\x1b\[[\d;]*m|PAGED", "", shown)) == list(range(12))


def test_a_pager_that_is_left_ends_it_quietly(file):
    code, shown = on_a_terminal("trace", file, PAGER="head -1 >/dev/null; exit 0")
    assert (code in (0, SIGNALLED + 13), shown) == (True, "")


@pytest.mark.parametrize(
    ("options", "environment"), [(["--color", "never"], {}), ([], {"NO_COLOR": "1"})]
)
def test_colours_can_be_refused(file, options, environment):
    assert "\x1b" not in on_a_terminal("trace", *options, "--no-pager", file, **environment)[1]


def test_colours_can_be_asked_for(capfd, file):
    assert "\x1b[" in ran(capfd, "--color", "always", file)[1]
    assert "\x1b[" not in ran(capfd, file)[1]


@pytest.mark.parametrize("form", ["trace.dat", "perfetto", "parquet"])
def test_a_terminal_is_not_given_bytes(file, form):
    code, shown = on_a_terminal("trace", "--format", form, file)
    assert code == ExitCode.USAGE
    assert shown.endswith("is not text: give -o FILE (`ucmmu trace --help` shows how)\n")


def test_a_missing_package_is_told_with_its_command(file, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError(name='pyarrow')")
    done = subprocess.run(
        [*UCMMU, "trace", "--format", "parquet", "-o", "/dev/null", str(file)],
        env={**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == ExitCode.NO_EXTRA
    assert done.stderr == "ucmmu: --format parquet needs pyarrow: pip install 'ucmmu[trace]'\n"


def test_the_examples_of_the_help_run(capfd, tmp_path, monkeypatch):
    """With the smallest guest, for most of them show all there is."""
    with pytest.raises(SystemExit):
        main(["trace", "--help"])
    text = capfd.readouterr().out.partition("examples:")[2]
    examples = re.findall(r"^  ucmmu (.+)$", text, re.MULTILINE)
    assert len(examples) > 5
    monkeypatch.chdir(tmp_path)
    for line in examples:
        example = line.replace("hello", "one_table").replace("run ", "run --cpus 2 --quantum 4 ")
        if "|" not in example:
            assert main(shlex.split(example)) == 0, example
            continue
        command = f"ucmmu {example}".replace("ucmmu ", f"{shlex.join(UCMMU)} ")
        script = ["bash", "-c", f"set -o pipefail; {command}"]
        done = subprocess.run(script, env=ENVIRONMENT, capture_output=True, timeout=60)
        assert (done.returncode, b"one_table-1000" in done.stdout) == (0, True), done.stderr
