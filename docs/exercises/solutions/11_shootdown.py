# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 11, shootdown: a CPU has another forget a translation, by an interrupt."""

import pytest

from ucmmu.testing import assert_events, clear_events, event

START = 0x10_0000_0000

SENT = "ipi_send_cpu"
BEGUN = "call_function_entry"
FLUSHED = "invlpg"
DONE = "call_function_exit"


@pytest.mark.ucmmu(cpus=2)
def test_order(mm, assert_flushed):
    assert None not in (SENT, BEGUN, FLUSHED, DONE), "TODO: name the four events"
    mm.vma(START, "8K")
    mm.touch(START, pages=2, cpu=1)
    mm.touch(START, cpu=0)
    clear_events()
    mm.munmap(START, 4096)
    pattern = [..., event(SENT, on=0), ...]
    for name in (BEGUN, FLUSHED, DONE):
        pattern += [event(name, on=1), ...]
    assert_events(pattern)
    assert_flushed(1, START)
