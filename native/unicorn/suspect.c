/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that need not be decoded: no byte of it looks like an instruction that is intercepted. */
#include <string.h>

#include "unicorn/opcode_set.h"
#include "unicorn/vcpu.h"

/* One-byte opcodes that intercept_of() looks at, and LOCK. */
static const u64 suspects[4] = {
	0,
	OP(0x62) | OP(0x6c) | OP(0x6d) | OP(0x6e) | OP(0x6f),
	OP(0x8f) | OP(0x9e) | OP(0x9f),
	OP(0xc2) | OP(0xc4) | OP(0xc5) | OP(0xcc) | OP(0xcd) | OP(0xcf) | OP(0xe4) | OP(0xe5) |
		OP(0xe6) | OP(0xe7) | OP(0xec) | OP(0xed) | OP(0xee) | OP(0xef) | OP(0xf0) |
		OP(0xf1),
};

/* Opcodes of 0F xx that it, or limit_of(), looks at without a prefix F2 or F3. */
static const u64 suspects_0f[4] = {
	OP(0x01) | OP(0x0f) | OP(0x20) | OP(0x21) | OP(0x22) | OP(0x23) | OP(0x31) | OP(0x33) |
		OP(0x34) | OP(0x38) | OP(0x3a),
	OP(0x78) | OP(0x79),
	OP(0xa4) | OP(0xac) | OP(0xae) | OP(0xb8) | OP(0xba),
	0,
};

/* Two bytes that may begin what intercept_of() or limit_of() looks at. */
static bool is_suspect_pair(u8 op, u8 next)
{
	switch (op) {
	case 0x0f:
		return is_in(suspects_0f, next);
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return next < 0xc0 && (next >> 3 & 6) == 2;
	case 0xc6:
	case 0xc7:
		return (next >> 3 & 7) == 7;
	case 0x64:
	case 0x65: /* with another prefix behind */
		return next == 0x26 || next == 0x2e || next == 0x36 || next == 0x3e ||
		       (next >= 0x64 && next <= 0x67);
	case 0xd9:
		return next >= 0xf0;
	default:
		return false;
	}
}

/* F2 or F3 at *p, in code that begins at begin: is it the prefix of an instruction of a common kind
 * that is none of ours? */
static bool is_common_rep(const u8 *p, const u8 *begin, const u8 *end)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
				       0x66, 0x67, 0xf0, 0xf2, 0xf3 };
	const u8 *op = p + 1;

	if (p > begin && memchr(prefixes, p[-1], sizeof(prefixes)))
		return false;
	if (op < end && (*op & 0xf0) == 0x40)
		op++;
	if (end - op < 2)
		return false;
	if (*op == 0x0f)
		return has_form(op[1], *p) || op[1] == 0x1e; /* 1E: ENDBR64 */
	return (*op >= 0xa4 && *op <= 0xaf) || *op == 0x90 || *op == 0xc3;
}

/*
 * Whether code may hold an instruction that is intercepted, or meets a limit: a byte like one's
 * opcode, wherever it stands.  Most blocks hold none, and need no decoding.
 */
bool is_suspect(const u8 *code, u32 n)
{
	const u8 *end = code + n;

	for (const u8 *p = code; p < end; p++) {
		if (is_in(suspects, *p))
			return true;
		if ((*p == 0xf2 || *p == 0xf3) && !is_common_rep(p, code, end))
			return true;
		if (p + 1 < end && is_suspect_pair(*p, p[1]))
			return true;
	}
	return false;
}
