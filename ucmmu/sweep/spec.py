# SPDX-License-Identifier: GPL-2.0-or-later
"""The file that describes a sweep: what may stand in it, and the line that says what may not.

::

    name = "purge"                          # default: the file's name

    [workloads]                             # by name: a command line of `ucmmu run`, or a race
    small = "dontneed_loop 64M 2M"
    fork = { race = "fork-zap" }

    [matrix]                                # every value with every other one
    free-tables = ["never", "refcount"]
    seed = { from = 0, to = 9 }

    [options]                               # the same in all cells
    timeout = 60

    [[include]]                             # more cells: another matrix
    workload = "small"
    cpus = [8, 16]

    [[exclude]]                             # cells that are left out
    free-tables = "never"
    seed = [3, 4]

    [table]
    figures = ["VmPTE", "seconds"]          # what is shown at the end
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from mmu.x86.toml_lines import Key, key_lines, line_of
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.text import did_you_mean, printable

_toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

Value = str | int | float | bool | tuple[str, ...]
"""What an option is given: a tuple where it may be repeated."""
Axes = dict[str, tuple[Value, ...]]
"""By option without its dashes: the values it takes one after another."""

KINDS: Final = ("run", "race")
"""The commands that a workload may be of."""
WORKLOAD: Final = "workload"
MAX_VALUES: Final = 100_000
SEVERAL: Final = "several values belong in [matrix]"
_SECTIONS: Final = ("name", "workloads", "matrix", "options", "include", "exclude", "table")


@dataclass(frozen=True)
class Workload:
    """What a cell runs: ``words`` of the command ``kind``, options and program or scenario."""

    name: str
    kind: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Cells of every workload in ``workloads`` with every combination of ``axes``."""

    key: Key
    """Where it stands in the file."""
    workloads: tuple[str, ...]
    axes: Axes


@dataclass
class Spec:
    """A sweep as its file describes it; complain() makes a Failure that names file and line."""

    path: str
    name: str
    lines: dict[Key, int]
    workloads: dict[str, Workload] = field(default_factory=dict)
    options: dict[str, Value] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    """The matrix, then what is included."""
    excluded: list[Group] = field(default_factory=list)
    figures: tuple[str, ...] = ()

    def complain(self, key: Key, why: str) -> NoReturn:
        """Raise Failure (USAGE): the file's line, the key, and what is wrong."""
        where = f"{printable(self.path)}:{line_of(self.lines, key)}: {key_text(key)}"
        raise Failure(ExitCode.USAGE, f"{where}: {why}")


def key_text(key: Key) -> str:
    """A key as people write it: ``matrix.cpus``, ``include[1].seed``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return printable(text)


def read_spec(path: str) -> Spec:
    """Read a spec; what its options may be is for cells() to check. Raises Failure (USAGE)."""
    text = _text_of(path)
    try:
        data = _toml.loads(text)
        lines = key_lines(text)
    except _toml.TOMLDecodeError as error:
        raise Failure(ExitCode.USAGE, f"{printable(path)}: is not valid TOML: {error}") from None
    except RecursionError:
        line = f"{printable(path)}: its lists and tables lie too deep in each other"
        raise Failure(ExitCode.USAGE, line) from None
    return _Reader(Spec(path, Path(path).stem, lines)).read(data)


def _text_of(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise Failure(ExitCode.USAGE, f"{printable(path)}: is no regular file")
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror
    except UnicodeDecodeError as error:
        why = f"is no UTF-8 text: {error}"
    except ValueError as error:
        why = str(error)
    raise Failure(ExitCode.USAGE, f"{printable(path)}: {why}")


class _Reader:
    """Fills a spec from what the parser made of its file."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def read(self, data: dict[str, Any]) -> Spec:
        spec = self._spec
        self._known((), data, _SECTIONS)
        name = data.get("name", spec.name)
        good = isinstance(name, str) and not {"/", "\0"} & set(name)
        if not good or not name or name.startswith("."):
            spec.complain(("name",), f"{name!r} is no name: it names the directory of the results")
        spec.name = name
        for word, given in self._table(data, "workloads").items():
            spec.workloads[word] = self._workload(word, given)
        if not spec.workloads:
            line = "there is none: [workloads] needs a line such as small = 'dontneed_loop 64M 2M'"
            spec.complain(("workloads",), line)
        for key, given in self._table(data, "options").items():
            spec.options[key] = self._value(("options", key), given)
        matrix = self._table(data, "matrix")
        if matrix or "include" not in data:
            spec.groups.append(self._group(("matrix",), matrix))
        if not spec.groups and not data["include"]:
            spec.complain(("include",), "is an empty list, and there is no [matrix]: no cells")
        for at, given in enumerate(self._tables(data, "include")):
            spec.groups.append(self._group(("include", at), given))
        for at, given in enumerate(self._tables(data, "exclude")):
            if not given:
                spec.complain(("exclude", at), "names no key, and would leave out every cell")
            spec.excluded.append(self._group(("exclude", at), given))
        table = self._table(data, "table")
        self._known(("table",), table, ("figures",))
        spec.figures = self._strings(("table", "figures"), table.get("figures", []))
        self._once(("table", "figures"), spec.figures)
        return spec

    def _known(self, key: Key, given: dict[str, Any], known: tuple[str, ...]) -> None:
        for word in given:
            if word not in known:
                hint = did_you_mean(word, known)
                line = f"there is no such key, but {', '.join(known)}{hint}"
                self._spec.complain((*key, word), line)

    def _table(self, data: dict[str, Any], name: str) -> dict[str, Any]:
        table = data.get(name, {})
        if not isinstance(table, dict):
            self._spec.complain((name,), f"is no table: write [{name}] above its lines")
        return table

    def _tables(self, data: dict[str, Any], name: str) -> list[dict[str, Any]]:
        tables = data.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self._spec.complain((name,), f"is no list of tables: write [[{name}]] above each")
        return tables

    def _strings(self, key: Key, given: Any) -> tuple[str, ...]:
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            self._spec.complain(key, "is no list of strings")
        return tuple(given)

    def _workload(self, name: str, given: Any) -> Workload:
        key = ("workloads", name)
        kind: str = "run"
        if isinstance(given, dict):
            self._known(key, given, KINDS)
            if len(given) != 1:
                self._spec.complain(key, f"is one of {', '.join(KINDS)}, not {len(given)}")
            ((kind, given),) = given.items()
        if isinstance(given, str):
            try:
                words = tuple(shlex.split(given))
            except ValueError as error:
                self._spec.complain(key, f"is no command line: {error}")
        elif isinstance(given, list):
            words = self._strings(key, given)
        else:
            self._spec.complain(key, f"{given!r} is no command line: it is a string")
        if not words:
            self._spec.complain(key, "is empty: give a program and its arguments")
        if any("\0" in word for word in words):
            self._spec.complain(key, "has a NUL, which no argument can have")
        return Workload(name, kind, words)

    def _group(self, key: Key, given: dict[str, Any]) -> Group:
        names = tuple(self._spec.workloads)
        axes: Axes = {}
        for word, values in given.items():
            here = (*key, word)
            if word == WORKLOAD:
                names = self._names(here, values)
                continue
            axes[word] = self._values(here, values)
        return Group(key, names, axes)

    def _names(self, key: Key, given: Any) -> tuple[str, ...]:
        names = self._strings(key, [given] if isinstance(given, str) else given)
        for name in names:
            if name not in self._spec.workloads:
                hint = did_you_mean(name, self._spec.workloads)
                self._spec.complain(key, f"there is no workload {printable(repr(name))}{hint}")
        if not names:
            self._spec.complain(key, "is an empty list")
        return names

    def _values(self, key: Key, given: Any) -> tuple[Value, ...]:
        if isinstance(given, dict):
            return self._range(key, given)
        values = [self._value(key, one) for one in (given if isinstance(given, list) else [given])]
        if not values:
            self._spec.complain(key, "is an empty list: give a value, or leave the key out")
        self._once(key, values)
        return tuple(values)

    def _once(self, key: Key, values: Sequence[Value]) -> None:
        seen: set[tuple[type, Value]] = set()
        for value in values:
            if (type(value), value) in seen:
                self._spec.complain(key, f"{value!r} stands there twice")
            seen.add((type(value), value))

    def _range(self, key: Key, given: dict[str, Any]) -> tuple[Value, ...]:
        self._known(key, given, ("from", "to", "step"))
        first, last, step = given.get("from"), given.get("to"), given.get("step", 1)
        if not all(type(one) is int for one in (first, last, step)):
            self._spec.complain(key, "is no range: { from = 0, to = 9 }, with step if not 1")
        assert isinstance(first, int) and isinstance(last, int)
        if step < 1 or last < first:
            self._spec.complain(key, f"the range from {first} to {last} by {step} has no numbers")
        if (last - first) // step >= MAX_VALUES:
            self._spec.complain(key, f"the range has more than {MAX_VALUES:,} numbers")
        return tuple(range(first, last + 1, step))

    def _value(self, key: Key, given: Any) -> Value:
        if isinstance(given, list):
            if key[0] == "options" and not all(isinstance(one, str) for one in given):
                self._spec.complain(key, f"is a list: {SEVERAL}")
            return self._strings(key, given)
        if not isinstance(given, (str, int, float, bool)):
            self._spec.complain(key, f"{given!r} is no value of an option")
        if isinstance(given, str) and "\0" in given:
            self._spec.complain(key, "has a NUL, which no argument can have")
        return given
