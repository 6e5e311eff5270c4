# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: every exercise's solution passes, and what a student is given fails with a word of help."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXERCISES = Path(__file__).resolve().parents[2] / "docs" / "exercises"
NAMES = sorted(path.name for path in EXERCISES.glob("*.py"))


def test_each_has_a_solution() -> None:
    assert len(NAMES) >= 12
    assert sorted(path.name for path in (EXERCISES / "solutions").glob("*.py")) == NAMES


def run(pytester: pytest.Pytester, folder: Path) -> pytest.RunResult:
    """All exercises of a folder, as in a student's own."""
    for name in NAMES:
        shutil.copy(folder / name, pytester.path / name)
    return pytester.runpytest("-p", "no:cacheprovider", "-rf", *NAMES)


def test_the_solutions_pass(pytester: pytest.Pytester) -> None:
    assert run(pytester, EXERCISES / "solutions").ret == 0


def test_what_a_student_is_given_fails_and_says_what_to_do(pytester: pytest.Pytester) -> None:
    result = run(pytester, EXERCISES)
    outcomes = result.parseoutcomes()
    assert set(outcomes) <= {"failed", "warning", "warnings"}, outcomes
    words = [line for line in result.outlines if line.startswith("E ") and "TODO: " in line]
    assert len(words) >= outcomes["failed"]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_students_part_differs(name: str) -> None:
    """Up to the TODO, and from the test on, exercise and solution are the same text."""
    given, solved = ((folder / name).read_text() for folder in (EXERCISES, EXERCISES / "solutions"))
    assert "TODO" in given
    test = given.index("\n\n\n", given.index("# TODO"))
    assert solved.endswith(given[test:])
