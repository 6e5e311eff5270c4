/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the MMU reaches paging structures in the instance's own memory.
 *
 * Where the private parts tell the host address of a region, entries are read and changed in place,
 * else by uc_mem_read() and uc_mem_write(). Memory-mapped I/O never holds a paging structure.
 */
#include <string.h>

#include "unicorn/vcpu.h"

/* Host memory of the region; NULL: it has none, or not in one piece. Splits move it. */
static u8 *host_of_region(struct vcpu *v, struct region *r)
{
	if (r->host_known != v->regions.changes) {
		r->host = private_host(v, r->uc_base, r->size);
		r->host_known = v->regions.changes;
	}
	return r->host;
}

/* Host address of pa in the region; NULL: there is none. */
static u8 *host_of(struct vcpu *v, struct region *r, u64 pa)
{
	u8 *host = host_of_region(v, r);

	if (likely(host))
		return host + (pa - r->base);
	host = private_host(v, uc_address(v, page_of(pa)), PAGE_SIZE);
	return host ? host + (pa & ~PAGE_MASK) : NULL;
}

/* The region at pa, if paging structures may lie in it, and the host address of pa, NULL where that
 * cannot be known. */
static struct region *table_region(struct vcpu *v, u64 pa, u8 **host)
{
	struct region *r = region_of(v, pa);

	*host = NULL;
	if (!r || r->mmio)
		return NULL;
	if (!private_has(v, PRIVATE_HOST))
		return r;
	*host = host_of(v, r, pa);
	return *host ? r : NULL;
}

static bool bus_read(void *self, u64 pa, void *out, u32 n)
{
	struct vcpu *v = self;
	u8 *host;

	if (!table_region(v, pa, &host))
		return false;
	if (!host)
		return UC(v, mem_read)(v->uc, uc_address(v, pa), out, n) == UC_ERR_OK;
	if (n == sizeof(u64))
		*(u64 *)out = __atomic_load_n((u64 *)host, __ATOMIC_RELAXED);
	else
		memcpy(out, host, n);
	return true;
}

static u32 bus_exchange(void *self, u64 pa, u64 old, u64 value)
{
	struct vcpu *v = self;
	u8 *host;
	struct region *r = table_region(v, pa, &host);
	u64 now;

	if (!r || !(r->perms & UC_PROT_WRITE))
		return EXCHANGE_READ_ONLY;
	if (host)
		return exchange_word((u64 *)host, old, value);
	if (!bus_read(v, pa, &now, sizeof(now)))
		return EXCHANGE_READ_ONLY;
	if (now != old)
		return EXCHANGE_CHANGED;
	UC(v, mem_write)(v->uc, uc_address(v, pa), &value, sizeof(value));
	return EXCHANGE_DONE;
}

static u64 *bus_host(void *self, u64 pa)
{
	u8 *host;

	table_region(self, pa, &host);
	return (u64 *)host;
}

static u32 *bus_flags(void *self, u64 pa)
{
	struct vcpu *v = self;

	return region_of(v, pa) && open_frame(v, pa) ? frame_flags(v, pa) : NULL;
}

/* The MMU's memory is more than our RAM from now on. */
void connect_bus(struct vcpu *v)
{
	v->bus = (struct bus){
		.self = v,
		.read = bus_read,
		.exchange = bus_exchange,
		.host = bus_host,
		.flags = bus_flags,
	};
	v->ram->bus = &v->bus;
}

void disconnect_bus(struct vcpu *v)
{
	if (v->ram->bus == &v->bus)
		v->ram->bus = NULL;
}
