# SPDX-License-Identifier: GPL-2.0-or-later
"""The process of one cell: sees that all is here as where the sweep began, and is ``ucmmu`` then.

Its one argument is a file with the job and the ``result`` file to write, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
from contextlib import suppress
from typing import Any, Final

from ucmmu.cli import build_parser, main
from ucmmu.environment import environment_of
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import program_file
from ucmmu.streams import STDERR, say
from ucmmu.sweep.key import code_digest
from ucmmu.sweep.named_files import files_of
from ucmmu.sweep.plan import options_of
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
    here, then = _files(job["words"]), dict(job["files"])
    for name, digest in then.items():
        if name not in here:
            return f"{printable(name)} is not there on {host}"
        if here[name] != digest:
            return f"{printable(name)} is not the file any more that it was when the sweep began"
    more = next((name for name in here if name not in then), None)
    if more is not None:
        return f"{printable(more)} is there on {host}, and was not when the sweep began"
    return None


def _files(words: list[str]) -> dict[str, str]:
    """What the sweep found for these words, if all is as it was."""
    if words[0] != "run":
        return files_of(words, None, None, {})
    options = options_of(build_parser().parse_args(words))
    program = None
    environment: dict[str, str] = {}
    with suppress(Failure):
        program = program_file(options)
    with suppress(Failure):
        environment = environment_of(options)
    return files_of(words, options, program, environment)
