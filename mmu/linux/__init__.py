# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel does: an mm, its VMAs, faults, page tables and their reference counts, after
Linux 6.18.
"""
