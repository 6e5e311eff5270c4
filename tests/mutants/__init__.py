# SPDX-License-Identifier: GPL-2.0-or-later
"""Mutation test: take one rule, or one invalidation, out of an engine, and a test must fail (`make
mutate`).

The list is in the modules ``c_*`` and ``py_*``, a mutant a rule. Each is tried in a copy of the
tree, never in the checkout itself.
"""
