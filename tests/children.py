# SPDX-License-Identifier: GPL-2.0-or-later
"""The children of a process, for tests of who leaves one behind."""

from __future__ import annotations

import os

import psutil


def children_of(pid: int | None = None) -> list[int]:
    """The PIDs of the children of process ``pid``, None: of this one; dead ones that nobody has
    waited for included, the newest last. None of a process that is gone.
    """
    try:
        children = psutil.Process(os.getpid() if pid is None else pid).children()
        return [child.pid for child in sorted(children, key=psutil.Process.create_time)]
    except psutil.NoSuchProcess:
        return []
