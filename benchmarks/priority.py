# SPDX-License-Identifier: GPL-2.0-or-later
"""Measuring on a machine that others use: a priority before theirs, where the host allows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def real_time() -> Iterator[bool]:
    """Run this thread, and those it starts, before all others (SCHED_FIFO); whether that is so.

    What is measured inside must be short: nothing else runs on its CPU.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, policy, parameters)
