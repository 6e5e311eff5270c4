/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every load, store and fetch asks the model.  Unicorn's soft TLB only repeats what the model (or
 * the walk) would say, so the data comes from where the model says it does.
 *
 * Unicorn tells memory hooks guest-physical addresses.  The virtual one is known because, at any
 * time, a frame is open to loads and stores through one virtual page only: its owner.
 */
#include <string.h>
#include <sys/mman.h>

#include "unicorn/vcpu.h"

#define VPN_BITS 45 /* of a canonical 57-bit address */
#define VPN_MASK ((1ull << VPN_BITS) - 1)
#define OWNER_EPOCHS (1ull << (64 - VPN_BITS))

static u64 *owner_slot(const struct region *r, u64 pa)
{
	return &r->owner[(pa - r->base) >> PAGE_SHIFT];
}

/*
 * Whose a frame is, and since which epoch; an older epoch's owner is nobody.
 *
 *   63      45 44                                0
 *  +----------+-----------------------------------+
 *  |  epoch   | virtual page number (va[56:12])   |
 *  +----------+-----------------------------------+
 */
static u64 owner_tag(const struct vcpu *v, u64 va)
{
	return (v->owner_epoch << VPN_BITS) | (va >> PAGE_SHIFT & VPN_MASK);
}

static bool owned(const struct vcpu *v, u64 slot)
{
	return slot >> VPN_BITS == v->owner_epoch;
}

static u64 slot_address(u64 slot)
{
	return (u64)((s64)(slot << (64 - VPN_BITS)) >> (64 - VPN_BITS)) << PAGE_SHIFT;
}

/* Whether pa's frame may be read and written through va's page; a frame nobody owns becomes va's.
 */
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

	if (*slot == owner_tag(v, va))
		return;
	if (owned(v, *slot)) {
		soft_drop_page(v, slot_address(*slot));
		forget_memos(v);
	}
	*slot = owner_tag(v, va);
}

/* No frame is anybody's.  When the epochs are used up, tags of long ago must not seem to be of now.
 */
void disown_all(struct vcpu *v)
{
	if (++v->owner_epoch < OWNER_EPOCHS)
		return;
	v->owner_epoch = 1;
	for (u32 i = 0; i < v->nr_regions; i++) {
		struct region *r = &v->region[i];

		if (r->owner)
			madvise(r->owner, (r->size >> PAGE_SHIFT) * sizeof(*r->owner),
				MADV_DONTNEED);
	}
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

/* Something happened on which answers of the model may rest. */
void forget_memos(struct vcpu *v)
{
	v->translations++;
}

/* What Unicorn calls an access. */
static inline u32 kind_of(u32 access)
{
	return access == ACCESS_RMW ? ACCESS_READ : access;
}

static inline struct memo *memo_of(struct vcpu *v, u64 page, u32 access)
{
	return &v->memo[kind_of(access)][(page >> PAGE_SHIFT) & (NR_MEMOS - 1)];
}

/* PCID, flags, sizes and keys of an entry, all at once. */
static inline u64 rest_of(const struct tlb_entry *e)
{
	u64 rest;

	_Static_assert(sizeof(*e) - offsetof(struct tlb_entry, pcid) == sizeof(rest),
		       "struct tlb_entry changed");
	memcpy(&rest, &e->pcid, sizeof(rest));
	return rest;
}

/* Whether the model would still translate the page by the memo's entry, and do no more than use()
 * does. */
static inline bool stands(const struct vcpu *v, const struct memo *m, u64 page)
{
	const struct tlb_entry *e = m->entry;

	return m->page == page && m->translations == v->translations && e->vpn == m->vpn &&
	       e->frame == m->frame && rest_of(e) == m->rest;
}

/* What mmu_translate() does when e answers. */
static inline void use(struct vcpu *v, struct tlb_entry *e, u32 access)
{
	v->mmu->counter[translated_counter(access)]++;
	if (e->used != v->mmu->tlb.clock)
		MMU(v, mmu_touch, touch)(v->mmu, e);
}

/* While nothing is stale, and nothing may have become so, the checker need not look. */
static bool checker_looks(const struct vcpu *v)
{
	const struct tlb_check *check = v->mmu->check;

	return check && (check->nr_ranges || check->changed);
}

/*
 * If a first-level entry translates va, use it, and remember that for page.  pa: where the consumer
 * goes, NO_ADDRESS if it does not say.  Never while events are wanted, or a checker looks at each
 * access.
 */
static bool hit(struct vcpu *v, u64 va, u64 pa, u64 page, u32 access)
{
	struct memo *m = memo_of(v, page, access);
	struct tlb_entry *e;

	if (!v->mmu_api.hit || checker_looks(v) || (v->ring && v->ring->enabled))
		return false;
	e = MMU(v, mmu_hit, hit)(v->mmu, va, access, v->user);
	if (!e || (pa != NO_ADDRESS && (e->frame | (va & (level_size(e->level) - 1))) != pa))
		return false;
	use(v, e, access);
	*m = (struct memo){
		.page = page,
		.translations = v->translations,
		.entry = e,
		.writable = access != ACCESS_READ ||
			    MMU(v, mmu_hit, hit)(v->mmu, va, ACCESS_RMW, v->user),
		.vpn = e->vpn,
		.frame = e->frame,
		.rest = rest_of(e),
	};
	return true;
}

/* The checker wants to know where the guest is. */
void tell_checker(struct vcpu *v)
{
	struct check_where *now = &v->mmu->check->now;

	now->rip = reg_read(v, UC_X86_REG_RIP);
	now->instruction = count_at(v, now->rip);
}

/* The model translates and counts an access, in full. */
static u32 translate(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	u32 result;

	if (unlikely(v->mmu->check))
		tell_checker(v);
	result = MMU(v, mmu_translate, translate)(v->mmu, va, access, v->user, t);
	if (unlikely(result == XLATE_OK && t->level > 1))
		forget_memos(
			v); /* an entry for more than their pages may have come before theirs */
	return result;
}

/* One page of one access: the model translates and counts it; Unicorn uses pa. */
static void look_up(struct vcpu *v, u64 va, u64 pa, u32 access)
{
	struct translation t;

	if (translate(v, va, access, &t) != XLATE_OK)
		v->shared.broken++;
	else if (unlikely(t.pa != pa))
		repair(v, va, &t);
}

static bool would_fault(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	return MMU(v, mmu_refill, refill)(v->mmu, va, access, v->user, t) != XLATE_OK;
}

/*
 * *t is a fault at va of an access that Unicorn makes as one of kind asked, and that runs into page
 * va2: let it happen before anything is counted.  The fill that follows for va2 will end the
 * instruction.
 */
static void foretell(struct vcpu *v, u64 va, u64 va2, u32 access, u32 asked, struct translation *t)
{
	v->foretold.page = va2;
	v->foretold.access = asked;
	v->foretold.stop = STOP_RETRY;
	if (!resolve_fault(v, va, access, t)) {
		deny(v, va, access, t);
		v->shared.exit.exact = 1;
		v->shared.exit.access = access == ACCESS_RMW ? ACCESS_WRITE : access;
		v->stop = STOP_NONE;
		v->foretold.stop = STOP_DENIED;
	}
}

/* An access that runs into a second page: if that faults, it does as the first page would have. */
static bool second_page_faults(struct vcpu *v, u64 va2, u32 access, u32 asked)
{
	struct translation t;

	if (!would_fault(v, va2, access, &t))
		return false;
	foretell(v, va2, va2, access, asked, &t);
	return true;
}

static void look_up_second_page(struct vcpu *v, u64 va2, u32 access)
{
	struct translation t;

	if (translate(v, va2, access, &t) != XLATE_OK)
		v->shared.broken++;
}

static bool is_table(struct vcpu *v, u64 pa)
{
	return memory_holds(v->ram, pa) && pfn_to_page(v->ram, pa >> PAGE_SHIFT)->flags & PG_table;
}

/* RIP inside a load's hook. */
static u64 load_rip(struct vcpu *v)
{
	return private_has(v, PRIVATE_LOAD_RIP) && *v->skip_pc ? private_rip(v)
							       : reg_read(v, UC_X86_REG_RIP);
}

/* Is this load that of a read-modify-write?  A block is searched for one once. */
static bool is_rmw_load(struct vcpu *v)
{
	struct block *b = v->block;

	if (!v->careful)
		return false;
	if (b && b->rmw == RMW_UNKNOWN) {
		b->rmw = insn_is_rmw_at(v, insn_find(v, b->pc, b->size, insn_is_rmw)) ? RMW_SOME
										      : RMW_NONE;
		v->careful = b->rmw == RMW_SOME;
	}
	return v->careful && insn_is_rmw_at(v, load_rip(v));
}

/*
 * The load of a read-modify-write whose store will fault, although as a load it does not: nothing
 * of it happens before that.  If its second page cannot even be read, there will be no store, and
 * the first page's fault, which comes first on processors, is foretold.
 */
static bool leave_to_store(struct vcpu *v, u64 va, u64 va2)
{
	bool unreadable, crosses = page_of(va) != va2;
	struct translation t, t2;

	unreadable = crosses && would_fault(v, va2, ACCESS_READ, &t2);
	if (would_fault(v, va, ACCESS_RMW, &t)) {
		if (unreadable)
			foretell(v, va, va2, ACCESS_RMW, ACCESS_READ, &t);
		else
			v->rmw_denied = va;
		return true;
	}
	if (!crosses || unreadable || !would_fault(v, va2, ACCESS_RMW, &t2))
		return false;
	v->rmw_denied = va;
	return true;
}

/* Is a store that faults, at va or on va's page, that of a read-modify-write left to it? */
bool denied_rmw(struct vcpu *v, u64 va)
{
	bool is = v->rmw_denied != NO_ADDRESS && page_of(v->rmw_denied) == page_of(va);

	v->rmw_denied = NO_ADDRESS;
	return is;
}

/* An access of one kind to one page or two: false if its second page faults. */
static bool look_up_pages(struct vcpu *v, u64 va, u64 pa, u64 va2, u32 access, u32 asked)
{
	bool crosses = va2 != page_of(va), to_table = access == ACCESS_WRITE && is_table(v, pa);

	if (unlikely(crosses) && second_page_faults(v, va2, access, asked))
		return false;
	if (to_table || !hit(v, va, pa, page_of(pa), access))
		look_up(v, va, pa, access);
	if (unlikely(crosses))
		look_up_second_page(v, va2, access);
	/* Translations behind a table change now, but not those the model still holds. */
	if (unlikely(to_table)) {
		MMU(v, mmu_tables_changed, tables_changed)(v->mmu);
		if (v->mmu->check) {
			check_store(v->mmu->check, pa);
			forget_memos(v);
		}
	}
	return true;
}

/* An access that no memo answers. */
static __attribute__((noinline)) void access_in_full(struct vcpu *v, u64 pa, u32 size, u32 access)
{
	u64 va = owner_address(v, pa);
	u64 va2 = page_of(va + size - 1);
	u32 asked = access;

	if (unlikely(va == NO_ADDRESS)) {
		v->shared.broken++;
		return;
	}
	if (unlikely(v->stream.crossing != NO_ADDRESS))
		fetch_catch_up(v, false);
	if (access == ACCESS_READ && is_rmw_load(v)) {
		if (leave_to_store(v, va, va2))
			return;
		access = ACCESS_RMW;
	} else if (unlikely(v->rmw_denied != NO_ADDRESS) && access == ACCESS_WRITE &&
		   denied_rmw(v, va)) {
		access = ACCESS_RMW;
	}
	if (look_up_pages(v, va, pa, va2, access, asked) && unlikely(v->mmu->soft.nr))
		soft_drain_evicted(v, va, va2);
}

static always_inline void access_once(struct vcpu *v, u64 pa, u32 size, u32 access)
{
	struct memo *m = memo_of(v, pa, access);

	if (likely(stands(v, m, page_of(pa)) && (pa & ~PAGE_MASK) + size <= PAGE_SIZE &&
		   v->stream.crossing == NO_ADDRESS &&
		   (access == ACCESS_WRITE || m->writable || !v->careful)))
		use(v, m->entry, access);
	else
		access_in_full(v, pa, size, access);
}

void on_load(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_once(arg, pa, (u32)size, ACCESS_READ);
}

void on_store(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_once(arg, pa, (u32)size, ACCESS_WRITE);
}

/* One instruction-TLB look-up that no memo answers. */
static __attribute__((noinline)) bool fetch_in_full(struct vcpu *v, u64 va)
{
	struct translation t;

	if (hit(v, va, NO_ADDRESS, page_of(va), ACCESS_FETCH) ||
	    translate(v, va, ACCESS_FETCH, &t) == XLATE_OK)
		return true;
	deny(v, va, ACCESS_FETCH, &t);
	return false;
}

/* One instruction-TLB look-up.  False: the model says the page cannot be fetched from; stop there.
 */
static inline bool fetch_page(struct vcpu *v, u64 va)
{
	struct memo *m = memo_of(v, va, ACCESS_FETCH);

	if (unlikely(!stands(v, m, page_of(va))))
		return fetch_in_full(v, va);
	use(v, m->entry, ACCESS_FETCH);
	return true;
}

/*
 * Instructions of [pc, pc + size) are about to be executed: look up each page that control enters,
 * by a transfer or by running into it, once.  An instruction that repeats itself enters nothing.
 * crossing: the instruction that enters the second page, whose look-up waits until it is reached.
 */
static always_inline bool fetch_block(struct vcpu *v, u64 pc, u32 size, u64 crossing, bool repeated)
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

bool fetch(struct vcpu *v, u64 pc, u32 size, u64 crossing, bool repeated)
{
	return fetch_block(v, pc, size, crossing, repeated);
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

/* The instruction at rip was denied and will be executed again: it is fetched already, unless that
 * is what was denied. */
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

/* Privilege as it is now.  Only who owns its control registers can change it without ending the
 * run. */
void look_at_privilege(struct vcpu *v)
{
	u32 user = cpl(v) == 3;

	if (user != v->user)
		forget_memos(v);
	v->user = user;
	if (!user && v->attached && v->mmu->cr4 & CR4_SMAP)
		sync_ac(v);
}

/* Count the block at pc, after what the one before left to be done; false: stop before it. */
static bool begin_block(struct vcpu *v, u64 pc, u32 size)
{
	if (unlikely(v->pending.code_store))
		recount_cut_block(v, pc, size);
	fetch_catch_up(v, true);
	return count_block(v, pc, size);
}

void on_block_exact(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct block *b = block_slot(v, pc);
	bool repeated;

	if (unlikely(!is_known(v, b, pc, size) || busy(v) || v->stream.crossing != NO_ADDRESS ||
		     !enter(v, b)) &&
	    !begin_block(v, pc, size))
		return;
	if (unlikely(pc == v->until))
		return; /* the run ends here: nothing of the block is fetched */
	if (v->attached || !v->user)
		look_at_privilege(v);
	v->careful = v->block->rmw != RMW_NONE;
	repeated = v->block->insns == 1 && pc + size == v->stream.next;
	if (!fetch_block(v, pc, size, pc + v->block->crossing, repeated)) {
		v->shared.count -= v->block->insns;
		v->block = NULL;
		UC(v, emu_stop)(uc);
		return;
	}
	skip_pc(v, !v->keep_pc && v->stream.crossing == NO_ADDRESS);
}
