// SPDX-License-Identifier: GPL-2.0-or-later
/* What had to happen, by our engine. */
#include <string.h>

#include "unicorn_walker_inside.h"

struct trial {
	const struct state *s;
	struct outcome *o;
	u32 deviations;
	u32 kind, way;
	u64 insn;
	u64 pa[2]; /* of the access's parts, as the last touch() found them */
};

static u32 plant_code(const struct walker *w, u32 code)
{
	return w->wrong == WRONG_CODE ? code ^ 1u << w->wrong_bit : code;
}

/* The planted faults that change what the engine did to the entries. */
static void plant_entries(struct walker *w, const struct state *s, const u64 *before, u32 access)
{
	for (u32 i = 0; i < s->nr_entries; i++) {
		u64 *e = entry_at(w, s->entry_pa[i]);

		if (w->wrong == WRONG_NO_ACCESSED && s->entry_level[i] == w->wrong_bit)
			*e = (*e & ~(u64)X86_A) | (before[i] & X86_A);
		if (w->wrong == WRONG_NO_DIRTY)
			*e = (*e & ~(u64)X86_D) | (before[i] & X86_D);
		if (w->wrong == WRONG_ALWAYS_DIRTY && access == ACCESS_READ &&
		    maps_page(*e, s->entry_level[i]) && *e != before[i])
			*e |= X86_D;
	}
}

/* Ask the engine in the way the state says. */
static u32 ask(struct walker *w, u32 way, u64 va, u32 access, u32 privilege, u64 *pa, u32 *code)
{
	struct translation t = { 0 };
	struct walk walk;

	switch (way) {
	case ENGINE_WALK:
		OURS(w, mmu_walk, walk)(w->unit, va, access, privilege, WALK_QUIET, &walk);
		*pa = walk.pa;
		*code = walk.error_code;
		if (walk.result == XLATE_PF)
			w->unit->cr2 = va;
		return walk.result;
	case ENGINE_REFILL:
		OURS(w, mmu_refill, refill)(w->unit, va, access, privilege, &t);
		if (t.result == XLATE_PF)
			w->unit->cr2 = va;
		break;
	default:
		OURS(w, mmu_translate, translate)(w->unit, va, access, privilege, &t);
	}
	*pa = t.pa;
	*code = t.error_code;
	return t.result;
}

/* Unicorn's walker sets A of a 1 GiB page's entry before it looks at rights and at bits 29:13. */
static void access_huge(struct walker *w, const struct state *s, u64 va, u32 access, u32 privilege)
{
	u64 reserved = X86_ADDR_MASK & ~0ull << MAXPHYADDR;
	struct walk walk;

	OURS(w, mmu_walk, walk)(w->unit, va, access, privilege, WALK_PROBE, &walk);
	if (walk.level != 3 || (walk.entry[3] & (X86_P | X86_PS)) != (X86_P | X86_PS))
		return;
	if (!(walk.entry[3] & (s->efer & EFER_NXE ? reserved : reserved | X86_XD)))
		*entry_at(w, walk.entry_pa[3]) |= X86_A;
}

/* Translate one part of an access; a fault goes into the outcome. */
static bool touch_part(struct walker *w, struct trial *j, u64 va, u32 access, u32 privilege,
		       u64 *pa)
{
	u64 before[NR_ENTRIES];
	u32 code, result;

	if (w->wrong)
		for (u32 i = 0; i < j->s->nr_entries; i++)
			before[i] = *entry_at(w, j->s->entry_pa[i]);
	result = ask(w, j->way, va, access, privilege, pa, &code);
	if (w->wrong) {
		plant_entries(w, j->s, before, access);
		if (w->wrong == WRONG_FRAME)
			*pa ^= 0x1000;
		if (w->wrong == WRONG_CANONICAL && result == XLATE_GP) {
			w->unit->cr2 = va;
			code = privilege ? PF_US : 0;
			result = XLATE_PF;
		}
		if (w->wrong == WRONG_ALLOW && result == XLATE_PF && code & PF_P &&
		    !(code & PF_RSVD)) {
			*pa = SMALL_PA;
			w->unit->cr2 = CR2_BEFORE;
			result = XLATE_OK;
		}
	}
	if (result == XLATE_OK && *pa < RAM_SIZE)
		return true;
	if (j->deviations & DEVIATION_HUGE_ACCESSED && result == XLATE_PF)
		access_huge(w, j->s, va, access, privilege);
	j->o->vector = result == XLATE_OK ? OUTSIDE_RAM : result;
	j->o->rip = j->insn;
	if (result == XLATE_PF)
		j->o->code = plant_code(w, code);
	return false;
}

static bool would_fault(struct walker *w, u64 va, u32 access, u32 privilege)
{
	struct walk walk;

	return OURS(w, mmu_walk, walk)(w->unit, va, access, privilege, WALK_PROBE, &walk) !=
	       XLATE_OK;
}

static bool only_second_faults(struct walker *w, u64 va, u64 second, u32 access, u32 privilege)
{
	return !would_fault(w, va, access, privilege) && would_fault(w, second, access, privilege);
}

/* Translate size bytes at va, page by page. */
static bool touch(struct walker *w, struct trial *j, u64 va, u32 size, u32 access, u32 privilege)
{
	u64 second = (va + size - 1) & PAGE_MASK;

	if (second == (va & PAGE_MASK))
		return touch_part(w, j, va, access, privilege, &j->pa[0]);
	if (access != ACCESS_FETCH && !state_canonical(j->s, second) &&
	    !(j->deviations & DEVIATION_CANONICAL_LATE))
		return touch_part(w, j, second, access, privilege, &j->pa[1]);
	if (j->deviations & DEVIATION_SECOND_FIRST &&
	    only_second_faults(w, va, second, access, privilege))
		return touch_part(w, j, second, access, privilege, &j->pa[1]);
	if (!touch_part(w, j, va, access, privilege, &j->pa[0]))
		return false;
	if (touch_part(w, j, second, access, privilege, &j->pa[1]))
		return true;
	if (w->wrong == WRONG_SECOND_PAGE && j->o->vector == XLATE_PF)
		w->unit->cr2 = va;
	return false;
}

/* Where byte i of the access touched last lies. */
static u8 *byte_of(struct walker *w, const struct trial *j, u64 va, u32 i)
{
	u32 first = PAGE_SIZE - (va & ~PAGE_MASK);

	return w->ram + (i < first ? j->pa[0] + i : j->pa[1] + i - first);
}

static u64 data_at(struct walker *w, const struct trial *j, u64 va, u32 size)
{
	u64 value = 0;

	for (u32 i = 0; i < size; i++)
		value |= (u64)*byte_of(w, j, va, i) << 8 * i;
	return value;
}

static void store_at(struct walker *w, const struct trial *j, u64 va, u32 size, u64 value)
{
	for (u32 i = 0; i < size; i++)
		*byte_of(w, j, va, i) = (u8)(value >> 8 * i);
}

/* The load as fast asks for it: as a load, and again as what it is if it faults. */
static bool load_to_modify(struct walker *w, struct trial *j, u64 va, u32 size, u32 privilege)
{
	u64 faulting = va;

	if (touch(w, j, va, size, ACCESS_READ, privilege))
		return true;
	if (!would_fault(w, va, ACCESS_READ, privilege))
		faulting = (va + size - 1) & PAGE_MASK;
	return touch_part(w, j, faulting, ACCESS_RMW, privilege, &j->pa[0]);
}

/* A read-modify-write is a write throughout (SDM vol. 3A 4.7, W/R). */
static bool touch_to_modify(struct walker *w, struct trial *j, u64 va, u32 size, u32 privilege)
{
	if (j->deviations & DEVIATION_RMW_READS_FIRST &&
	    !touch(w, j, va, size, ACCESS_READ, privilege))
		return false;
	if (j->deviations & DEVIATION_RMW_ASKED_AS_LOAD &&
	    !load_to_modify(w, j, va, size, privilege))
		return false;
	return touch(w, j, va, size, ACCESS_RMW, privilege);
}

static void judge_rep(struct walker *w, struct trial *j, u32 privilege)
{
	struct outcome *o = j->o;

	while (o->rcx) {
		u8 *from, *to;

		if (!touch(w, j, o->rsi, 1, ACCESS_READ, privilege))
			return;
		from = byte_of(w, j, o->rsi, 0);
		if (!touch(w, j, o->rdi, 1, ACCESS_WRITE, privilege))
			return;
		to = byte_of(w, j, o->rdi, 0);
		*to = *from;
		o->rsi++;
		o->rdi++;
		o->rcx--;
	}
}

static void judge_fetch(struct walker *w, struct trial *j, u32 privilege)
{
	struct outcome *o = j->o;

	if (!state_canonical(j->s, j->s->va) && !(j->deviations & DEVIATION_JUMP_ARRIVES)) {
		touch(w, j, j->s->va, 1, ACCESS_FETCH, privilege);
		return;
	}
	j->insn = j->s->va;
	if (!touch(w, j, j->s->va, j->s->size, ACCESS_FETCH, privilege))
		return;
	o->rip = j->s->va + 1; /* past the INT3 that is there */
	if (j->s->second) {
		o->rax = CROSSING_IMM;
		o->rip += CROSSING_INSN;
		for (u32 i = 0; i < CROSSING_INSN; i++)
			if (*byte_of(w, j, j->s->va, i) != crossing_insn[i])
				o->rax = 0;
	}
}

/* A descriptor is read, and its accessed bit set, by the supervisor whatever CPL is (SDM vol.
 * 3A 4.6). */
static void judge_descriptor(struct walker *w, struct trial *j)
{
	u32 privilege = PRIVILEGE_IMPLICIT;
	u64 va = j->s->va;

	if (j->deviations & DEVIATION_IMPLICIT_AC && !j->s->cpl)
		privilege = PRIVILEGE_SUPERVISOR;
	if (!touch(w, j, va, 8, ACCESS_READ, privilege) || j->kind == KIND_DESCRIPTOR)
		return;
	u64 descriptor = data_at(w, j, va, 8);
	if (touch(w, j, va + 4, 4, ACCESS_WRITE, privilege))
		store_at(w, j, va + 4, 4, descriptor >> 32 | 0x100);
}

/* The instruction, as the manual has it but for j->deviations. */
static void judge_instruction(struct walker *w, struct trial *j)
{
	u32 privilege = j->s->cpl == 3, size = j->s->size;
	u64 va = j->s->va, value;
	struct outcome *o = j->o;

	switch (j->kind) {
	case KIND_LOAD8:
	case KIND_LOAD4:
	case KIND_LOAD1:
		if (touch(w, j, va, size, ACCESS_READ, privilege))
			o->rax = data_at(w, j, va, size);
		break;
	case KIND_STORE8:
	case KIND_STORE1:
		if (touch(w, j, va, size, ACCESS_WRITE, privilege))
			store_at(w, j, va, size, o->rax);
		break;
	case KIND_ADD:
		if (touch_to_modify(w, j, va, size, privilege))
			store_at(w, j, va, size, data_at(w, j, va, size) + o->rax);
		break;
	case KIND_XADD:
		if (!touch_to_modify(w, j, va, size, privilege))
			break;
		value = data_at(w, j, va, size);
		store_at(w, j, va, size, value + o->rax);
		o->rax = value;
		break;
	case KIND_CMPXCHG:
		if (touch_to_modify(w, j, va, size, privilege))
			o->rax = data_at(w, j, va, size);
		break;
	case KIND_PUSH:
		if (touch(w, j, va, size, ACCESS_WRITE, privilege)) {
			store_at(w, j, va, size, o->rax);
			o->rsp = va;
		} else if (o->vector == XLATE_GP && !(j->deviations & DEVIATION_STACK_IS_GP)) {
			o->vector = VECTOR_SS;
		}
		break;
	case KIND_FETCH:
		judge_fetch(w, j, privilege);
		break;
	case KIND_REP_STORE:
	case KIND_REP_LOAD:
		judge_rep(w, j, privilege);
		break;
	case KIND_DESCRIPTOR:
	case KIND_DESCRIPTOR_A:
		judge_descriptor(w, j);
		break;
	}
}

static void load_unit(struct walker *w, const struct state *s, bool exact)
{
	struct mmu_unit *u = w->unit;

	u->cr0 = s->cr0;
	u->cr2 = CR2_BEFORE;
	u->cr3 = s->cr3;
	u->cr4 = s->cr4;
	u->efer = s->efer;
	u->rflags = s->rflags;
	u->maxphyaddr = MAXPHYADDR;
	u->features = ALL_FEATURES;
	u->exact = exact;
	u->pkru = s->pkru;
	if (exact)
		OURS(w, mmu_flush_all, flush_all)(u);
}

void judge(struct walker *w, const struct state *s, u32 deviations, struct outcome *o)
{
	u64 insn = stub_of(s) + w->stub_insn[s->kind];
	struct trial j = { .s = s,
			   .o = o,
			   .deviations = deviations,
			   .kind = s->kind,
			   .way = s->way,
			   .insn = insn };

	outcome_before(s, o);
	load_unit(w, s, s->way == ENGINE_EXACT);
	o->rip = insn + instruction[s->kind].n + 1;
	judge_instruction(w, &j);
	o->cr2 = w->unit->cr2;
	look_at_cells(w, o);
}

/* Sequences. */

/* One access of a sequence, by the engine in that way. */
static void judge_step(struct walker *w, const struct state *s, u32 step, u32 way, u32 deviations,
		       struct outcome *o)
{
	u64 insn = insn_of_step(w, s, step);
	u32 kind = kind_of_step(s, step);
	struct trial j = {
		.s = s, .o = o, .deviations = deviations, .kind = kind, .way = way, .insn = insn
	};

	outcome_before(s, o);
	w->unit->cr2 = CR2_BEFORE;
	o->rip = insn + instruction[kind].n + 1;
	judge_instruction(w, &j);
	o->cr2 = w->unit->cr2;
	look_at_cells(w, o);
}

/* The edit and the flush, as the guest does them to our TLB model. Returns XLATE_*. */
static u32 judge_flush(struct walker *w, const struct state *s)
{
	struct mmu_unit *u = w->unit;
	u32 result;

	*entry_at(w, s->entry_pa[s->edited]) = s->new_entry;
	if (w->wrong == WRONG_FORGETS)
		return XLATE_OK;
	switch (s->flush) {
	case FLUSH_INVLPG:
		OURS(w, mmu_invlpg, invlpg)(u, s->va);
		return XLATE_OK;
	case FLUSH_CR3:
		return OURS(w, mmu_write_cr3, write_cr3)(u, s->reload);
	case FLUSH_PGE:
		result = OURS(w, mmu_write_cr4, write_cr4)(u, s->cr4 ^ CR4_PGE);
		return result ? result : OURS(w, mmu_write_cr4, write_cr4)(u, s->cr4);
	default:
		return XLATE_OK;
	}
}

void judge_sequence(struct walker *w, const struct state *s, u32 deviations, struct expected *e)
{
	struct outcome ignored;
	u32 refused;

	restore(w);
	load_unit(w, s, false);
	judge_step(w, s, 0, ENGINE_WALK, deviations, &ignored);
	judge_step(w, s, 1, ENGINE_WALK, deviations, &e->old);
	restore(w);
	judge_step(w, s, 0, ENGINE_WALK, deviations, &ignored);
	*entry_at(w, s->entry_pa[s->edited]) = s->new_entry;
	judge_step(w, s, 1, ENGINE_WALK, deviations, &e->new);
	restore(w);
	load_unit(w, s, true);
	judge_step(w, s, 0, ENGINE_EXACT, deviations, &e->first);
	refused = judge_flush(w, s);
	judge_step(w, s, 1, ENGINE_EXACT, deviations, &e->exact);
	if (refused)
		e->exact.vector = refused;
}

void walker_plant(struct walker *w, u32 wrong, u32 bit)
{
	w->wrong = wrong;
	w->wrong_bit = bit;
}
