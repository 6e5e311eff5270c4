# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a JSON file is there whole or as it was before, and nothing is left beside it."""

from __future__ import annotations

import json
import os
import stat

import pytest

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import JsonOutput


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


def test_nowhere_is_a_target_too(capfd):
    with JsonOutput(None) as output:
        output.write({"a": 1})
    assert capfd.readouterr() == ("", "")


def test_stdout_gets_nothing_else(capfd):
    with JsonOutput("-") as output:
        assert output.to_stdout
        output.write({"a": 1})
    assert json.loads(capfd.readouterr().out) == {"a": 1}
