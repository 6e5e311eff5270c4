# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a JSON file is there whole or as it was before, and nothing is left beside it."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import subprocess
import sys

import pytest

from mmu.trace.format import MAGIC
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import JsonOutput, refuse_a_program, write_whole


def test_it_is_written_whole(tmp_path):
    target = tmp_path / "result.json"
    with JsonOutput(str(target)) as output:
        assert not target.exists()
        output.write({"a": 1})
    assert json.loads(target.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["result.json"]


def test_it_has_the_rights_any_new_file_has(tmp_path):
    before = os.umask(0o022)
    try:
        with JsonOutput(str(tmp_path / "result.json")) as output:
            output.write({})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.json").stat().st_mode) == 0o644


@pytest.mark.parametrize("value", [{"unserialisable": object()}, None])
def test_a_run_that_fails_leaves_the_old_file_alone(tmp_path, value):
    target = tmp_path / "result.json"
    target.write_text("old")
    with pytest.raises((TypeError, RuntimeError)), JsonOutput(str(target)) as output:
        if value is None:
            raise RuntimeError("the run failed")
        output.write(value)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(Failure) as failure, JsonOutput("/dev/full") as output:
        output.write({"a": 1})
    assert failure.value.code == ExitCode.NO_OUTPUT
    assert "No space left" in failure.value.line


def test_a_trace_is_never_written_over(tmp_path):
    """`ucmmu walk a.trace --json a.trace` is a slip: the run is worth more than the answer."""
    target = tmp_path / "a.trace"
    target.write_bytes(MAGIC + b"events")
    for write in (JsonOutput(str(target)).__enter__, lambda: write_whole("-o", str(target), b"x")):
        with pytest.raises(Failure, match="is a trace") as failure:
            write()
        assert failure.value.code == ExitCode.NO_OUTPUT
    assert target.read_bytes() == MAGIC + b"events"


def test_nowhere_is_a_target_too(capfd):
    with JsonOutput(None) as output:
        output.write({"a": 1})
    assert capfd.readouterr() == ("", "")


def test_stdout_gets_nothing_else(capfd):
    with JsonOutput("-") as output:
        assert output.to_stdout
        output.write({"a": 1})
    assert json.loads(capfd.readouterr().out) == {"a": 1}


def test_a_links_target_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("new")
    for name in ("link", "dangling"):
        with JsonOutput(str(tmp_path / name)) as output:
            output.write({"a": 1})
        assert (tmp_path / name).is_symlink()
    assert (
        json.loads((tmp_path / "target").read_text())
        == json.loads((tmp_path / "new").read_text())
        == {"a": 1}
    )


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_files_mode_and_owner_are_kept(tmp_path, mode):
    target = tmp_path / "result.json"
    target.write_text("old")
    target.chmod(mode)
    owner = (12, 34) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(target, *owner)
    with JsonOutput(str(target)) as output:
        output.write({})
    status = target.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, *owner)


def test_a_file_of_two_names_keeps_both(tmp_path):
    target, other = tmp_path / "result.json", tmp_path / "other"
    target.write_text("a much longer text than what is written over it")
    os.link(target, other)
    with JsonOutput(str(target)) as output:
        output.write({"a": 1})
    assert json.loads(other.read_text()) == {"a": 1}
    assert target.samefile(other)


def test_the_longest_name_is_written(tmp_path):
    target = tmp_path / ("x" * 255)
    for value in (1, 2):
        with JsonOutput(str(target)) as output:
            output.write(value)
    assert target.read_text() == "2\n"


@pytest.mark.parametrize("links", [1, 2])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, links):
    target = tmp_path / "result.json"
    target.write_text("old")
    if links == 2:
        os.link(target, tmp_path / "other")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Failure) as failure, JsonOutput(str(target)) as output:
            output.write(["x" * 100] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failure.value.code == ExitCode.NO_OUTPUT
    assert target.read_text() == "old"
    assert ".tmp" not in " ".join(os.listdir(tmp_path))


def test_a_pipe_is_written_directly_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with JsonOutput(str(pipe)) as output:
        output.write({"a": 1})
    assert json.loads(os.read(reader, 1000)) == {"a": 1}
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_descriptors_name_is_the_descriptor(tmp_path):
    with open(tmp_path / "out", "w+") as out:
        out.write("before\n")
        out.flush()
        (tmp_path / "link").symlink_to(f"/dev/fd/{out.fileno()}")
        for name in (
            f"/dev/fd/{out.fileno()}",
            f"/proc/self/fd/{out.fileno()}",
            str(tmp_path / "link"),
        ):
            with JsonOutput(name) as output:
                output.write(1)
    assert (tmp_path / "out").read_text() == "before\n1\n1\n1\n"


def test_dev_stdout_is_stdout_and_stays_a_link(tmp_path):
    before = os.readlink("/dev/stdout")
    with open(tmp_path / "out", "wb") as out:
        subprocess.run(
            [sys.executable, "-m", "ucmmu", "list", "--json", "/dev/stdout"], stdout=out, check=True
        )
    assert "policies" in json.loads((tmp_path / "out").read_text())
    assert os.readlink("/dev/stdout") == before


@pytest.mark.parametrize("target", ["", "new/", "loop", "socket"])
def test_what_cannot_be_written_is_known_at_once(tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    with pytest.raises(Failure) as failure, JsonOutput(target):
        pass
    assert failure.value.code == ExitCode.NO_OUTPUT


def test_a_program_is_not_written_over(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and more")
    with pytest.raises(Failure, match="is a program"):
        refuse_a_program("--json", str(program), "/nonexistent")
    (tmp_path / "script").write_text("#!/bin/sh")
    with pytest.raises(Failure, match="is a program"):
        refuse_a_program("--json", str(tmp_path / "script"), tmp_path / "script")
    refuse_a_program("--json", str(tmp_path / "script"), program)
