/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A script's hooks on loads and stores, by virtual address: Unicorn calls them with guest-physical
 * addresses, and tests no range that is virtual.
 */
#include <stdlib.h>

#include "unicorn/vcpu.h"

struct watchpoint {
	struct vcpu *v;
	u64 begin, end; /* inclusive; everything if begin > end */
	uc_cb_hookmem_t call;
	uc_hook hook;
	struct watchpoint *next;
};

/*
 * The hook of a store may have had Unicorn forget its page, by a run of its own, a write to CR3 or
 * new memory. Unicorn goes on with the entry it found before: make it right again, until the next
 * block.
 */
static void put_page_back(struct vcpu *v, u64 va)
{
	u64 pa;

	if (!private_has(v, PRIVATE_SET_PAGE) || !v->fidelity->probe(v, va, ACCESS_WRITE, &pa) ||
	    !region_of(v, pa))
		return;
	private_set_page(v, va, uc_address(v, pa), PERM_R | PERM_W);
	soft_drop_later(v, va);
}

static void on_access(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	struct watchpoint *w = arg;
	u64 va = owner_address(w->v, guest_physical(pa));

	if (va == NO_ADDRESS)
		va = pa;
	if (w->begin <= w->end && (va < w->begin || va > w->end))
		return;
	w->v->accessing = page_of(va);
	w->call(uc, type, va, size, value, NULL);
	w->v->accessing = NO_ADDRESS;
	if (type == UC_MEM_WRITE)
		put_page_back(w->v, va);
}

void vcpu_foreign_hooks(struct vcpu *v)
{
	v->foreign_hooks = true;
}

u64 vcpu_watch(struct vcpu *v, int type, void *callback, u64 begin, u64 end)
{
	struct watchpoint *w = calloc(1, sizeof(*w));

	if (!w)
		return 0;
	*w = (struct watchpoint){ .v = v, .begin = begin, .end = end, .next = v->watchpoints };
	w->call = (uc_cb_hookmem_t)callback;
	if (UC(v, hook_add)(v->uc, &w->hook, type, (void *)on_access, w, (u64)1, (u64)0) !=
	    UC_ERR_OK) {
		free(w);
		return 0;
	}
	v->watchpoints = w;
	return w->hook;
}

void vcpu_unwatch(struct vcpu *v, u64 hook)
{
	for (struct watchpoint *w = v->watchpoints; w; w = w->next)
		if (w->hook == hook)
			w->hook = 0;
	if (!v->depth)
		free_watchpoints(v, false);
}

/* Free those whose hooks are gone, or all. Never in a hook: Unicorn may be about to call them. */
void free_watchpoints(struct vcpu *v, bool all)
{
	struct watchpoint **at = &v->watchpoints;

	while (*at) {
		struct watchpoint *w = *at;

		if (w->hook && !all) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		free(w);
	}
}
