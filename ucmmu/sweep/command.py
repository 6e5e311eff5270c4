# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu sweep``: from the file to the table."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.garbage import collect_garbage
from ucmmu.output import JsonOutput, check_target, refuse_one_place, same_place, write_whole
from ucmmu.progress import Progress
from ucmmu.reading.source import extra
from ucmmu.streams import STDERR, STDOUT, glance, say
from ucmmu.supervise import stops_noted
from ucmmu.surroundings import is_beneath
from ucmmu.sweep import rows
from ucmmu.sweep.cells import Parsers, make_cells
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
_OUTPUTS = ("--json", "--csv", "--parquet")


def sweep(arguments: argparse.Namespace) -> int:
    """Run what is missing, show all, and return the exit code."""
    spec = read_spec(arguments.spec)
    results = Results(arguments.results or f"{spec.name}.results")
    _check_targets(arguments, results)
    planned = _plan(spec, arguments.command_parsers())
    with JsonOutput(arguments.json) as output:
        collect_garbage()
        command = _Command(arguments, spec, planned, results)
        return command.dry_run(output) if arguments.dry_run else command.run(output)


def _plan(spec: Spec, parsers: Parsers) -> list[Planned]:
    cells = make_cells(spec, parsers)
    with Progress(spec.name) as progress:
        return Planner(spec, parsers).plan(cells, progress.show)


def _check_targets(arguments: argparse.Namespace, results: Results) -> None:
    """No output takes the place of what is read, or of another, and all can be written. Raises
    Failure.
    """
    if arguments.parquet is not None:
        extra("pyarrow", wanted_by="--parquet", extra="trace")
    targets = [(name, getattr(arguments, name.strip("-"))) for name in _OUTPUTS]
    given = {option: target for option, target in targets if target is not None}
    kept = os.path.realpath(results.directory)
    for option, target in given.items():
        why = None
        if same_place(target, arguments.spec):
            why = "is the spec"
        elif target != "-" and is_beneath(os.path.realpath(target), [kept]):
            why = "lies among the results"
        if why is not None:
            line = f"{option} {printable(target)}: {why}: give {option} a file of its own"
            raise Failure(ExitCode.USAGE, line)
    refuse_one_place(given.items())
    for option, target in given.items():
        check_target(option, target)


def _counted(counts: Mapping[str, int]) -> str:
    """``12 cells: 8 done, 1 failed, 3 missing``."""
    words = (f"{count:,} {name}" for name, count in counts.items() if count or name in rows.STATES)
    return f"{sum(counts.values()):,} cells: {', '.join(words)}"


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

    def dry_run(self, output: JsonOutput) -> int:
        """Say what would be run, and what there is."""
        self._tell_damaged()
        again = {planned.key for planned in self._missing}
        entries = [
            rows.Entry(one, self._record(one.key), one.key in again) for one in self._planned
        ]
        failures = self._write(entries, output, self._write_json, self._write_files)
        lines = "".join(line + "\n" for line in rows.command_lines(entries))
        summary = f"{_counted(rows.tally(entries, 'again'))}; nothing was run (--dry-run)\n"
        say(self._table_fd(output), lines + summary)
        if failures:
            raise failures[0]
        return 0

    def _tell_damaged(self) -> None:
        for name in self._results.damaged:
            line = f"{name} in {self._results.directory} is damaged: its cell is run again"
            glance(STDERR, f"ucmmu: {printable(line)}\n")

    def run(self, output: JsonOutput) -> int:
        """Run, and show what came of it, however it ended."""
        self._tell_damaged()
        with nullcontext() if self._missing else suppress(Failure):
            self._results.open()
        lost: Failure | None = None
        with stops_noted() as stops:
            try:
                self._run(stops)
            except Lost as why:
                lost = Failure(ExitCode.ENGINE_DIED, f"{why}; {self._kept()}")
            except Failure as why:
                if why.code != ExitCode.NO_OUTPUT:
                    raise
                lost = Failure(why.code, f"{why.line}; {self._kept()}")
            entries = [rows.Entry(one, self._record(one.key)) for one in self._planned]
            failures = self._write(
                entries, output, self._write_json, self._write_files, self._write_table
            )
        if lost is not None:
            for failure in failures:
                glance(STDERR, f"ucmmu: {failure.line}\n")
            raise lost
        if failures:
            raise failures[0]
        if stops:
            name = signal.Signals(stops[0]).name
            raise Failure(SIGNALLED + stops[0], f"stopped by {name}; {self._kept()}")
        return SOME_FAILED if any(entry.state == "failed" for entry in entries) else 0

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

    def _write(
        self,
        entries: list[rows.Entry],
        output: JsonOutput,
        *forms: Callable[[list[rows.Entry], JsonOutput], None],
    ) -> list[Failure]:
        """Write every form; what one cannot say the others still do."""
        failures = []
        for write in forms:
            try:
                write(entries, output)
            except Failure as failure:
                failures.append(failure)
        return failures

    def _write_json(self, entries: list[rows.Entry], output: JsonOutput) -> None:
        more = ("again",) if self._arguments.dry_run else ()
        value: dict[str, Any] = {
            "name": self._spec.name,
            "results": str(self._results.directory),
            "counts": rows.tally(entries, *more),
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

    def _table_fd(self, output: JsonOutput) -> int:
        """Where people read, if a program reads stdout."""
        files = (self._arguments.csv, self._arguments.parquet)
        aside = output.to_stdout or any(one is not None and same_place("-", one) for one in files)
        return STDERR if aside else STDOUT

    def _write_table(self, entries: list[rows.Entry], output: JsonOutput) -> None:
        fd = self._table_fd(output)
        failed = [entry for entry in entries if entry.state == "failed"]
        remarks = rows.remarks_on(self._spec.figures, entries)
        remarks += [rows.remark_of(entry) for entry in failed[:MAX_FAILED_SHOWN]]
        if len(failed) > MAX_FAILED_SHOWN:
            remarks.append(f"{len(failed) - MAX_FAILED_SHOWN:,} more failed")
        ran = f"{self._tally.ran:,} ran now"
        counted = _counted(rows.tally(entries))
        remarks.append(f"{counted} ({ran}; {printable(str(self._results.directory))})")
        say(fd, rows.table_text(entries, self._spec.figures, fd, remarks))
