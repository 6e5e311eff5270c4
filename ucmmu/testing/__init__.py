# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of MMU and mm operations are written with; the pytest plugin's fixtures are made here.

docs/testing.md is the tutorial.
"""

from mmu.linux.fault import Segv
from ucmmu.testing.assertions import (
    Attempt,
    assert_fault,
    assert_flushed,
    assert_walk,
    fetch,
    read,
    write,
)
from ucmmu.testing.events import assert_events, clear_events, event, events
from ucmmu.testing.mm import MmUnderTest
from ucmmu.testing.mmu import MmuUnderTest
from ucmmu.testing.options import MachineOptions
from ucmmu.testing.refcounts import PteTable, assert_refcounts, pte_tables
from ucmmu.testing.tables import Tables

__all__ = [
    "Attempt",
    "MachineOptions",
    "MmUnderTest",
    "MmuUnderTest",
    "PteTable",
    "Segv",
    "Tables",
    "assert_events",
    "assert_fault",
    "assert_flushed",
    "assert_refcounts",
    "assert_walk",
    "clear_events",
    "event",
    "events",
    "fetch",
    "pte_tables",
    "read",
    "write",
]
