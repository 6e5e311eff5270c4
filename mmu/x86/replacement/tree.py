# SPDX-License-Identifier: GPL-2.0-or-later
"""A binary tree over the ways of a set, in an integer.

Bit n is node n, whose children are 2n and 2n + 1; 1 says that the victim is to the right. Node
``ways + way`` would be the way itself.
"""

from __future__ import annotations


def tree_use(tree: int, way: int, ways: int) -> int:
    """The tree after a use of way: every node on the path points away from it."""
    node = 1
    half = ways >> 1
    while half:
        right = bool(way & half)
        tree = tree & ~(1 << node) | (0 if right else 1 << node)
        node = 2 * node + right
        half >>= 1
    return tree


def tree_victim(tree: int, ways: int) -> int:
    """The way that the tree points to."""
    node = 1
    while node < ways:
        node = 2 * node + (tree >> node & 1)
    return node - ways
