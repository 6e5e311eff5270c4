# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the examples in the help of `ucmmu walk`, `table` and `maps` run, a pipe that is closed
ends them quietly, and colours are there when they are asked for.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ucmmu.recorded import record
from ucmmu.cli import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", ["walk", "table", "maps"])
def test_the_examples_of_the_help_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capfd.readouterr().out.partition("examples:")[2]
    examples = re.findall(r"^  ucmmu (.+)$", text, re.MULTILINE)
    assert len(examples) >= 3
    monkeypatch.chdir(tmp_path)
    for example in examples:
        assert main(shlex.split(example)) == 0, example
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("looking") / "hello.trace", "hello")


def test_colours(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["walk", str(trace), "--at", "end", "main"]
    assert main([*words, "--color", "always"]) == 0
    coloured = capfd.readouterr().out
    assert main(words) == 0
    plain = capfd.readouterr().out
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_json_on_stdout_stands_alone(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["maps", str(trace), "--at", "end", "--json", "-"]) == 0
    out = capfd.readouterr().out
    assert (out[0], out[-2:]) == ("{", "}\n")


def test_a_closed_pipe_ends_it_quietly(trace: Path) -> None:
    ucmmu = shlex.join([sys.executable, "-m", "ucmmu"])
    command = f"{ucmmu} table {shlex.quote(str(trace))} main | head -1"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")
