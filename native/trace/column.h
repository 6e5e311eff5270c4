/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Columns of a part of a chunk: bytes, and numbers of seven bits a byte.
 *
 *     7   6                     0
 *   +----+-----------------------+
 *   |more|       seven bits      |  the lowest first; at most ten bytes
 *   +----+-----------------------+
 */
#ifndef UCMMU_TRACE_COLUMN_H
#define UCMMU_TRACE_COLUMN_H

#include "types.h"

#include <string.h>

#define MAX_VARINT 10

struct column {
	u8 *begin, *at;
};

struct cursor {
	const u8 *at, *end;
	bool damaged; /* it ended early, or a number has more than 64 bits */
};

static always_inline void put_byte(struct column *column, u8 value)
{
	*column->at++ = value;
}

static always_inline void put_number(struct column *column, u64 value)
{
	u8 *at = column->at;

	while (value >= 0x80) {
		*at++ = value | 0x80;
		value >>= 7;
	}
	*at++ = value;
	column->at = at;
}

static always_inline void put_word(struct column *column, u64 value)
{
	memcpy(column->at, &value, sizeof(value));
	column->at += sizeof(value);
}

/* A difference modulo 2^64, small in both directions. */
static always_inline u64 fold(u64 difference)
{
	return difference << 1 ^ (0 - (difference >> 63));
}

static always_inline u64 unfold(u64 value)
{
	return value >> 1 ^ (0 - (value & 1));
}

static always_inline u8 get_byte(struct cursor *cursor)
{
	if (unlikely(cursor->at == cursor->end)) {
		cursor->damaged = true;
		return 0;
	}
	return *cursor->at++;
}

static always_inline u64 get_number(struct cursor *cursor)
{
	u64 value = 0;
	u32 shift;

	for (shift = 0; shift < 7 * MAX_VARINT; shift += 7) {
		u8 byte = get_byte(cursor);

		value |= (u64)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
	cursor->damaged = true;
	return 0;
}

static always_inline u64 get_word(struct cursor *cursor)
{
	u64 value;

	if (unlikely(cursor->end - cursor->at < (ptrdiff_t)sizeof(value))) {
		cursor->damaged = true;
		return 0;
	}
	memcpy(&value, cursor->at, sizeof(value));
	cursor->at += sizeof(value);
	return value;
}

#endif
