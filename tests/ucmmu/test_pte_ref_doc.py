# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each statement of contract in docs/pte_ref.md names a test, and each test that it names is
there.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pte_ref.md").read_text()
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`")
NAMED = sorted(set(REFERENCE.findall(PAGE)))


def tables() -> list[list[str]]:
    """The rows of each table of the page."""
    blocks = re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE)
    return [block.splitlines() for block in blocks]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


CONTRACTS = [row for table in tables() if cells(table[0])[-1] == "test" for row in table[2:]]


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@cache
def cases(path: Path) -> str:
    """Where the names of a test's cases stand: in it, or as classes in the variants it imports."""
    text = path.read_text()
    imported = re.findall(r"^from tests\.races\.(\w+_variants) import", text, flags=re.MULTILINE)
    variants = [(path.parent / f"{name}.py").read_text() for name in imported]
    names = [name for source in variants for name in re.findall(r"^class (\w+)\(", source, re.M)]
    return text + "".join(f'"{name}"' for name in names)


@pytest.mark.parametrize("row", CONTRACTS, ids=range(len(CONTRACTS)))
def test_each_statement_names_a_test(row: str) -> None:
    assert REFERENCE.search(cells(row)[-1]), row


@pytest.mark.parametrize(("path", "name", "case"), NAMED, ids="::".join)
def test_each_test_that_is_named_exists(path: str, name: str, case: str) -> None:
    assert name in functions(ROOT / path)
    assert not case or f'"{case}"' in cases(ROOT / path), case


def test_there_are_statements() -> None:
    assert len(CONTRACTS) > 40 and len(NAMED) > 35


def test_every_defect_has_its_variant() -> None:
    """The table of defects, and what the explorer finds, name the same."""
    source = (ROOT / "tests/races/test_variants.py").read_text()
    run = set(re.findall(r'"(D\d+|ABA|Scan)\w*": Within', source))
    (table,) = (table for table in tables() if cells(table[0])[1] == "defect")
    assert {cells(row)[0].capitalize() for row in table[2:]} == {name.capitalize() for name in run}
