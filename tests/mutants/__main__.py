# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of ``make mutate``."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TimeElapsedColumn

from tests.mutants import report
from tests.mutants.operators import OPERATORS
from tests.mutants.reach import Reach, learn, test_files
from tests.mutants.run import Task, Verdict, try_all
from tests.mutants.syntax import SOURCES, Mutant, Source, Unknown, choose, find
from tests.mutants.tree import ROOT, NotBuilt

KEPT = ROOT / "build" / "mutants"
EXAMPLE = """examples:
  make mutate ONLY=tlb.c:tlb_find:     every mutant of one function
  make mutate SAMPLE=200               200 of all, each file as often as any other
  python -m tests.mutants --list --operators drop-not,skip-loop 'mmu/x86/*'
  python -m tests.mutants --sample 100 --seed 7 --tests tests/x86 --json mutants.json x86/

A mutant has a name, FILE:FUNCTION:OPERATOR:NUMBER, and a diff of one line. The first run learns
which test runs which block (the time of the whole test suite); what it learnt is kept in
build/mutants and made anew only for tests that changed, or that run what changed.

exit status: 0 all killed or equivalent, 1 a mutant survived, 2 wrong usage or a list out of date,
130 interrupted
"""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description="Change one thing in the sources, run the tests that reach it, and see whether "
        "one fails; and so on. The checkout is not touched. Operators: "
        + "; ".join(f"{name}: {_summary(name)}" for name in OPERATORS)
        + ".",
        epilog=EXAMPLE,
        formatter_class=_Formatter,
    )
    add = parser.add_argument
    add(
        "only", nargs="*", metavar="TEXT", help="only mutants whose name has it, or matches, with *"
    )
    add("--files", action="append", metavar="GLOB", help=f"sources (default {' '.join(SOURCES)})")
    add("--operators", metavar="NAMES", default="", help="only these, with commas between")
    add("--sample", type=int, metavar="N", help="N mutants at random, evenly over the files")
    add("--seed", type=int, metavar="S", help="of the sample (default: a new one, printed)")
    add("--tests", action="append", metavar="PATH", help="only these test files")
    add(
        "--budget", type=float, metavar="SECONDS", default=30, help="of tests a mutant (default 30)"
    )
    add("--workers", type=int, metavar="N", default=os.cpu_count() or 1, help="at a time")
    add("--resume", action="store_true", help="keep what earlier runs killed or did not compile")
    add("--list", action="store_true", help="print names and diffs, and run nothing")
    add("--json", metavar="FILE", help="write all verdicts as JSON; - prints them instead")
    add(
        "--kept",
        type=Path,
        metavar="FOLDER",
        default=KEPT,
        help="for --resume, and what was learnt",
    )
    options = parser.parse_args(arguments)
    options.operators = [name for name in options.operators.split(",") if name]
    if unknown := set(options.operators) - set(OPERATORS):
        parser.error(f"no such operator: {', '.join(sorted(unknown))}")
    if options.seed is None:
        options.seed = random.randrange(1 << 16)
    return options


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Wrap the description, leave the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text == EXAMPLE:
            return text
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def _summary(operator: str) -> str:
    text = " ".join((OPERATORS[operator].__doc__ or "").split("\n\n")[0].split())
    return text[0].lower() + text[1:].rstrip(".")


class Screen:
    """Progress on stderr: a bar on a terminal, a line each in a file."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            *Progress.get_default_columns(), TimeElapsedColumn(), console=self._console
        )
        self._tasks: dict[str, int] = {}

    @contextmanager
    def shown(self) -> Iterator[Screen]:
        """While work goes on."""
        if not self._console.is_terminal:
            yield self
            return
        with self._bar:
            yield self

    def step(self, what: str, done: int, total: int, text: str, *, always: bool = True) -> None:
        """One of a total is done. Without ``always`` the text is for files only."""
        if not self._console.is_terminal:
            print(f"[{done}/{total}] {text}", file=sys.stderr, flush=True)
            return
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done)  # type: ignore[arg-type]
        if always:
            self._bar.console.print(escape(text))


def earlier(kept: Path) -> dict[str, Verdict]:
    """Verdicts of earlier runs."""
    path = kept / "verdicts.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return {row["id"]: Verdict(**row) for row in rows}


def keep(kept: Path, verdicts: dict[str, Verdict]) -> None:
    """For --resume."""
    kept.mkdir(parents=True, exist_ok=True)
    fresh = kept / "verdicts.json.new"
    fresh.write_text(json.dumps([verdict.as_dict() for verdict in verdicts.values()], indent=1))
    fresh.replace(kept / "verdicts.json")


def tasks(
    mutants: list[Mutant], sources: dict[str, Source], reach: Reach, budget: float
) -> list[Task]:
    """Each mutant with its tests."""
    usual, made = reach.seconds, []
    for mutant in mutants:
        tests = reach.tests_of(mutant, sources)
        made.append(Task(mutant, tests, {name: usual[name] for name in tests}, budget))
    return made


def try_them(
    mutants: list[Mutant], sources: dict[str, Source], options: argparse.Namespace
) -> dict[str, Verdict]:
    """Verdicts by id."""
    verdicts = earlier(options.kept)
    current = {m.id: verdicts[m.id] for m in mutants if m.id in verdicts}
    current = {m.id: current[m.id] for m in mutants if m.id in current and current[m.id].is_of(m)}
    settled = {name for name, verdict in current.items() if not verdict.survived}
    todo = [mutant for mutant in mutants if not (options.resume and mutant.id in settled)]
    with tempfile.TemporaryDirectory(prefix="ucmmu-mutants-") as folder, Screen().shown() as screen:
        files = test_files(options.tests or ["tests"])

        def learnt(name: str, done: int, total: int) -> None:
            screen.step("which test runs what", done, total, name, always=False)

        kept, trees = options.kept / "reach", Path(folder)
        reach = learn(sources, files, kept, trees, options.workers, learnt)
        for name in reach.failed:
            print(f"left out, fails without a mutant: {name}", file=sys.stderr)
        given = tasks(todo, sources, reach, options.budget)
        found = try_all(given, trees, options.workers)
        try:
            for done, verdict in enumerate(found, 1):
                verdicts[verdict.id] = verdict
                text = f"{verdict.id}: {report.words(verdict)} ({verdict.seconds:.1f} s)"
                screen.step("mutants", done, len(todo), text, always=verdict.survived)
                if done % 20 == 0:
                    keep(options.kept, verdicts)
        finally:
            keep(options.kept, verdicts)
    return {mutant.id: verdicts[mutant.id] for mutant in mutants}


def main(arguments: list[str] | None = None) -> int:
    """See EXAMPLE for the exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the trees go
    try:
        everything = find(ROOT)
        sources = find(ROOT, options.files) if options.files else everything
        listed = report.read()
        reasons = report.excused(listed, choose(everything))
        mutants = choose(sources, options.only, options.operators, options.sample, options.seed)
        if not mutants:
            raise Unknown("no mutant is like that")
        if options.list:
            for mutant in mutants:
                print(f"{mutant.id}\t{mutant.line}\t{mutant.diff}")
            return 0
        if options.sample is not None:
            print(f"{len(mutants)} mutants, --seed {options.seed}", file=sys.stderr)
        verdicts = try_them(mutants, everything | sources, options)
    except (Unknown, report.OutOfDate, NotBuilt) as error:
        print(f"tests.mutants: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print("tests.mutants: a worker was killed; --resume keeps what was tried", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tests.mutants: interrupted; --resume keeps what was tried", file=sys.stderr)
        return 130
    return tell(mutants, verdicts, reasons, options.json)


def tell(
    mutants: list[Mutant], verdicts: dict[str, Verdict], reasons: dict[str, str], file: str | None
) -> int:
    """Print the report."""
    counted = report.counts(verdicts.values(), {m.id: m.folder for m in mutants}, reasons)
    survived = [v for v in verdicts.values() if report.column(v, reasons) == "survived"]
    wrong = [v for v in verdicts.values() if v.killed and v.id in reasons]
    text = json.dumps(report.as_json(counted, verdicts.values(), reasons), indent=1)
    if file == "-":
        print(text)
    else:
        print(report.markdown(counted, survived))
    if file and file != "-":
        Path(file).write_text(text + "\n")
    for verdict in wrong:
        print(f"listed as equivalent: {verdict.id}: {report.words(verdict)}", file=sys.stderr)
    return 2 if wrong else 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
