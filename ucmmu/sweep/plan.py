# SPDX-License-Identifier: GPL-2.0-or-later
"""From the cells of a spec to keys and jobs: everything is checked before anything is run."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from mmu.errors import MmuError
from mmu.x86.geometry import list_geometries, load_geometry
from ucmmu.arguments import run_options
from ucmmu.environment import environment_of, passed
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions, program_file
from ucmmu.policy_file import find_policy
from ucmmu.sweep.cells import LIMITS, WHY_NOT, Cell, Parsers
from ucmmu.sweep.jobs import Job
from ucmmu.sweep.key import code_digest, digest_of, facts_of
from ucmmu.sweep.named_files import files_of
from ucmmu.sweep.spec import Spec
from ucmmu.text import did_you_mean, printable

GRACE: Final = 60.0
"""Seconds that a cell may take beyond its own time limit, to start and to end."""
_SHOWN: Final = 100
"""Cells that are planned before somebody is told."""
_NOT_ASKED: Final = ("timeout", "memory_limit", "command", "command_parsers", "program", "args")


@dataclass(frozen=True, eq=False)
class Planned:
    """A cell, the facts that decide its result, and the job that makes it."""

    cell: Cell
    facts: dict[str, Any]
    job: Job
    limits: dict[str, Any]
    """What it may use, by option; None: all."""

    @property
    def key(self) -> str:
        """Of its result."""
        return self.job.key


def unique(planned: Iterable[Planned]) -> list[Planned]:
    """One of each key, that with the widest limits."""
    found: dict[str, Planned] = {}
    for one in planned:
        other = found.setdefault(one.key, one)
        if _width(one) > _width(other):
            found[one.key] = one
    return list(found.values())


def _width(planned: Planned) -> list[float]:
    return [math.inf if limit is None else limit for limit in planned.limits.values()]


class Planner:
    """Makes jobs of the cells of ``spec``."""

    def __init__(self, spec: Spec, parsers: Parsers) -> None:
        self._spec = spec
        self._parsers = parsers
        self._code = code_digest()

    def plan(
        self, cells: Sequence[Cell], show: Callable[[str], None] = lambda text: None
    ) -> list[Planned]:
        """A job for each cell; ``show`` is told how far it is. Raises Failure (USAGE, NO_PROGRAM),
        which names the cell.
        """
        planned = []
        for cell in cells:
            planned.append(self._plan(cell))
            if len(planned) % _SHOWN == 0:
                show(f"{len(planned):,} of {len(cells):,} cells looked up")
        return planned

    def _plan(self, cell: Cell) -> Planned:
        try:
            return self._planned(cell)
        except Failure as failure:
            why = failure.line.partition(" (`ucmmu")[0].removeprefix("argument ")
            key = ("workloads", cell.workload.name)
            about = f" (as in the cell {cell.title})" if cell.settings else ""
            try:
                self._spec.complain(key, f"{why}{about}")
            except Failure as named:
                raise Failure(failure.code, named.line) from None

    def _planned(self, cell: Cell) -> Planned:
        kind, words = cell.workload.kind, cell.words
        parser = self._parsers[kind]
        arguments, rest = parser.parse_known_args(words[1:])
        if rest:
            raise Failure(ExitCode.USAGE, f"`ucmmu {kind}` takes no {rest[0]!r}")
        _refuse(arguments)
        options = None
        names: dict[str, str] = {}
        if kind == "run":
            options = options_of(arguments)
            program_file(options)
            _check_geometry(options.tlb)
            find_policy(options.free_tables)
            names = environment_of(options)
            asked = asdict(options) | _others(arguments, options)
        else:
            _check_races(arguments)
            words = [kind, "--jobs=1", *words[1:]]
            asked = _others(arguments, None)
        files = files_of(words, options, names)
        facts = facts_of(
            {"command": kind, **asked}, files=files, code=self._code, environment=names
        )
        said = {name.replace("_", "-"): value for name, value in vars(arguments).items()}
        limits: dict[str, Any] = {name: said[name] for name in LIMITS if name in said}
        seconds = limits.get("timeout")
        job = Job(
            key=digest_of(facts),
            words=tuple(words),
            cwd=os.getcwd(),
            environ=tuple(_environ(arguments).items()),
            files=tuple(files.items()),
            code=self._code,
            seconds=None if seconds is None else seconds + GRACE,
        )
        return Planned(cell, facts, job, limits)


def _refuse(arguments: argparse.Namespace) -> None:
    """A workload's own words give no option that a cell cannot have."""
    for name, why in WHY_NOT.items():
        if getattr(arguments, name.replace("-", "_"), None):
            raise Failure(ExitCode.USAGE, f"--{name} cannot be swept: {why}")


def options_of(arguments: argparse.Namespace) -> RunOptions:
    """What the command line of a run asks for, outputs aside. Raises Failure (USAGE)."""
    words = list(arguments.program)
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        raise Failure(ExitCode.USAGE, "names no program")
    return run_options(arguments, words[0], words[1:])


def _others(arguments: argparse.Namespace, options: RunOptions | None) -> dict[str, Any]:
    """What the command line says that the options of a run do not, or not yet."""
    usual = asdict(RunOptions("")) if options is not None else {}
    taken = asdict(options) if options is not None else {}
    others = {}
    for name, value in vars(arguments).items():
        given = tuple(value) if isinstance(value, list) else value
        if name in _NOT_ASKED or name.replace("_", "-") in WHY_NOT:
            continue
        if name not in usual or (given is not None and taken[name] == usual[name] != given):
            others[name] = given
    return others


def _check_races(arguments: argparse.Namespace) -> None:
    from ucmmu.race.command import settings_of

    settings_of(arguments)


def _check_geometry(name: str) -> None:
    try:
        load_geometry(name)
    except MmuError as error:
        near = did_you_mean(name, list_geometries())
        raise Failure(ExitCode.USAGE, f"--tlb {printable(name)}: {error}{near}") from None


def _environ(arguments: argparse.Namespace) -> dict[str, str]:
    """Variables that must be set where the cell runs, as they are here."""
    asked = [word for word in getattr(arguments, "env", ()) if "=" not in word]
    return passed(os.environ) | {name: os.environ[name] for name in asked if name in os.environ}
