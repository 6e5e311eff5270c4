/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that comes, goes, or is written by the host. */
#include "unicorn/vcpu.h"

/* Forget the soft TLB now; inside a script's hook, as far as that is safe there. */
void forget_soft(struct vcpu *v)
{
	if (!v->depth) {
		soft_drop_all(v);
		return;
	}
	v->mmu->soft.all = 1;
	soft_drain_in_hook(v);
}

/* Unicorn, which changes its memory just before or after these, flushes its soft TLB then too. */

int vcpu_add_region(struct vcpu *v, u64 base, u64 size, u32 perms)
{
	const struct vcpu_region new = { .base = base, .size = size, .perms = perms };
	bool replaces = has_region(v, guest_physical(base), size);
	int error = add_region(v, &new);

	if (!error && replaces)
		forget_soft(v);
	return error;
}

int vcpu_remove_region(struct vcpu *v, u64 base, u64 size)
{
	int error;

	base = guest_physical(base);
	error = remove_region(v, base, size);
	if (error)
		return error;
	close_frames(v, base, size);
	forget_soft(v);
	return 0;
}

/* Unicorn's list of regions does not say which are I/O; who mapped one has said it before. */
static int add_again(struct vcpu *v, const struct vcpu_region *region, const struct regions *old)
{
	struct vcpu_region new = *region;

	if (memory_holds(v->ram, guest_physical(new.base)))
		return 0;
	if (was_io(old, new.base))
		new.perms |= REGION_MMIO;
	return add_region(v, &new);
}

int vcpu_set_regions(struct vcpu *v, const struct vcpu_region *regions, u32 nr)
{
	struct regions old = v->regions;
	int error = 0;

	begin_regions(v);
	for (u32 i = 0; i < nr && !error; i++)
		error = add_again(v, &regions[i], &old);
	if (error) {
		free_regions(&v->regions);
		v->regions = old;
		return error;
	}
	free_regions(&old);
	close_frames_without_memory(v);
	forget_soft(v);
	return 0;
}

/* The checker looks at tables before the next access; what changed, a host changed. */
static void tell_checker_of_host(struct vcpu *v)
{
	struct tlb_check *check = v->mmu->check;

	check->kernel = check->now;
	check->kernel.by = CHECK_BY_HOST;
	check->changed = 1;
}

/* The host has written code. Without the private parts a hook is no place to drop it: vcpu_sync()
 * does, before the next run. */
static void drop_written(struct vcpu *v, u64 page)
{
	if ((v->run.started || v->depth > 1) && !private_has(v, PRIVATE_HOST))
		v->code_written = true;
	else
		drop_code(v, page);
}

u32 vcpu_remove_code(struct vcpu *v, u64 begin, u64 end)
{
	u64 pa;

	if (!private_has(v, PRIVATE_HOST))
		return 0;
	for (u64 va = begin; va < end; va = page_of(va) + PAGE_SIZE) {
		u64 last = end - 1 < (va | (PAGE_SIZE - 1)) ? end - 1 : va | (PAGE_SIZE - 1);

		if (v->fidelity->probe(v, va, ACCESS_FETCH, &pa) && holds_code(v, pa)) {
			drop_code_range(v, page_of(pa) | (va & (PAGE_SIZE - 1)), last - va + 1);
			soft_drop_later(v, va);
		}
		if (last == ~0ull)
			break;
	}
	return 1;
}

void vcpu_host_wrote(struct vcpu *v, u64 address, u64 size)
{
	u64 pa = guest_physical(address);
	bool table = false;

	for (u64 page = page_of(pa); page < pa + size; page += PAGE_SIZE) {
		const u32 *flags = frame_flags(v, page);

		if (flags && *flags & PG_code)
			drop_written(v, page);
		table |= flags && *flags & PG_table;
	}
	if (!table)
		return;
	MMU(v, mmu_tables_changed, tables_changed)(v->mmu);
	forget_memos(v);
	if (v->mmu->check)
		tell_checker_of_host(v);
}
