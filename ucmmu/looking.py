# SPDX-License-Identifier: GPL-2.0-or-later
"""What `ucmmu walk`, `table` and `maps` have in common on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ucmmu.arguments import add_display, add_free_tables, add_run_options
from ucmmu.exit_codes import ExitCode, Failure

WHEN = """\
when (--at):
  N            after event N: the first column of `ucmmu trace`
  insn=N       when CPU 0 has executed N instructions; insn=N:CPU on another
  time=T       at T nanoseconds of virtual time
  end          when the last process, or that of --task, begins to exit"""
WHO = """\
whose (--task, --cpu): the address space of that task, or the one that the CPU has loaded then; by
default that of the task of the moment."""


def add_moment(parser: argparse.ArgumentParser) -> None:
    """Add ``--at``, ``--at-exit``, the options of a run for it, and who is looked at."""
    when = parser.add_argument_group("when and whose")
    moment = when.add_mutually_exclusive_group()
    moment.add_argument(
        "--at", metavar="EVENT", help="look in the trace FILE after this event, as told below"
    )
    moment.add_argument(
        "--at-exit",
        action="store_true",
        help="run PROGRAM, and look when it begins to exit; its arguments stand behind --",
    )
    when.add_argument("--task", metavar="PID", type=_number, help="the address space of that task")
    when.add_argument(
        "--cpu", metavar="N", type=_number, help="the address space that CPU N has loaded"
    )
    add_showing(parser)
    parser.set_defaults(args=[])
    run = _Collected(parser)
    add_run_options(parser)
    add_free_tables(parser.add_argument_group("the machine"))
    parser.add_argument_group("the program").add_argument(
        "--show-output", action="store_true", help="show what the guest prints, on stderr"
    )
    parser.set_defaults(run_only=run.added(), trace=None, trace_filter=[], trace_limit=None)


def add_showing(parser: argparse.ArgumentParser) -> None:
    """Add how it is shown."""
    add_display(parser.add_argument_group("how it is shown"))


class _Collected:
    """The options that a parser gets from now on."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self._before = set(parser._option_string_actions)

    def added(self) -> tuple[argparse.Action, ...]:
        """Those that came since, but ``--json``."""
        actions = self._parser._option_string_actions
        return tuple(
            {actions[name].dest: actions[name] for name in actions if name not in self._before}[
                dest
            ]
            for dest in {
                action.dest: None
                for name, action in actions.items()
                if name not in self._before and action.dest != "json"
            }
        )


def check_moment(arguments: argparse.Namespace, command: str) -> None:
    """Raise Failure (USAGE) if options of a run are given without ``--at-exit``, or neither a
    moment nor that.
    """
    if arguments.at_exit:
        return
    for action in arguments.run_only:
        if getattr(arguments, action.dest) != action.default:
            name = action.option_strings[-1]
            line = f"argument {name}: a run is asked for by --at-exit only"
            raise Failure(ExitCode.USAGE, line)
    if arguments.args:
        line = "arguments behind -- are those of a PROGRAM, which --at-exit runs"
        raise Failure(ExitCode.USAGE, line)
    if arguments.at is None:
        line = f"`ucmmu {command}` needs --at EVENT with a trace, or --at-exit with a program"
        raise Failure(ExitCode.USAGE, line)


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if not 0 <= number < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 to {(1 << 32) - 1}")
    return number


Number: Callable[[str], int] = _number
"""The type of an option that is a PID or the number of a CPU."""
