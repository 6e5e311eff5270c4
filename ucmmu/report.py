# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables people see.  Everything in them is also in the JSON, under the name given here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ucmmu.options import DEFAULT_LEVELS, DEFAULT_TLB
from ucmmu.sizes import format_kb
from ucmmu.streams import STDERR
from ucmmu.text import printable, shortened

if TYPE_CHECKING:
    from rich.table import Table

Report = Mapping[str, Any]
"""What one run left: see docs/architecture.md, "What a run reports"."""

Format = Callable[[Any], str]


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


_ROWS: list[tuple[str, str, Format]] = [
    ("VmSize", "VmSize", format_kb),
    ("VmRSS", "VmRSS", format_kb),
    ("VmPTE at the end", "VmPTE", format_kb),
    ("VmPTE at its peak", "VmPTE_peak", format_kb),
    ("PTE tables allocated", "pte_tables_allocated", _number),
    ("freed before exit", "pte_tables_freed_before_exit", _number),
    ("page faults", "page_faults", _number),
    ("instructions", "instructions", _number),
    ("seconds", "seconds", _seconds),
]

MAX_PROCESSES = 40
"""Rows of the table of processes; the JSON has them all."""

_COLUMNS: list[tuple[str, str, Format]] = [
    ("VmRSS/kB", "VmRSS", _number),
    ("VmPTE/kB", "VmPTE", _number),
    ("peak/kB", "VmPTE_peak", _number),
    ("tables", "pte_tables_allocated", _number),
    ("freed", "pte_tables_freed_before_exit", _number),
    ("faults", "page_faults", _number),
    ("instructions", "instructions", _number),
]
"""Of the table of processes: the rows of the other, in short."""

_TLB_ROWS: list[tuple[str, str, str]] = [
    ("loads", "dTLB-loads", "dtlb_load_misses"),
    ("stores", "dTLB-stores", "dtlb_store_misses"),
    ("fetches", "iTLB-loads", "itlb_misses"),
]


def load() -> None:
    """Import what tables are drawn with, which takes a moment."""
    for module in ("rich.box", "rich.table", "rich.text", "ucmmu.terminal"):
        import_module(module)


def run_text(report: Report) -> str:
    """The short table of one run, and what its user should know, for stderr."""
    from rich.text import Text

    from ucmmu.terminal import rendered

    table = _table(_title(report))
    table.add_column("figure")
    table.add_column(Text(_way(report)), justify="right")
    for label, key, form in _ROWS:
        table.add_row(label, form(report.get(key)))
    for label, text in [*_tlb_lines(report), *_policy_lines(report)]:
        table.add_row(Text(label), text)
    uses = (str(use["text"]) for use in report.get("stale_translations") or [])
    remarks = _lines([*_remarks(report), *uses])
    processes = report.get("processes") or []
    tables = [table, _processes(processes)] if len(processes) > 1 else [table]
    return rendered(STDERR, tables, remarks)


def _processes(reports: Sequence[Report]) -> Table:
    """A row for each process, in the order of their making."""
    from rich.text import Text

    table = _table("the processes")
    table.add_column("PID", justify="right", no_wrap=True)
    table.add_column("PPID", justify="right", no_wrap=True)
    table.add_column("program", overflow="ellipsis")
    table.add_column("ended", no_wrap=True)
    for label, _, _ in _COLUMNS:
        table.add_column(label, justify="right", no_wrap=True)
    for report in reports[:MAX_PROCESSES]:
        table.add_row(
            str(report["pid"]),
            str(report["ppid"] or "–"),
            Text(shortened(printable(report["program"].rpartition("/")[2]), 20)),
            _ending(report),
            *(_of_process(report, key, form) for _, key, form in _COLUMNS),
        )
    left = len(reports) - MAX_PROCESSES
    if left > 0:
        table.add_row("…", "…", f"{left:,} more")
    return table


def _of_process(report: Report, key: str, form: Format) -> str:
    """A figure; that of an address space is its owner's, if the process only shares it."""
    shared = report["shares_mm"] and key != "instructions"
    return "shared" if shared else form(report.get(key))


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Each line of the texts, as a terminal may show it."""
    for text in texts:
        yield from map(printable, text.split("\n"))


def compare_text(reports: Mapping[str, Report], fd: int) -> str:
    """One table of several runs of one program, a column for each, for the stream ``fd``."""
    from rich.text import Text

    from ucmmu.terminal import rendered

    table = _table(_title(next(iter(reports.values()))))
    table.add_column("empty PTE tables are freed")
    for report in reports.values():
        table.add_column(Text(_way(report)), justify="right")
    for label, key, form in _ROWS:
        table.add_row(label, *(form(report.get(key)) for report in reports.values()))
    tlb = [dict(_tlb_lines(report)) for report in reports.values()]
    for label in dict.fromkeys(label for lines in tlb for label in lines):
        table.add_row(label, *(lines.get(label, "–") for lines in tlb))
    own = [dict(_policy_lines(report)) for report in reports.values()]
    for label in dict.fromkeys(label for lines in own for label in lines):
        table.add_row(Text(label), *(lines.get(label, "–") for lines in own))
    table.add_row("ended", *(_ending(report) for report in reports.values()))
    remarks = [f"{name}: {line}" for name, report in reports.items() for line in _remarks(report)]
    return rendered(fd, [table], _lines(remarks))


def _way(report: Report) -> str:
    """How tables were freed, and which besides PTE tables: ``refcount, pud``."""
    levels = report["free_levels"]
    policy = printable(str(report["free_tables"]).rpartition("/")[2])
    return policy + ("" if levels == DEFAULT_LEVELS else f", {levels}")


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _title(report: Report) -> str:
    words = shortened(printable(" ".join([report["program"], *report["args"]])))
    tlb = "" if report["fidelity"] == "fast" else f"TLB {shortened(printable(report['tlb']))}, "
    cpus = "" if report["cpus"] == 1 else f"{report['cpus']} CPUs, seed {report['seed']}, "
    nr = len(report.get("processes") or [])
    total = f", total of {nr} processes" if nr > 1 else ""
    return f"{words} ({report['fidelity']}, {tlb}{cpus}engine {report['engine']}){total}"


def _ending(report: Report) -> str:
    if report["signal"]:
        return str(report["signal"])
    return f"exit {report['exit_code']}" if report["ended"] == "exit" else str(report["ended"])


def _tlb_lines(report: Report) -> list[tuple[str, str]]:
    """With several CPUs, the flushes that they asked each other for; then of each kind of access
    how many, and how many went to the second level and to a walk.
    """
    counters = report.get("counters") or {}
    lines = _shootdown_lines(report)
    if report["fidelity"] == "fast" or not counters:
        return lines
    for label, total_key, misses in _TLB_ROWS:
        total = counters[total_key]
        second = counters[f"{misses}.stlb_hit"]
        walks = counters[f"{misses}.miss_causes_a_walk"]
        lines.append((f"TLB {label}", _number(total)))
        lines.append(("  second-level hits", f"{_number(second)} ({_rate(second, total)})"))
        lines.append(("  page walks", f"{_number(walks)} ({_rate(walks, total)})"))
    return lines


def _policy_lines(report: Report) -> list[tuple[str, str]]:
    """What a policy of the user's own says of itself; what it names as we do is told to be its."""
    ours = {label for label, _, _ in _ROWS} | {label for label, _ in _tlb_lines(report)} | {"ended"}
    return [
        (printable(f"policy: {name}" if name in ours else name), _number(value))
        for name, value in report.get("policy", {}).items()
    ]


def _shootdown_lines(report: Report) -> list[tuple[str, str]]:
    kernel = report.get("kernel_counters")
    if report["cpus"] == 1 or not kernel:
        return []
    return [
        ("remote TLB flushes", _number(report["mm_counters"]["nr_tlb_remote_flush"])),
        ("  interrupts for them", _number(kernel["irq_tlb_count"])),
    ]


def _rate(part: int, whole: int) -> str:
    return f"{part / whole:.3%}" if whole else "–"


def _remarks(report: Report) -> list[str]:
    remarks = [str(line) for line in report.get("notes", [])]
    for call in report.get("unknown_syscalls", []):
        times = "once" if call["count"] == 1 else f"{call['count']:,} times"
        remarks.append(
            f"unknown system call {call['nr']} ({call['name']}) at RIP {call['rip']:#x}:"
            f" answered ENOSYS, {times}"
        )
    if report["fidelity"] == "fast" and report["tlb"] != DEFAULT_TLB:
        remarks.append(
            f"--tlb {report['tlb']} had no effect: fast has no TLB model, exact and trace have"
        )
    if report.get("check_tlb") and report.get("stale_translations") == []:
        remarks.append("--check-tlb: no stale translation was used, and none may have been")
    return remarks
