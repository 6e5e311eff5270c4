# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a reader's command whose stdout nobody reads ends quietly as one that SIGPIPE ended, and
says it if stdout is closed; where it cannot write is said before it reads.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

import pytest

from tests.ucmmu.recorded import Script
from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode


@pytest.fixture
def traces(tmp_path):
    """Two that differ."""
    made = []
    for name, ip in (("a.trace", 0x400000), ("b.trace", 0x400010)):
        script = Script(tmp_path / name)
        script.at(0, task=7)
        script.insn(ip)
        made.append(str(script.close()))
    return made


@contextmanager
def nobody_reads():
    """stdout is a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    before = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


COMMANDS = {
    "stats": ["stats", "{0}"],
    "stats --by": ["stats", "--by", "function", "{0}"],
    "diff": ["diff", "{0}", "{1}"],
    "trace": ["trace", "{0}"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_that_nobody_reads(traces, capfd, name):
    words = [word.format(*traces) for word in COMMANDS[name]]
    with nobody_reads():
        assert main(words) == 128 + 13
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stdout_that_is_closed(traces, capfd, monkeypatch, name):
    words = [word.format(*traces) for word in COMMANDS[name]]
    monkeypatch.setattr(sys, "stdout", None)
    assert main(words) == ExitCode.NO_OUTPUT
    assert capfd.readouterr().err == "ucmmu: stdout is closed\n"


@pytest.mark.parametrize(
    ("target", "why"),
    [("no/page.html", "No such file or directory"), (".", "Is a directory"), ("{0}", "is a trace")],
)
def test_a_page_that_cannot_be_written_is_said_before_a_trace_is_read(
    traces, tmp_path, monkeypatch, capfd, target, why
):
    monkeypatch.chdir(tmp_path)
    target = target.format(*traces)
    assert main(["report", "-o", target, "no.trace"]) == ExitCode.NO_OUTPUT
    assert capfd.readouterr().err.startswith(f"ucmmu: --output {target}: {why}")
