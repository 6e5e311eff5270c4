/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that must not even be translated. */
#include <string.h>

#include "unicorn/vcpu.h"

/* LOCK BT, BTS, BTR or BTC of a register: Unicorn's translator calls abort(). */
static bool aborts(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 1), modrm = insn_opcode(insn, 2);

	if (insn_opcode(insn, 0) != 0x0f || modrm < 0xc0)
		return false;
	return op == 0xa3 || op == 0xab || op == 0xb3 || op == 0xbb ||
	       (op == 0xba && (modrm >> 3 & 4));
}

static bool is_prefix(u8 byte)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
				       0x66, 0x67, 0xf0, 0xf2, 0xf3 };

	return (byte & 0xf0) == 0x40 || memchr(prefixes, byte, sizeof(prefixes));
}

/* Whether the LOCK at *at is of such an instruction. */
static bool locks_what_aborts(const u8 *at, const u8 *end)
{
	const u8 *op = at + 1;
	struct insn insn;

	while (op < end && is_prefix(*op))
		op++;
	if (op == end || *op != 0x0f)
		return false;
	insn_parse(at, (u32)(end - at), &insn);
	return aborts(&insn);
}

/*
 * The page is about to be fetched from. Where bytes of it, at whatever address, make an instruction
 * that must not even be translated, translation ends: by chance that is one page in a few hundred,
 * where one instruction ends in F0 and the next is a BT. False: such a place was not known yet, and
 * the block that is being translated may have reached it.
 */
bool may_translate(struct vcpu *v, u64 page)
{
	u8 code[MAX_INSN + PAGE_SIZE + MAX_INSN], *at = code, *end = code;
	u64 base = page;
	bool known = true;

	if (page) {
		end += vcpu_peek(v, page - MAX_INSN, code, MAX_INSN);
		if (end == code + MAX_INSN)
			base -= MAX_INSN;
		else
			end = code;
	}
	end += vcpu_peek(v, page, end, PAGE_SIZE + MAX_INSN);
	for (; (at = memchr(at, 0xf0, (size_t)(end - at))); at++) {
		if (!locks_what_aborts(at, end))
			continue;
		known &= !add_exit(v, base + (u64)(at - code));
		/* other prefixes may stand before the LOCK */
		for (u8 *begin = at; begin > code && at - begin < MAX_INSN && is_prefix(begin[-1]);)
			known &= !add_exit(v, base + (u64)(--begin - code));
	}
	if (!known)
		publish_exits(v);
	return known;
}
