# SPDX-License-Identifier: GPL-2.0-or-later
"""How the commands of this folder end: in one line and an exit code, whatever comes; and files that
are written whole or stay as they were.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ucmmu.exit_codes import SIGNALLED, ExitCode

INTERRUPTED = SIGNALLED + signal.SIGINT


def write_whole(path: Path, text: str) -> None:
    """Replace the file at once; what was there stays if the new one cannot be written (OSError)."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def run(main: Callable[[], int], kept: Callable[[], str]) -> int:
    """Call main(): its exit code, or that of what ended it, after a line on stderr. ``kept`` says
    where what was measured is, if it was interrupted.
    """
    try:
        status = main()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _say(f"interrupted: {kept()}", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _say("nobody reads the output any more", ExitCode.NO_OUTPUT)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"cannot write {where}{error.strerror}; {kept()}", ExitCode.NO_OUTPUT)


def _say(line: str, status: int) -> int:
    print(f"\r\x1b[2K{line}" if sys.stderr.isatty() else line, file=sys.stderr)
    return int(status)
