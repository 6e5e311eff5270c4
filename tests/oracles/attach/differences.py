# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences that must be between plain Unicorn and an attached instance.

tests/oracles/test_attach_differences.py shows each, plain and attached.
"""

from __future__ import annotations

from typing import Any

from unicorn import (
    UC_ERR_FETCH_PROT,
    UC_ERR_FETCH_UNMAPPED,
    UC_PROT_EXEC,
    Uc,
    UcError,
    x86_const,
)

from mmu.errors import GeneralProtection, StackFault
from mmu.x86.registers import is_canonical
from tests.oracles.attach.script import PAGE

LogEntry = tuple[Any, ...]
ENDS_HERE = "ends here"
"""The name of a log's last entry, from which on the two differ as they must."""
FETCH_ERRORS = (UC_ERR_FETCH_UNMAPPED, UC_ERR_FETCH_PROT)
CUT_SHORT = "registers, cut short"
"""The name of an entry with the registers after a run that failed or was stopped in a hook."""
FLAGS = 0
"""Where EFLAGS stands among the registers."""
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


def is_cut_to_52_bits(error: UcError) -> bool:
    """Whether an attached instance has faulted at an address that is not canonical, of which plain
    Unicorn takes the low 52 bits.
    """
    return isinstance(error, (GeneralProtection, StackFault)) and not is_canonical(error.address)


def cut(plain: list[LogEntry], attached: list[LogEntry]) -> tuple[list[LogEntry], list[LogEntry]]:
    """Both logs up to where the two must differ."""
    ends = [
        index
        for log in (plain, attached)
        for index, entry in enumerate(log)
        if entry[1] == ENDS_HERE
    ]
    return (plain[: min(ends)], attached[: min(ends)]) if ends else (plain, attached)
