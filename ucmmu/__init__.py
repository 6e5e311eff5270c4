# SPDX-License-Identifier: GPL-2.0-or-later
"""The face of the project: command line, supervision of runs, reports, readers of traces, and the
pytest plugin.

Nothing here translates an address or knows Linux; it starts what :mod:`cpu` and :mod:`mmu` do in a
child process, watches it, and shows what came of it.  Importing this package loads nothing heavy.
"""
