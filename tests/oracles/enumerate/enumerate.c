/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "enumerate.h"

#include <string.h>

#include "x86/unit.h"

#define NR_ACCESSES (ORACLE_KINDS * ORACLE_MODES)

/* One run of a plan: what the innermost loops need at hand. */
struct run {
	const struct enum_plan *plan;
	struct enum_result *result;
	struct mmu_unit *unit;
	u8 *ram;
	u64 cr3;
	u64 *home[6];  /* by level: va's entry in the plan's tables */
	u64 *slot[6];  /* the same, but where the oracle's path went, if a large page's bits led
			  elsewhere */
	u64 before[6]; /* what is in slot before an access */
	u32 levels;
	struct oracle oracle;
};

uint64_t enum_sizeof(int which)
{
	return which == 0   ? sizeof(struct mmu_unit)
	       : which == 1 ? sizeof(struct walk)
			    : sizeof(struct translation);
}

void enum_load(void *unit, const struct oracle_processor *p, uint32_t cet, uint64_t cr3)
{
	struct mmu_unit *u = unit;

	u->cr0 = CR0_PG | CR0_PE | (p->wp ? CR0_WP : 0);
	u->cr3 = cr3;
	u->cr4 = CR4_PAE | CR4_PGE | (p->levels == 5 ? CR4_LA57 : 0) | (p->smep ? CR4_SMEP : 0) |
		 (p->smap ? CR4_SMAP : 0) | (p->pke ? CR4_PKE : 0) | (p->pks ? CR4_PKS : 0) |
		 (cet ? CR4_CET : 0);
	u->efer = EFER_LME | EFER_LMA | (p->nxe ? EFER_NXE : 0);
	u->rflags = p->ac ? RFLAGS_AC : 0;
	u->pkru = p->pkru;
	u->pkrs = p->pkrs;
	u->vendor = p->amd ? VENDOR_AMD : VENDOR_INTEL;
	u->features = p->page1gb ? ~0u : ~(u32)FEATURE_PAGE1GB;
	u->maxphyaddr = p->maxphyaddr;
}

/* Registers that a defect may bend. */
struct bent_registers {
	u64 cr0, cr4, efer, rflags;
	u32 pkrs, vendor, features, maxphyaddr;
};

/* The walk of an engine that has the plan's defect. */
static u32 defective_walk(struct run *run, u32 kind, u32 mode, struct walk *w)
{
	const struct enum_plan *plan = run->plan;
	struct mmu_unit *u = run->unit;
	struct bent_registers kept = { u->cr0,	u->cr4,	   u->efer,	u->rflags,
				       u->pkrs, u->vendor, u->features, u->maxphyaddr };
	u32 bent = plan->defect == DEFECT_TOP_US ? run->levels : plan->leaf_level + 1;
	u64 entry = *run->slot[bent], set = 0, clear = 0;

	switch (plan->defect) {
	case DEFECT_WP_ALWAYS:
		u->cr0 |= CR0_WP;
		break;
	case DEFECT_SMEP_NEVER:
		u->cr4 &= ~(u64)CR4_SMEP;
		break;
	case DEFECT_SMAP_NEVER:
		u->cr4 &= ~(u64)CR4_SMAP;
		break;
	case DEFECT_AC_HEEDED:
		mode = mode == PRIVILEGE_IMPLICIT ? PRIVILEGE_SUPERVISOR : mode;
		break;
	case DEFECT_AC_IGNORED:
		u->rflags &= ~(u64)RFLAGS_AC;
		break;
	case DEFECT_PKE_NEVER:
		u->cr4 &= ~(u64)CR4_PKE;
		break;
	case DEFECT_PKS_NEVER:
		u->cr4 &= ~(u64)CR4_PKS;
		break;
	case DEFECT_PKRU_FOR_ALL:
		u->pkrs = u->pkru;
		break;
	case DEFECT_UPPER_US:
	case DEFECT_TOP_US:
		set = X86_US;
		break;
	case DEFECT_UPPER_RW:
		set = X86_RW;
		break;
	case DEFECT_UPPER_XD:
		clear = X86_XD;
		break;
	case DEFECT_NXE_ALWAYS:
		u->efer |= EFER_NXE;
		break;
	case DEFECT_INTEL_ONLY:
		u->vendor = VENDOR_INTEL;
		break;
	case DEFECT_MAXPHYADDR:
		u->maxphyaddr += u->maxphyaddr < 52;
		break;
	case DEFECT_PAGE1GB:
		u->features |= FEATURE_PAGE1GB;
		break;
	default:
		break;
	}
	*run->slot[bent] = (entry | set) & ~clear;
	plan->engine.walk(u, plan->va, kind, mode, WALK_QUIET, w);
	w->entry[bent] = *run->slot[bent] = (*run->slot[bent] & ~(set | clear)) |
					    (entry & (set | clear));
	u->cr0 = kept.cr0, u->cr4 = kept.cr4, u->efer = kept.efer, u->rflags = kept.rflags;
	u->pkrs = kept.pkrs, u->vendor = kept.vendor, u->features = kept.features,
	u->maxphyaddr = kept.maxphyaddr;
	switch (plan->defect) {
	case DEFECT_CODE_PK:
		w->error_code &= ~(u32)PF_PK;
		break;
	case DEFECT_CODE_ID:
		w->error_code &= ~(u32)PF_ID;
		break;
	case DEFECT_CODE_SS:
		w->error_code &= ~(u32)PF_SS;
		break;
	case DEFECT_CODE_RSVD:
		w->error_code &= ~(u32)PF_RSVD;
		break;
	case DEFECT_FAULT_SETS_A:
		if (w->result == XLATE_PF && w->error_code & PF_P && !(w->error_code & PF_RSVD))
			w->entry[w->level] = *run->slot[w->level] |= X86_A;
		break;
	case DEFECT_READ_SETS_D:
		if (w->result == XLATE_OK)
			w->entry[w->level] = *run->slot[w->level] |= X86_D;
		break;
	case DEFECT_FAULT_KEEPS_A:
		if (w->result == XLATE_PF)
			for (u32 level = 1; level <= run->levels; level++)
				w->entry[level] = *run->slot[level] = run->before[level];
		break;
	case DEFECT_PA:
		w->pa &= ~0xff000ull;
		break;
	default:
		break;
	}
	return w->result;
}

static void note_mismatch(struct run *run, const struct enum_case *c)
{
	struct enum_result *r = run->result;

	if (r->nr_shown < r->max_shown)
		r->shown[r->nr_shown++] = *c;
	r->mismatches++;
}

static u32 result_of(u32 verdict)
{
	return verdict & ORACLE_PF ? XLATE_PF : verdict & ORACLE_GP ? XLATE_GP : XLATE_OK;
}

/* Describe a case for people; what was got is in RAM and in the arguments. */
static void describe(struct run *run, u32 kind, u32 mode, u32 verdict,
		     const struct oracle_path *path, u64 pa, u32 result, u32 code, u32 level,
		     const u64 *wanted, struct enum_case *c)
{
	memset(c, 0, sizeof(*c));
	c->processor = run->oracle.processor;
	c->va = run->plan->va;
	c->kind = kind;
	c->mode = mode;
	c->first = ~0u;
	for (u32 n = 1; n <= run->levels; n++) {
		c->before[n] = run->before[n];
		c->wanted[n] = wanted[n];
		c->got[n] = *run->slot[n];
	}
	c->wanted_result = result_of(verdict);
	c->wanted_code = verdict & ORACLE_CODE;
	c->wanted_pa = c->wanted_result == XLATE_OK ? path->pa : 0;
	c->wanted_level = path->level;
	c->got_result = result;
	c->got_code = result == XLATE_PF ? code : 0;
	c->got_pa = result == XLATE_OK ? pa : 0;
	c->got_level = level;
}

/* The entries after an access: A in those used, A and D in the leaf as the verdict says. */
static inline void expect(const struct run *run, const struct oracle_path *path, u32 verdict,
			  u64 *wanted)
{
	for (u32 level = 1; level <= run->levels; level++)
		wanted[level] = run->before[level] | (path->used >> level & 1 ? X86_A : 0);
	wanted[path->level] |= (verdict & ORACLE_SET_A ? X86_A : 0) |
			       (verdict & ORACLE_SET_D ? X86_D : 0);
}

/* Whether RAM is as wanted, and so is what the walk says of the entries it read: from level last
 * up. */
static inline bool entries_right(const struct run *run, const struct walk *w, u32 last,
				 const u64 *wanted, const struct oracle_path *path)
{
	u64 wrong = 0;

	for (u32 level = 1; level <= run->levels; level++) {
		wrong |= *run->slot[level] ^ wanted[level];
		if (level >= last)
			wrong |= (w->entry[level] ^ wanted[level]) |
				 (w->entry_pa[level] ^ path->entry_pa[level]);
	}
	return !wrong;
}

/* Follow the address, and take the entries on its way for those that an access may change. */
static void follow(struct run *run, struct oracle_path *path)
{
	oracle_follow(&run->oracle, run->ram, run->cr3, run->plan->va, path);
	for (u32 level = 1; level <= run->levels; level++) {
		run->slot[level] = path->row != ORACLE_NOT_CANONICAL && level >= path->level
					   ? (u64 *)(run->ram + path->entry_pa[level])
					   : run->home[level];
		run->before[level] = *run->slot[level];
	}
}

/* Put the entries back as they were before the access. */
static inline void restore(struct run *run)
{
	for (u32 level = 1; level <= run->levels; level++)
		if (*run->slot[level] != run->before[level])
			*run->slot[level] = run->before[level];
}

/* Whether the walk ended as the verdict says. */
static inline bool walk_right(u32 verdict, const struct oracle_path *path, u32 result,
			      const struct walk *w)
{
	if (verdict & ORACLE_PF)
		return result == XLATE_PF && w->error_code == (verdict & ORACLE_CODE) &&
		       w->level == path->level;
	if (verdict & ORACLE_GP)
		return result == XLATE_GP;
	return result == XLATE_OK && w->pa == path->pa && w->level == path->level;
}

/* The walks of all accesses over the entries in RAM. */
static void walk_accesses(struct run *run)
{
	const struct enum_plan *plan = run->plan;
	struct enum_result *r = run->result;
	struct oracle_path path;
	u64 wanted[6] = { 0 };
	u32 sets = ~0u, last;

	follow(run, &path);
	last = path.row == ORACLE_NOT_CANONICAL ? 6 : path.level;
	for (u32 kind = 0; kind < ORACLE_KINDS; kind++) {
		if (!(plan->kinds >> kind & 1))
			continue;
		for (u32 mode = 0; mode < ORACLE_MODES; mode++) {
			u32 verdict = oracle_judge(&run->oracle, &path, kind, mode);
			struct walk w;
			u32 result;

			if ((verdict & (ORACLE_SET_A | ORACLE_SET_D)) != sets) {
				sets = verdict & (ORACLE_SET_A | ORACLE_SET_D);
				expect(run, &path, verdict, wanted);
			}
			if (unlikely(plan->defect))
				result = defective_walk(run, kind, mode, &w);
			else
				result = plan->engine.walk(run->unit, plan->va, kind, mode,
							   WALK_QUIET, &w);
			r->cases++;
			r->faults += verdict >> 15;
			if (unlikely(!walk_right(verdict, &path, result, &w) ||
				     !entries_right(run, &w, last, wanted, &path))) {
				struct enum_case c;

				describe(run, kind, mode, verdict, &path, w.pa, result,
					 w.error_code, w.level, wanted, &c);
				note_mismatch(run, &c);
			}
			restore(run);
		}
	}
}

/* One access by mmu_translate(); returns whether it came to what the oracle says, and *allowed. */
static bool translate_one(struct run *run, u32 kind, u32 mode, u32 first, bool *allowed)
{
	const struct enum_plan *plan = run->plan;
	struct oracle_path path;
	struct translation t;
	u64 wanted[6] = { 0 }, wrong = 0;
	u32 verdict, result;
	bool right;

	follow(run, &path);
	verdict = oracle_judge(&run->oracle, &path, kind, mode);
	expect(run, &path, verdict, wanted);
	result = plan->engine.translate(run->unit, plan->va, kind, mode, &t);
	run->result->cases++;
	run->result->faults += !!(verdict & ORACLE_PF);
	for (u32 level = 1; level <= run->levels; level++)
		wrong |= *run->slot[level] ^ wanted[level];
	right = result == result_of(verdict) && !wrong;
	if (verdict & ORACLE_PF)
		right &= t.error_code == (verdict & ORACLE_CODE) && run->unit->cr2 == plan->va;
	else if (!(verdict & ORACLE_GP))
		right &= t.pa == path.pa;
	if (!right) {
		struct enum_case c;

		describe(run, kind, mode, verdict, &path, t.pa, result, t.error_code, path.level,
			 wanted, &c);
		c.first = first;
		note_mismatch(run, &c);
	}
	*allowed = result == XLATE_OK;
	return right;
}

/* Each access through an empty TLB, and each other after it. */
static void translate_accesses(struct run *run)
{
	const struct enum_plan *plan = run->plan;
	bool allowed, ignored;
	u64 first_before[6];

	for (u32 level = 1; level <= run->levels; level++)
		first_before[level] = *run->home[level];
	for (u32 first = 0; first < NR_ACCESSES; first++) {
		if (!(plan->kinds >> first / ORACLE_MODES & 1))
			continue;
		for (u32 then = 0; then < NR_ACCESSES; then++) {
			if (!(plan->kinds >> then / ORACLE_MODES & 1))
				continue;
			plan->engine.flush_all(run->unit);
			if (translate_one(run, first / ORACLE_MODES, first % ORACLE_MODES, ~0u,
					  &allowed) &&
			    allowed)
				translate_one(run, then / ORACLE_MODES, then % ORACLE_MODES, first,
					      &ignored);
			for (u32 level = 1; level <= run->levels; level++)
				*run->home[level] = first_before[level];
			if (!allowed)
				break;
		}
	}
}

static void enumerate(const struct enum_plan *plan, u64 first, u64 nr, struct enum_result *result,
		      void (*accesses)(struct run *run))
{
	struct run run = { .plan = plan, .result = result, .unit = plan->engine.unit };
	u64 row = first * plan->nr_upper * plan->nr_parent;

	run.ram = run.unit->ram->ram;
	run.levels = plan->registers[first].levels;
	run.cr3 = plan->table[run.levels];
	for (u32 level = 1; level <= run.levels; level++)
		run.home[level] = (u64 *)(run.ram + plan->table[level] +
					  (plan->va >> (12 + 9 * (level - 1)) & 511) * 8);
	for (u64 i = first; i < first + nr; i++) {
		const struct oracle_processor *p = &plan->registers[i];

		enum_load(run.unit, p, plan->cet, run.cr3);
		oracle_prepare(&run.oracle, p);
		for (u64 upper = 0; upper < plan->nr_upper; upper++) {
			for (u32 level = plan->leaf_level + 2; level <= run.levels; level++)
				*run.home[level] = plan->upper[upper * 6 + level];
			for (u64 parent = 0; parent < plan->nr_parent; parent++, row++) {
				if ((row + plan->phase) % plan->stride)
					continue;
				*run.home[plan->leaf_level + 1] = plan->parent[parent];
				for (u64 leaf = 0; leaf < plan->nr_leaf; leaf++) {
					*run.home[plan->leaf_level] = plan->leaf[leaf];
					accesses(&run);
				}
			}
		}
	}
}

void enum_walks(const struct enum_plan *plan, uint64_t first, uint64_t nr, struct enum_result *r)
{
	enumerate(plan, first, nr, r, walk_accesses);
}

void enum_translations(const struct enum_plan *plan, uint64_t first, uint64_t nr,
		       struct enum_result *r)
{
	struct mmu_unit *u = plan->engine.unit;

	u->exact = 1;
	enumerate(plan, first, nr, r, translate_accesses);
	u->exact = 0;
}
