/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every load, store and fetch asks the model.  Unicorn's soft TLB only repeats what the model (or
 * the walk) would say, so the data comes from where the model says it does.
 *
 * Unicorn tells memory hooks guest-physical addresses.  The virtual one is known because, at any
 * time, a frame is open to loads and stores through one virtual page only: its owner.
 */
#include "unicorn/vcpu.h"

#define VPN_BITS 36		/* of a canonical 48-bit address */
#define VPN_MASK ((1ull << VPN_BITS) - 1)

static u64 *owner_slot(const struct region *r, u64 pa)
{
	return &r->owner[(pa - r->base) >> PAGE_SHIFT];
}

static u64 owner_tag(const struct vcpu *v, u64 va)
{
	return (v->owner_epoch << VPN_BITS) | (va >> PAGE_SHIFT & VPN_MASK);
}

static bool owned(const struct vcpu *v, u64 slot)
{
	return slot && slot >> VPN_BITS == (v->owner_epoch & (~0ull >> VPN_BITS));
}

static u64 slot_address(u64 slot)
{
	return (u64)((s64)(slot << (64 - VPN_BITS)) >> (64 - VPN_BITS)) << PAGE_SHIFT;
}

/* Whether pa's frame may be read and written through va's page; a frame nobody owns becomes va's. */
bool owned_by(struct vcpu *v, const struct region *r, u64 pa, u64 va)
{
	u64 *slot = owner_slot(r, pa);

	if (!owned(v, *slot))
		*slot = owner_tag(v, va);
	return *slot == owner_tag(v, va);
}

/* Make va's page the owner of pa's frame: whoever was it asks again. */
void own(struct vcpu *v, struct region *r, u64 pa, u64 va)
{
	u64 *slot = owner_slot(r, pa);

	if (owned(v, *slot) && *slot != owner_tag(v, va))
		soft_drop_page(v, slot_address(*slot));
	*slot = owner_tag(v, va);
}

/* The virtual address of an access that a memory hook knows as pa; NO_ADDRESS if nobody owns it. */
u64 owner_address(struct vcpu *v, u64 pa)
{
	struct region *r = region_of(v, pa);
	u64 slot = r ? *owner_slot(r, pa) : 0;

	return owned(v, slot) ? slot_address(slot) | (pa & ~PAGE_MASK) : NO_ADDRESS;
}

u64 vcpu_hook_address(struct vcpu *v, u64 pa)
{
	return owner_address(v, pa);
}

/* Unicorn is about to use another translation than the model's: correct its entry in place. */
static void repair(struct vcpu *v, u64 va, const struct translation *t)
{
	struct region *r = region_of(v, t->pa);

	if (!r || !private_has(v, PRIVATE_SET_PAGE)) {
		v->shared.broken++;
		return;
	}
	own(v, r, page_of(t->pa), va);
	private_set_page(v, va, t->pa, t->perms & ~PERM_X);
	v->shared.repairs++;
}

/* One page of one access: the model translates and counts it; Unicorn uses pa. */
static void look_up(struct vcpu *v, u64 va, u64 pa, u32 access)
{
	struct translation t;

	if (MMU(v, mmu_translate, translate)(v->mmu, va, access, v->user, &t) != XLATE_OK)
		v->shared.broken++;
	else if (unlikely(t.pa != pa))
		repair(v, va, &t);
}

/*
 * The access runs into a second page: if that faults, it does so before anything is counted, and
 * the fill that follows for it will end the instruction, as the fault of a first page does.
 */
static bool second_page_faults(struct vcpu *v, u64 va2, u32 access)
{
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va2, access, v->user, &t) == XLATE_OK)
		return false;
	v->foretold.page = va2;
	v->foretold.access = access;
	v->foretold.stop = STOP_RETRY;
	if (!resolve_fault(v, va2, access, &t)) {
		deny(v, va2, access, &t);
		v->shared.exit.exact = 1;
		v->stop = STOP_NONE;
		v->foretold.stop = STOP_DENIED;
	}
	return true;
}

static void look_up_second_page(struct vcpu *v, u64 va2, u32 access)
{
	struct translation t;

	if (MMU(v, mmu_translate, translate)(v->mmu, va2, access, v->user, &t) != XLATE_OK)
		v->shared.broken++;
}

/* A store to a table: translations behind it change now, but not those the model still holds. */
static void note_table_store(struct vcpu *v, u64 pa)
{
	if (memory_holds(v->ram, pa) && pfn_to_page(v->ram, pa >> PAGE_SHIFT)->flags & PG_table)
		MMU(v, mmu_tables_changed, tables_changed)(v->mmu);
}

void on_memory(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	struct vcpu *v = arg;
	u32 access = type == UC_MEM_WRITE ? ACCESS_WRITE : ACCESS_READ;
	u64 va = owner_address(v, pa);
	u64 va2 = page_of(va + (u64)size - 1);

	(void)uc;
	(void)value;
	if (unlikely(v->undo))
		return;
	if (unlikely(va == NO_ADDRESS)) {
		v->shared.broken++;
		return;
	}
	if (unlikely(v->stream.crossing != NO_ADDRESS))
		fetch_catch_up(v, false);
	if (unlikely(va2 != page_of(va)) && second_page_faults(v, va2, access))
		return;
	look_up(v, va, pa, access);
	if (unlikely(va2 != page_of(va)))
		look_up_second_page(v, va2, access);
	if (access == ACCESS_WRITE)
		note_table_store(v, pa);
	if (unlikely(v->mmu->soft.nr))
		soft_drain_evicted(v, va, va2);
}

/* One instruction-TLB look-up.  False: the model says the page cannot be fetched from; stop there. */
static bool fetch_page(struct vcpu *v, u64 va)
{
	struct translation t;

	if (MMU(v, mmu_translate, translate)(v->mmu, va, ACCESS_FETCH, v->user, &t) == XLATE_OK)
		return true;
	deny(v, va, ACCESS_FETCH, &t);
	return false;
}

/*
 * Instructions of [pc, pc + size) are about to be executed: look up each page that control enters,
 * by a transfer or by running into it, once.  An instruction that repeats itself enters nothing.
 * crossing: the instruction that enters the second page, whose look-up waits until it is reached.
 */
bool fetch(struct vcpu *v, u64 pc, u32 size, u64 crossing, bool repeated)
{
	struct stream *s = &v->stream;
	u64 last = pc + size - 1;

	if (!repeated && (pc != s->next || page_of(pc) != s->page)) {
		if (!fetch_page(v, pc))
			return false;
		s->crossed = NO_ADDRESS;
	}
	s->page = page_of(pc);
	s->next = pc + size;
	if (page_of(last) != page_of(pc)) {
		s->crossing = repeated || crossing == s->crossed ? NO_ADDRESS : crossing;
		s->page = page_of(last);
	}
	s->crossed = NO_ADDRESS;
	return true;
}

/* Look the block's second page up if the instruction that enters it was reached (or all were). */
void fetch_catch_up(struct vcpu *v, bool finished)
{
	struct stream *s = &v->stream;

	if (s->crossing == NO_ADDRESS)
		return;
	if (!finished && reg_read(v, UC_X86_REG_RIP) < s->crossing)
		return;
	s->crossed = s->crossing;
	s->crossing = NO_ADDRESS;
	if (!fetch_page(v, s->page)) {
		v->stop = STOP_NONE;
		v->shared.broken++;
	}
}

/* The instruction at rip was denied and will be executed again: it is fetched already, unless that is what was denied. */
void fetch_denied(struct vcpu *v, u64 rip, u32 access)
{
	struct stream *s = &v->stream;

	if (access == ACCESS_FETCH)
		return;
	s->next = rip;
	s->page = page_of(rip);
	s->crossing = NO_ADDRESS;
	if (s->crossed != rip)
		s->crossed = NO_ADDRESS;
}

void on_block_exact(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	bool repeated;

	if (unlikely(v->pending.code_store))
		recount_cut_block(v, pc, size);
	fetch_catch_up(v, true);
	if (!count_block(v, pc, size))
		return;
	v->user = cpl(v) == 3;
	repeated = v->block->insns == 1 && pc + size == v->stream.next;
	if (!fetch(v, pc, size, pc + v->block->crossing, repeated)) {
		v->shared.count -= v->block->insns;
		v->block = NULL;
		UC(v, emu_stop)(uc);
		return;
	}
	private_skip_pc(v, !v->keep_pc && v->stream.crossing == NO_ADDRESS);
}
