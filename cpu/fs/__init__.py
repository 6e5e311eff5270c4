# SPDX-License-Identifier: GPL-2.0-or-later
"""Files as a guest has them: the tree of names, open files, pipes, /proc (fs/, v6.18)."""
