# SPDX-License-Identifier: GPL-2.0-or-later
"""Why an access faulted: the page-fault error code.

SDM figure 4-12::

     31       7   6    5    4    3    2   1   0
    +----------+----+----+----+----+----+---+---+
    |     0    | SS | PK |I/D |RSVD|U/S |W/R| P |
    +----------+----+----+----+----+----+---+---+

    P     0: an entry was not present; 1: the rights forbade the access, or a reserved bit was set
    W/R   the access was a write
    U/S   the access was a user-mode one: made at CPL 3, and not implicitly by the processor
    RSVD  a reserved bit was set in a present entry
    I/D   the access was an instruction fetch, where fetches can be told apart
    PK    the page's protection key forbids the access, whatever else does
    SS    the access was a shadow-stack access
"""

from __future__ import annotations

from typing import Final

from mmu.x86.registers import CR4_PAE, CR4_SMEP, EFER_NXE

PF_P: Final = 1 << 0
PF_WR: Final = 1 << 1
PF_US: Final = 1 << 2
PF_RSVD: Final = 1 << 3
PF_ID: Final = 1 << 4
PF_PK: Final = 1 << 5
PF_SS: Final = 1 << 6


def fetches_are_told(cr4: int, efer: int) -> bool:
    """Whether a fetch sets I/D: with SMEP, or with PAE and NXE (SDM 4.7)."""
    return bool(cr4 & CR4_SMEP) or bool(cr4 & CR4_PAE and efer & EFER_NXE)


def error_code(
    why: int, *, write: bool, fetch: bool, user: bool, shadow_stack: bool = False
) -> int:
    """The error code of a fault.

    why is 0, PF_P, PF_P | PF_PK or PF_P | PF_RSVD; fetch already counts fetches_are_told().
    """
    return (
        why
        | (PF_WR if write else 0)
        | (PF_US if user else 0)
        | (PF_ID if fetch else 0)
        | (PF_SS if shadow_stack else 0)
    )


def describe_error_code(code: int) -> str:
    """The error code in words, as the kernel's oops would have it."""
    who = "user" if code & PF_US else "supervisor"
    what = "fetch" if code & PF_ID else "write" if code & PF_WR else "read"
    if code & PF_SS:
        what = f"shadow-stack {what}"
    if code & PF_RSVD:
        why = "reserved bit set"
    elif code & PF_PK:
        why = "protection-key violation"
    elif code & PF_P:
        why = "protection violation"
    else:
        why = "not-present page"
    return f"{who} {what}: {why}"
