# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver of the process in which Bochs runs."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any

from native import cdef
from tests.oracles.bochs import library


class BochsDied(AssertionError):
    """The process ended while it worked on a batch."""


class Bochs:
    """Bochs, in a child process. Batches are sent and received in turn: the child works on one
    while the caller does something else.
    """

    def __init__(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.oracles.bochs.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=cdef.ROOT,
            env=library.environment(),
        )

    def __enter__(self) -> Bochs:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._pipe(self.child.stdin).close()
        self._pipe(self.child.stdout).close()
        self.child.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    def send(self, batch: Sequence[Any]) -> None:
        """Begin with these cases."""
        pipe = self._pipe(self.child.stdin)
        pickle.dump(batch, pipe, pickle.HIGHEST_PROTOCOL)
        pipe.flush()

    def receive(self) -> list[Any]:
        """What the cases of the last batch sent did."""
        try:
            found: list[Any] = pickle.load(self._pipe(self.child.stdout))
        except EOFError:
            raise BochsDied(f"Bochs died with exit code {self.child.wait()}") from None
        return found

    def run(self, batch: Sequence[Any]) -> list[Any]:
        """Do these cases."""
        self.send(batch)
        return self.receive()
