# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux system calls, one small function each; ``table`` has all of them by number."""
