/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-physical memory, by region: our RAM, and what else the instance has.
 *
 * A guest-physical address has 52 bits. A region that the instance has higher up lies, for the
 * guest, where the low 52 bits of its address say; uc_base remembers the rest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unicorn/vcpu.h"

#define ROOM_AT_FIRST 16

static bool region_holds(const struct region *r, u64 pa)
{
	return pa - r->base < r->size;
}

/* Number of the first region that ends behind pa. */
static u32 first_behind(const struct regions *regions, u64 pa)
{
	u32 low = 0, high = regions->nr;

	while (low < high) {
		u32 middle = low + (high - low) / 2;
		const struct region *r = &regions->all[middle];

		if (r->base + r->size <= pa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The region that holds pa, or NULL; it is good until the regions change. */
struct region *region_of(struct vcpu *v, u64 pa)
{
	struct regions *regions = &v->regions;
	u32 number;

	if (region_holds(&regions->ram, pa))
		return &regions->ram;
	if (regions->last < regions->nr && region_holds(&regions->all[regions->last], pa))
		return &regions->all[regions->last];
	number = first_behind(regions, pa);
	if (number == regions->nr || !region_holds(&regions->all[number], pa))
		return NULL;
	regions->last = number;
	return &regions->all[number];
}

/* Where the instance has guest-physical pa. */
u64 uc_address(struct vcpu *v, u64 pa)
{
	const struct region *r = region_of(v, pa);

	return r ? r->uc_base + (pa - r->base) : pa;
}

static bool make_room(struct regions *regions, u32 nr)
{
	u32 room = regions->room ? regions->room : ROOM_AT_FIRST;
	struct region *all;

	while (room < nr)
		room *= 2;
	if (room == regions->room)
		return true;
	all = realloc(regions->all, room * sizeof(*all));
	if (!all)
		return false;
	regions->all = all;
	regions->room = room;
	return true;
}

/* Replace regions [first, first + gone) by the nr of *new. There is room. */
static void splice(struct regions *regions, u32 first, u32 gone, const struct region *new, u32 nr)
{
	struct region *at = regions->all + first;

	memmove(at + nr, at + gone, (regions->nr - first - gone) * sizeof(*at));
	memcpy(at, new, nr * sizeof(*at));
	regions->nr += nr - gone;
	regions->last = first;
	regions->changes++;
}

/* What of *r lies below, or from, pa. */
static struct region below(const struct region *r, u64 pa)
{
	struct region part = *r;

	part.size = pa - r->base;
	return part;
}

static struct region from(const struct region *r, u64 pa)
{
	struct region part = *r;

	part.base = pa;
	part.size = r->base + r->size - pa;
	part.uc_base += pa - r->base;
	return part;
}

/* Put *new, unless NULL, in the place of whatever lies in [base, base + size). 0, or -ENOMEM. */
static int replace(struct regions *regions, u64 base, u64 size, const struct region *new)
{
	u32 first = first_behind(regions, base), last = first, nr = 0;
	struct region parts[3];

	while (last < regions->nr && regions->all[last].base < base + size)
		last++;
	if (first < last && regions->all[first].base < base)
		parts[nr++] = below(&regions->all[first], base);
	if (new)
		parts[nr++] = *new;
	if (first < last && regions->all[last - 1].base + regions->all[last - 1].size > base + size)
		parts[nr++] = from(&regions->all[last - 1], base + size);
	if (!make_room(regions, regions->nr + nr))
		return -ENOMEM;
	splice(regions, first, last - first, parts, nr);
	return 0;
}

/* Whether the instance's address was memory-mapped I/O among these regions. */
bool was_io(const struct regions *regions, u64 address)
{
	u64 pa = guest_physical(address);
	u32 number = first_behind(regions, pa);

	return number < regions->nr && region_holds(&regions->all[number], pa) &&
	       regions->all[number].mmio;
}

/* There is the region instead of what lay there. 0, -ENOMEM, or -EINVAL: it has no place. */
int add_region(struct vcpu *v, const struct vcpu_region *region)
{
	const struct region new = {
		.base = guest_physical(region->base),
		.size = region->size,
		.uc_base = region->base,
		.perms = region->perms & UC_PROT_ALL,
		.mmio = region->perms & REGION_MMIO,
	};

	if (!new.size || new.size > GUEST_PHYSICAL + 1 - new.base)
		return -EINVAL;
	return replace(&v->regions, new.base, new.size, &new);
}

/* There is no memory at guest-physical [base, base + size). 0, or -ENOMEM. */
int remove_region(struct vcpu *v, u64 base, u64 size)
{
	return replace(&v->regions, base, size, NULL);
}

/* Whether there is memory somewhere in guest-physical [base, base + size), besides our RAM. */
bool has_region(struct vcpu *v, u64 base, u64 size)
{
	u32 number = first_behind(&v->regions, base);

	return number < v->regions.nr && v->regions.all[number].base < base + size;
}

/* No memory but our RAM. The regions there were are the caller's to free. */
void begin_regions(struct vcpu *v)
{
	const struct memory *ram = v->ram;

	v->regions = (struct regions){
		.ram = { .base = ram->base,
			 .size = ram->size,
			 .uc_base = ram->base,
			 .perms = UC_PROT_ALL },
		.changes = v->regions.changes + 1,
	};
}

void free_regions(struct regions *regions)
{
	free(regions->all);
}
