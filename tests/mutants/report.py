# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutants that are known to make no difference, and the report."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.run import NOT_COMPILED, Verdict
from tests.mutants.syntax import Mutant, matches

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found]

LISTED = Path(__file__).with_name("equivalent.toml")


class OutOfDate(Exception):
    """The list of equivalent mutants does not fit the sources."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Mutants that no test can kill: the id matches the pattern, the diff has the text in it."""

    id: str
    diff: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether the mutant is one of them."""
        return matches(mutant.id, self.id) and self.diff in mutant.diff


def read(path: Path = LISTED) -> list[Equivalent]:
    """The list. OutOfDate if an entry lacks something."""
    entries = tomllib.loads(path.read_text()).get("equivalent", [])
    for entry in entries:
        if set(entry) != {"id", "diff", "reason"} or not all(entry.values()):
            raise OutOfDate(f"an entry needs id, diff and reason: {entry}")
    return [Equivalent(**entry) for entry in entries]


def excused(listed: Iterable[Equivalent], mutants: Iterable[Mutant]) -> dict[str, str]:
    """Reason by id of the mutant. OutOfDate if an entry covers none."""
    reasons: dict[str, str] = {}
    mutants = list(mutants)
    for entry in listed:
        covered = [mutant.id for mutant in mutants if entry.covers(mutant)]
        if not covered:
            raise OutOfDate(f"no mutant is {entry.id} with {entry.diff!r} in its diff")
        reasons |= dict.fromkeys(covered, entry.reason)
    return reasons


def column(verdict: Verdict, reasons: dict[str, str]) -> str:
    """Where a verdict is counted."""
    if verdict.how in NOT_COMPILED:
        return "not compiled"
    if verdict.how == "same code" or (verdict.survived and verdict.id in reasons):
        return "equivalent"
    return "killed" if verdict.killed else "survived"


def counts(
    verdicts: Iterable[Verdict], folders: dict[str, str], reasons: dict[str, str]
) -> dict[str, Counter[str]]:
    """By folder, and in all, how many of each column."""
    found: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        what = column(verdict, reasons)
        for row in (folders[verdict.id], "all"):
            counted = found.setdefault(row, Counter())
            counted["mutants"] += 1
            counted[what] += 1
            counted["by comparison only"] += verdict.only_compared
            counted["time up"] += what == "survived" and not verdict.whole
            counted["not reached"] += what == "survived" and verdict.how == "not reached"
    return dict(sorted(found.items(), key=lambda row: (row[0] == "all", row[0])))


_HEADS = (
    *("mutants", "killed", "by comparison only", "survived"),
    *("not reached", "time up", "equivalent", "not compiled"),
)


def markdown(counted: dict[str, Counter[str]], verdicts: Iterable[Verdict]) -> str:
    """A table of counts, and a list of ``verdicts``: those that are not as they should be.

    Of those that survived, some are not reached by any test, and of some not all tests ran that
    reach them, because the time was up.
    """
    lines = [f"| folder | {' | '.join(_HEADS)} |", f"|---|{'---:|' * len(_HEADS)}"]
    for folder, row in counted.items():
        lines.append(f"| {folder} | {' | '.join(str(row[head]) for head in _HEADS)} |")
    lines.append("")
    for verdict in sorted(verdicts, key=lambda verdict: verdict.id):
        lines.append(f"- `{verdict.id}`, line {verdict.line}: {words(verdict)}")
        lines.append(f"  `{verdict.diff}`")
    return "\n".join(lines)


def words(verdict: Verdict) -> str:
    """What became of it, in a few words."""
    if verdict.killed:
        return f"{verdict.how} in {verdict.killed_by}"
    if verdict.how:
        return verdict.how
    return f"survived {verdict.tests} tests{'' if verdict.whole else ', more were left'}"


def as_json(
    counted: dict[str, Counter[str]], verdicts: Iterable[Verdict], reasons: dict[str, str]
) -> dict[str, Any]:
    """All of it."""
    rows = [
        {
            **verdict.as_dict(),
            "verdict": column(verdict, reasons),
            **({"reason": reasons[verdict.id]} if verdict.id in reasons else {}),
        }
        for verdict in verdicts
    ]
    folders = {name: {head: row[head] for head in _HEADS} for name, row in counted.items()}
    return {"counts": folders, "mutants": rows}
