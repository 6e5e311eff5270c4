# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu completion``: a script by which a shell completes our command line, made of the parsers.

shtab writes it; what is said here is which arguments are programs, geometries, filters, files and
directories.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.listing import guests
from ucmmu.options import POLICIES

_PROGRAMS: Final = {"bash": "_ucmmu_programs", "zsh": "_ucmmu_programs"}
_GEOMETRIES: Final = {"bash": "_ucmmu_geometries", "zsh": "_ucmmu_geometries"}
_POLICIES: Final = {"bash": "_ucmmu_policies", "zsh": "_ucmmu_policies"}
_FILTERS: Final = {"bash": "_ucmmu_filters", "zsh": "_ucmmu_filters"}
_SCENARIOS: Final = {"bash": "_ucmmu_scenarios", "zsh": "_ucmmu_scenarios"}
_FILE: Final = {"bash": "_shtab_compgen_files", "zsh": "_files"}
_DIRECTORY: Final = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}
_BY_METAVAR: Final = {
    "FILE": _FILE,
    "FILE.py:CLASS": _FILE,
    "PATH": _FILE,
    "LIB": _FILE,
    "SPEC": _FILE,
    "A": _FILE,
    "B": _FILE,
    "DIR": _DIRECTORY,
    "PROGRAM": _PROGRAMS,
}
_BY_COMMAND: Final = {("race", "NAME"): _SCENARIOS}
"""Of an argument whose metavar is of that command alone."""
_BY_OPTION: Final = {
    "--tlb": _GEOMETRIES,
    "--free-tables": _POLICIES,
    "--filter": _FILTERS,
    "--trace-filter": _FILTERS,
}

_BASH: Final = """\
_ucmmu_programs() {{ compgen -W '{guests}' -- "$1"; compgen -f -- "$1"; compgen -c -- "$1"; }}
_ucmmu_geometries() {{ compgen -W '{geometries}' -- "$1"; compgen -f -- "$1"; }}
_ucmmu_policies() {{ compgen -W '{policies}' -- "$1"; compgen -f -- "$1"; }}
_ucmmu_filters() {{ compgen -W '{filters}' -- "$1"; }}
_ucmmu_scenarios() {{ compgen -W '{scenarios}' -- "$1"; }}
"""
_ZSH: Final = """\
_ucmmu_programs() {{
  _alternative 'guests:guest:({guests})' 'files:file:_files' 'commands:command:_command_names -e'
}}
_ucmmu_geometries() {{ _alternative 'geometries:geometry:({geometries})' 'files:file:_files' }}
_ucmmu_policies() {{
  _alternative 'policies:policy:({policies})' 'files:file:_files -g "*.py"'
}}
_ucmmu_filters() {{ compadd -S '' -- {filters} }}
_ucmmu_scenarios() {{ compadd -- {scenarios} }}
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for ``shell``, one of SHELLS, of the whole command line, which is ``parser`` and
    is changed. Raises Failure (NO_EXTRA) without shtab.
    """
    try:
        import shtab
    except ImportError:
        line = "ucmmu completion needs shtab: pip install 'ucmmu[completion]'"
        raise Failure(ExitCode.NO_EXTRA, line) from None
    for command, subparser in _commands(parser):
        if command in ("run", "compare"):
            subparser.add_argument("program", metavar="PROGRAM")
            subparser.add_argument("args", metavar="FILE", nargs="*")
        for action in subparser._actions:
            how = _BY_COMMAND.get((command, str(action.metavar))) or _completer(action)
            if how is not None and action.choices is None:
                action.complete = how  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell=shell, preamble=_preamble(shell))
    return text


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices: Mapping[str, argparse.ArgumentParser] = action.choices
            yield from choices.items()


def _completer(action: argparse.Action) -> dict[str, str] | None:
    for option in action.option_strings:
        if option in _BY_OPTION:
            return _BY_OPTION[option]
    metavar: Any = action.metavar
    return _BY_METAVAR.get(metavar) if isinstance(metavar, str) else None


def _preamble(shell: str) -> str:
    from mmu.x86.geometry import list_geometries
    from ucmmu.event_filter import KEYS
    from ucmmu.race.scenarios import SCENARIOS

    words = {
        "guests": " ".join(guests()),
        "geometries": " ".join(list_geometries()),
        "policies": " ".join(POLICIES),
        "scenarios": " ".join(SCENARIOS),
        "filters": " ".join(f"{key}=" for key in KEYS if not key.startswith("!")),
    }
    return (_BASH if shell == "bash" else _ZSH).format(**words)
