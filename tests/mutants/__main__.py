# SPDX-License-Identifier: GPL-2.0-or-later
"""Try every mutant and print what came of it."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.mutants.listed import MUTANTS
from tests.mutants.mutant import Mutant, OutOfDate, check_up_to_date
from tests.mutants.run import WORKERS, Broken, Verdict, try_all
from tests.mutants.table import figures, page
from tests.mutants.tree import ROOT

COMMAND = "python -m tests.mutants --doc docs/mutants.md"
KEPT = ROOT / "build" / "mutants.json"


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make mutate, or python -m tests.mutants",
        description="Take one rule or one invalidation out of an engine, and see which test fails; and so on for all.",
        epilog="example: python -m tests.mutants 'invalidate.c: INVLPG' --json mutants.json",
    )
    parser.add_argument(
        "only",
        nargs="*",
        metavar="TEXT",
        help="only mutants whose file and name has this text in it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts as JSON, too")
    parser.add_argument(
        "--doc",
        type=Path,
        metavar="FILE",
        help="write the table as Markdown: all mutants must be tried",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"keep the verdicts of earlier runs ({KEPT.relative_to(ROOT)}) that caught",
    )
    parser.add_argument(
        "--workers", type=int, default=WORKERS, metavar="N", help=f"processes (default {WORKERS})"
    )
    parser.add_argument(
        "--no-check", action="store_true", help="do not try the tests without a mutant first"
    )
    parser.add_argument(
        "--no-compare",
        action="store_true",
        help="leave out the tests that only compare the engines",
    )
    return parser.parse_args(arguments)


def chosen(only: list[str]) -> list[Mutant]:
    """The mutants that the command line asks for."""
    return [mutant for mutant in MUTANTS if not only or any(text in mutant.key for text in only)]


def kept() -> dict[str, Verdict]:
    """Verdicts of earlier runs on mutants that are still listed as they were."""
    if not KEPT.exists():
        return {}
    before = {row["key"]: Verdict(**row) for row in json.loads(KEPT.read_text())}
    return {m.key: before[m.key] for m in MUTANTS if m.key in before and before[m.key].is_of(m)}


def keep(verdicts: dict[str, Verdict]) -> None:
    """For --resume and --doc."""
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps([verdict.as_dict() for verdict in verdicts.values()], indent=1))


def tell(mutant: Mutant, verdict: Verdict, done: int, total: int) -> None:
    """One line of progress."""
    if verdict.caught:
        what = f"{verdict.how if verdict.how != 'failed' else 'caught'} by {verdict.caught_by}"
        what += " (comparison of the engines)" if verdict.only_compared else ""
        what += " (listed as EQUIVALENT)" if mutant.equivalent else ""
    elif verdict.how:
        what = f"{verdict.how.upper()}: {verdict.detail}"
    else:
        what = "equivalent" if mutant.equivalent else "SURVIVED"
    print(
        f"[{done}/{total}] {mutant.key}: {what} ({verdict.tests} tests, {verdict.seconds:.1f} s)",
        flush=True,
    )


def is_wrong(mutant: Mutant, verdict: Verdict) -> bool:
    """Caught, and called equivalent; or not caught, and not."""
    return verdict.caught == bool(mutant.equivalent)


def main(arguments: list[str] | None = None) -> int:
    """0: every mutant was caught; 1: one survived, or the list is out of date; 2: the tests fail by
    themselves.
    """
    options = parse(arguments)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that workers end, and their trees go
    try:
        check_up_to_date(MUTANTS, ROOT)
    except OutOfDate as error:
        print(f"the list of mutants is out of date: {error}", file=sys.stderr)
        return 1
    mutants = chosen(options.only)
    by_key = {mutant.key: mutant for mutant in mutants}
    verdicts = kept()
    known = {
        key
        for key, verdict in verdicts.items()
        if key in by_key and not is_wrong(by_key[key], verdict)
    }
    todo = [mutant for mutant in mutants if not (options.resume and mutant.key in known)]
    try:
        checks = {"check": not options.no_check, "compare": not options.no_compare}
        for done, verdict in enumerate(try_all(todo, options.workers, **checks) if todo else (), 1):
            verdicts[verdict.key] = verdict
            tell(by_key[verdict.key], verdict, done, len(todo))
            keep(verdicts)
    except Broken as error:
        print(f"the tests fail without a mutant: {error}", file=sys.stderr)
        return 2
    tried = {key: verdicts[key] for key in by_key}
    print(figures(mutants, tried))
    if options.json:
        options.json.write_text(
            json.dumps([verdict.as_dict() for verdict in tried.values()], indent=1) + "\n"
        )
    if options.doc:
        options.doc.write_text(page(MUTANTS, verdicts, COMMAND))
    wrong = [key for key, verdict in tried.items() if is_wrong(by_key[key], verdict)]
    for key in wrong:
        print(f"not as listed: {key}: {tried[key].how or 'survived'} {tried[key].caught_by}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
