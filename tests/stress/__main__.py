# SPDX-License-Identifier: GPL-2.0-or-later
"""``make stress SECONDS=…``: run the threads under each form, and print what came of it."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from native.smp import NotBuilt
from tests.stress.native import FORMS, POLICIES, Died, Form, Run, stress
from ucmmu.exit_codes import Failure
from ucmmu.options import is_policy_file
from ucmmu.output import check_target, write_whole
from ucmmu.terminal import Console

INTERRUPTED = 130
SANITIZERS = {"thread": "thread", "address": "address", "undefined": "undefined"}
EXAMPLE = """examples:
  make stress SECONDS=3600
  python -m tests.stress --free-tables refcount --threads 4 --seconds 10 --seed 7
  python -m tests.stress --sanitize thread --seconds 30 --json stress.json
  make stress POLICY=docs/policies/percpu_ref.py:PerCpuRef SECONDS=600

exit status: 0 nothing was found, 1 a rule was broken, 2 wrong usage or nothing could be built,
73 --json cannot be written, 78 a policy of yours cannot be loaded, 130 interrupted
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress",
        description="Have threads fault, zap, look up and read on a few PTE tables of one address"
        " space: the C code of native/, built with C11 atomics that meet (docs/stress.md).",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        *("--free-tables", "-p"),
        action="append",
        type=_policy,
        metavar="POLICY",
        help=f"under this policy: {', '.join(POLICIES)}, or yours as FILE.py:CLASS, which the"
        " Python engine runs in orders drawn at random (may be repeated; default:"
        f" {'; '.join(form.name for form in FORMS)})",
    )
    add(
        "--free-levels",
        choices=("pte", "pmd", "pud"),
        default="pte",
        help="which tables --free-tables refcount and refcount-pmdlock free (default pte)",
    )
    add("--invlpgb", action="store_true", help="with --free-tables: flushes are broadcast")
    add("--seconds", type=_positive(float), default=60, help="of all policies (default 60)")
    add(
        "--threads",
        type=_positive(int),
        default=max(2, os.cpu_count() or 2),
        help="CPUs, each a thread; of a policy of yours, processes (default: as many CPUs as the"
        " host has)",
    )
    add("--tables", type=_positive(int), default=3, help="PTE tables that they share (default 3)")
    add("--pages", type=_positive(int), default=4, help="pages used of each (default 4)")
    add("--seed", type=_positive(int), help="of what each thread does (default: a new one)")
    add("--sanitize", choices=SANITIZERS, default="", help="build with this sanitizer")
    add("--json", metavar="FILE", help="write the reports as JSON; - prints them")
    options = parser.parse_args(arguments)
    for name, most in (("threads", 32), ("tables", 128), ("pages", 512)):
        if getattr(options, name) > most:
            parser.error(f"--{name} takes at most {most}")
    policies = options.free_tables or []
    if options.sanitize and any(map(is_policy_file, policies)):
        parser.error("--sanitize is for C code: a policy of yours has none")
    if options.free_levels != "pte" and not all("refcount" in policy for policy in policies):
        parser.error(f"--free-levels {options.free_levels} is for refcount and refcount-pmdlock")
    if (options.invlpgb or options.free_levels != "pte") and not policies:
        parser.error("--free-levels and --invlpgb go with --free-tables")
    return options


def _policy(text: str) -> str:
    if text in POLICIES or is_policy_file(text):
        return text
    raise argparse.ArgumentTypeError(
        f"invalid choice: {text!r} (choose from {', '.join(POLICIES)}, or FILE.py:CLASS)"
    )


def _positive(kind: type) -> Any:
    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < 1e15:
            raise ValueError(text)
        return value

    convert.__name__ = "positive number"
    return convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns the exit status. What ended is shown whatever ends
    the others.
    """
    options = parse(arguments)
    forms: Sequence[Form] = FORMS
    if options.free_tables:
        forms = [Form(p, options.free_levels, options.invlpgb) for p in options.free_tables]
    reports: list[dict[str, Any]] = []
    try:
        if options.json:
            check_target("--json", options.json)
        code = _run_all(options, forms, reports)
        if options.json:
            write_whole("--json", options.json, json.dumps(reports, indent=1).encode() + b"\n")
    except Failure as error:
        print(f"stress: {error}", file=sys.stderr)
        code = error.code
    if options.json != "-":
        show(reports)
    return code


def _run_all(
    options: argparse.Namespace, forms: Sequence[Form], reports: list[dict[str, Any]]
) -> int:
    """Run all forms, one after the other, and add their reports; the exit status. One that dies, or
    is interrupted, is the last.
    """
    seed = options.seed or secrets.randbelow(10**9) + 1
    seconds = options.seconds / len(forms)
    for form in forms:
        print(f"{form.name} for {seconds:.0f} s, seed {seed} …", file=sys.stderr)
        again = {"again": _again(options, form, seconds, seed)}
        try:
            reports.append(_report(options, form, seconds, seed) | again)
        except Died as error:
            what = {"free_tables": form.free_tables, "form": form.name, "seed": seed}
            reports.append(what | {"defects": 1, "defect": str(error)} | again)
            break
        except (NotBuilt, Failure) as error:
            print(f"stress: {error}", file=sys.stderr)
            return error.code if isinstance(error, Failure) else 2
        except KeyboardInterrupt:
            print(f"stress: interrupted under {form.name}", file=sys.stderr)
            return INTERRUPTED
    return int(any(report["defects"] for report in reports))


def _again(options: argparse.Namespace, form: Form, seconds: float, seed: int) -> str:
    """The command whose threads do the same, though the host may interleave them otherwise."""
    words = ["python -m tests.stress --free-tables", form.name]
    words += [f"--{name} {getattr(options, name)}" for name in ("threads", "tables", "pages")]
    words += [f"--sanitize {options.sanitize}"] * bool(options.sanitize)
    return " ".join([*words, f"--seconds {seconds:g}", f"--seed {seed}"])


def _report(options: argparse.Namespace, form: Form, seconds: float, seed: int) -> dict[str, Any]:
    """Run one form. Raises NotBuilt, Died, Failure."""
    if is_policy_file(form.free_tables):
        from tests.stress.policy import PolicyRun, stress_policy

        return stress_policy(PolicyRun(form.free_tables, seconds, seed, options.threads))
    return stress(
        Run(
            form=form,
            threads=options.threads,
            tables=options.tables,
            pages=options.pages,
            seconds=seconds,
            seed=seed,
            sanitize=options.sanitize,
        )
    )


ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "operations": lambda r: f"{r['operations']['total']:,}",
    "  a second": lambda r: f"{r['operations']['total'] / r['seconds']:,.0f}",
    "faults": lambda r: f"{r['faults']:,}",
    "fast faults": lambda r: f"{r['fast_faults']:,}",
    "flushes done for other CPUs": lambda r: f"{r['flushes_for_others']:,}",
    "flushes broadcast to them": lambda r: f"{r['broadcasts']:,}",
    "tables moved": lambda r: f"{r['tables_moved']:,}",
    "entries moved": lambda r: f"{r['entries_moved']:,}",
    "grace periods": lambda r: f"{r['grace_periods']:,}",
    "words checked": lambda r: f"{r['words_checked']:,}",
    "tables allocated": lambda r: f"{r['tables_allocated']:,}",
    "tables freed": lambda r: f"{r['tables_freed']:,}",
    "lost counts": lambda r: f"{r['lost_counts']:,}",
    "looks at rest": lambda r: f"{r['rests']:,}",
    "waits for a lock": lambda r: f"{r['lock_waits']:,}",
    "longest wait, ms": lambda r: f"{r['wait_us_max'] / 1000:,.1f}",
    "threads stopped on purpose": lambda r: f"{r['stops']:,}",
    "defects": lambda r: f"{r['defects']:,}",
}


def show(reports: Sequence[dict[str, Any]]) -> None:
    """The tables: one of ours, a column for each that ended, and one for each of the user's own;
    then what was wrong.
    """
    ours = [report for report in reports if not is_policy_file(report["free_tables"])]
    ended = [report for report in ours if "operations" in report]
    if ended:
        _show_ended(ended)
    for report in ours:
        if report["defect"]:
            print(f"{report['form']}: {report['defect']}\n  again: {report['again']}")
    for report in reports:
        if report not in ours:
            from tests.stress.policy import show_policy

            show_policy(report)


def _show_ended(reports: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"seed {reports[0]['seed']}, {reports[0]['threads']} threads")
    for report in reports:
        table.add_column(report["form"].replace(" --", "\n--"), justify="right")
    for operation in reports[0]["operations"]:
        if operation != "total":
            table.add_row(operation, *(f"{r['operations'][operation]:,}" for r in reports))
    table.add_section()
    for name, cell in ROWS.items():
        table.add_row(name, *(cell(report) for report in reports))
    Console(sys.stdout).print(table)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
