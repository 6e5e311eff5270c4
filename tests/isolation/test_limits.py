# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest that takes all it can get comes to an end that its report names, whatever it takes:
processes, threads, memory, files, room, depth, descriptors, signals.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.guests.build import build
from ucmmu.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parents[2]


def bomb(name: str, *options: str, tmp_path: Path) -> tuple[dict[str, Any], str, str]:
    """Its report, and what it said on stdout (a line "name number error"), and the table."""
    report = tmp_path / "report.json"
    program = build("../isolation/bombs.c", "-static", "-O1", "-w", "-pthread")
    done = subprocess.run(
        [sys.executable, "-m", "ucmmu", "run", "--json", str(report), *options, program, name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    figures = json.loads(report.read_text())
    assert figures["exit_code"] == done.returncode
    assert figures["VmSize"] is not None
    assert os.listdir(tmp_path) == ["report.json"]
    return figures, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "options", "least", "error", "note"),
    [
        ("forks", ["--max-processes", "30"], 29, "EAGAIN", "--max-processes"),
        ("threads", ["--max-processes", "30"], 29, "EAGAIN", "--max-processes"),
        pytest.param(
            *("zombies", ["--max-processes", "30"], 29, "EAGAIN", "--max-processes"),
            marks=pytest.mark.stress,
        ),
        ("file", ["--disk-limit", "1M"], 1 << 20, "ENOSPC", "--disk-limit"),
        ("files", ["--max-files", "100"], 90, "ENOSPC", "--max-files"),
        ("directories", ["--max-files", "1200"], 1190, "ENOSPC", "--max-files"),
    ],
)
def test_a_limit_is_an_error_for_the_guest_and_a_note(
    name: str, options: list[str], least: int, error: str, note: str, tmp_path: Path
) -> None:
    report, said, _ = bomb(name, *options, tmp_path=tmp_path)
    what, count, why = said.split()
    assert (what, why) == (name, error)
    assert least <= int(count) <= least + 10
    assert [line for line in report["notes"] if note in line]


@pytest.mark.parametrize("name", ["descriptors", pytest.param("pipes", marks=pytest.mark.stress)])
def test_a_guests_own_limits_bind(name: str, tmp_path: Path) -> None:
    _, said, _ = bomb(name, tmp_path=tmp_path)
    assert re.fullmatch(rf"{name} \d+ EMFILE\n", said)


@pytest.mark.parametrize("name", ["explosion", pytest.param("signals", marks=pytest.mark.stress)])
def test_what_goes_on_for_ever_ends_at_the_timeout_with_its_figures(
    name: str, tmp_path: Path
) -> None:
    report, _, err = bomb(name, "--max-processes", "50", "--timeout", "1.5", tmp_path=tmp_path)
    assert (report["exit_code"], report["ended"]) == (ExitCode.TIMEOUT, "timeout")
    assert "stopped after 1.5 s (--timeout)" in err
    assert report["instructions"] is not None


def test_memory_ends_at_its_limit_with_its_figures(tmp_path: Path) -> None:
    report, _, err = bomb("memory", "--memory-limit", "300M", tmp_path=tmp_path)
    assert (report["exit_code"], report["ended"]) == (ExitCode.MEMORY_LIMIT, "memory")
    assert "300M" in err and report["host_rss_peak"] < 700 << 10


def test_guest_ram_ends_as_on_linux(tmp_path: Path) -> None:
    report, said, _ = bomb("memory", "--ram", "64M", tmp_path=tmp_path)
    assert report["ended"] in ("exit", "signal")
    assert report["ended"] == "signal" or "ENOMEM" in said


def test_names_of_a_guest_do_not_steer_the_terminal(tmp_path: Path) -> None:
    report, _, err = bomb("names", tmp_path=tmp_path)
    assert report["ended"] == "signal"
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err)


@pytest.mark.stress
def test_a_hundred_thousand_maps_end(tmp_path: Path) -> None:
    _, said, _ = bomb("maps", tmp_path=tmp_path)
    assert re.fullmatch(r"maps 65\d\d\d ENOMEM\n", said)
