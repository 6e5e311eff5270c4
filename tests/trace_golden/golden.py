# SPDX-License-Identifier: GPL-2.0-or-later
"""Golden traces: text of `ucmmu trace` that a person has checked, with the reason of each step.

A golden file is the text itself; above a line stand, after ``#``, the reasons why it must be so. At
its top::

    #! program: one_table
    #! run: --cpus 2 --quantum 4
    #! show: --filter event=insn
    #! from: ^touch
    #! to: ^ready

``from`` and ``to`` are regular expressions: the text begins with the first line that matches, and
ends before the next one that does, or with the one that ``last`` matches; without them it is
whole. ``code: HEX`` says of which build the text is, where it depends on the compiler and the C
library.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tests.ucmmu.in_process import ucmmu

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "guest_programs" / "build"
FILES = sorted(Path(__file__).parent.glob("*.txt"))
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


@dataclass
class Golden:
    """A golden file: what its head says, its lines, and the comments above each of them."""

    path: Path
    head: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    comments: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Golden:
        """The file."""
        golden = cls(path)
        for line in path.read_text().splitlines():
            if line.startswith("#!"):
                key, _, value = line[2:].partition(":")
                golden.head[key.strip()] = value.strip()
            elif line.startswith("#") or not line:
                golden.comments.setdefault(len(golden.lines), []).append(line)
            else:
                golden.lines.append(line)
        return golden

    @property
    def program(self) -> Path:
        """The guest."""
        return BUILD / self.head["program"]

    def wrong_build(self) -> str | None:
        """Why this build of the guest has another trace; None if it should have this one."""
        wanted = self.head.get("code")
        if wanted is None or code_of(self.program) == wanted:
            return None
        return f"{self.program.name} is built by another compiler or with another C library"

    def now(self, directory: Path) -> list[str]:
        """The text as it is now; traces are kept in ``directory``."""
        trace = recorded(self.head["program"], self.head["run"], directory)
        return self._part(shown(trace, self.head["show"]))

    def _part(self, lines: tuple[str, ...]) -> list[str]:
        begin, end = self.head.get("from"), self.head.get("to") or self.head.get("last")
        first = next((i for i, line in enumerate(lines) if begin and re.search(begin, line)), 0)
        rest = range(first + 1, len(lines))
        last = next((i for i in rest if end and re.search(end, lines[i])), len(lines))
        return list(lines[first : last + ("last" in self.head)])

    def updated(self, lines: list[str]) -> tuple[str, list[str]]:
        """The file with other lines, each comment above the line that it was above; and the
        comments for which there is no such line any more.
        """
        old = [_NUMBERS.sub("N", line) for line in self.lines]
        new = [_NUMBERS.sub("N", line) for line in lines]
        places = {len(old): len(new)}
        for block in difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks():
            places |= {block.a + i: block.b + i for i in range(block.size)}
        moved = {places[at]: text for at, text in self.comments.items() if at in places}
        lost = [line for at, text in self.comments.items() if at not in places for line in text]
        out = [f"#! {key}: {value}" for key, value in self.head.items()]
        for at, line in enumerate([*lines, None]):
            out += moved.get(at, [])
            out += [line] if line is not None else []
        return "\n".join(out) + "\n", [line for line in lost if line]


def code_of(program: Path) -> str:
    """What names a build of a program: its code and data, without debug information and paths."""
    digest = hashlib.sha256()
    with open(program, "rb") as file:
        for segment in list(ELFFile(file).iter_segments("PT_LOAD"))[1:]:
            digest.update(segment.data())
    return digest.hexdigest()[:16]


@contextmanager
def place() -> Iterator[Path]:
    """A directory for traces. Its path always has the same length: guests see it on their stack."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="golden-") as directory:
        yield Path(directory)


def recorded(program: str, options: str, directory: Path) -> Path:
    """A trace of a guest, recorded once."""
    name = re.sub(r"\W+", "_", f"{program} {options}").strip("_")
    path = directory / f"{name}.trace"
    if not path.exists():
        shutil.copy(BUILD / program, directory)
        command = ["run", "--clear-env", *options.split(), "--trace", str(path), f"./{program}"]
        ucmmu(*command, cwd=directory)
    return path


@cache
def shown(trace: Path, options: str) -> tuple[str, ...]:
    """What `ucmmu trace` shows of it."""
    return tuple(ucmmu("trace", *options.split(), str(trace), cwd=trace.parent).splitlines())
