/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loads and stores that are made here on the guest's behalf, while Unicorn stands still: those of
 * instructions that are carried out here, and of the delivery of exceptions.
 */
#include <string.h>

#include "unicorn/trace.h"

/* The part of an access that lies in one page. */
struct part {
	u64 va, pa;
	u8 *data;
	u32 n;
};

/* Cut an access of at most a page into one part or two. */
static u32 cut(u64 va, void *data, u32 n, struct part part[2])
{
	u32 room = PAGE_SIZE - (va & ~PAGE_MASK), first = n < room ? n : room;

	part[0] = (struct part){ .va = va, .data = data, .n = first };
	part[1] = (struct part){ .va = va + first, .data = (u8 *)data + first, .n = n - first };
	return part[1].n ? 2 : 1;
}

/* The access happens: in the model, which counts it, or by a walk, of which only a fault shows. */
static u32 happen(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	if (v->mmu->check)
		tell_checker(v);
	if (v->fidelity->modelled)
		return MMU(v, mmu_translate, translate)(v->mmu, va, access, privilege, t);
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, privilege, t) == XLATE_PF)
		MMU(v, mmu_page_fault, page_fault)(v->mmu, va, t->error_code);
	return t->result;
}

/* Whether the access would fault, or leads to where there is no memory; no side effects but A. */
static bool is_denied(struct vcpu *v, struct part *p, u32 access, u32 privilege)
{
	struct translation t;
	bool denied = MMU(v, mmu_refill, refill)(v->mmu, p->va, access, privilege, &t) != XLATE_OK;

	p->pa = t.pa;
	return denied;
}

static void copy(struct vcpu *v, const struct part *p, u32 access)
{
	u64 address = uc_address(v, p->pa);

	if (access == ACCESS_READ) {
		UC(v, mem_read)(v->uc, address, p->data, p->n);
		return;
	}
	if (is_table(v, p->pa) && v->mmu->check)
		check_store(v->mmu->check, p->pa);
	UC(v, mem_write)(v->uc, address, p->data, p->n);
	if (is_table(v, p->pa))
		MMU(v, mmu_tables_changed, tables_changed)(v->mmu);
	vcpu_drop_code(v, p->pa);
}

/*
 * Load, or store, n bytes at va, no more than a page, as an access of ACCESS_* and PRIVILEGE_*.
 * XLATE_OK; else nothing was moved, and a fault at *at has happened, which *t describes.
 */
u32 linear_access(struct vcpu *v, u64 va, void *data, u32 n, u32 access, u32 privilege,
		  struct translation *t, u64 *at)
{
	struct part part[2];
	u32 nr = cut(va, data, n, part);

	forget_memos(v);
	for (u32 i = 0; i < nr; i++) {
		*at = part[i].va;
		if (is_denied(v, &part[i], access, privilege) &&
		    happen(v, part[i].va, access, privilege, t) != XLATE_OK)
			return t->result;
	}
	if (v->fidelity->traced)
		trace_emit(v, EVENT_access, va, n, access, part[0].pa);
	for (u32 i = 0; i < nr; i++) {
		*at = part[i].va;
		if (happen(v, part[i].va, access, privilege, t) != XLATE_OK)
			return t->result;
		part[i].pa = t->pa;
		if (!region_of(v, t->pa))
			return t->result = XLATE_BAD_TABLE;
	}
	for (u32 i = 0; i < nr; i++)
		copy(v, &part[i], access);
	return XLATE_OK;
}
