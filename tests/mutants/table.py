# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/mutants.md: every mutant, and what caught it."""

from __future__ import annotations

from itertools import groupby

from tests.mutants.mutant import Mutant
from tests.mutants.run import Verdict

HEAD = """# Mutants

Each row is one rule, or one invalidation, taken out of an engine or made wrong, and the first test that then failed.
A mutant goes into a copy of the tree; the C engine is built anew; the tests of the rule run first, then the others of
`tests/x86`, then the enumeration against the oracle's tables, and last the comparisons of the two engines, so that a
mutant which *only* these find shows. The tests that try engines wrong on purpose are left out.

{figures}

This page is made by `{command}`. `make mutate ONLY=tlb.c` tries those whose file or name has that text in it.
Sections are of the SDM, vol. 3A, where nothing else is said.
"""
EQUIVALENT = """
## Equivalent mutants

These change the text and not what anyone can see: every test passes, and must.

| file | mutant | section | why nothing can tell |
|---|---|---|---|
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _test(verdict: Verdict) -> str:
    file, _, test = verdict.caught_by.partition("::")
    name = f"`{file}` `{test.partition('[')[0]}`" if test else f"`{file}`"
    notes = [] if verdict.how == "failed" else [verdict.how]
    if verdict.only_compared:
        notes.append("only the comparison of the engines")
    return name + (f" ({', '.join(notes)})" if notes else "")


def figures(mutants: list[Mutant], verdicts: dict[str, Verdict]) -> str:
    """The summary, a line for each engine."""
    lines = []
    for engine in ("c", "python"):
        ours = [mutant for mutant in mutants if mutant.engine == engine]
        tried = [verdicts[mutant.key] for mutant in ours if mutant.key in verdicts]
        caught = [verdict for verdict in tried if verdict.caught]
        equivalent = sum(bool(mutant.equivalent) for mutant in ours)
        compared = sum(verdict.only_compared for verdict in caught)
        timed = sum(verdict.how == "timed out" for verdict in caught)
        left = [
            m for m in ours if m.key in verdicts and not verdicts[m.key].caught and not m.equivalent
        ]
        name = "C" if engine == "c" else "Python"
        lines.append(
            f"- {name} engine: {len(tried)} mutants, {len(caught)} caught ({compared} of them only by comparing"
            f" the engines, {timed} by a timeout), {equivalent} equivalent, {len(left)} survived."
        )
    return "\n".join(lines)


def page(mutants: list[Mutant], verdicts: dict[str, Verdict], command: str) -> str:
    """The whole page."""
    out = [HEAD.format(figures=figures(mutants, verdicts), command=command)]
    for file, group in groupby(
        (mutant for mutant in mutants if not mutant.equivalent), key=lambda m: m.file
    ):
        out.append(f"\n## {file}\n\n| mutant | section | caught by |\n|---|---|---|\n")
        for mutant in group:
            verdict = verdicts[mutant.key]
            caught = _test(verdict) if verdict.caught else "**survived**"
            out.append(f"| {_cell(mutant.name)} | {mutant.section} | {_cell(caught)} |\n")
    out.append(EQUIVALENT)
    for mutant in mutants:
        if mutant.equivalent:
            cells = mutant.file, mutant.name, mutant.section, mutant.equivalent
            out.append(f"| {' | '.join(map(_cell, cells))} |\n")
    return "".join(out)
