# SPDX-License-Identifier: GPL-2.0-or-later
"""The cells of a spec: every command line, each option tried by the parser that will read it."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mmu.x86.toml_lines import Key
from ucmmu.exit_codes import Failure
from ucmmu.sweep.spec import MAX_VALUES, SEVERAL, WORKLOAD, Group, Spec, Value, Workload
from ucmmu.text import did_you_mean

Parsers = Mapping[str, argparse.ArgumentParser]
"""By command: the parser of its words."""

WHY_NOT: Final = {
    "json": "a sweep keeps each cell's JSON itself",
    "keep": "a sweep keeps reports, not files",
    "writable": "cells run side by side, and would change each other's files",
    "trace": "a sweep keeps reports: record one run with `ucmmu run --trace`",
    "trace-filter": "a sweep records nothing",
    "trace-limit": "a sweep records nothing",
    "strace": "a sweep keeps reports: print one run's calls with `ucmmu run --strace`",
    "strace-out": "a sweep keeps reports: print one run's calls with `ucmmu run --strace`",
    "help": "a sweep shows no help",
    "list": "a sweep runs scenarios that the spec names",
    "all": "a sweep runs scenarios that the spec names",
    "replay": "a sweep explores: replay one schedule with `ucmmu race --replay`",
    "jobs": "a sweep has its own --jobs",
}
"""Options that a cell cannot have."""
LIMITS: Final = ("timeout", "memory-limit")
"""Options that decide no result, so that cells are not told apart by them."""


@dataclass(frozen=True)
class Cell:
    """One command line and what is told of it."""

    workload: Workload
    settings: tuple[tuple[str, Value], ...]
    """The options of matrix or include that the command has."""
    options: tuple[tuple[str, Value], ...]
    """Those of all cells that it has and the settings do not give."""

    @property
    def words(self) -> list[str]:
        """What stands behind ``ucmmu``."""
        given = (*self.options, *self.settings)
        options = [word for key, value in given for word in option_words(key, value)]
        return [self.workload.kind, *options, *self.workload.words]

    @property
    def row(self) -> dict[str, Value]:
        """How people tell it from others: its workload and settings."""
        return {WORKLOAD: self.workload.name, **dict(self.settings)}

    @property
    def title(self) -> str:
        """The same in one line: ``small free-tables=scan cpus=2``."""
        settings = (f"{key}={value_text(value)}" for key, value in self.settings)
        return " ".join([self.workload.name, *settings])


def value_text(value: Value) -> str:
    """A value as an argument or a table has it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def option_words(key: str, value: Value) -> list[str]:
    """The words that give an option a value."""
    if isinstance(value, bool):
        return [f"--{key}"] if value else []
    values = value if isinstance(value, tuple) else (value,)
    return [f"--{key}={one}" for one in values]


def make_cells(spec: Spec, parsers: Parsers) -> list[Cell]:
    """All cells in the order of the spec, none twice. Raises Failure (USAGE)."""
    maker = _Maker(spec, parsers)
    maker.check()
    found: dict[Cell, None] = {}
    total = 0
    for group in spec.groups:
        total += len(group.workloads) * math.prod(map(len, group.axes.values()))
        if total > MAX_VALUES:
            spec.complain(group.key, f"these are more than {MAX_VALUES:,} cells")
        found.update(dict.fromkeys(maker.cells_of(group)))
    cells = list(found)
    for group in spec.excluded:
        left = [cell for cell in cells if not _is_in(cell, group)]
        if len(left) == len(cells):
            spec.complain(group.key, "leaves out no cell: look at its keys and values")
        if not left:
            spec.complain(group.key, "leaves out the last cell: nothing would be run")
        cells = left
    return cells


def _is_in(cell: Cell, group: Group) -> bool:
    """Whether an exclusion is of the cell."""
    if cell.workload.name not in group.workloads:
        return False
    given = {**dict(cell.options), **dict(cell.settings)}
    return all(
        key in given and value_text(given[key]) in map(value_text, values)
        for key, values in group.axes.items()
    )


class _Maker:
    def __init__(self, spec: Spec, parsers: Parsers) -> None:
        self._spec = spec
        self._parsers = parsers
        kinds = dict.fromkeys(workload.kind for workload in spec.workloads.values())
        self._options = {kind: _options_of(parsers[kind]) for kind in kinds if kind in parsers}

    def check(self) -> None:
        """See that options and values are what the commands take."""
        for name, workload in self._spec.workloads.items():
            if workload.kind not in self._options:
                line = f"this ucmmu has no command {workload.kind!r}"
                self._spec.complain(("workloads", name), line)
        for key, value in self._spec.options.items():
            self._check_value(("options", key), key, value)
        for group in self._spec.groups:
            for key, values in group.axes.items():
                if key in LIMITS and (group.key == ("matrix",) or len(values) > 1):
                    line = "limits decide no result: put it under [options]"
                    self._spec.complain((*group.key, key), line)
                for value in values:
                    self._check_value((*group.key, key), key, value)
        for group in self._spec.excluded:
            for key in group.axes:
                self._owners((*group.key, key), key)

    def cells_of(self, group: Group) -> Iterator[Cell]:
        """Every workload with every combination; options that its command has not are left out."""
        for name in group.workloads:
            workload = self._spec.workloads[name]
            known = self._options[workload.kind]
            axes = {key: values for key, values in group.axes.items() if key in known}
            for values in itertools.product(*axes.values()):
                settings = tuple(zip(axes, values, strict=True))
                options = tuple(
                    (key, value)
                    for key, value in self._spec.options.items()
                    if key in known and key not in axes
                )
                yield Cell(workload, settings, options)

    def _owners(self, key: Key, name: str) -> list[str]:
        """The commands among ours that have the option. Raises Failure if none has."""
        if name in WHY_NOT:
            self._spec.complain(key, f"cannot be swept: {WHY_NOT[name]}")
        owners = [kind for kind, options in self._options.items() if name in options]
        if not owners:
            known = [one for options in self._options.values() for one in options]
            near = did_you_mean(name.replace("_", "-").lstrip("-"), known)
            commands = " or ".join(f"`ucmmu {kind}`" for kind in self._options)
            self._spec.complain(key, f"is no option of {commands}{near}")
        return owners

    def _check_value(self, key: Key, name: str, value: Value) -> None:
        for kind in self._owners(key, name):
            action = self._options[kind][name]
            is_flag = action.nargs == 0
            if is_flag != isinstance(value, bool):
                what = "is true or false" if is_flag else "takes a value, not true or false"
                self._spec.complain(key, f"--{name} {what}")
            if isinstance(value, tuple) and not isinstance(action, argparse._AppendAction):
                several = f"; {SEVERAL}" if key[0] == "options" else ""
                self._spec.complain(key, f"--{name} takes one value, not a list{several}")
            self._try(key, kind, option_words(name, value))

    def _try(self, key: Key, kind: str, words: list[str]) -> None:
        program = ["--", "hello"] if kind == "run" else []
        try:
            self._parsers[kind].parse_known_args([*words, *program])
        except Failure as failure:
            why = failure.line.partition(" (`ucmmu")[0]
            self._spec.complain(key, why.removeprefix("argument "))


def _options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """By name without dashes: what a cell of the command may be given."""
    return {
        option[2:]: action
        for option, action in parser._option_string_actions.items()
        if option.startswith("--") and option[2:] not in WHY_NOT
    }
