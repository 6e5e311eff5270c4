# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the programs that docs/plugin.md shows run, print what it says, and are the instructions
that they say they are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.tables import RECIPES
from tests.cpu.assemble import assemble

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = (ROOT / "docs" / "plugin.md").read_text()
NAMES = [path.stem for path in RECIPES]
HELLO = ROOT / "guest_programs" / "build" / "hello"
ARGUMENTS = {"loader": [str(HELLO), "reader"]}
LINE = re.compile(r'^ +"([0-9a-f ]*)" *# (.*)$', re.MULTILINE)


def said(name: str) -> str:
    """What the page says the program prints."""
    (text,) = re.findall(
        rf"docs\.tables recipe_{name} -->.*?<!-- end -->\n\n```text\n(.*?)```", PLUGIN, re.DOTALL
    )
    return text


def printed(source: str, name: str) -> str:
    """What a program prints that is not there as a file."""
    done = subprocess.run(
        [sys.executable, "-c", source, *ARGUMENTS.get(name, [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def without_places(text: str) -> str:
    """The output of the loader depends on where the host's linker put the entry point."""
    return re.sub(r"0x[0-9a-f]{6}\b", "0x…", text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_a_recipe_prints_what_the_page_says(name: str, fidelity: str) -> None:
    source = next(path for path in RECIPES if path.stem == name).read_text()
    other = source.replace('fidelity="exact"', f'fidelity="{fidelity}"')
    other = other.replace("identity=True)", f'identity=True, fidelity="{fidelity}")')
    assert f'fidelity="{fidelity}"' in other
    assert without_places(printed(other, name)) == without_places(said(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_runs_from_anywhere(name: str, tmp_path: Path) -> None:
    path = ROOT / "docs" / "recipes" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(path), *ARGUMENTS.get(name, [])],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert without_places(done.stdout) == without_places(said(name))


def blocks(name: str) -> list[list[tuple[str, str]]]:
    """The machine code of a program: for each piece, lines of bytes and their instruction."""
    source = next(path for path in RECIPES if path.stem == name).read_text()
    return [LINE.findall(piece) for piece in re.findall(r"fromhex\((.*?)^\)", source, re.M | re.S)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "loader"])
def test_bytes_are_the_instructions_beside_them(name: str) -> None:
    assert blocks(name)
    for block in blocks(name):
        code = assemble("\n".join(instruction for _, instruction in block))
        assert code.hex(" ") == " ".join(" ".join(piece.split()) for piece, _ in block).strip()


def test_each_recipe_is_on_the_page() -> None:
    assert set(re.findall(r"docs\.tables recipe_(\w+) -->", PLUGIN)) == set(NAMES)
    assert len(NAMES) == 5
