# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker does: run one cell in a process of its own, and say how it ended.

A worker is a process of ours, or a thread of a Dask worker on any host.  The cell's process ends
with its worker, and the guest with that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ucmmu.environment import is_passed
from ucmmu.exit_codes import SIGNALLED, ExitCode
from ucmmu.sweep.jobs import Done, Job

_START: Final = """\
import sys
sys.path[:] = {path!r}
from ucmmu.sweep.cell import run
sys.exit(run(*{arguments!r}))
"""
_VERDICTS: Final = ("failed", "UNFINISHED")
"""Of races, the worst first."""
_LONGEST_LINE: Final = 2000
_GRACE: Final = 2.0
"""Seconds in which a cell that is told to end may do so by itself."""
_running: set[subprocess.Popen[bytes]] = set()
_NOTE: Final = ".at-work"
_note: Path | None = None
"""The file that says what this process has at work, as long as it has."""


def run_noted(job: Job) -> Done:
    """run_cell() in a process of ours, which leaves the job's key in a note if it is killed."""
    global _note
    _note = Path(tempfile.gettempdir(), job.key + _NOTE)
    _note.touch()
    try:
        return run_cell(job)
    finally:
        _note.unlink(missing_ok=True)
        _note = None


def take_notes(place: str) -> list[str]:
    """The keys of the jobs whose workers were killed, each told once."""
    notes = list(Path(place).glob("*" + _NOTE))
    for note in notes:
        note.unlink()
    return [note.name.removesuffix(_NOTE) for note in notes]


def _told_to_end(number: int, _frame: object) -> None:
    """End without a note: another worker was killed, whose pool ends all."""
    if _note is not None:
        _note.unlink(missing_ok=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def run_cell(job: Job) -> Done:
    """Run a cell to its end, good or bad; raises nothing that is the cell's fault."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ucmmu-sweep-") as place:
        code, late = _run(job, Path(place))
        report = _report_in(Path(place, "result.json"))
        error = _error(job, report, code, late, Path(place, "stderr"))
    if late:
        code = ExitCode.TIMEOUT
    elif report is not None and job.words[0] == "run":
        code = int(report["exit_code"])
    seconds = time.monotonic() - started
    return Done(job.key, report, error, code, round(seconds, 3), os.uname().nodename, late)


def _run(job: Job, place: Path) -> tuple[int, bool]:
    """The exit code of the cell's process, and whether it had to be killed."""
    told = place / "job.json"
    told.write_text(json.dumps({**asdict(job), "result": str(place / "result.json")}))
    script = _START.format(path=sys.path, arguments=(str(told), os.getpid()))
    with open(place / "stderr", "wb") as stderr:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=job.cwd,
                env=_environment(job),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        except OSError as error:
            name = os.uname().nodename
            stderr.write(f"ucmmu: {job.cwd}: {error.strerror} on {name}\n".encode())
            return ExitCode.USAGE, False
        _running.add(process)
        try:
            return process.wait(job.seconds), False
        except subprocess.TimeoutExpired:
            return _end(process), True
        finally:
            _running.discard(process)


def _environment(job: Job) -> dict[str, str]:
    """The worker's own variables, and those of the user's where the sweep began."""
    own = {name: value for name, value in os.environ.items() if not is_passed(name)}
    return own | dict(job.environ)


def _end(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_GRACE)
    process.kill()
    return process.wait()


def _report_in(path: Path) -> dict[str, Any] | None:
    """What the command wrote: the report of a run, or what :func:`_of_races` makes of races."""
    with suppress(OSError, ValueError):
        report = json.loads(path.read_bytes())
        if isinstance(report, dict):
            return report
        if report and all(isinstance(one, dict) for one in report):
            return _of_races(report)
    return None


def _of_races(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of races, and what they say together: the worst, all schedules, those at random
    too, and all time.
    """
    verdicts = [one["result"] for one in results]
    worst = (verdict for verdict in _VERDICTS if verdict in verdicts)
    return {
        "result": next(worst, verdicts[0]),
        "schedules": sum(one["schedules"] + one["drawn"] for one in results),
        "complete": all(one["complete"] for one in results),
        "seconds": round(sum(one["seconds"] for one in results), 3),
        "results": results,
    }


def _error(
    job: Job, report: dict[str, Any] | None, code: int, late: bool, stderr: Path
) -> str | None:
    """The line that says why a cell failed; None if it did not."""
    if late:
        return f"killed: it went on after its time limit, {job.seconds:g} s in all"
    if report is not None:
        line = report.get("error")
        return None if line is None else str(line)
    with suppress(OSError):
        lines = stderr.read_text(errors="backslashreplace").splitlines()
        for line in reversed(lines):
            if line.startswith("ucmmu: "):
                return line.removeprefix("ucmmu: ")[:_LONGEST_LINE]
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"the cell's process {how} and left no result"


def was_stopped(done: Done) -> bool:
    """Whether the cell was ended from outside, and has no result for that."""
    if done.late:
        return False
    stops = {SIGNALLED + signal.SIGINT, SIGNALLED + signal.SIGTERM, SIGNALLED + signal.SIGHUP}
    if done.report is not None and "ended" in done.report:
        return bool(done.report["ended"] == "interrupt")
    return done.exit_code in stops or done.exit_code in (-signal.SIGTERM, -signal.SIGINT)


def begin(lifeline: int, other_end: int, place: str) -> None:
    """Start as a worker process of a sweep on this host: end when ``lifeline``, a pipe, is closed
    at its ``other_end``, and leave signals of the terminal to the sweep. Files of cells go to the
    directory ``place``, which is taken away at the end.
    """
    os.close(other_end)
    tempfile.tempdir = place
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _told_to_end)
    threading.Thread(target=_end_with, args=(lifeline, place), daemon=True).start()


def _end_with(lifeline: int, place: str) -> None:
    os.read(lifeline, 1)
    for process in list(_running):
        with suppress(OSError):
            process.terminate()
    deadline = time.monotonic() + _GRACE
    while any(process.poll() is None for process in list(_running)):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    shutil.rmtree(place, ignore_errors=True)
    os._exit(0)
