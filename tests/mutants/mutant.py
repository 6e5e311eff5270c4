# SPDX-License-Identifier: GPL-2.0-or-later
"""One mutant: a place in the source, and what stands there instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class OutOfDate(Exception):
    """The source no longer has the text that a mutant replaces, or has it twice."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """``name`` says what is wrong then, ``section`` where the manuals have the rule (SDM vol. 3A if
    not said).

    ``first`` names the test files, without ``test_``, that are about this rule: they are tried
    before the others. ``equivalent`` says why no test can tell it from the original, where that is
    so.
    """

    file: str
    name: str
    section: str
    old: str
    new: str
    first: tuple[str, ...] = ()
    equivalent: str = ""

    @property
    def engine(self) -> str:
        """``c`` or ``python``."""
        return "python" if self.file.endswith(".py") else "c"

    @property
    def key(self) -> str:
        """What ONLY= chooses by."""
        return f"{self.file}: {self.name}"

    def applied_to(self, text: str) -> str:
        """The file with this mutant in it; OutOfDate if there is not exactly one place for it."""
        found = text.count(self.old)
        if found != 1:
            raise OutOfDate(
                f"{self.key}: the text to replace is there {found} times, not once:\n{self.old}"
            )
        return text.replace(self.old, self.new)


Listed = Callable[..., Mutant]


def in_file(file: str, *usual: str, then: tuple[str, ...] = ()) -> Listed:
    """A maker of mutants of one file, whose tests are usually those, and in any case ``then``."""

    def listed(
        name: str, section: str, old: str, new: str, *first: str, equivalent: str = ""
    ) -> Mutant:
        return Mutant(file, name, section, old, new, (*(first or usual), *then), equivalent)

    return listed


def check_up_to_date(mutants: list[Mutant], root: Path) -> None:
    """Every mutant finds its place, changes something, and has a name of its own."""
    texts = {file: (root / file).read_text() for file in {mutant.file for mutant in mutants}}
    for mutant in mutants:
        if mutant.applied_to(texts[mutant.file]) == texts[mutant.file]:
            raise OutOfDate(f"{mutant.key}: changes nothing")
        for name in mutant.first:
            if not any(
                (root / f"tests/{folder}/test_{name}.py").exists() for folder in ("x86", "oracles")
            ):
                raise OutOfDate(f"{mutant.key}: no test file of {name}")
    if len({mutant.key for mutant in mutants}) != len(mutants):
        raise OutOfDate("two mutants of one name")
