/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the index says of a chunk. */
#include "trace/digest.h"

#include <string.h>

#define MIN_SET_BITS 64
#define ROOM 4 /* bits for each that is in a set: one in four of the others seems to be in it */

struct putter {
	struct digest_set *set;
	u64 last; /* what was put in last, plus one */
	u32 nr;	  /* bits set */
};

static u32 place_of(u64 number)
{
	return (number + 1) * 0x9e3779b97f4a7c15ull >> 48;
}

static always_inline void put(struct putter *putter, u64 number)
{
	u32 place;
	u64 bit;

	if (number + 1 == putter->last)
		return;
	putter->last = number + 1;
	place = place_of(number);
	bit = 1ull << (place & 63);
	putter->nr += !(putter->set->bits[place >> 6] & bit);
	putter->set->bits[place >> 6] |= bit;
}

/* Halve a set as long as it stays sparse: place modulo nr_bits is where a number then is. */
static void shrink(struct putter *putter)
{
	struct digest_set *set = putter->set;
	u32 bits = DIGEST_SET_BITS, i;

	if (!putter->nr) {
		set->nr_bits = 0;
		return;
	}
	while (bits > MIN_SET_BITS && bits / 2 >= putter->nr * ROOM) {
		bits /= 2;
		for (i = 0; i < bits / 64; i++)
			set->bits[i] |= set->bits[i + bits / 64];
	}
	set->nr_bits = bits;
}

bool digest_may_hold(const u64 *bits, u32 nr_bits, u64 first, u64 last)
{
	u64 number;

	for (number = first;; number++) {
		u32 place = place_of(number) & (nr_bits - 1);

		if (bits[place >> 6] >> (place & 63) & 1)
			return true;
		if (number == last)
			return false;
	}
}

static void add_task(struct digest *digest, u32 task)
{
	u32 i, listed = digest->nr_tasks;

	if (listed > DIGEST_TASKS)
		return;
	for (i = 0; i < listed; i++)
		if (digest->tasks[i] == task)
			return;
	if (listed < DIGEST_TASKS)
		digest->tasks[listed] = task;
	digest->nr_tasks++;
}

static void add_frames(struct putter *frames, const struct event_roles *roles,
		       const struct event *event)
{
	u32 field, mask = roles->pfn[event->id] | roles->entry_pa[event->id];

	for (field = 0; mask; field++, mask >>= 1)
		if (mask & 1)
			put(frames, event_field(event, field) >>
					    (roles->pfn[event->id] >> field & 1 ? 0 : PAGE_SHIFT));
}

void digest_records(struct digest *digest, const struct event_roles *roles,
		    const struct event *records, u32 nr)
{
	struct putter sets[DIGEST_SETS];
	u32 i, task = ~records->task;

	memset(digest, 0, sizeof(*digest));
	for (i = 0; i < DIGEST_SETS; i++)
		sets[i] = (struct putter){ .set = &digest->set[i] };
	digest->first_time = digest->last_time = records->time;
	for (i = 0; i < nr; i++) {
		const struct event *event = &records[i];
		struct digest_cpu *cpu = &digest->cpu[event->cpu];
		u32 address = roles->address[event->id];

		digest->kinds[event->id]++;
		if (!cpu->nr++)
			cpu->first = cpu->last = event->instruction;
		else if (event->instruction > cpu->last)
			cpu->last = event->instruction;
		else if (event->instruction < cpu->first)
			cpu->first = event->instruction;
		if (event->time > digest->last_time)
			digest->last_time = event->time;
		else if (event->time < digest->first_time)
			digest->first_time = event->time;
		if (event->task != task) {
			task = event->task;
			add_task(digest, task);
		}
		if (address != TRACE_NO_FIELD)
			put(&sets[roles->part[event->id] ? DIGEST_PAGES : DIGEST_PAGES_INSNS],
			    event_field(event, address) >> PAGE_SHIFT);
		if (roles->pfn[event->id] | roles->entry_pa[event->id])
			add_frames(&sets[DIGEST_FRAMES], roles, event);
	}
	for (i = 0; i < DIGEST_SETS; i++)
		shrink(&sets[i]);
}
