# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: closed, full and broken streams end each command with its documented code and one line,
never a traceback.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.ucmmu.spinning import once_begun, start_spinning
from ucmmu.exit_codes import ExitCode
from ucmmu.streams import Unread, say, write_all

UCMMU = [sys.executable, "-m", "ucmmu"]
ON_STDOUT = [
    "--help",
    "--version",
    "help compare",
    "list",
    "list --json -",
    "compare hello",
    "run --json - hello",
    "run --trace - hello",
]
ON_STDERR = ["run hello", "run --strace hello", "compare --json - hello"]


def shell(command, **options):
    """Run a line of sh in which UCMMU stands for the command."""
    env = {**os.environ, "UCMMU": " ".join(UCMMU)}
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=env, timeout=60, **options
    )


def broken_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("kind", ["full", "broken"])
@pytest.mark.parametrize("line", ON_STDOUT)
def test_stdout_that_takes_nothing(line, kind):
    out = os.open("/dev/full", os.O_WRONLY) if kind == "full" else broken_pipe()
    done = subprocess.run([*UCMMU, *line.split()], stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert done.returncode == ExitCode.NO_OUTPUT
    assert done.stderr.splitlines()[-1].startswith("ucmmu: ")
    assert "Traceback" not in done.stderr and "internal" not in done.stderr


@pytest.mark.parametrize("kind", ["full", "broken"])
@pytest.mark.parametrize("line", ON_STDERR)
def test_stderr_that_takes_nothing(line, kind):
    err = os.open("/dev/full", os.O_WRONLY) if kind == "full" else broken_pipe()
    done = subprocess.run([*UCMMU, *line.split()], stdout=subprocess.DEVNULL, stderr=err)
    os.close(err)
    assert done.returncode == ExitCode.NO_OUTPUT


def test_a_table_that_cannot_be_shown_does_not_cost_the_json(tmp_path):
    err = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [*UCMMU, "run", "--json", str(tmp_path / "x"), "hello"], stdout=err, stderr=err
    )
    os.close(err)
    assert done.returncode == ExitCode.NO_OUTPUT
    assert json.loads((tmp_path / "x").read_text())["VmPTE"] > 0


def test_json_that_cannot_be_written_does_not_cost_the_table(tmp_path):
    done = shell("$UCMMU run --json /dev/full hello")
    assert done.returncode == ExitCode.NO_OUTPUT
    assert "VmPTE at the end" in done.stderr
    assert done.stderr.endswith("ucmmu: --json /dev/full: No space left on device\n")


@pytest.mark.parametrize(
    ("line", "out", "err"),
    [
        ("$UCMMU run hello <&-", "hello, world", "VmPTE at the end"),
        ("$UCMMU run hello >&-", "", "VmPTE at the end"),
        ("$UCMMU run hello 2>&-", "hello, world", ""),
        ("$UCMMU run hello <&- >&- 2>&-", "", ""),
        ("$UCMMU list >&-", "", ""),
        ("$UCMMU --help >&-", "", ""),
        ("$UCMMU compare hello 2>&-", "refcount", ""),
    ],
)
def test_closed_streams_are_as_dev_null(line, out, err):
    done = shell(line)
    assert done.returncode == 0
    assert (out in done.stdout, err in done.stderr) == (True, True)
    assert (bool(done.stdout), bool(done.stderr)) == (bool(out), bool(err))


def test_what_is_asked_for_on_a_closed_stdout_cannot_be_given():
    done = shell("$UCMMU run --json - hello >&-")
    assert (done.returncode, done.stderr) == (
        ExitCode.NO_OUTPUT,
        "ucmmu: --json -: stdout is closed\n",
    )


def test_a_guest_without_stdin_reads_an_end_and_none_of_our_pipes():
    done = shell("$UCMMU run --timeout 20 faults cat <&-")
    assert done.returncode != ExitCode.TIMEOUT


def test_nobody_who_reads_is_waited_for_only_so_long():
    reader, writer = os.pipe()
    with pytest.raises(TimeoutError):
        write_all(writer, bytes(1 << 20), patience=0.2)
    os.close(reader)
    os.close(writer)


def test_an_unread_text_is_told_from_a_lost_one(monkeypatch):
    from ucmmu import streams

    def late(*_args, **_options):
        raise TimeoutError

    monkeypatch.setattr(streams, "write_all", late)
    with pytest.raises(Unread):
        say(1, "text", patience=0.1)


@pytest.mark.parametrize("both", [False, True])
def test_a_guest_that_waits_for_a_reader_is_stopped_with_its_figures(tmp_path, both):
    """A pipe that nobody reads, filled before the guest writes to it; with ``both``, our own stderr
    too.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    target = tmp_path / "x.json"
    stderr = writer if both else subprocess.PIPE

    def run(seconds):
        command = [*UCMMU, "run", "--timeout", seconds, "--json", str(target), "hello"]
        done = subprocess.run(command, stdout=writer, stderr=stderr)
        assert done.returncode == ExitCode.TIMEOUT
        return json.loads(target.read_text())

    report = once_begun(run)
    os.close(reader)
    os.close(writer)
    assert report["ended"] == "timeout"
    assert report["instructions"] > 1000 and report["checks_finished"]


def test_a_trace_that_nobody_reads_is_cut_off_and_says_so(tmp_path):
    target = tmp_path / "x.json"

    def run(seconds):
        options = ["--trace", "-", "--timeout", seconds, "--json", str(target)]
        process = subprocess.Popen(
            [*UCMMU, "run", *options, "memory_loop", "16M", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.wait() == ExitCode.TIMEOUT
        process.communicate()
        return json.loads(target.read_text())

    report = once_begun(run, note="trace is cut off")
    assert any("trace is cut off" in note for note in report["notes"])
    assert report["instructions"] > 1000


def test_a_trace_whose_reader_is_gone_ends_the_run(tmp_path):
    done = shell("$UCMMU run --trace - faults spin | head -c8")
    assert done.stdout == "UCMMUTRC"
    assert done.stderr.endswith("ucmmu: --trace -: Broken pipe\n")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_signals_ignored_at_the_start_stay_ignored(number):
    """What nohup does, and a shell that starts a job in the background."""
    name = number.name.removeprefix("SIG")
    done = shell(
        f"trap '' {name}; $UCMMU run --timeout 1 faults spin & sleep 0.5; trap - {name};"
        f" kill -{name} $!; wait $!; exit $?"
    )
    assert done.returncode == ExitCode.TIMEOUT, done.stderr
    assert "VmPTE at the end" in done.stderr


def test_sigquit_ends_the_run_with_its_figures():
    process, _ = start_spinning()
    process.send_signal(signal.SIGQUIT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGQUIT
    assert "VmPTE at the end" in err
    assert err.endswith("ucmmu: stopped by SIGQUIT\n")
