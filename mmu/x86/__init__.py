# SPDX-License-Identifier: GPL-2.0-or-later
"""What the silicon does: registers, paging-structure entries, the page walk, TLB and its caches.

Nothing here knows an operating system. Citations name sections of the Intel SDM, volume 3A unless
said otherwise. A reading order that needs no other file open: entries, faults, walk, tlb, caches,
translate, invalidate, control; then unit, the face that both engines share.
"""

from mmu.x86.geometry import Geometry, list_geometries, load_geometry
from mmu.x86.registers import Feature, MemoryType, Vendor
from mmu.x86.tlb import TlbEntry
from mmu.x86.translate import Translation
from mmu.x86.unit import Mmu
from mmu.x86.walk import Access, Outcome, Privilege, Walk, WalkMode

__all__ = [
    "Access",
    "Feature",
    "Geometry",
    "MemoryType",
    "Mmu",
    "Outcome",
    "Privilege",
    "TlbEntry",
    "Translation",
    "Vendor",
    "Walk",
    "WalkMode",
    "list_geometries",
    "load_geometry",
]
