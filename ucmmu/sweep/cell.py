# SPDX-License-Identifier: GPL-2.0-or-later
"""The process of one cell: sees that all is here as where the sweep began, and is ``ucmmu`` then.

Its one argument is a file with the job and the ``result`` file to write, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from typing import Any, Final

from ucmmu.cli import main
from ucmmu.exit_codes import ExitCode
from ucmmu.streams import STDERR, say
from ucmmu.sweep.key import code_digest, files_of
from ucmmu.text import printable

_PR_SET_PDEATHSIG: Final = 1


def run(path: str, parent: int) -> int:
    """Run the job of the file ``path`` as long as the process ``parent`` lives."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return ExitCode.INTERNAL
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    line = difference(job)
    if line is not None:
        say(STDERR, f"ucmmu: {line}\n")
        return ExitCode.USAGE
    kind, *words = job["words"]
    return main([kind, "--json", job["result"], *words])


def difference(job: dict[str, Any]) -> str | None:
    """What is not as it was where and when the sweep began, in one line; None if all is."""
    host = os.uname().nodename
    if code_digest() != job["code"]:
        return f"{host} has another ucmmu than the sweep began with"
    here = files_of(job["words"], job["program"])
    for name, digest in job["files"]:
        if name not in here:
            return f"{printable(name)} is not there on {host}"
        if here[name] != digest:
            return f"{printable(name)} is not the file any more that it was when the sweep began"
    return None
