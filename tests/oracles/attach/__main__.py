# SPDX-License-Identifier: GPL-2.0-or-later
"""Play random scripts on plain Unicorn and attached, and print where they differ."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from cpu.vcpu import Fidelity
from tests.oracles.attach import listing
from tests.oracles.attach.compare import Difference, campaign, compare_one
from tests.oracles.attach.minimise import minimise
from tests.oracles.attach.player import How
from tests.oracles.attach.script import Script, write_script


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracles.attach",
        description="Play random scripts of Unicorn API calls on plain Unicorn and on an attached"
        " instance: the same hook calls, results, exceptions, registers and memory, but for what"
        " tests/oracles/attach/differences.py lists.",
        epilog="example: python -m tests.oracles.attach --seed 7 --scripts 1 --minimise; exit code"
        " 1 if any differs. Scripts that crash plain Unicorn are counted, and say nothing.",
    )
    add = parser.add_argument
    add("--seed", type=int, metavar="N", help="of the first script (default: a new one, printed)")
    add("--scripts", type=int, default=1000, metavar="K", help="how many (default 1000)")
    add("--fidelity", choices=[f.label for f in Fidelity], help="default: all in turn")
    add("--engine", choices=["c", "python"], default="c", help="default c")
    add("--plain", action="store_true", help="plain Unicorn twice: nothing may differ")
    add("--minimise", action="store_true", help="shorten the first script that differs, and end")
    add("--script", type=Path, metavar="FILE", help="play this script, from --json")
    add("--json", type=Path, metavar="FILE", help="write the script that is printed there")
    add("--all", action="store_true", help="go on after the first difference")
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default: processors")
    return parser.parse_args(arguments)


def _ways(options: argparse.Namespace) -> tuple[How, ...]:
    if options.plain:
        return (How(),)
    labels = [options.fidelity] if options.fidelity else [f.label for f in Fidelity]
    return tuple(How(label, options.engine) for label in labels)


def _shorten(script: Script, found: Difference) -> Script:
    """The script, as small as it can be with the same kind of difference."""

    def holds(candidate: Script) -> bool:
        other = compare_one(candidate, found.how)
        return (
            other is not None
            and (other.kind, other.side) == (found.kind, found.side)
            and _about(other) == _about(found)
        )

    return minimise(script, holds)


def _about(found: Difference) -> tuple[str, ...]:
    """What a difference is about: the names of the two entries."""
    entries = (found.plain, found.attached)
    return tuple(entry[1].split()[-1] if entry is not None else "" for entry in entries)


def _tell(script: Script, found: Difference, options: argparse.Namespace) -> None:
    if options.minimise:
        script = _shorten(script, found)
        found = compare_one(script, found.how) or found
        print(listing.of_script(script))
    print(found)
    if options.json:
        options.json.write_text(json.dumps({"script": script, "how": vars(found.how)}))


def main(arguments: list[str] | None = None) -> int:
    """Play, print, return the exit code."""
    options = parse(arguments)
    if options.script:
        return _replay(options)
    seed = int.from_bytes(os.urandom(4), "little") if options.seed is None else options.seed
    print(f"{options.scripts:,} scripts from --seed {seed} on")
    tally: Counter[str] = Counter()
    done = 0
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("scripts", total=options.scripts)
        for size, found in campaign(seed, options.scripts, _ways(options), options.jobs):
            done += size
            bar.update(task, advance=size)
            tally.update(f"{one.side} {one.kind}" for one in found)
            told = [one for one in found if one.counts or options.plain]
            for one in told if options.all else told[:1]:
                _tell(write_script(one.seed), one, options)
            if told and not options.all:
                break
    print(f"{done:,} scripts: {dict(tally) or 'no difference'}")
    return int(any(name.startswith("attached") for name in tally))


def _replay(options: argparse.Namespace) -> int:
    data = json.loads(options.script.read_text())
    how = How(**data["how"])
    found = compare_one(data["script"], how)
    print(listing.of_script(data["script"]))
    if found is None:
        print(f"no difference ({how})")
        return 0
    _tell(data["script"], found, options)
    return 1


if __name__ == "__main__":
    sys.exit(main())
