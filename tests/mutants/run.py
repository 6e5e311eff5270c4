# SPDX-License-Identifier: GPL-2.0-or-later
"""Try mutants, several at a time, each worker in a tree of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import Queue, get_context
from pathlib import Path
from typing import Any

from tests.mutants.reach import is_comparison
from tests.mutants.session import Ended, preload, run_tests
from tests.mutants.syntax import Mutant
from tests.mutants.tree import NotBuilt, Tree, Unchanged

FIRST = 40
"""Tests of the first round; most mutants are killed there, and only their files are imported."""
KILLED = ("failed", "crashed", "timed out")
NOT_COMPILED = ("not compiled", "not imported")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant."""

    id: str
    diff: str
    line: int
    how: str
    """A word of KILLED or NOT_COMPILED; ``same code``; ``not reached``; empty if tests passed."""
    killed_by: str = ""
    detail: str = ""
    tests: int = 0
    """How many ran."""
    seconds: float = 0.0
    whole: bool = True
    """Whether all tests ran that run the mutant; else the time was up before."""

    @property
    def killed(self) -> bool:
        """Whether a test failed, crashed or never ended."""
        return self.how in KILLED

    @property
    def survived(self) -> bool:
        """Whether nothing noticed, and it is not known to make no difference."""
        return self.how in ("", "not reached")

    @property
    def only_compared(self) -> bool:
        """Whether nothing but a comparison of the engines noticed."""
        return self.killed and is_comparison(self.killed_by)

    def is_of(self, mutant: Mutant) -> bool:
        """Whether the mutant is still the one that was tried."""
        return (self.id, self.diff) == (mutant.id, mutant.diff)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Task:
    """A mutant and the tests that run it."""

    mutant: Mutant
    tests: list[str]
    seconds: dict[str, float]
    budget: float


_tree: Tree


def _begin(trees: Queue[Tree]) -> None:
    global _tree
    _tree = trees.get()
    preload()


def attempt(tree: Tree, task: Task) -> Verdict:
    """Put the mutant into the tree and run tests until one fails."""
    mutant = task.mutant
    who = mutant.id, mutant.diff, mutant.line
    try:
        with tree.mutated(mutant):
            if not task.tests:
                return Verdict(*who, "not reached")
            ended, whole = _rounds(tree.path, task)
    except NotBuilt as error:
        return Verdict(*who, "not compiled", detail=str(error)[:2000])
    except Unchanged:
        return Verdict(*who, "same code")
    told = ended.how, ended.killed_by, ended.detail
    return Verdict(*who, *told, tests=ended.tests, seconds=round(ended.seconds, 2), whole=whole)


def _rounds(tree: Path, task: Task) -> tuple[Ended, bool]:
    """The likeliest tests, then the others, as far as time goes."""
    tests = seconds = 0.0
    ended, whole = Ended(), True
    for order in (task.tests[:FIRST], task.tests[FIRST:]):
        if not order or (seconds and seconds >= task.budget):
            whole = whole and not order
            continue
        files = list(dict.fromkeys(name.partition("::")[0] for name in order))
        ended = run_tests(tree, files, order, task.seconds, budget=task.budget - seconds)
        tests, seconds = tests + ended.tests, seconds + ended.seconds
        whole = whole and ended.tests == len(order)
        if ended.how:
            break
    ended.tests, ended.seconds = int(tests), seconds
    return ended, whole


def try_all(tasks: list[Task], folder: Path, workers: int) -> Iterator[Verdict]:
    """Verdicts in the order in which they come. ``folder``: where the trees go."""
    if not tasks:
        return
    workers = min(workers, len(tasks))
    trees = [Tree(folder / "tree0")]
    if all(task.mutant.file.endswith(".py") for task in tasks):
        trees[0].take_built()
    else:
        trees[0].build()
    trees += [trees[0].copy(folder / f"tree{number}") for number in range(1, workers)]
    spawn = get_context("spawn")  # so that a worker has imported nothing that is tested
    given: Queue[Tree] = spawn.Queue()
    for tree in trees:
        given.put(tree)
    with ProcessPoolExecutor(workers, spawn, _begin, (given,)) as pool:
        try:
            for tried in as_completed([pool.submit(_try, task) for task in tasks]):
                yield tried.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _try(task: Task) -> Verdict:
    return attempt(_tree, task)
