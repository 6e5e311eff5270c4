# SPDX-License-Identifier: GPL-2.0-or-later
"""A hardware-accurate x86-64 MMU, and a Linux mm on top of it that frees empty PTE tables.

``mmu.x86`` is what silicon does, ``mmu.memory`` guest RAM and its frames, ``mmu.linux`` what the
kernel does. Nothing here needs Unicorn: package ``cpu`` joins the two.
"""
