# SPDX-License-Identifier: GPL-2.0-or-later
"""From the cells of a spec to keys and jobs: everything is checked before anything is run."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mmu.errors import MmuError
from mmu.x86.geometry import list_geometries, load_geometry
from mmu.x86.toml_lines import Key
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
_USUAL: Final = RunOptions("")
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
        for parser in parsers.values():
            _refuse_help(parser)
        self._code = code_digest()
        self._passed = passed(os.environ)
        self._known: dict[tuple[object, ...], tuple[Path | None, dict[str, str]]] = {}

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
            about = f" (as in the cell {cell.title})" if cell.settings else ""
            try:
                self._spec.complain(self._key_of(cell, why), f"{why}{about}")
            except Failure as named:
                raise Failure(failure.code, named.line) from None

    def _key_of(self, cell: Cell, why: str) -> Key:
        """The key in the spec of the option that a line begins with; else that of the workload."""
        option = re.match("--([a-z-]+)", why)
        name = option.group(1) if option else ""
        said = any(word.partition("=")[0] == f"--{name}" for word in cell.workload.words)
        if not said and name in dict(cell.options):
            return ("options", name)
        given = dict(cell.settings).get(name)
        for group in self._spec.groups:
            if not said and given is not None and given in group.axes.get(name, ()):
                return (*group.key, name)
        return ("workloads", cell.workload.name)

    def _planned(self, cell: Cell) -> Planned:
        kind, words = cell.workload.kind, cell.words
        parser = self._parsers[kind]
        arguments, rest = parser.parse_known_args(words[1:])
        if rest:
            raise Failure(ExitCode.USAGE, f"`ucmmu {kind}` takes no {rest[0]!r}")
        _refuse(arguments)
        options = program = None
        names: dict[str, str] = {}
        if kind == "run":
            options = options_of(arguments)
            program, names = self._surroundings(options)
            _check_geometry(options.tlb)
            find_policy(options.free_tables)
            asked = vars(options) | _others(arguments, options)
        else:
            _check_races(arguments)
            words = [kind, "--jobs=1", *words[1:]]
            asked = _others(arguments, None)
        files = files_of(words, options, program, names)
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
            environ=tuple((self._passed | _asked_variables(arguments)).items()),
            files=tuple(files.items()),
            code=self._code,
            seconds=None if seconds is None else seconds + GRACE,
        )
        return Planned(cell, facts, job, limits)

    def _surroundings(self, options: RunOptions) -> tuple[Path | None, dict[str, str]]:
        """The file of the program, and its environment; looked up once for all cells that ask for
        the same. Raises Failure.
        """
        asked = (options.program, options.root, options.env, options.clear_env, options.preload)
        if asked not in self._known:
            self._known[asked] = program_file(options), environment_of(options)
        return self._known[asked]


def _refuse_help(parser: argparse.ArgumentParser) -> None:
    """Have the parser of a cell's words not print its help, and end us with 0."""
    names = [name for name in ("-h", "--help") if name in parser._option_string_actions]
    for name in names:
        parser._option_string_actions[name] = _NoHelp(names, dest="help", nargs=0)


class _NoHelp(argparse.Action):
    def __call__(self, *_: object) -> None:
        raise Failure(ExitCode.USAGE, f"--help cannot be swept: {WHY_NOT['help']}")


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
    usual = vars(_USUAL) if options is not None else {}
    taken = vars(options) if options is not None else {}
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


def _asked_variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Variables of the user's that ``--env`` names: set where the cell runs, as they are here."""
    asked = [word for word in getattr(arguments, "env", ()) if "=" not in word]
    return {name: os.environ[name] for name in asked if name in os.environ}
