/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unicorn's soft TLB: what it must forget. */
#include "unicorn/vcpu.h"

/* Forget every translation.  Never from a memory hook: Unicorn still holds pointers there. */
void soft_drop_all(struct vcpu *v)
{
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
	disown_all(v);
	v->epoch++;
	forget_memos(v);
}

/* Forget va's translation; from a memory hook only if the access is not to that page. */
void soft_drop_page(struct vcpu *v, u64 va)
{
	if (private_has(v, PRIVATE_FLUSH_PAGE))
		private_flush_page(v, va);
	else
		soft_drop_all(v);
}

/* Forget va's translation before the next block. */
void soft_drop_later(struct vcpu *v, u64 va)
{
	struct soft_flush *soft = &v->mmu->soft;

	if (soft->nr < SOFT_FLUSH_MAX)
		soft->page[soft->nr++] = page_of(va);
	else
		soft->all = 1;
}

/* Forget what the MMU listed, and empty the list. */
void soft_drain(struct vcpu *v)
{
	struct soft_flush *soft = &v->mmu->soft;

	if (soft->all || (soft->nr && !private_has(v, PRIVATE_FLUSH_PAGE)))
		soft_drop_all(v);
	else
		for (u32 i = 0; i < soft->nr; i++)
			private_flush_page(v, soft->page[i]);
	soft->all = 0;
	soft->nr = 0;
}

/*
 * Inside a memory hook: pages other than the access's own two are dropped at once, so that the
 * next access to them in this block asks again; the rest waits for the next block.
 */
void soft_drain_evicted(struct vcpu *v, u64 va, u64 va2)
{
	struct soft_flush *soft = &v->mmu->soft;
	u32 kept = 0;

	if (soft->all || !private_has(v, PRIVATE_FLUSH_PAGE))
		return;
	for (u32 i = 0; i < soft->nr; i++) {
		u64 page = page_of(soft->page[i]);

		if (page == page_of(va) || page == page_of(va2))
			soft->page[kept++] = page;
		else
			private_flush_page(v, page);
	}
	soft->nr = kept;
}

/*
 * The same inside a script's hook. Unicorn holds pointers to the entries of an access under way, so
 * its pages wait for the next block; all of it does if whose hook this is is not known.
 */
void soft_drain_in_hook(struct vcpu *v)
{
	u64 accessing = v->insn.passed != NO_ADDRESS ? v->insn.passed : v->accessing;

	if (v->foreign_hooks)
		return;
	if (accessing == NO_ADDRESS)
		soft_drain(v);
	else
		soft_drain_evicted(v, accessing, accessing + PAGE_SIZE);
}

/* Make va's page the owner of pa's frame, which is open: whoever was it asks again. */
void give_frame(struct vcpu *v, u64 pa, u64 va)
{
	u64 other = other_owner(v, pa, va);

	if (other != NO_ADDRESS) {
		soft_drop_page(v, other);
		forget_memos(v);
	}
	set_owner(v, pa, va);
}

void vcpu_flush(struct vcpu *v)
{
	soft_drop_all(v);
}
