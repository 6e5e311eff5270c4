# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: options, help, and one line for whatever goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from ucmmu import exit_codes
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import ENGINES, FIDELITIES, POLICIES, STDERR, RunOptions
from ucmmu.sizes import format_size, parse_size
from ucmmu.supervise import Limits, internal_error

_DESCRIPTION = """\
Run real x86-64 Linux programs on Unicorn through a hardware-accurate MMU, and watch their page
tables: how much memory they take, and how empty ones are freed."""

_RUN_EXAMPLES = """\
examples:
  ucmmu run hello
  ucmmu run --free-tables scan --json result.json dontneed_loop 1G 1M
  ucmmu run --fidelity trace --trace-out trace.txt hello
  ucmmu run --timeout 60 -- ./program --its-own-option"""

_COMPARE_EXAMPLES = """\
examples:
  ucmmu compare dontneed_loop 1G 1M
  ucmmu compare --json policies.json sparse
  ucmmu compare --fidelity exact --tlb tiny hello"""

_LIST_EXAMPLES = """\
examples:
  ucmmu list
  ucmmu list --json -"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and exit with USAGE."""

    def error(self, message: str) -> NoReturn:
        raise Failure(ExitCode.USAGE, f"{message} ({self.prog} --help shows how)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that ``argv`` (default: the process's) names, and return its exit code."""
    try:
        return _main(argv)
    except Failure as failure:
        return _complain(failure.line, failure.code)
    except BrokenPipeError:
        _abandon_stdout()
        return _complain("stdout was closed before the report was written", ExitCode.NO_OUTPUT)
    except KeyboardInterrupt:
        return _complain("interrupted", exit_codes.SIGNALLED + 2)
    except Exception as error:
        if os.environ.get("UCMMU_DEBUG"):
            traceback.print_exc()
        return _complain(internal_error(error), ExitCode.INTERNAL)


def _main(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    code = command(arguments)
    sys.stdout.flush()
    return code


def _complain(line: str, code: int) -> int:
    print(f"ucmmu: {line}", file=sys.stderr)
    return int(code)


def _abandon_stdout() -> None:
    """Leave nothing in stdout that the interpreter would try to write at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="ucmmu",
        description=_DESCRIPTION,
        epilog=f"{exit_codes.help_text()}\n\nexample:\n  ucmmu compare dontneed_loop 1G 1M",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    program = "[option...] [--] PROGRAM [ARG...]"
    run = _add_command(commands, "run", program, "run one program and report its page tables", _RUN_EXAMPLES)
    _add_run_options(run)
    run.add_argument(
        "--free-tables",
        choices=list(POLICIES),
        default="refcount",
        help=f"how empty PTE tables are freed: {_choices(POLICIES)} (default: refcount)",
    )
    run.add_argument(
        "--trace-out",
        metavar="FILE",
        help="with --fidelity trace: print the trace there, - for stdout (default: stderr)",
    )
    run.set_defaults(command=_run)
    compare = _add_command(
        commands, "compare", program, "run one program under every policy, side by side", _COMPARE_EXAMPLES
    )
    _add_run_options(compare)
    compare.add_argument("--show-output", action="store_true", help="show what the guest prints, on stderr")
    compare.set_defaults(command=_compare)
    listing = _add_command(
        commands, "list", "[option...]", "name the guests, TLB geometries and policies", _LIST_EXAMPLES
    )
    _add_json(listing)
    listing.set_defaults(command=_list)
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
        print(f"ucmmu {text}")
        parser.exit()


def _add_command(
    commands: argparse._SubParsersAction[_Parser], name: str, usage: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        usage=f"ucmmu {name} {usage}",
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"{examples}\n\n`ucmmu --help` lists the exit codes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="FILE", help="write the result as JSON, - for stdout (whole or not at all)"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fidelity",
        choices=list(FIDELITIES),
        help=f"{_choices(FIDELITIES)} (default: fast; with --check-tlb exact)",
    )
    parser.add_argument(
        "--engine", choices=list(ENGINES), default="c", help=f"{_choices(ENGINES)} (default: c)"
    )
    parser.add_argument(
        "--tlb",
        metavar="NAME",
        default="skylake",
        help="TLB geometry: a name of `ucmmu list` or a file (default: skylake)",
    )
    parser.add_argument(
        "--check-tlb",
        action="store_true",
        help="tell every use of a translation that memory no longer says, and which flush is missing",
    )
    _add_size(parser, "--ram", 16 << 30, "guest RAM; the host gives only what is touched")
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, help="end the run after S seconds of wall clock"
    )
    _add_size(parser, "--memory-limit", 8 << 30, "end the run above this much host memory")
    parser.add_argument(
        "--no-count",
        action="store_true",
        help="do not count instructions: faster; the guest's time moves by system call only",
    )
    parser.add_argument(
        "--no-fast-faults", action="store_true", help="take no shortcut in C for anonymous faults"
    )
    parser.add_argument(
        "--allow",
        metavar="PATH",
        action="append",
        default=[],
        help="let the guest open this file, or what lies under this directory; may be repeated",
    )
    _add_json(parser)
    parser.add_argument(
        "program",
        metavar="PROGRAM [ARG...]",
        nargs=argparse.REMAINDER,
        help="a path, or a guest of `ucmmu list`, and its arguments",
    )


def _add_size(parser: argparse.ArgumentParser, name: str, default: int, text: str) -> None:
    parser.add_argument(
        name,
        metavar="SIZE",
        type=_size,
        default=default,
        help=f"{text} (default: {format_size(default)})",
    )


def _choices(meanings: dict[str, str]) -> str:
    return "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items())


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: it must be more than 0")
    return seconds


def _run_options(arguments: argparse.Namespace) -> RunOptions:
    """Gather what both commands ask for. Raises Failure (USAGE)."""
    program, *args = _program(arguments)
    if arguments.ram % 4096:
        raise Failure(ExitCode.USAGE, "argument --ram: guest RAM is made of whole pages of 4096 bytes")
    return RunOptions(
        program=program,
        args=tuple(args),
        fidelity=_fidelity(arguments),
        engine=arguments.engine,
        tlb=arguments.tlb,
        check_tlb=arguments.check_tlb,
        ram=arguments.ram,
        count=not arguments.no_count,
        fast_faults=not arguments.no_fast_faults,
        allow=tuple(arguments.allow),
    )


def _fidelity(arguments: argparse.Namespace) -> str:
    fidelity: str | None = arguments.fidelity
    if arguments.check_tlb and fidelity == "fast":
        raise Failure(ExitCode.USAGE, "argument --check-tlb: fast has no TLB; use --fidelity exact or trace")
    return fidelity or ("exact" if arguments.check_tlb else "fast")


def _program(arguments: argparse.Namespace) -> list[str]:
    words: list[str] = arguments.program
    if words and words[0] == "--":
        words = words[1:]
    if not words:
        raise Failure(ExitCode.USAGE, "no PROGRAM given: `ucmmu list` names the guests")
    if words[0].startswith("-") and arguments.program[0] != "--":
        raise Failure(ExitCode.USAGE, f"unknown option {words[0]!r} (--help lists them)")
    return words


def _limits(arguments: argparse.Namespace) -> Limits:
    return Limits(timeout=arguments.timeout, memory=arguments.memory_limit)


def _run(arguments: argparse.Namespace) -> int:
    from dataclasses import replace

    from ucmmu.run import run

    if arguments.trace_out is not None and arguments.fidelity != "trace":
        raise Failure(ExitCode.USAGE, "argument --trace-out: needs --fidelity trace")
    if arguments.trace_out == "-" and arguments.json == "-":
        raise Failure(ExitCode.USAGE, "--json - and --trace-out - cannot both have stdout")
    options = replace(
        _run_options(arguments),
        free_tables=arguments.free_tables,
        trace_out=STDERR if arguments.trace_out is None else arguments.trace_out,
    )
    return run(options, _limits(arguments), json_target=arguments.json)


def _compare(arguments: argparse.Namespace) -> int:
    from ucmmu.compare import compare

    return compare(
        _run_options(arguments),
        _limits(arguments),
        json_target=arguments.json,
        show_output=arguments.show_output,
    )


def _list(arguments: argparse.Namespace) -> int:
    from ucmmu.listing import list_all

    return list_all(json_target=arguments.json)
