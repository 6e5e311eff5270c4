# SPDX-License-Identifier: GPL-2.0-or-later
"""One end of a run: one writer, one caller of emu_stop, and docs/hooks.md has every reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNICORN = ROOT / "native/unicorn"
DOC = (ROOT / "docs/hooks.md").read_text()
STATE = (UNICORN / "state.h").read_text()
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def enumerators(name: str) -> list[str]:
    """The constants of an enum in state.h."""
    body = re.search(rf"^enum {name} \{{(.*?)^\}};", STATE, re.DOTALL | re.MULTILINE)
    assert body is not None
    return re.findall(r"\w+", _COMMENT.sub("", body.group(1)))


def first_column(heading: str) -> list[str]:
    """The names in the first column of the first table below a heading of the page."""
    section = DOC.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def places(pattern: str) -> list[tuple[str, str]]:
    """(file, function) of each match in the C files, comments left out."""
    found = []
    for path in sorted(UNICORN.glob("*.[ch]")):
        function = ""
        for line in _COMMENT.sub("", path.read_text()).splitlines():
            if start := re.match(r"(?:static |inline )*\w[\w ]*[ *](\w+)\(", line):
                function = start.group(1)
            if re.search(pattern, line):
                found.append((path.name, function))
    return found


@pytest.mark.parametrize(
    ("enum", "heading"), [("stop", "Reasons"), ("progress", "Progress")], ids=["stop", "progress"]
)
def test_the_page_has_every_value_in_order(enum: str, heading: str) -> None:
    assert first_column(heading) == enumerators(enum)


def test_the_page_names_every_way_to_go_on() -> None:
    assert set(re.findall(r"\bAGAIN_[A-Z]+\b", DOC)) >= set(enumerators("again"))


def test_every_function_that_the_page_names_exists() -> None:
    files = [*UNICORN.glob("*.[ch]"), UNICORN.parent / "mm" / "kernel.c"]
    code = "".join(path.read_text() for path in files)
    names = set(re.findall(r"`(\w+)\(\)`", DOC)) - {"abort"}
    ours = {name for name in names if not name.startswith(("uc_", "mmu_", "_", "emu_"))}
    assert len(ours) > 30
    assert {name for name in ours if not re.search(rf"\b{name}\(", code)} == set()


def test_one_writer_of_the_reason_and_one_caller_of_emu_stop() -> None:
    assert places(r"\bend = \(struct ending\)|\bend\.\w+ = ") == [
        ("end.c", "begin"),  # empties it
        ("end.c", "end"),
    ]
    assert places(r"emu_stop\)\(") == [("end.c", "leave_guest")]
