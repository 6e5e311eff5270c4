# SPDX-License-Identifier: GPL-2.0-or-later
"""Work that no ^C can interrupt, in a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.reading.outlet import Closed
from ucmmu.supervise import die_with, internal_error


def in_a_child(work: Callable[[], object]) -> None:
    """Do ``work`` in a forked child, which has all that we have and leaves nothing but what it
    writes; temporary files of its are taken away.

    Raises Failure and Closed as the work does, and KeyboardInterrupt at once: the child is killed.
    """
    with tempfile.TemporaryDirectory(prefix="ucmmu-") as place:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(work, writer, parent, place)
        os.close(writer)
        status = None
        try:
            with open(reader, encoding="utf-8") as told:
                line = told.readline()
            status = os.waitpid(pid, 0)[1]
        finally:
            if status is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    _take(line, status)


def _take(line: str, status: int) -> None:
    """Raise what the child told."""
    if not line:
        how = f"killed by {signal.Signals(os.WTERMSIG(status)).name}" if status else "no word"
        raise Failure(ExitCode.INTERNAL, f"the process that did the work died: {how}")
    told = json.loads(line)
    if told.get("closed"):
        raise Closed
    if "line" in told:
        raise Failure(told["code"], told["line"])


def _child(work: Callable[[], object], writer: int, parent: int, place: str) -> NoReturn:
    told: dict[str, object] = {}
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        die_with(parent)
        tempfile.tempdir = place
        work()
    except Failure as failure:
        told = {"code": failure.code, "line": failure.line}
    except Closed:
        told = {"closed": True}
    except BaseException as error:
        told = {"code": int(ExitCode.INTERNAL), "line": internal_error(error)}
    finally:
        with suppress(OSError):
            os.write(writer, json.dumps(told).encode() + b"\n")
        os._exit(0)
