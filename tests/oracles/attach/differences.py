# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences that must be between plain Unicorn and an attached instance.

tests/oracles/test_attach_differences.py shows each, plain and attached.
"""

from __future__ import annotations

from typing import Any

from unicorn import UC_ERR_FETCH_PROT, UC_ERR_FETCH_UNMAPPED, UC_PROT_EXEC, Uc, x86_const

from tests.oracles.attach.script import PAGE

LogEntry = tuple[Any, ...]
ENDS_HERE = "ends here"
"""The name of a log's last entry, where plain Unicorn goes its own way."""
TRACE_ENDS_HERE = "trace ends here"
FETCH_ERRORS = (UC_ERR_FETCH_UNMAPPED, UC_ERR_FETCH_PROT)
CUT_SHORT = "registers, cut short"
"""The name of an entry with the registers after a run that failed or was stopped in a hook."""
FLAGS = 0
"""Where EFLAGS stands among the registers."""
LONG_BLOCK = 0x80
"""Bytes of a block that may be too long for one in trace, whose CODE hook takes room."""
ARITHMETIC = 0x8D5
"""CF, PF, AF, ZF, SF, OF: stale in plain Unicorn after a fault where CODE hooks are."""
PHYSICAL_BITS = (1 << 52) - 1


def reaches_ahead(uc: Uc, address: int | None) -> bool:
    """Plain Unicorn fetches a whole block before it executes any of it.

    A block that reaches into a page which may not be fetched from fails with RIP at its begin, and
    nothing of it done; attached, the instructions before the page are executed, as on a processor.
    """
    rip = uc.reg_read(x86_const.UC_X86_REG_RIP) & PHYSICAL_BITS
    if address is not None and rip & -PAGE == address & -PAGE:
        return False
    return any(b <= rip <= e and p & UC_PROT_EXEC for b, e, p in uc.mem_regions())


def _without_flags(entry: LogEntry) -> LogEntry:
    """The fidelity trace has a CODE hook: flags at a fault are stale in plain Unicorn then, or
    without one, but not always in both.
    """
    if entry[1] == CUT_SHORT:
        return (*entry[:2], entry[2 + FLAGS] & ~ARITHMETIC, *entry[3 + FLAGS :])
    return entry


def normalised(log: list[LogEntry], fidelity: str | None) -> list[LogEntry]:
    """A log without what may differ."""
    return [_without_flags(entry) for entry in log] if fidelity == "trace" else log


def cut(
    plain: list[LogEntry], attached: list[LogEntry], fidelity: str | None
) -> tuple[list[LogEntry], list[LogEntry]]:
    """Both logs up to where plain Unicorn goes its own way."""
    whole = [entry for entry in plain if entry[1] != TRACE_ENDS_HERE or fidelity == "trace"]
    attached = [entry for entry in attached if entry[1] != TRACE_ENDS_HERE]
    for index, entry in enumerate(whole):
        if entry[1] in (ENDS_HERE, TRACE_ENDS_HERE):
            return whole[:index], attached[:index]
    return whole, attached
