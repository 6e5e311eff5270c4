/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of the functions that events say did it, numbered in the order of their first event. */
#include "trace/ring.h"

#include <stdlib.h>
#include <string.h>

#define NR_SITES_MAX 0xffff
#define CACHE_SIZE 256 /* a power of two */

const char site_of_caller[] = "";

struct site_table {
	u32 nr;
	/* Number 1 is name[0].  It never moves: another thread reads the names up to nr. */
	char *name[NR_SITES_MAX];
	struct {
		const char *name; /* a pointer of C, whose text never changes */
		u32 site;
	} cache[CACHE_SIZE];
};

/* Number the name, which is new. False without memory or beyond 16 bits. */
static bool add_site(struct site_table *sites, const char *name)
{
	if (sites->nr == NR_SITES_MAX)
		return false;
	sites->name[sites->nr] = strdup(name);
	return sites->name[sites->nr] && ++sites->nr;
}

u32 ring_site(struct event_ring *ring, const char *name)
{
	struct site_table *sites = ring->sites;

	if (!name || !*name)
		return 0;
	if (!sites)
		sites = ring->sites = calloc(1, sizeof(*sites));
	if (!sites)
		return 0;
	for (u32 i = 0; i < sites->nr; i++)
		if (!strcmp(sites->name[i], name))
			return i + 1;
	if (!add_site(sites, name))
		return 0;
	return ring->nr_sites = sites->nr;
}

const char *ring_site_name(const struct event_ring *ring, u32 site)
{
	return site && site <= ring->nr_sites ? ring->sites->name[site - 1] : "";
}

void ring_free_sites(struct event_ring *ring)
{
	for (u32 i = 0; i < ring->nr_sites; i++)
		free(ring->sites->name[i]);
	free(ring->sites);
	ring->sites = NULL;
	ring->nr_sites = 0;
}

u32 ring_constant_site(struct event_ring *ring, const char *name)
{
	u32 at = (uintptr_t)name / 8 % CACHE_SIZE, site;

	if (name == site_of_caller)
		return ring->caller;
	if (ring->sites && ring->sites->cache[at].name == name)
		return ring->sites->cache[at].site;
	site = ring_site(ring, name);
	if (site) {
		ring->sites->cache[at].name = name;
		ring->sites->cache[at].site = site;
	}
	return site;
}
