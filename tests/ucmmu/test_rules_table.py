# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: docs/rules.md names every rule that is tested, and only files, functions and tests that
exist.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "rules.md").read_text()
SECTION = re.compile(r"\b\d+(?:\.\d+)+\b|table \d+-\d+|vol\. \d[A-D]?")
"""What a citation points at."""


@dataclass(frozen=True)
class Row:
    """One rule."""

    rule: str
    manual: str
    python: tuple[str, ...]
    c: tuple[str, ...]
    tests: tuple[str, ...]


def _names(cell: str) -> tuple[str, ...]:
    assert cell == "–" or re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cell), cell
    return tuple(re.findall(r"`([^`]+)`", cell))


@cache
def rows() -> list[Row]:
    found = []
    for line in TEXT.splitlines():
        if line.startswith("| ") and not line.startswith("| rule |"):
            rule, manual, python, c, tests = line[2:-2].split(" | ")
            found.append(Row(rule, manual, _names(python), _names(c), _names(tests)))
    return found


def _of_rows(field: str) -> list[str]:
    return sorted({name for row in rows() for name in getattr(row, field)})


@cache
def _defined(path: Path) -> set[str]:
    """What a Python file defines at its top, and in its classes: functions, classes,
    class.member.
    """

    def of(body: list[ast.stmt], within: str) -> set[str]:
        names: set[str] = set()
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(within + node.name)
            if isinstance(node, ast.ClassDef):
                names |= of(node.body, f"{within}{node.name}.")
            if isinstance(node, ast.Assign):
                names |= {
                    within + target.id for target in node.targets if isinstance(target, ast.Name)
                }
        return names

    return of(ast.parse(path.read_text()).body, "")


def test_the_table_is_read_whole() -> None:
    assert len(rows()) == sum(line.startswith("| ") for line in TEXT.splitlines()) - TEXT.count(
        "\n## "
    )
    assert all(row.rule and row.manual and row.tests for row in rows())
    assert len({row.rule for row in rows()}) == len(rows())


@pytest.mark.parametrize("name", _of_rows("python"))
def test_every_python_function_exists(name: str) -> None:
    file, function = name.split(":")
    assert function in _defined(ROOT / file)


@pytest.mark.parametrize("name", _of_rows("c"))
def test_every_c_function_exists(name: str) -> None:
    """Defined there: at the beginning of a line, and not merely declared."""
    file, function = name.split(":")
    text = (ROOT / file).read_text()
    definition = rf"^\w[^;={{}}#]*\b{function}\([^;]*?\)\n\{{"
    assert re.search(definition, text, re.MULTILINE) or re.search(
        rf"^#define {function}\b", text, re.MULTILINE
    )


@pytest.mark.parametrize("name", _of_rows("tests"))
def test_every_test_exists(name: str) -> None:
    file, *function = name.split("::")
    assert ".".join(function) in _defined(ROOT / file)


def test_what_both_engines_do_is_named_in_both() -> None:
    for row in rows():
        assert row.python or row.c, row.rule
        if not row.python:
            assert "C engine" in row.rule, row.rule


def _files_with_a_rule() -> dict[str, str]:
    found = {}
    for path in sorted((ROOT / "tests" / "x86").glob("test_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        found[path.name] = docstring
    return found


@pytest.mark.parametrize(
    ("file", "docstring"), _files_with_a_rule().items(), ids=_files_with_a_rule()
)
def test_every_tested_rule_is_in_the_table(file: str, docstring: str) -> None:
    """Each file of tests/x86 has its rule in a row, which cites the sections that the rule
    cites.
    """
    assert docstring.startswith("Rule: ")
    cited = defaultdict(set)
    for row in rows():
        for test in row.tests:
            cited[test.split("::")[0]] |= set(SECTION.findall(row.manual))
    name = f"tests/x86/{file}"
    assert name in cited
    sections = {
        section
        for citation in re.findall(r"\(((?:SDM|APM)[^)]*)\)", docstring)
        for section in SECTION.findall(citation)
    }
    assert sections <= cited[name], sections - cited[name]
