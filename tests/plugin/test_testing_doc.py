# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each program of docs/testing.md runs as the page says: it passes, or fails as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text()


class Block(NamedTuple):
    """A program of the page, whether it passes, and lines that a failure shows."""

    source: str
    passes: bool
    shows: list[str]


def blocks() -> list[Block]:
    """All programs of the page, in its order."""
    found: list[Block] = []
    for kind, text in re.findall(r"^<!-- (\w+) -->\n```\w+\n(.*?)^```$", PAGE, re.M | re.S):
        if kind == "shows":
            found[-1].shows.extend(text.splitlines())
        else:
            assert kind in ("passes", "fails")
            found.append(Block(text, kind == "passes", []))
    return found


def test_every_program_says_what_it_does() -> None:
    assert PAGE.count("```python\n") == len(blocks()) >= 7
    assert all(block.passes or block.shows for block in blocks())


@pytest.mark.parametrize("number", range(len(blocks())))
def test_the_page(pytester: pytest.Pytester, number: int) -> None:
    block = blocks()[number]
    pytester.makepyfile(test_page=block.source)
    result = pytester.runpytest("-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert result.ret == (0 if block.passes else 1)
    assert ("passed" if block.passes else "failed") in outcomes
    printed = "\n".join(result.outlines)
    for line in block.shows:
        assert line in printed, line


def test_the_test_of_the_readme(pytester: pytest.Pytester) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (snippet,) = [snippet for snippet in snippets if "def test_" in snippet]
    pytester.makepyfile(test_readme=f"from ucmmu.testing import write\n\n\n{snippet}")
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=2)
