# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: options, help, and one line for whatever goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from ucmmu import (
    command_diff,
    command_maps,
    command_race,
    command_report,
    command_stats,
    command_sweep,
    command_table,
    command_trace,
    command_walk,
    exit_codes,
)
from ucmmu.arguments import (
    add_free_tables,
    add_json,
    add_keep,
    add_run_options,
    add_trace,
    run_options,
)
from ucmmu.command import Command
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import STDERR as TO_STDERR
from ucmmu.options import RunOptions, find_program
from ucmmu.streams import STDERR, STDOUT, open_missing_streams, say
from ucmmu.supervise import Limits, internal_error
from ucmmu.text import did_you_mean, printable, shortened

_DESCRIPTION = """\
Run real x86-64 Linux programs on Unicorn through a hardware-accurate MMU, and watch their page
tables: how much memory they take, and how empty ones are freed."""

_GUEST = """\
the guest:
  Its working directory is the one ucmmu is started in.  It sees, read-only, that directory, the
  program's, what everybody may read of /usr, /lib*, /bin, /sbin, /opt and /etc, and what --read
  names; /tmp, /var/tmp, /run, /dev/shm and its home are empty, if they are not among these.  What
  it writes is gone at the end, but for --writable and --keep.  It has no network but its own.
  stdin, stdout and stderr are yours.  Options of ucmmu come before PROGRAM: what follows it is the
  guest's.  After -- nothing is a hint."""

_RUN_EXAMPLES = """\
examples:
  ucmmu run hello
  ucmmu run bash -c 'ls /usr | wc -l'
  ucmmu run --strace hello
  ucmmu run --free-tables scan --json result.json dontneed_loop 1G 1M
  ucmmu run --trace hello.trace hello
  ucmmu run --trace faults.trace --trace-filter 'event=page_fault*,pte_*' hello
  ucmmu run --cpus 4 --seed 7 ./threaded_program
  ucmmu run --read data --writable results ./program data results
  ucmmu run --timeout 60 -- ./program --its-own-option"""

_COMPARE_EXAMPLES = """\
examples:
  ucmmu compare dontneed_loop 1G 1M
  ucmmu compare --json policies.json sparse
  ucmmu compare --fidelity exact --tlb tiny hello
  ucmmu compare --trace runs sparse
  ucmmu compare --cpus 4 ./threaded_program"""

_LIST_EXAMPLES = """\
examples:
  ucmmu list
  ucmmu list --json -"""

_COMPLETION_EXAMPLES = """\
In ~/.bashrc:  eval "$(ucmmu completion bash)"
For zsh:       ucmmu completion zsh > DIR/_ucmmu, where DIR is one of $fpath

examples:
  ucmmu completion bash
  ucmmu completion zsh"""


_READERS: tuple[Command, ...] = (
    command_trace.COMMAND,
    command_walk.COMMAND,
    command_table.COMMAND,
    command_maps.COMMAND,
    command_stats.COMMAND,
    command_diff.COMMAND,
    command_report.COMMAND,
    command_race.COMMAND,
    command_sweep.COMMAND,
)
"""The commands of files of their own, in the order of the help; they find the parsers of all
commands in their arguments, as `command_parsers()`.
"""
_COMMANDS = (
    "run",
    "compare",
    *(command.name for command in _READERS),
    "list",
    "completion",
    "help",
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line with a hint, exit with USAGE, and whose texts go
    out whole.
    """

    def error(self, message: str) -> NoReturn:
        raise Failure(ExitCode.USAGE, f"{message} (`{self.prog} --help` shows how)")

    def _print_message(self, message: str, file: object = None) -> None:
        say(STDOUT, message)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            word = str(value)
            hint = did_you_mean(word, known)
            raise argparse.ArgumentError(action, f"{word!r} is none of {', '.join(known)}{hint}")


class _CommandParser(_Parser):
    """The parser of one command: what comes from PROGRAM on is the guest's, whatever it looks
    like.
    """

    takes_program = False
    takes_args = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Split options from program, and parse the options."""
        if not self.takes_program:
            return self._parse_words(list(args or []), namespace)
        options, program = self._split(list(args or []))
        parsed, rest = super().parse_known_args(options, namespace)
        parsed.program = program
        return parsed, rest

    def _parse_words(
        self, words: list[str], namespace: argparse.Namespace | None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse options and arguments in any order; what stands behind ``--`` is a program's."""
        args: list[str] = []
        if self.takes_args and "--" in words:
            at = words.index("--")
            words, args = words[:at], words[at + 1 :]
        parsed, rest = super().parse_known_args(words, namespace)
        if rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
            name = rest[0].partition("=")[0]
            self.error(f"unknown option {name!r}{self._hint(name)}")
        if rest:
            self.error(f"`{self.prog}` takes no {rest[0]!r}")
        if self.takes_args:
            parsed.args = args
        return parsed, rest

    def _split(self, words: list[str]) -> tuple[list[str], list[str]]:
        at = 0
        while at < len(words) and words[at].startswith("-") and words[at] not in ("-", "--"):
            name, equals, _ = words[at].partition("=")
            action = self._option_string_actions.get(name)
            if action is None:
                self.error(f"unknown option {name!r}{self._hint(name)}")
            at += 1 if equals or action.nargs == 0 else 2
        return words[:at], words[at:]

    def _hint(self, name: str) -> str:
        for other, parser in _command_parsers().items():
            if name in parser._option_string_actions and parser.prog != self.prog:
                return f", which is of `ucmmu {other}`"
        return did_you_mean(name, self._option_string_actions)

    def options(self) -> frozenset[str]:
        """The names of all options."""
        return frozenset(self._option_string_actions)


def _command_parsers() -> dict[str, _CommandParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's) names, and return its exit code."""
    open_missing_streams()
    try:
        return _main(sys.argv[1:] if argv is None else list(argv))
    except Failure as failure:
        return _complain(failure.line, failure.code)
    except KeyboardInterrupt:
        return _complain("interrupted", exit_codes.SIGNALLED + 2, patience=0.2)
    except Exception as error:
        if os.environ.get("UCMMU_DEBUG"):
            import traceback

            traceback.print_exc()
        return _complain(internal_error(error), ExitCode.INTERNAL)


def _main(argv: list[str]) -> int:
    if not argv:
        build_parser().print_help()
        return 0
    if argv[0] == "help":
        return _help(argv[1:])
    _check_command(argv[0])
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return command(arguments)


def _help(words: list[str]) -> int:
    """``ucmmu help [COMMAND]``."""
    parsers = _command_parsers()
    if not words or words == ["help"]:
        build_parser().print_help()
    elif words[0] in parsers and len(words) == 1:
        parsers[words[0]].print_help()
    else:
        raise Failure(
            ExitCode.USAGE, f"no help on {' '.join(words)!r}{did_you_mean(words[0], parsers)}"
        )
    return 0


def _check_command(word: str) -> None:
    """Say what is wrong with the first word, if it is neither a command nor an option of ours.
    Raises Failure.
    """
    if word in _COMMANDS or word in build_parser()._option_string_actions:
        return
    if word.startswith("-"):
        owners = [
            name
            for name, parser in _command_parsers().items()
            if word.partition("=")[0] in parser.options()
        ]
        hint = (
            f"; it is an option of a command: `ucmmu {owners[0]} {word}`"
            if owners
            else did_you_mean(word, build_parser()._option_string_actions)
        )
        raise Failure(ExitCode.USAGE, f"unknown option {word!r}{hint} (`ucmmu --help` shows how)")
    hint = did_you_mean(word, [*_COMMANDS, "--version"])
    with suppress(Failure):
        find_program(word)
        hint = f"; did you mean `ucmmu run {word}`?"
    names = ", ".join(_COMMANDS)
    raise Failure(
        ExitCode.USAGE,
        f"no command {shortened(word)!r}: there are {names}{hint} (`ucmmu --help` shows how)",
    )


def _complain(line: str, code: int, *, patience: float | None = None) -> int:
    with suppress(Failure, KeyboardInterrupt):
        say(STDERR, f"ucmmu: {line}\n", patience=patience)
    return int(code)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="ucmmu",
        description=_DESCRIPTION,
        epilog=f"{exit_codes.help_text()}\n\nexample:\n  ucmmu compare dontneed_loop 1G 1M",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_Version)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser
    )
    program = "[option...] [--] PROGRAM [ARG...]"
    run = _add_command(
        commands,
        "run",
        program,
        "run one program and report its page tables",
        f"{_GUEST}\n\n{_RUN_EXAMPLES}",
    )
    run.takes_program = True
    add_run_options(run)
    add_free_tables(run)
    add_trace(
        run,
        "FILE",
        "record the run there, - for stdout: each instruction, what it made TLB and kernel do, or"
        " with --fidelity fast or exact what those show; `ucmmu trace FILE` prints it",
    )
    run.add_argument(
        "--strace",
        action="store_true",
        help="print every system call, as strace does",
    )
    run.add_argument(
        "--strace-out",
        metavar="FILE",
        help="print them there, - for stdout (default: stderr); --strace is understood",
    )
    add_keep(run)
    run.set_defaults(command=_run)
    compare = _add_command(
        commands,
        "compare",
        program,
        "run one program under every policy, side by side",
        f"{_GUEST}\n\n{_COMPARE_EXAMPLES}",
    )
    compare.takes_program = True
    add_run_options(compare)
    add_free_tables(
        compare,
        several=True,
        text="; may be repeated: a column each (default: all of ours; yours come beside them,"
        " unless some of ours are named too)",
    )
    add_trace(
        compare,
        "DIR",
        "record each run in a file of this directory, which is made if it is not there:"
        " DIR/never.trace, DIR/scan.trace and so on",
    )
    compare.add_argument(
        "--show-output", action="store_true", help="show what the guest prints, on stderr"
    )
    compare.set_defaults(command=_compare)
    for command in _READERS:
        reader = _add_command(
            commands, command.name, command.usage, command.summary, command.examples
        )
        reader.takes_args = command.takes_args
        command.add_arguments(reader)
        reader.set_defaults(command=command.run, command_parsers=_command_parsers)
    listing = _add_command(
        commands,
        "list",
        "[option...]",
        "name the guests, TLB geometries and policies",
        _LIST_EXAMPLES,
    )
    add_json(listing)
    listing.set_defaults(command=_list)
    completion = _add_command(
        commands,
        "completion",
        "SHELL",
        "write the script by which a shell completes this command line",
        _COMPLETION_EXAMPLES,
    )
    completion.add_argument("shell", metavar="SHELL", choices=["bash", "zsh"], help="bash or zsh")
    completion.set_defaults(command=_completion)
    commands.add_parser("help", help="show this help, or `ucmmu help COMMAND`", add_help=False)
    return parser


class _Version(argparse.Action):
    """``--version``: looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("ucmmu")
        except PackageNotFoundError:
            text = "(not installed)"
        say(STDOUT, f"ucmmu {text}\n")
        parser.exit()


def _add_command(
    commands: argparse._SubParsersAction[_CommandParser],
    name: str,
    usage: str,
    summary: str,
    examples: str,
) -> _CommandParser:
    return commands.add_parser(
        name,
        usage=f"ucmmu {name} {usage}",
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"{examples}\n\n`ucmmu --help` lists the exit codes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _program(arguments: argparse.Namespace) -> list[str]:
    words: list[str] = arguments.program
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        raise Failure(ExitCode.USAGE, "no PROGRAM given: `ucmmu list` names the guests")
    return words


def _hint_at_misplaced_options(arguments: argparse.Namespace, args: Sequence[str]) -> None:
    """Say it if an option of ours stands behind the program, unless ``--`` says that this is
    meant.
    """
    if arguments.program[0] == "--":
        return
    known = frozenset[str]().union(*(parser.options() for parser in _command_parsers().values()))
    misplaced = [word for word in args if word.startswith("--") and word.partition("=")[0] in known]
    if misplaced:
        _hint(
            f"{printable(shortened(misplaced[0]))} stands after PROGRAM and goes to the guest;"
            " options of ucmmu come before it, and `--` before PROGRAM says that this is meant"
        )


def _hint(line: str) -> None:
    with suppress(Failure):
        say(STDERR, f"ucmmu: hint: {line}\n", patience=0.5)


def _run_options(arguments: argparse.Namespace) -> RunOptions:
    """Gather what both commands ask for. Raises Failure (USAGE)."""
    program, *args = _program(arguments)
    options = run_options(arguments, program, args)
    _hint_at_misplaced_options(arguments, args)
    return options


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(timeout=arguments.timeout, memory=arguments.memory_limit)


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from ucmmu.run import run

    _check_targets(arguments)
    options = replace(
        _run_options(arguments),
        keep=arguments.keep,
        strace=arguments.strace or arguments.strace_out is not None,
        strace_out=TO_STDERR if arguments.strace_out is None else arguments.strace_out,
    )
    return run(options, _limits(arguments), json_target=arguments.json)


def _check_targets(arguments: argparse.Namespace) -> None:
    """No two outputs have one place but stderr. Raises Failure (USAGE)."""
    from ucmmu.output import refuse_one_place

    options = ("--json", "--trace", "--strace-out")
    refuse_one_place(
        (option, getattr(arguments, option.strip("-").replace("-", "_"))) for option in options
    )


def _compare(arguments: argparse.Namespace) -> int:
    from ucmmu.compare import compare

    return compare(
        _run_options(arguments),
        _limits(arguments),
        policies=arguments.free_tables,
        engine=arguments.engine,
        json_target=arguments.json,
        show_output=arguments.show_output,
    )


def _list(arguments: argparse.Namespace) -> int:
    from ucmmu.listing import list_all

    return list_all(json_target=arguments.json)


def _completion(arguments: argparse.Namespace) -> int:
    from ucmmu.completion import script

    say(STDOUT, script(build_parser(), arguments.shell))
    return 0
