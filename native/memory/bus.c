// SPDX-License-Identifier: GPL-2.0-or-later
#include "memory/bus.h"

#include "memory/ram.h"

bool memory_load(const struct memory *m, u64 pa, u64 *value)
{
	if (likely(memory_holds(m, pa))) {
		*value = __atomic_load_n((u64 *)pa_to_host(m, pa), __ATOMIC_RELAXED);
		return true;
	}
	return m->bus && m->bus->read(m->bus->self, pa, value, sizeof(*value));
}

u32 memory_exchange(const struct memory *m, u64 pa, u64 old, u64 value)
{
	if (likely(memory_holds(m, pa)))
		return exchange_word(pa_to_host(m, pa), old, value);
	return m->bus ? m->bus->exchange(m->bus->self, pa, old, value) : EXCHANGE_READ_ONLY;
}

u32 *memory_flags(const struct memory *m, u64 pa)
{
	if (likely(memory_holds(m, pa)))
		return &pfn_to_page(m, pa >> PAGE_SHIFT)->flags;
	return m->bus ? m->bus->flags(m->bus->self, pa) : NULL;
}

const u64 *memory_words(const struct memory *m, u64 pa, u64 *copy)
{
	const u64 *words;

	pa &= PAGE_MASK;
	if (likely(memory_holds(m, pa)))
		return pa_to_host(m, pa);
	if (!m->bus)
		return NULL;
	words = m->bus->host(m->bus->self, pa);
	if (words)
		return words;
	return m->bus->read(m->bus->self, pa, copy, PAGE_SIZE) ? copy : NULL;
}
