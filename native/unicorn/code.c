/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's code, read where the processor would fetch it, without side effects. */
#include <string.h>

#include "unicorn/vcpu.h"

/*
 * Guest-physical address that an access to va would use; no side effects. False: it would fault.
 * By a walk of the tables, for a fidelity without a TLB.
 */
bool probe_by_walk(struct vcpu *v, u64 va, u32 access, u64 *pa)
{
	struct walk w;

	if (MMU(v, mmu_walk, walk)(v->mmu, va, access, cpl(v) == 3, WALK_PROBE, &w) != XLATE_OK)
		return false;
	*pa = w.pa;
	return true;
}

/* The same by the TLB model, which a stale entry may decide. */
bool probe_by_model(struct vcpu *v, u64 va, u32 access, u64 *pa)
{
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t) != XLATE_OK)
		return false;
	*pa = t.pa;
	return true;
}

static bool read_physical(struct vcpu *v, u64 pa, void *out, u32 n)
{
	if (!memory_holds(v->ram, pa))
		return UC(v, mem_read)(v->uc, uc_address(v, pa), out, n) == UC_ERR_OK;
	memcpy(out, pa_to_host(v->ram, pa), n);
	return true;
}

u32 vcpu_peek(struct vcpu *v, u64 va, void *out, u32 n)
{
	u32 done = 0;

	while (done < n) {
		u32 room = PAGE_SIZE - ((va + done) & ~PAGE_MASK);
		u32 part = n - done < room ? n - done : room;
		u64 pa;

		if (!v->fidelity->probe(v, va + done, ACCESS_FETCH, &pa) ||
		    !read_physical(v, pa, (u8 *)out + done, part))
			break;
		done += part;
	}
	return done;
}

/* Take the instruction at rip apart; its bytes end where the first cannot be fetched. */
void insn_read(struct vcpu *v, u64 rip, struct insn *insn)
{
	u8 code[MAX_INSN];

	insn_parse(code, vcpu_peek(v, rip, code, MAX_INSN), insn);
}

/* Instructions in [from, to); *last is where the last of them begins. */
u32 insn_count(struct vcpu *v, u64 from, u64 to, u64 *last)
{
	u32 nr = 0;

	while (from < to) {
		u8 code[MAX_INSN];
		u32 n = insn_length(v, code, vcpu_peek(v, from, code, MAX_INSN));

		if (last)
			*last = from;
		nr++;
		if (!n) {
			v->shared.miscounts += from + MAX_INSN < to;
			break;
		}
		from += n;
	}
	return nr;
}

/* Offset in [pc, pc + size) of the instruction that enters a second page; 0 if none does. */
u32 insn_crossing(struct vcpu *v, u64 pc, u32 size)
{
	u64 boundary = page_of(pc) + PAGE_SIZE, at = pc;

	if (pc + size <= boundary)
		return 0;
	while (at < boundary) {
		u8 code[MAX_INSN];
		u32 n = insn_length(v, code, vcpu_peek(v, at, code, MAX_INSN));

		if (!n || at + n > boundary)
			break;
		at += n;
	}
	return (u32)(at - pc);
}

/* Whether the instruction at rip has bytes in page: it is on it, or not whole without it. */
bool insn_needs_page(struct vcpu *v, u64 rip, u64 page)
{
	u8 code[MAX_INSN];
	u64 room = PAGE_SIZE - (rip & ~PAGE_MASK);

	if (page_of(rip) == page)
		return true;
	if (page != page_of(rip) + PAGE_SIZE || room >= MAX_INSN)
		return false;
	return insn_length(v, code, vcpu_peek(v, rip, code, (u32)room)) == 0;
}

/* Where the first instruction of [pc, pc + size) that is one stands; pc if there is none. */
u64 insn_find(struct vcpu *v, u64 pc, u32 size, bool (*is)(const struct insn *insn))
{
	u64 at = pc;

	while (at < pc + size) {
		struct insn insn;
		u32 n;

		insn_read(v, at, &insn);
		n = insn_length(v, insn.byte, insn.nr);
		if (is(&insn))
			return at;
		if (!n)
			break;
		at += n;
	}
	return pc;
}

/* Is the instruction at rip a read-modify-write? */
bool insn_is_rmw_at(struct vcpu *v, u64 rip)
{
	struct insn insn;

	insn_read(v, rip, &insn);
	return insn_is_rmw(&insn);
}

/* What the instruction does to the MMU. */
static enum control control_of(const struct insn *insn)
{
	u8 modrm = insn_opcode(insn, 2);

	if (insn_opcode(insn, 0) != 0x0f)
		return CONTROL_NONE;
	switch (insn_opcode(insn, 1)) {
	case 0x22:
		return CONTROL_MOV_CR;
	case 0x30:
		return CONTROL_LOOK; /* WRMSR */
	case 0x01:
		return modrm < 0xc0 && (modrm >> 3 & 7) == 7 ? CONTROL_INVLPG : CONTROL_NONE;
	default:
		return CONTROL_NONE;
	}
}

/* Whether bytes of the block look like an instruction of those: few blocks hold any. */
static bool may_control(struct vcpu *v, u64 pc, u32 size)
{
	u8 code[512];

	if (size > sizeof(code) || vcpu_peek(v, pc, code, size) < size)
		return true;
	for (u32 i = 0; i + 1 < size; i++)
		if (code[i] == 0x0f &&
		    (code[i + 1] == 0x22 || code[i + 1] == 0x30 || code[i + 1] == 0x01))
			return true;
	return false;
}

/*
 * What the block's instructions do to the MMU: the last, which alone may be INVLPG or MOV to CR and
 * begins *offset bytes behind pc, or else a WRMSR anywhere.
 */
enum control control_of_block(struct vcpu *v, u64 pc, u32 size, u16 *offset)
{
	enum control last = CONTROL_NONE;
	bool look = false;
	struct insn insn;

	*offset = 0;
	if (!may_control(v, pc, size))
		return CONTROL_NONE;
	for (u64 at = pc, n; at < pc + size; at += n) {
		insn_read(v, at, &insn);
		n = insn_length(v, insn.byte, insn.nr);
		last = control_of(&insn);
		look |= last == CONTROL_LOOK;
		*offset = (u16)(at - pc);
		if (!n)
			break;
	}
	return last == CONTROL_NONE && look ? CONTROL_LOOK : last;
}
