# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: take one rule out of an engine, and a test fails. All of them is `make mutate`; here the
list, and a handful.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.listed import MUTANTS
from tests.mutants.mutant import Mutant, OutOfDate, check_up_to_date
from tests.mutants.run import Verdict
from tests.mutants.table import page
from tests.mutants.tree import ROOT

HANDFUL = (
    "walk.py: D is never set",
    "control.py: MOV to CR3 keeps entries",
    "caches.py: a walk goes on at the entry's own level",
)


def test_the_list_is_up_to_date() -> None:
    check_up_to_date(MUTANTS, ROOT)
    counted = Counter(mutant.engine for mutant in MUTANTS)
    assert counted["c"] >= 150 and counted["python"] >= 100


def test_the_page_tells_of_each_mutant() -> None:
    text = (ROOT / "docs" / "mutants.md").read_text()
    assert [mutant.key for mutant in MUTANTS if mutant.name.replace("|", "\\|") not in text] == []
    assert "survived**" not in text


@pytest.mark.parametrize("found", [0, 2])
def test_a_mutant_needs_one_place(found: int) -> None:
    mutant = Mutant("native/x86/walk.c", "by hand", "none", "here", "there")
    with pytest.raises(OutOfDate, match=f"there {found} times"):
        mutant.applied_to("here" * found)


def test_a_survivor_is_told() -> None:
    mutant = Mutant("native/x86/walk.c", "by | hand", "4.5", "here", "there")
    verdict = Verdict(mutant.key, "here", "there", "", "", "", 900, 1.0)
    text = page([mutant], {mutant.key: verdict}, "a command")
    assert "by \\| hand | 4.5 | **survived** |" in text and "1 survived" in text


def test_a_handful_is_caught(tmp_path: Path) -> None:
    report = tmp_path / "mutants.json"
    command = [
        sys.executable,
        "-m",
        "tests.mutants",
        *HANDFUL,
        "--no-check",
        "--workers",
        "1",
        "--json",
        report,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = json.loads(report.read_text())
    assert [verdict["how"] for verdict in verdicts] == ["failed"] * len(HANDFUL)
    assert all(verdict["caught_by"].startswith("tests/x86/") for verdict in verdicts)
