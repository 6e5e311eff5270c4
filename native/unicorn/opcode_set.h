/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of one-byte opcodes, four words each. */
#ifndef UCMMU_UNICORN_OPCODE_SET_H
#define UCMMU_UNICORN_OPCODE_SET_H

#include "types.h"

/* The opcode's bit in a set of four words. */
#define OP(op) (1ull << ((op) & 63))

static inline bool is_in(const u64 *set, u8 op)
{
	return set[op >> 6] & OP(op);
}

#endif
