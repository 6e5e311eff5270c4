/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-physical memory, by region. */
#include <errno.h>
#include <sys/mman.h>

#include "unicorn/vcpu.h"

/* The region that holds pa, or NULL. */
struct region *region_of(struct vcpu *v, u64 pa)
{
	for (u32 i = 0; i < v->nr_regions; i++)
		if (pa - v->region[i].base < v->region[i].size)
			return &v->region[i];
	return NULL;
}

/* Whether pa's frame holds a paging structure. */
bool is_table(struct vcpu *v, u64 pa)
{
	return memory_holds(v->ram, pa) && pfn_to_page(v->ram, pa >> PAGE_SHIFT)->flags & PG_table;
}

bool holds_code(struct vcpu *v, const struct region *r, u64 pa)
{
	if (r->code)
		return r->code[(pa - r->base) >> PAGE_SHIFT];
	return pfn_to_page(v->ram, pa >> PAGE_SHIFT)->flags & PG_code;
}

/* 0, or -ENOMEM. code_flags: it has no struct page to note code in. */
int add_region(struct vcpu *v, u64 base, u64 size, u32 perms, bool code_flags)
{
	struct region *r = &v->region[v->nr_regions];
	u64 nr = size >> PAGE_SHIFT;

	if (v->nr_regions == NR_REGIONS)
		return -ENOMEM;
	*r = (struct region){ .base = base, .size = size, .perms = perms };
	if (v->owning && !(r->owner = map_lazily(nr * sizeof(*r->owner))))
		return -ENOMEM;
	if (code_flags && !(r->code = map_lazily(nr)))
		return -ENOMEM;
	v->nr_regions++;
	return 0;
}

int vcpu_add_region(struct vcpu *v, u64 base, u64 size, u32 perms)
{
	return add_region(v, base, size, perms, true);
}

/* Forget the regions from number first on. */
void free_regions(struct vcpu *v, u32 first)
{
	for (u32 i = first; i < v->nr_regions; i++) {
		struct region *r = &v->region[i];

		if (r->owner)
			munmap(r->owner, (r->size >> PAGE_SHIFT) * sizeof(*r->owner));
		if (r->code)
			munmap(r->code, r->size >> PAGE_SHIFT);
	}
	v->nr_regions = first;
}

void vcpu_clear_regions(struct vcpu *v)
{
	free_regions(v, 1);
}
