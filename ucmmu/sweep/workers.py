# SPDX-License-Identifier: GPL-2.0-or-later
"""Where cells run: processes of this host, or a Dask cluster; both are executors of
concurrent.futures.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.sweep.jobs import Done, Job
from ucmmu.sweep.worker import begin, run_cell, run_noted, take_notes
from ucmmu.text import printable

CONNECT = 10.0
"""Seconds in which a cluster must answer."""


class Lost(Exception):
    """No worker can be had any more; the line says why."""


class Killed(Exception):
    """No worker outlives a job; the line says so."""


def could_not(error: BaseException) -> str:
    """The line of a cell that a worker did not even begin."""
    return f"its worker could not run it: {type(error).__name__}: {error}"


class Workers(Protocol):
    """What runs cells."""

    @property
    def size(self) -> int:
        """How many it runs at a time; may change."""

    def submit(self, job: Job) -> Future[Done]:
        """Have a job run. Raises Lost."""

    def verdict(self, error: BaseException) -> str | None:
        """Why a cell failed whose future ended with ``error``; None if only its worker died, and
        it is to run again. Raises Lost if none will run any more, Killed if no other worker is to
        try it.
        """

    @property
    def broken(self) -> bool:
        """Whether nothing more is run before mend()."""

    def mend(self) -> list[str]:
        """Have workers again, when no future is left; the keys of what those that died had at
        work.
        """

    @property
    def deaths(self) -> int | None:
        """How many workers died; None: nobody knows."""


class LocalWorkers:
    """Processes of this host, which end when this object's process does, however it ends."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._place = tempfile.TemporaryDirectory(prefix="ucmmu-sweep-")
        self.deaths = 0
        self._begin()

    def _begin(self) -> None:
        self.broken = False
        lifeline, self._end = os.pipe2(os.O_CLOEXEC)
        # forked before the pool has threads: no start-up of an interpreter, nothing to import
        self._pool: Executor = ProcessPoolExecutor(
            self._size,
            mp_context=multiprocessing.get_context("fork"),
            initializer=begin,
            initargs=(lifeline, self._end, self._place.name),
        )
        self._lifeline = lifeline

    @property
    def size(self) -> int:
        """Processes."""
        return self._size

    def submit(self, job: Job) -> Future[Done]:
        """Have a job run; if a process has died meanwhile the future says so."""
        try:
            return self._pool.submit(run_noted, job)
        except BrokenProcessPool as error:
            self.broken = True
            future: Future[Done] = Future()
            future.set_exception(error)
            return future

    def verdict(self, error: BaseException) -> str | None:
        """None if a process of the pool died, which ends them all."""
        if isinstance(error, BrokenProcessPool):
            self.broken = True
            return None
        return could_not(error)

    def mend(self) -> list[str]:
        """Have new processes; see Workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        keys = take_notes(self._place.name)
        self.deaths += max(1, len(keys))
        self._stop()
        self._begin()
        return keys

    def close(self) -> None:
        """End the processes, and the cells that they run."""
        self._stop()
        self._place.cleanup()

    def _stop(self) -> None:
        os.close(self._end)
        self._pool.shutdown(wait=True, cancel_futures=True)
        os.close(self._lifeline)


class ClusterWorkers:
    """The workers of a Dask cluster, each thread of which runs a cell at a time."""

    def __init__(self, client: Any, tell: Callable[[str], None]) -> None:
        self._client = client
        self._tell = tell
        self._told = False
        # allowed-failures of the cluster's scheduler says how many workers a job may outlive
        self._executor: Executor = client.get_executor(pure=False)

    @property
    def size(self) -> int:
        """Threads of all workers; 1 as long as there is none."""
        with suppress(Exception):
            threads: int = sum(self._client.nthreads().values())
            if not threads and not self._told:
                self._tell(f"the cluster has no worker yet: `dask worker {self._address}`")
            self._told = not threads
            return max(1, threads)
        return 1

    @property
    def _address(self) -> str:
        return printable(str(self._client.scheduler.address))

    def submit(self, job: Job) -> Future[Done]:
        """Have a job run; if its worker dies the scheduler gives it to another."""
        try:
            return self._executor.submit(run_cell, job)
        except Exception as error:
            raise Lost(f"the cluster is gone: {error or type(error).__name__}") from None

    @property
    def broken(self) -> bool:
        """Never: the scheduler looks for workers."""
        return False

    def verdict(self, error: BaseException) -> str | None:
        """A line in any case: the scheduler has tried other workers."""
        if type(error).__name__ == "KilledWorker":
            raise Killed("each worker that ran it died")
        if self._client.status != "running" or "Cancelled" in type(error).__name__:
            raise Lost("the cluster is gone")
        return could_not(error)

    def mend(self) -> list[str]:
        """Nothing: the scheduler looks for workers."""
        return []

    @property
    def deaths(self) -> None:
        """Only the scheduler sees them."""


@contextmanager
def local_workers(size: int) -> Iterator[Workers]:
    """``size`` processes of this host."""
    workers = LocalWorkers(size)
    try:
        yield workers
    finally:
        workers.close()


def _silence() -> None:
    """Have what a cluster logs by itself not stand between our lines: its loggers have levels of
    their own.
    """
    for name in ("distributed", "tornado", "asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


async def _greet(address: str) -> None:
    """Speak to a scheduler once: a Client would wait for ever for one that says nothing."""
    from distributed import Security
    from distributed.comm import connect

    how = Security().get_connection_args("client")
    comm = await connect(address, timeout=CONNECT, **how)
    await comm.close()


@contextmanager
def cluster_workers(address: str, tell: Callable[[str], None]) -> Iterator[Workers]:
    """The workers of the Dask scheduler at ``address``; ``tell`` gets a line if there are none.
    Raises Failure: NO_EXTRA without distributed, USAGE if there is no scheduler.
    """
    try:
        from distributed import Client
    except ImportError:
        line = "--cluster needs distributed: pip install 'ucmmu[cluster]'"
        raise Failure(ExitCode.NO_EXTRA, line) from None
    _silence()
    try:
        asyncio.run(asyncio.wait_for(_greet(address), CONNECT))
        client = Client(address, timeout=CONNECT)
    except Exception as error:
        why = str(error).splitlines()[0] if str(error) else f"nothing in {CONNECT:g} s"
        line = f"--cluster {printable(address)}: no Dask scheduler answers: {why}"
        raise Failure(ExitCode.USAGE, line) from None
    try:
        yield ClusterWorkers(client, tell)
    finally:
        with suppress(Exception):
            client.close(timeout=CONNECT)
