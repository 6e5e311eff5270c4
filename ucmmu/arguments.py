# SPDX-License-Identifier: GPL-2.0-or-later
"""The options that commands share: what they are called, what they take, and what cannot be asked
together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import (
    DEFAULT_DISK,
    DEFAULT_FILES,
    DEFAULT_LEVELS,
    DEFAULT_PROCESSES,
    DEFAULT_QUANTUM,
    DEFAULT_TLB,
    ENGINES,
    FIDELITIES,
    LEVELS,
    MAX_CPUS,
    MAX_FILES,
    MAX_PROCESSES,
    MAX_QUANTUM,
    MAX_SEED,
    MAX_UID,
    NOT_COUNTED,
    POLICIES,
    WALLS,
    RunOptions,
    is_policy_file,
)
from ucmmu.sizes import format_size, parse_size
from ucmmu.text import did_you_mean


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the result as JSON, - for stdout; a file is written whole or left as it was",
    )


def add_display(group: argparse._ArgumentGroup) -> None:
    """Add ``--color`` and ``--no-pager``."""
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours: auto on a terminal without NO_COLOR, always, never (default: auto)",
    )
    group.add_argument("--no-pager", action="store_true", help="do not page on a terminal")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what a run may be told, whichever command makes it."""
    _add_program(parser.add_argument_group("the program"))
    _add_machine(parser.add_argument_group("the machine"))
    _add_files(parser.add_argument_group("the guest's files"))
    _add_limits(parser.add_argument_group("limits and walls"))
    add_json(parser)
    parser.set_defaults(program=[])


def _add_program(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a variable of the program's environment; NAME alone: as it is set here; may be"
        " repeated",
    )
    group.add_argument(
        "--clear-env",
        action="store_true",
        help="start with no environment at all; default: PATH, HOME, LANG, TZ and their like, and"
        " what allocators and the loader read (docs/programs.md)",
    )
    group.add_argument(
        "--cwd",
        metavar="DIR",
        help="its working directory, as the guest sees it (default: this one, if it sees that)",
    )
    group.add_argument(
        "--uid",
        metavar="N",
        type=whole(0, MAX_UID),
        help="its user and group ID, 0 for root in the guest (default: yours)",
    )
    group.add_argument(
        "--preload",
        metavar="LIB",
        action="append",
        default=[],
        help="a shared library that is loaded before all others: a path, a name in the usual"
        " directories, or as -l takes it (jemalloc); may be repeated",
    )


def add_free_tables(
    group: argparse._ActionsContainer, *, several: bool = False, text: str = ""
) -> None:
    """Add ``--free-tables``; ``several``: it may be repeated, and is a list. ``text`` says more."""
    group.add_argument(
        "--free-tables",
        metavar="POLICY",
        type=_policy,
        action="append" if several else "store",
        default=[] if several else "refcount",
        help=f"how empty PTE tables are freed: {choices(POLICIES)}; or a class of your own, as"
        f" FILE.py:CLASS (docs/policies.md) {text or '(default: refcount)'}",
    )


def _policy(text: str) -> str:
    if text in POLICIES or is_policy_file(text):
        return text
    hint = did_you_mean(text, POLICIES)
    line = f"{text!r} is none of {', '.join(POLICIES)}, and no FILE.py:CLASS{hint}"
    raise argparse.ArgumentTypeError(line)


def add_trace(parser: argparse.ArgumentParser, metavar: str, text: str) -> None:
    """Add ``--trace`` and its like; ``metavar`` and ``text`` say where the trace goes."""
    group = parser.add_argument_group("recording")
    group.add_argument("--trace", metavar=metavar, help=text)
    group.add_argument(
        "--trace-filter",
        metavar="WORDS",
        action="append",
        default=[],
        help="record only these events, as in 'event=pte_* faults=100-', 'function=main' or"
        " around=pte_free:50 (docs/recording.md has all words); may be repeated",
    )
    group.add_argument(
        "--trace-limit",
        metavar="SIZE",
        type=_size,
        help="record no more when the trace has this size; the run goes on",
    )


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--free-levels",
        choices=list(LEVELS),
        default=DEFAULT_LEVELS,
        help=f"which empty tables are freed where references are counted: {choices(LEVELS)}"
        f" (default: {DEFAULT_LEVELS})",
    )
    group.add_argument(
        "--fidelity",
        choices=list(FIDELITIES),
        help=f"{choices(FIDELITIES)} (default: fast; with --check-tlb exact, with --trace trace)",
    )
    group.add_argument(
        "--engine",
        choices=list(ENGINES),
        help=f"{choices(ENGINES)} (default: c; with a policy of your own the mm is in Python)",
    )
    group.add_argument(
        "--tlb",
        metavar="NAME",
        default=DEFAULT_TLB,
        help=f"TLB geometry: a name of `ucmmu list` or a file (default: {DEFAULT_TLB})",
    )
    group.add_argument(
        "--cpus",
        metavar="N",
        type=whole(1, MAX_CPUS),
        default=1,
        help=f"CPUs of the machine, 1 to {MAX_CPUS} (default: 1)",
    )
    group.add_argument(
        "--seed",
        metavar="S",
        type=whole(0, MAX_SEED),
        default=0,
        help="gives the schedule and the guest's random numbers: one seed, one run (default: 0)",
    )
    group.add_argument(
        "--quantum",
        metavar="I",
        type=whole(1, MAX_QUANTUM),
        help="instructions of a CPU's turn, on average; the seed gives each its length"
        f" (default: {DEFAULT_QUANTUM})",
    )
    group.add_argument(
        "--check-tlb",
        action="store_true",
        help="tell every use of a translation that memory no longer says, and which flush is"
        " missing",
    )
    _add_size(group, "--ram", 16 << 30, "guest RAM; the host gives only what is touched")
    group.add_argument(
        "--no-count",
        action="store_true",
        help="do not count instructions: faster; the guest's time moves by system call only",
    )
    group.add_argument(
        "--no-fast-faults", action="store_true", help="take no shortcut in C for anonymous faults"
    )


def _add_files(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--read",
        metavar="PATH",
        action="append",
        default=[],
        help="let the guest see this file or directory too; may be repeated",
    )
    group.add_argument(
        "--writable",
        metavar="DIR",
        action="append",
        default=[],
        help="what the guest writes in this directory is written there; may be repeated",
    )
    group.add_argument(
        "--root",
        metavar="DIR",
        help="this directory is the guest's /, and of the rest it sees nothing",
    )


def add_keep(parser: argparse.ArgumentParser) -> None:
    """Add ``--keep``."""
    parser.add_argument(
        "--keep",
        metavar="DIR",
        help="save what the guest wrote elsewhere as this directory, which must not exist or be"
        " empty; a file that it removed is an empty .wh.NAME there",
    )


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--timeout", metavar="S", type=_seconds, help="end the run after S seconds of wall clock"
    )
    _add_size(group, "--memory-limit", 8 << 30, "end the run above this much host memory")
    _add_size(
        group, "--disk-limit", DEFAULT_DISK, "what the guest may have written, then it is ENOSPC"
    )
    _add_number(
        group, "--max-files", MAX_FILES, DEFAULT_FILES, "files it may have made, then it is ENOSPC"
    )
    _add_number(
        group,
        "--max-processes",
        MAX_PROCESSES,
        DEFAULT_PROCESSES,
        "processes and threads it may have, then it is EAGAIN",
    )
    group.add_argument(
        "--without-wall",
        metavar="WALL",
        choices=list(WALLS),
        action="append",
        default=[],
        help=f"leave one out of what stands behind our own checks: {choices(WALLS)}",
    )


def _add_number(
    group: argparse._ArgumentGroup, name: str, most: int, default: int, text: str
) -> None:
    group.add_argument(
        name,
        metavar="N",
        type=whole(1, most),
        default=default,
        help=f"{text} (default: {default})",
    )


def _add_size(group: argparse._ArgumentGroup, name: str, default: int, text: str) -> None:
    group.add_argument(
        name,
        metavar="SIZE",
        type=_size,
        default=default,
        help=f"{text} (default: {format_size(default)})",
    )


def choices(meanings: dict[str, str]) -> str:
    """The values of an option with their meanings, for its help."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in meanings.items())


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(least: int, most: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, decimal or 0x…, in [least, most]."""

    def whole(text: str) -> int:
        try:
            number = int(text, 0)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not in {least} to {most}")
        return number

    return whole


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: it must be more than 0")
    return seconds


def check_free_levels(policy: str, levels: str) -> None:
    """Raises Failure (USAGE) if that way of freeing tables cannot free those of these levels."""
    if levels != DEFAULT_LEVELS and policy in NOT_COUNTED:
        raise Failure(
            ExitCode.USAGE,
            f"argument --free-levels {levels}: --free-tables {policy} counts no references; use"
            " refcount or refcount-pmdlock",
        )


def run_options(arguments: argparse.Namespace, program: str, args: Sequence[str]) -> RunOptions:
    """Gather what the options ask for. Raises Failure (USAGE)."""
    if arguments.ram % 4096:
        raise Failure(
            ExitCode.USAGE, "argument --ram: guest RAM is made of whole pages of 4096 bytes"
        )
    if arguments.no_count and _fidelity(arguments) != "fast":
        raise Failure(
            ExitCode.USAGE,
            "argument --no-count: exact and trace count every instruction; leave it out, or use"
            " --fidelity fast",
        )
    if arguments.no_count and (arguments.cpus > 1 or arguments.quantum is not None):
        option = "--cpus" if arguments.cpus > 1 else "--quantum"
        raise Failure(
            ExitCode.USAGE,
            f"argument {option}: a CPU's turn ends by its count of instructions; leave --no-count"
            " out",
        )
    _check_trace(arguments)
    asked = getattr(arguments, "free_tables", None)
    policy = asked if isinstance(asked, str) else "refcount"
    check_free_levels(policy, arguments.free_levels)
    return RunOptions(
        program=program,
        args=tuple(args),
        env=tuple(arguments.env),
        clear_env=arguments.clear_env,
        cwd=arguments.cwd,
        uid=arguments.uid,
        preload=tuple(arguments.preload),
        free_levels=arguments.free_levels,
        fidelity=_fidelity(arguments),
        free_tables=policy,
        engine=arguments.engine or "c",
        tlb=arguments.tlb,
        check_tlb=arguments.check_tlb,
        ram=arguments.ram,
        cpus=arguments.cpus,
        seed=arguments.seed,
        quantum=DEFAULT_QUANTUM if arguments.quantum is None else arguments.quantum,
        count=not arguments.no_count,
        fast_faults=not arguments.no_fast_faults,
        read=tuple(arguments.read),
        writable=tuple(arguments.writable),
        root=arguments.root,
        disk_limit=arguments.disk_limit,
        max_files=arguments.max_files,
        max_processes=arguments.max_processes,
        without_walls=tuple(arguments.without_wall),
        trace=arguments.trace,
        trace_filter=tuple(arguments.trace_filter),
        trace_limit=arguments.trace_limit,
    )


def _check_trace(arguments: argparse.Namespace) -> None:
    """What belongs to ``--trace`` is asked for with it, and says something. Raises Failure
    (USAGE).
    """
    if arguments.trace is None:
        if arguments.fidelity == "trace":
            line = "argument --fidelity: trace needs --trace FILE, for its events to go to"
            raise Failure(ExitCode.USAGE, line)
        for option in ("--trace-filter", "--trace-limit"):
            if getattr(arguments, option.strip("-").replace("-", "_")):
                raise Failure(ExitCode.USAGE, f"argument {option}: needs --trace")
    elif arguments.trace_filter:
        from ucmmu.event_filter import parse_filter

        parse_filter(arguments.trace_filter, option="--trace-filter", recording=True)


def _fidelity(arguments: argparse.Namespace) -> str:
    fidelity: str | None = arguments.fidelity
    if arguments.check_tlb and fidelity == "fast":
        raise Failure(
            ExitCode.USAGE, "argument --check-tlb: fast has no TLB; use --fidelity exact or trace"
        )
    if fidelity is not None:
        return fidelity
    return "trace" if arguments.trace is not None else "exact" if arguments.check_tlb else "fast"
