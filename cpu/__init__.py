# SPDX-License-Identifier: GPL-2.0-or-later
"""Unicorn as the processor: vCPUs that translate through our MMU, ELF programs, Linux processes.

``attach()`` gives the MMU to a Unicorn instance of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from unicorn import Uc

    from cpu.attached import Attached, FaultHandler
    from cpu.instance import Paging
    from cpu.vcpu import Fidelity
    from mmu.events import EventRing
    from mmu.trace.writer import TraceWriter
    from mmu.x86 import Geometry

__all__ = ["attach"]


def attach(
    uc: Uc,
    *,
    identity: bool = False,
    paging: Paging | str | None = None,
    deliver: bool = False,
    ram: int | None = None,
    base: int | None = None,
    fidelity: Fidelity | str = "fast",
    engine: str = "c",
    geometry: str | Geometry = "skylake",
    ring: EventRing | None = None,
    handler: FaultHandler | None = None,
    check_tlb: bool = False,
    record: str | os.PathLike[str] | TraceWriter | None = None,
) -> Attached:
    """Give an x86-64 Unicorn instance this MMU: ``cpu.attached.Attached``, which has the meaning of
    each option.

    >>> mmu = cpu.attach(uc, identity=True)
    >>> uc.emu_start(begin, until)
    >>> print(mmu.counters())
    """
    from cpu.attached import DEFAULT_RAM, Attached

    return Attached(
        uc,
        identity=identity,
        paging=paging,
        deliver=deliver,
        ram=DEFAULT_RAM if ram is None else ram,
        base=base,
        fidelity=fidelity,
        engine=engine,
        geometry=geometry,
        ring=ring,
        handler=handler,
        check_tlb=check_tlb,
        record=record,
    )
