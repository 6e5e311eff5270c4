# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu sweep``: from the file to the table."""

from __future__ import annotations

import argparse
import os
import signal
from contextlib import AbstractContextManager
from typing import Any

from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.garbage import collect_garbage
from ucmmu.output import JsonOutput, check_target, write_whole
from ucmmu.progress import Progress
from ucmmu.reading.source import extra
from ucmmu.streams import STDERR, STDOUT, glance, say
from ucmmu.supervise import stops_noted
from ucmmu.sweep import rows
from ucmmu.sweep.cells import make_cells
from ucmmu.sweep.going import Sweep, Tally, counts
from ucmmu.sweep.plan import Planned, Planner, unique
from ucmmu.sweep.results import Record, Results, Version
from ucmmu.sweep.spec import Spec, read_spec
from ucmmu.sweep.workers import Lost, Workers, cluster_workers, local_workers
from ucmmu.text import printable

SOME_FAILED = 1
"""The exit code if a cell failed."""
MAX_FAILED_SHOWN = 20
"""Lines of cells that failed, below the table."""


def sweep(arguments: argparse.Namespace) -> int:
    """Run what is missing, show all, and return the exit code."""
    spec = read_spec(arguments.spec)
    parsers = arguments.command_parsers()
    planned = Planner(spec, parsers).plan(make_cells(spec, parsers))
    if arguments.parquet is not None:
        extra("pyarrow", wanted_by="--parquet", extra="trace")
    for option, target in (("--csv", arguments.csv), ("--parquet", arguments.parquet)):
        if target is not None:
            check_target(option, target)
    results = Results(arguments.results or f"{spec.name}.results")
    with JsonOutput(arguments.json) as output:
        if arguments.dry_run:
            return _dry_run(planned, results, output, arguments)
        collect_garbage()
        results.open()
        return _Command(arguments, spec, planned, results).run(output)


def _dry_run(
    planned: list[Planned], results: Results, output: JsonOutput, arguments: argparse.Namespace
) -> int:
    entries = [(one, results.load(one.key)) for one in planned]
    output.write({"cells": rows.as_json(entries)})
    lines = "".join(line + "\n" for line in rows.command_lines(entries))
    summary = f"{_counted(entries)}; nothing was run (--dry-run)\n"
    say(STDERR if output.to_stdout else STDOUT, lines + summary)
    return 0


def _counted(entries: list[rows.Entry]) -> str:
    """``12 cells: 8 done, 1 failed, 3 missing``."""
    states = [rows.state(record) for _, record in entries]
    words = (f"{states.count(name):,} {name}" for name in ("done", "failed", "missing"))
    return f"{len(entries):,} cells: {', '.join(words)}"


class _Command:
    def __init__(
        self, arguments: argparse.Namespace, spec: Spec, planned: list[Planned], results: Results
    ) -> None:
        self._arguments = arguments
        self._spec = spec
        self._planned = planned
        self._results = results
        self._records: dict[str, Record] = {}
        different = unique(planned)
        self._tally = Tally(len(different))
        self._missing: dict[Planned, Version | None] = {}
        for one in different:
            self._look_for(one)

    def _look_for(self, planned: Planned) -> None:
        key = planned.key
        version = self._results.version(key)
        record = self._results.load(key)
        if record is None or self._arguments.redo:
            good = False
        else:
            good = counts(record, planned, retry=self._arguments.retry)
        if good:
            assert record is not None
            self._records[key] = record
            self._tally.found += 1
            self._tally.failed += record["error"] is not None
        else:
            self._missing[planned] = version

    def run(self, output: JsonOutput) -> int:
        """Run, and show what came of it, however it ended."""
        for name in self._results.damaged:
            line = f"{name} in {self._results.directory} is damaged: its cell is run again"
            glance(STDERR, f"ucmmu: {printable(line)}\n")
        lost: Failure | None = None
        with stops_noted() as stops:
            try:
                self._run(stops)
            except Lost as why:
                line = f"{why}; {self._kept()}"
                lost = Failure(ExitCode.ENGINE_DIED, line)
            entries = [(one, self._record(one.key)) for one in self._planned]
            self._show(entries, output)
        if stops:
            name = signal.Signals(stops[0]).name
            raise Failure(SIGNALLED + stops[0], f"stopped by {name}; {self._kept()}")
        if lost is not None:
            raise lost
        return SOME_FAILED if any(rows.state(record) == "failed" for _, record in entries) else 0

    def _kept(self) -> str:
        tally = self._tally
        return f"{tally.kept:,} of {tally.total:,} cells are kept: the same command goes on"

    def _run(self, stops: list[int]) -> None:
        if not self._missing:
            return
        with Progress(self._spec.name) as progress, self._workers(progress) as workers:
            Sweep(self._results, self._tally, self._told).run(
                self._missing, workers, stops, progress.show
            )

    def _workers(self, progress: Progress) -> AbstractContextManager[Workers]:
        address = self._arguments.cluster
        if address is not None:

            def tell(line: str) -> None:
                progress.clear()
                glance(STDERR, f"ucmmu: {line}\n")

            return cluster_workers(address, tell)
        jobs = self._arguments.jobs or len(os.sched_getaffinity(0))
        return local_workers(min(jobs, len(self._missing)))

    def _told(self, planned: Planned, record: Record) -> None:
        self._records[planned.key] = record

    def _record(self, key: str) -> Record | None:
        """A result: found, made here, or made by another sweep meanwhile."""
        return self._records.get(key) or self._results.load(key)

    def _show(self, entries: list[rows.Entry], output: JsonOutput) -> None:
        """Write every form that is wanted; what one cannot say the others still do."""
        failures: list[Failure] = []
        for write in (self._write_json, self._write_files, self._write_table):
            try:
                write(entries, output)
            except Failure as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _write_json(self, entries: list[rows.Entry], output: JsonOutput) -> None:
        states = [rows.state(record) for _, record in entries]
        value: dict[str, Any] = {
            "name": self._spec.name,
            "results": str(self._results.directory),
            "counts": {name: states.count(name) for name in ("done", "failed", "missing")},
            "ran": self._tally.ran,
            "worker_deaths": self._tally.deaths,
            "cells": rows.as_json(entries),
        }
        output.write(value)

    def _write_files(self, entries: list[rows.Entry], _output: JsonOutput) -> None:
        if self._arguments.csv is not None:
            write_whole("--csv", self._arguments.csv, rows.as_csv(entries))
        if self._arguments.parquet is not None:
            write_whole("--parquet", self._arguments.parquet, rows.as_parquet(entries))

    def _write_table(self, entries: list[rows.Entry], output: JsonOutput) -> None:
        aside = output.to_stdout or "-" in (self._arguments.csv, self._arguments.parquet)
        fd = STDERR if aside else STDOUT
        failed = [entry for entry in entries if rows.state(entry[1]) == "failed"]
        remarks = [rows.remark_of(entry) for entry in failed[:MAX_FAILED_SHOWN]]
        if len(failed) > MAX_FAILED_SHOWN:
            remarks.append(f"{len(failed) - MAX_FAILED_SHOWN:,} more failed")
        ran = f"{self._tally.ran:,} ran now"
        remarks.append(f"{_counted(entries)} ({ran}; {printable(str(self._results.directory))})")
        say(fd, rows.table_text(entries, self._spec.figures, fd, remarks))
