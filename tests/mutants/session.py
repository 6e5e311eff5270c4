# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the tests on a tree in a process of their own, up to the first failure."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

QUIET_FOR = 150
"""Seconds after which a test that says nothing counts as one that will never end."""
ORACLE = "tests/oracles/test_enumeration.py"
FILES = ("tests/x86", ORACLE)
COMPARED = ("tests/x86/test_engines_agree.py", "test_the_next_access_agrees")
"""Tests that find out only that the engines differ: tried last, and it is said if only they caught
a mutant.
"""
LEFT_OUT = (
    "tests/x86/test_seeded_faults.py",
    "wrong",
    "command",
    "in_words",
    "promised_size",
    "rights_for_every",
)
"""Tests of the tests: they try engines that are wrong on purpose, or no engine at all."""


@dataclass(slots=True)
class Ended:
    """How a run ended. ``caught_by``: the node id of the test that failed, or which was running at
    a crash.
    """

    caught_by: str = ""
    how: str = ""
    """``failed``, ``crashed``, ``timed out``, ``not imported``; empty if nothing failed."""
    detail: str = ""
    tests: int = 0
    seconds: float = 0.0

    @property
    def compared(self) -> bool:
        """Whether only a comparison of the two engines found it."""
        return any(word in self.caught_by for word in COMPARED)


class Recorder:
    """A pytest plugin: which tests run in which order, and what became of them, a line of JSON
    each.
    """

    def __init__(
        self, out: int, engine: str, done: tuple[str, ...], compare: bool, tree: Path
    ) -> None:
        self._out, self._engine, self._done, self._compare, self._tree = (
            out,
            engine,
            done,
            compare,
            tree,
        )

    def _tell(self, *words: str) -> None:
        os.write(self._out, json.dumps(words).encode() + b"\n")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if self._is_wanted(item)]
        items[:] = sorted(wanted, key=self._rank)  # which leaves those of a rank in their order
        native = sys.modules["mmu._native"].__file__
        assert native is not None and Path(native).is_relative_to(self._tree), native

    def _is_wanted(self, item: pytest.Item) -> bool:
        if any(
            word in item.nodeid
            for word in (*LEFT_OUT, *self._done, *(() if self._compare else COMPARED))
        ):
            return False
        parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        engines = {
            getattr(value, "engine", value) for value in parameters.values() if _is_engine(value)
        }
        return not engines or self._engine in engines

    @staticmethod
    def _rank(item: pytest.Item) -> int:
        return 2 if any(word in item.nodeid for word in COMPARED) else int("oracles" in item.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell("not imported", report.nodeid, str(report.longrepr)[-2000:])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell("began", nodeid, "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._tell(
                "failed", report.nodeid, getattr(crash, "message", str(report.longrepr))[:2000]
            )


def _is_engine(value: Any) -> bool:
    return value in ("c", "python") if isinstance(value, str) else hasattr(value, "engine")


def preload() -> None:
    """Import in the parent what every run imports, the code under test excepted."""
    for name in (
        "_pytest.assertion",
        "hypothesis.strategies",
        "hypothesis.stateful",
        "cffi",
        "allpairspy",
        "cffi.recompiler",
    ):
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


def _child(tree: Path, out: int, files: tuple[str, ...], recorder: Recorder) -> int:
    os.setsid()
    os.chdir(tree)
    for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
        del sys.modules[name]
    sys.path[:] = [
        str(tree),
        *(path for path in sys.path if path and Path(path) != Path(__file__).parents[2]),
    ]
    sys.dont_write_bytecode = True
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    _settings()
    options = [
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:randomly",
        "--assert=plain",
        "--tb=line",
    ]
    status = int(pytest.main([*options, *files], plugins=[recorder]))
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def run_tests(tree: Path, engine: str, first: tuple[str, ...], *, compare: bool = True) -> Ended:
    """The test files that are to be tried first; and if nothing fails there, all others.

    Without ``compare`` not those which only compare the engines.
    """
    files = tuple(
        ORACLE if name == "enumeration" else f"tests/x86/test_{name}.py" for name in first
    )
    ended = _run(tree, files, engine, (), compare=False) if files else Ended()
    if ended.how:
        return ended
    others = _run(tree, FILES, engine, files, compare=compare)
    others.tests += ended.tests
    others.seconds += ended.seconds
    return others


def _run(
    tree: Path, files: tuple[str, ...], engine: str, done: tuple[str, ...], *, compare: bool
) -> Ended:
    """Fork, run them there, and listen."""
    came, out = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        status = 99
        try:
            os.close(came)
            status = _child(
                tree, out, files, Recorder(out, engine, _without_compared(done), compare, tree)
            )
        except BaseException:
            os.write(
                out,
                json.dumps(("not imported", "the run itself", traceback.format_exc())).encode()
                + b"\n",
            )
        finally:
            os._exit(status)
    os.close(out)
    ended = _listen(came)
    os.close(came)
    if ended.how == "timed out":
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    ended.seconds = time.monotonic() - began
    if not ended.how and status:
        ended.how = "crashed"
        ended.detail = f"status {status}"
    if not ended.how:
        ended.caught_by = ""
    return ended


def _without_compared(done: tuple[str, ...]) -> tuple[str, ...]:
    """Files whose tests were run: of one that holds a comparison too, that was not."""
    return tuple(file for file in done if "test_refill" not in file)


def _listen(came: int) -> Ended:
    ended, rest = Ended(), b""
    while True:
        if not select.select([came], [], [], QUIET_FOR)[0]:
            ended.how = "timed out"
            return ended
        piece = os.read(came, 1 << 16)
        if not piece:
            return ended
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            what, node, detail = json.loads(line)
            if what == "began":
                ended.tests += 1
                ended.caught_by = ended.caught_by if ended.how else node
            elif not ended.how:
                ended.how, ended.caught_by, ended.detail = what, node, detail
