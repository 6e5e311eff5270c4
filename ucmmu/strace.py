# SPDX-License-Identifier: GPL-2.0-or-later
"""``--strace``: the machine's system calls, written where the user wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cpu.strace.tracer import Tracer
from ucmmu.host_file import HostFile
from ucmmu.text import printable

if TYPE_CHECKING:
    from cpu.machine import Machine
    from ucmmu.options import RunOptions


class Strace:
    """Has ``machine`` write its system calls to the descriptor ``fd``. The run is stopped when that
    cannot be written any more.
    """

    def __init__(self, machine: Machine, fd: int) -> None:
        self._machine = machine
        self._file = HostFile(fd, lambda: machine.system.stopping)
        self._tracer = machine.system.tracer = Tracer(self._write)
        self._error: OSError | None = None
        self.cut_off = False
        """Nobody read it when the run was stopped."""

    def _write(self, text: str) -> None:
        if self._error is not None or self.cut_off:
            return
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except InterruptedError:
            self.cut_off = True
        except OSError as error:
            self._error = error
            self._machine.stop()

    def close(self, options: RunOptions) -> str | None:
        """Write what is left; returns the line to say if it could not be written."""
        self._tracer.close()
        if self._error is None:
            return None
        return f"--strace-out {printable(options.strace_out)}: {self._error.strerror}"
