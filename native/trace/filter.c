/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which records are wanted. */
#include "trace/filter.h"

static bool in_range(const struct number_range *range, u64 value)
{
	return value >= range->begin && value < range->end;
}

static bool in_ranges(const struct number_range *ranges, u32 nr, u64 value)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (in_range(&ranges[i], value))
			return true;
	return false;
}

static bool is_task(const struct event_filter *filter, u32 task)
{
	u32 i;

	for (i = 0; i < filter->nr_tasks; i++)
		if (filter->task[i] == task)
			return true;
	return false;
}

static bool is_listed(const u64 *list, u32 nr, u64 value)
{
	u32 low = 0, high = nr;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (list[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nr && list[low] == value;
}

static bool is_of_frames(const struct event_filter *filter, const struct event_roles *roles,
			 const struct event *event)
{
	u32 field;

	for (field = 0; field < 4; field++) {
		u64 value = event_field(event, field);

		if (roles->entry_pa[event->id] >> field & 1)
			value >>= PAGE_SHIFT;
		else if (!(roles->pfn[event->id] >> field & 1))
			continue;
		if (is_listed(filter->frame, filter->nr_frames, value))
			return true;
	}
	return false;
}

static bool is_wanted(const struct event_filter *filter, const struct event_roles *roles,
		      const struct event *event, u64 number)
{
	if (!filter->kind[event->id] || !filter->cpu[event->cpu])
		return false;
	if (!in_range(&filter->number, number) ||
	    !in_range(&filter->instruction, event->instruction) ||
	    !in_range(&filter->time, event->time))
		return false;
	if (filter->nr_tasks && !is_task(filter, event->task))
		return false;
	if (filter->site && !filter->site[event->site])
		return false;
	if (filter->nr_addresses) {
		u32 field = roles->address[event->id];

		if (field == TRACE_NO_FIELD ||
		    !in_ranges(filter->address, filter->nr_addresses, event_field(event, field)))
			return false;
	}
	return !filter->nr_frames || is_of_frames(filter, roles, event);
}

u32 filter_mask(struct event_filter *filter, const struct event_roles *roles,
		const struct event *records, const u64 *numbers, u32 nr, u8 *mask)
{
	u32 i, kept = 0;

	for (i = 0; i < nr; i++) {
		const struct event *event = &records[i];

		mask[i] = is_wanted(filter, roles, event, numbers[i]);
		if (filter->by_code) {
			if (roles->role[event->id] == TRACE_ROLE_INSN)
				filter->in_code[event->cpu] =
					in_ranges(filter->code, filter->nr_code, event->a);
			mask[i] &= filter->in_code[event->cpu];
		}
		kept += mask[i];
	}
	return kept;
}

u32 filter_keep(struct event *records, u64 *numbers, u32 nr, const u8 *mask)
{
	u32 i, kept = 0;

	for (i = 0; i < nr; i++) {
		if (!mask[i])
			continue;
		if (i != kept) {
			records[kept] = records[i];
			numbers[kept] = numbers[i];
		}
		kept++;
	}
	return kept;
}

u32 filter_count(const struct event *records, u32 nr, u32 id, u64 nth, u32 *place)
{
	u32 i, count = 0;

	*place = nr;
	for (i = 0; i < nr; i++) {
		if (records[i].id != id)
			continue;
		if (count == nth && *place == nr)
			*place = i;
		count++;
	}
	return count;
}
