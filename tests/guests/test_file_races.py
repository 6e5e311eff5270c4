# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a write that waits for its buffer is one write all the same, at the end of the file or at
its position; a file that is closed meanwhile stays open to the end of the call; and a file may be
read into its own mapping.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cpu.fs.view import View
from tests.guests.build import build
from tests.guests.machine import run

MACHINES: list[dict[str, Any]] = [
    {"cpus": 4, "seed": 1},
    {"cpus": 4, "seed": 3, "policy": "never"},
]
BYTES = 3 * 64 * 4 * 4096


@pytest.mark.parametrize("options", MACHINES, ids=str)
def test_files_and_threads(options: dict[str, Any], tmp_path: Path) -> None:
    view = View(upper=str(tmp_path), cwd="/tmp", fresh=("/tmp",))
    ours = run(build("file_races.c", "-static", "-O1", "-pthread"), view=view, **options)
    assert ours.text.splitlines() == [
        f"appended: {BYTES} bytes of {BYTES}",
        f"written: {BYTES} bytes of {BYTES}",
        "closed meanwhile",
        "4096 bytes of the file into its mapping: kept",
    ]
