/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A script's hooks on loads and stores, by virtual address.
 *
 * Unicorn calls memory hooks with guest-physical addresses, and compares ranges with those. So a
 * range of few pages has a hook on each frame that its pages translate to, put there when the soft
 * TLB opens the frame: other accesses do not call anything of ours. A larger range, or none, has
 * one hook on everything.
 */
#include <stdlib.h>

#include "unicorn/vcpu.h"

#define MAX_FRAMES 16
#define NOWHERE 0xfffffffffffff000 /* there is no memory */

struct watched_frame {
	u64 pa;
	uc_hook hook;
};

struct watchpoint {
	struct vcpu *v;
	u64 begin, end; /* inclusive; everything if begin > end */
	int type;
	uc_cb_hookmem_t call;
	uc_hook hook; /* its handle; 0: it is gone */
	bool everywhere;
	u32 nr_frames;
	struct watched_frame frame[MAX_FRAMES];
	u64 page, owner, translations; /* the last page, whose owner stands as memos do */
	struct watchpoint *next;
};

/* Find the virtual page behind pa's, for accesses to come. */
static void learn_owner(struct watchpoint *w, u64 pa)
{
	u64 owner = owner_address(w->v, guest_physical(page_of(pa)));

	w->page = page_of(pa);
	w->owner = owner == NO_ADDRESS ? w->page : owner;
	w->translations = owner == NO_ADDRESS ? 0 : w->v->translations;
}

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
	u64 va;

	if (unlikely(w->page != page_of(pa) || w->translations != w->v->translations))
		learn_owner(w, pa);
	va = w->owner | (pa & ~PAGE_MASK);
	if (!w->hook || (w->begin <= w->end && (va < w->begin || va > w->end)))
		return;
	w->v->accessing = page_of(va);
	w->call(uc, type, va, size, value, NULL);
	w->v->accessing = NO_ADDRESS;
	if (type == UC_MEM_WRITE)
		put_page_back(w->v, va);
}

static bool hook_range(struct watchpoint *w, uc_hook *hook, u64 begin, u64 end)
{
	return UC(w->v, hook_add)(w->v->uc, hook, w->type, (void *)on_access, w, begin, end) ==
	       UC_ERR_OK;
}

/* Everything calls the hook from now on: its range has too many frames. */
static void watch_everywhere(struct watchpoint *w)
{
	struct watched_frame *f = &w->frame[0];

	for (u32 i = 0; i < w->nr_frames; i++)
		UC(w->v, hook_del)(w->v->uc, w->frame[i].hook);
	w->everywhere = hook_range(w, &f->hook, 1, 0);
	w->nr_frames = w->everywhere;
}

/* The frame of pa is open to accesses to va's page, which the range has a part of. */
static void watch_frame_of(struct watchpoint *w, u64 pa, u64 va)
{
	u64 first = w->begin > va ? w->begin - va : 0;
	u64 last = w->end - va < PAGE_SIZE - 1 ? w->end - va : PAGE_SIZE - 1;
	struct watched_frame *f = &w->frame[w->nr_frames];

	for (u32 i = 0; i < w->nr_frames; i++)
		if (w->frame[i].pa == pa)
			return;
	if (w->nr_frames == MAX_FRAMES) {
		watch_everywhere(w);
		return;
	}
	f->pa = pa;
	if (hook_range(w, &f->hook, pa + first, pa + last))
		w->nr_frames++;
}

void watch_frame(struct vcpu *v, u64 pa, u64 va)
{
	u64 address = uc_address(v, page_of(pa));

	va = page_of(va);
	for (struct watchpoint *w = v->watchpoints; w; w = w->next)
		if (w->hook && !w->everywhere && w->begin <= va + PAGE_SIZE - 1 && va <= w->end)
			watch_frame_of(w, address, va);
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
	*w = (struct watchpoint){
		.v = v, .begin = begin, .end = end, .type = type, .next = v->watchpoints
	};
	w->call = (uc_cb_hookmem_t)callback;
	w->everywhere = begin > end || end - begin >= (MAX_FRAMES - 1) * PAGE_SIZE;
	if (!hook_range(w, &w->hook, w->everywhere ? 1 : NOWHERE, w->everywhere ? 0 : NOWHERE)) {
		free(w);
		return 0;
	}
	v->watchpoints = w;
	v->mmu->soft.all = 1; /* frames that are open are opened anew */
	return w->hook;
}

void vcpu_unwatch(struct vcpu *v, u64 hook)
{
	for (struct watchpoint *w = v->watchpoints; w; w = w->next) {
		if (w->hook != hook)
			continue;
		w->hook = 0;
		for (u32 i = 0; i < w->nr_frames; i++)
			UC(v, hook_del)(v->uc, w->frame[i].hook);
		w->nr_frames = 0;
	}
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
