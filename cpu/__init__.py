# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn as the processor: vCPUs that translate through our MMU, ELF programs, Linux processes.

``attach()`` gives the MMU to a Unicorn instance of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpu.attached import Attached

__all__ = ["attach"]


def attach(uc: Any, **options: Any) -> Attached:
    """Give an x86-64 Unicorn instance this MMU; see ``cpu.attached.Attached`` for the options.

    >>> mmu = cpu.attach(uc, identity=True)
    >>> mmu.emu_start(begin, until)
    >>> print(mmu.counters())
    """
    from cpu.attached import Attached

    return Attached(uc, **options)
