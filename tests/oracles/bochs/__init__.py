# SPDX-License-Identifier: GPL-2.0-or-later
"""Bochs, as a library, against our MMU: a third walker that is not ours.

Random paging states, each with one instruction, and random small kernels, which edit their own
tables and invalidate. Bochs executes them in a child process (``machine``, ``child``). Ours does
the same three times: our walk asked directly for each page that the instruction touches (``walk``),
and Unicorn attached with ``paging="guest"`` in fast and in exact (``attached``). Vector, error
code, CR2, RIP, registers, RFLAGS, data and every table entry with its A and D must be equal.

``deviations`` lists where both are right, or Bochs is known to be wrong; each has a test.
``python -m tests.oracles.bochs --help`` runs campaigns.
"""
