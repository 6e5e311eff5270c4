# SPDX-License-Identifier: GPL-2.0-or-later
"""Try mutants, several at a time, each worker in a tree of its own."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutant import Mutant
from tests.mutants.session import COMPARED, preload, run_tests
from tests.mutants.tree import NotBuilt, Tree

WORKERS = 2


class Broken(Exception):
    """The tests fail without a mutant, so nothing can be said of mutants."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one mutant. ``how`` is empty if every test passed."""

    key: str
    old: str
    new: str
    caught_by: str
    how: str
    detail: str
    tests: int
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether a test failed, crashed or never ended. A mutant that cannot be built or imported
        shows nothing.
        """
        return self.how in ("failed", "crashed", "timed out")

    @property
    def only_compared(self) -> bool:
        """Whether nothing but the comparison of the engines caught it."""
        return self.caught and any(word in self.caught_by for word in COMPARED)

    def is_of(self, mutant: Mutant) -> bool:
        """Whether the mutant is still the one that was tried."""
        return (self.key, self.old, self.new) == (mutant.key, mutant.old, mutant.new)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


_tree: Tree | None = None


def _begin(parent: str, build: bool) -> None:
    """A worker's own tree."""
    global _tree
    preload()
    path = Path(tempfile.mkdtemp(dir=parent))
    _tree = Tree(path)
    if build:
        _tree.build()
    else:
        _tree.take_built()


def _check(engine: str) -> str:
    assert _tree is not None
    ended = run_tests(_tree.path, engine, ())
    return f"{ended.how} {ended.caught_by}: {ended.detail}" if ended.how else ""


def _try(mutant: Mutant, compare: bool) -> Verdict:
    assert _tree is not None
    try:
        with _tree.mutated(mutant):
            ended = run_tests(_tree.path, mutant.engine, mutant.first, compare=compare)
    except NotBuilt as error:
        return Verdict(mutant.key, mutant.old, mutant.new, "", "not built", str(error), 0, 0.0)
    return Verdict(
        mutant.key,
        mutant.old,
        mutant.new,
        ended.caught_by,
        ended.how,
        ended.detail,
        ended.tests,
        ended.seconds,
    )


def try_all(
    mutants: list[Mutant], workers: int = WORKERS, *, check: bool = True, compare: bool = True
) -> Iterator[Verdict]:
    """Verdicts in the order in which they come. Broken if the tests fail on the tree as it is."""
    build = any(mutant.engine == "c" for mutant in mutants)
    parent = tempfile.mkdtemp(prefix="ucmmu-mutants-")
    try:
        spawn = multiprocessing.get_context(
            "spawn"
        )  # so that a worker has imported nothing that is tested
        with ProcessPoolExecutor(
            min(workers, len(mutants)), spawn, _begin, (parent, build)
        ) as pool:
            if check:
                for trouble in pool.map(_check, sorted({mutant.engine for mutant in mutants})):
                    if trouble:
                        raise Broken(trouble)
            try:
                for tried in as_completed(
                    [pool.submit(_try, mutant, compare) for mutant in mutants]
                ):
                    yield tried.result()
            finally:
                pool.shutdown(cancel_futures=True)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
