# SPDX-License-Identifier: GPL-2.0-or-later
"""Run tests on a tree in a process of their own, in a given order, and listen to it."""

from __future__ import annotations

import builtins
import faulthandler
import importlib
import json
import mmap
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

LEAST = 20.0
"""Seconds that a test may take at least before it counts as one that will never end."""
SLOWER = 10.0
"""And how many times as long as it took without a mutant."""
COLLECTING = 120.0
"""Seconds for the imports."""
REACH = "UCMMU_MUTANTS_REACH"
"""Environment variable: the file in which blocks that ran are marked, a byte each."""
_PRELOADED = (
    *("_pytest.assertion", "hypothesis.strategies", "hypothesis.stateful"),
    *("cffi", "cffi.recompiler", "allpairspy", "unicorn", "capstone"),
)


@dataclass(slots=True)
class Ran:
    """One test that passed, or was skipped."""

    seconds: float
    blocks: list[int]
    """Those that it ran, if they were looked at."""


@dataclass(slots=True)
class Ended:
    """How a run ended. ``killed_by``: the test that failed, or which was running at a crash."""

    how: str = ""
    """``failed``, ``crashed``, ``timed out``, ``not imported``; empty if nothing failed."""
    killed_by: str = ""
    detail: str = ""
    tests: int = 0
    seconds: float = 0.0
    passed: dict[str, Ran] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    at_import: list[int] = field(default_factory=list)
    """Blocks that ran while the test files were imported."""


class _Recorder:
    """A pytest plugin: tell a pipe which tests run and what comes of them, a line of JSON each."""

    def __init__(self, out: int, order: Sequence[str], rest: bool, reach: mmap.mmap | None) -> None:
        self._out, self._rest, self._reach = out, rest, reach
        self._rank = {name: rank for rank, name in enumerate(order)}
        self._failed = False
        self._began = 0.0

    def _tell(self, *words: object) -> None:
        os.write(self._out, json.dumps(words).encode() + b"\n")

    def _blocks(self) -> list[int]:
        if self._reach is None:
            return []
        found = [number for number, byte in enumerate(self._reach[:]) if byte]
        self._reach[:] = bytes(len(self._reach))
        return found

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if not self._rest:
            items[:] = [item for item in items if item.nodeid in self._rank]
        items.sort(key=lambda item: self._rank.get(item.nodeid, len(self._rank)))
        self._tell("imported", "", self._blocks())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell("not imported", report.nodeid, str(report.longrepr)[-2000:])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._failed, self._began = False, time.monotonic()
        self._tell("began", nodeid, "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = True
            crash = getattr(report.longrepr, "reprcrash", None)
            words = str(getattr(crash, "message", report.longrepr))
            self._tell("failed", report.nodeid, words[:2000])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if not self._failed:
            seconds = round(time.monotonic() - self._began, 4)
            self._tell("passed", nodeid, [seconds, self._blocks()])


def preload() -> None:
    """Import in the parent what every run imports, but nothing of the project."""
    for name in _PRELOADED:
        importlib.import_module(name)


def _settings() -> None:
    """Hypothesis as in `make test`, but that the first failing example will do."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutants",
        max_examples=40,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"


def _child(
    tree: Path, out: int, files: Sequence[str], order: Sequence[str], rest: bool, reach: Path | None
) -> int:
    os.setsid()
    faulthandler.disable()  # a crash is told by the wait status
    with suppress(OSError):  # a mutant that fills the memory is the first to go
        Path("/proc/self/oom_score_adj").write_text("1000")
    os.chdir(tree)
    here = str(Path(__file__).parents[2])
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "native")]:
        del sys.modules[name]
    sys.path[:] = [str(tree), *(path for path in sys.path if path not in ("", here))]
    os.environ["PYTHONPATH"] = str(tree)
    os.environ["COLUMNS"] = "80"
    marked = None
    if reach is None:
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    else:
        os.environ[REACH] = str(reach)
        with reach.open("r+b") as file:
            marked = mmap.mmap(file.fileno(), 0)
        vars(builtins)["mutants_reach"] = marked
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    _settings()
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "--tb=line"]
    options += ["-x"] if reach is None else []
    recorder = _Recorder(out, order, rest, marked)
    status = int(pytest.main([*options, *files], plugins=[recorder]))
    return 0 if status in (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.OK) else status


def run_tests(
    tree: Path,
    files: Sequence[str],
    order: Sequence[str],
    usual: Mapping[str, float],
    *,
    rest: bool = False,
    reach: Path | None = None,
    budget: float = float("inf"),
) -> Ended:
    """Run the tests of ``order`` (with ``rest``, then the others of these files).

    They stop at the first that fails, or when ``budget`` seconds are spent, or if ``reach`` names
    the file where blocks are marked, at the last. ``usual`` says how long each takes.
    """
    came, out = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        status = 99
        try:
            os.close(came)
            status = _child(tree, out, files, order, rest, reach)
        except BaseException:
            told = ("not imported", "the run itself", traceback.format_exc())
            os.write(out, json.dumps(told).encode() + b"\n")
        finally:
            os._exit(status)
    os.close(out)
    ended = Ended()
    spent = _listen(came, ended, usual, began + budget, reach is not None)
    os.close(came)
    if spent or ended.how == "timed out":
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError):  # what it left behind
        os.killpg(pid, signal.SIGKILL)
    ended.seconds = time.monotonic() - began
    if not ended.how and not spent and status and reach is None:
        ended.how = "crashed" if ended.tests else "not imported"
        ended.detail = f"wait status {status}"
    if not ended.how:
        ended.killed_by = ""
    return ended


def _listen(
    came: int, ended: Ended, usual: Mapping[str, float], until: float, everything: bool
) -> bool:
    """Read up to the end, or to the first failure. True if the time was spent."""
    rest, patience = b"", COLLECTING
    while True:
        if not select.select([came], [], [], patience)[0]:
            ended.how = "timed out"
            return False
        piece = os.read(came, 1 << 16)
        if not piece:
            return False
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            what, name, more = json.loads(line)
            _note(ended, what, name, more)
            if what == "began":
                patience = LEAST + SLOWER * usual.get(name, 30.0 if everything else 0.0)
            elif what == "passed" and time.monotonic() > until:
                return True


def _note(ended: Ended, what: str, name: str, more: Any) -> None:
    if what == "imported":
        ended.at_import = more
    elif what == "began":
        ended.tests += 1
        ended.killed_by = ended.killed_by if ended.how else name
    elif what == "passed":
        ended.passed[name] = Ran(*more)
    else:
        ended.failed.append(name)
        if not ended.how:
            ended.how, ended.killed_by, ended.detail = what, name, more
