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

/*
 * Do bytes of this page, at whatever address, make an instruction that must not even be translated?
 * Such a page is executed step by step, so that each instruction is looked at first; bytes that do
 * so by chance are met once in a million pages.
 */
bool is_unsafe_page(struct vcpu *v, u64 page)
{
	u8 code[MAX_INSN + PAGE_SIZE + MAX_INSN], *at = code, *end = code;

	if (page)
		end += vcpu_peek(v, page - MAX_INSN, code, MAX_INSN);
	end += vcpu_peek(v, page, end, PAGE_SIZE + MAX_INSN);
	while ((at = memchr(at, 0xf0, (size_t)(end - at)))) {
		struct insn insn;

		insn_parse(at, (u32)(end - at), &insn);
		if (aborts(&insn))
			return true;
		at++;
	}
	return false;
}
