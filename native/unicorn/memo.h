/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memos of the model's first-level entries: what a look-up costs when nothing has changed. */
#ifndef UCMMU_UNICORN_MEMO_H
#define UCMMU_UNICORN_MEMO_H

#include <string.h>

#include "unicorn/vcpu.h"

/* What Unicorn calls an access. */
static inline u32 kind_of(u32 access)
{
	return access == ACCESS_RMW ? ACCESS_READ : access;
}

static inline struct memo *memo_of(struct vcpu *v, u64 page, u32 access)
{
	return &v->memo[kind_of(access)][(page >> PAGE_SHIFT) & (NR_MEMOS - 1)];
}

/* PCID, flags, sizes and keys of an entry, all at once. */
static inline u64 rest_of(const struct tlb_entry *e)
{
	u64 rest;

	_Static_assert(sizeof(*e) - offsetof(struct tlb_entry, pcid) == sizeof(rest),
		       "struct tlb_entry changed");
	memcpy(&rest, &e->pcid, sizeof(rest));
	return rest;
}

/* Whether the model would still translate the page by the memo's entry, and do no more than use()
 * does. */
static inline bool stands(const struct vcpu *v, const struct memo *m, u64 page)
{
	const struct tlb_entry *e = m->entry;

	return m->page == page && m->translations == v->translations && e->vpn == m->vpn &&
	       e->frame == m->frame && rest_of(e) == m->rest;
}

/* What mmu_translate() does when e answers. */
static inline void use(struct vcpu *v, struct tlb_entry *e, u32 access)
{
	v->mmu->counter[translated_counter(access)]++;
	if (e->used != v->mmu->tlb.clock)
		MMU(v, mmu_touch, touch)(v->mmu, e);
}

#endif
