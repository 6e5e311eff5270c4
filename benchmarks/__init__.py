# SPDX-License-Identifier: GPL-2.0-or-later
"""Side-by-side measurements: ours and a peer that does less, alternated on one machine."""
