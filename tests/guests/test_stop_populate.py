# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a run that is to stop breaks a long MAP_POPULATE or MADV_POPULATE off, and reports its
figures.
"""

from __future__ import annotations

import threading
import time

import pytest

from tests.guests.machine import guest_machine

LIMIT = 1.0
"""Seconds after the stop: the pages brought in so far are torn down meanwhile."""


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("how", ["populate", "advise"])
def test_populate_is_broken_off(how: str, engine: str) -> None:
    with guest_machine("limits", how, "64G", ram=128 << 30, engine=engine) as machine:
        stopped = []

        def stop() -> None:
            stopped.append(time.monotonic())
            machine.stop()

        timer = threading.Timer(0.4, stop)
        timer.start()
        result = machine.run()
        timer.join()
    assert time.monotonic() - stopped[0] < LIMIT
    assert result.ended == "stopped"
    assert result.problems == []
    assert 0 < result.vm["RssAnon"] < 64 << 20
