/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A binary tree over the ways of a set, here of 4: bit n is node n, 1: the victim is to the right.
 *
 *          1            bits 63:ways are 0, and bit 0
 *        /   \
 *      2       3
 *     / \     / \
 *    0   1   2   3      ways
 */
#ifndef UCMMU_X86_REPLACEMENT_TREE_H
#define UCMMU_X86_REPLACEMENT_TREE_H

#include "types.h"

/* The tree of ways leaves after a use of way: every node on the path points away from it. */
static inline u64 tree_use(u64 tree, u32 way, u32 ways)
{
	u32 node = 1;

	for (u32 half = ways >> 1; half; half >>= 1) {
		u32 right = !!(way & half);

		tree = (tree & ~(1ull << node)) | (u64)!right << node;
		node = 2 * node + right;
	}
	return tree;
}

/* The way that the tree of ways leaves points to. */
static inline u32 tree_victim(u64 tree, u32 ways)
{
	u32 node = 1;

	while (node < ways)
		node = 2 * node + (tree >> node & 1);
	return node - ways;
}

#endif
