/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every load and store asks the model. Unicorn's soft TLB only repeats what the model (or the walk)
 * would say, so the data comes from where the model says it does.
 */
#include "unicorn/memo.h"
#include "unicorn/trace.h"

/* Unicorn is about to use another translation than the model's: correct its entry in place. */
static void repair(struct vcpu *v, u64 va, const struct translation *t)
{
	const struct region *r = region_of(v, t->pa);

	if (!r || !open_frame(v, t->pa) || !private_has(v, PRIVATE_SET_PAGE)) {
		v->shared.broken++;
		return;
	}
	give_frame(v, page_of(t->pa), va);
	if (v->watchpoints)
		watch_frame(v, t->pa, va);
	private_set_page(v, va, uc_address(v, t->pa), t->perms & ~PERM_X);
	v->shared.repairs++;
}

/* RIP inside a load's hook. */
static u64 load_rip(struct vcpu *v)
{
	return private_has(v, PRIVATE_LOAD_RIP) && *v->skip_pc ? private_rip(v)
							       : reg_read(v, UC_X86_REG_RIP);
}

static bool would_fault_as(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	return MMU(v, mmu_refill, refill)(v->mmu, va, access, privilege, t) != XLATE_OK;
}

/*
 * Whose rights the access has: those of its privilege level, or, where these do not allow it, or
 * SMAP closes to the supervisor what they do allow, an implicit supervisor access's if it is one.
 */
static u32 rights_at(struct vcpu *v, u64 va, u32 access)
{
	bool smap = v->mmu->cr4 & CR4_SMAP;
	struct translation t;

	if (likely(!v->attached || (!v->user && !smap)))
		return v->user;
	if (!smap && !would_fault_as(v, va, access, v->user, &t))
		return v->user;
	return is_implicit(v, va, load_rip(v)) ? PRIVILEGE_IMPLICIT : v->user;
}

static bool would_fault(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	return would_fault_as(v, va, access, rights_at(v, va, access), t);
}

/* One page of an access: as the model translates and counts it. */
static u32 translate_access(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	return translate_as(v, va, access, rights_at(v, va, access), t);
}

/* One page of one access: the model translates and counts it; Unicorn uses pa. */
static void look_up(struct vcpu *v, u64 va, u64 pa, u32 access)
{
	struct translation t;

	if (translate_access(v, va, access, &t) != XLATE_OK)
		v->shared.broken++;
	else if (unlikely(t.pa != pa))
		repair(v, va, &t);
}

/*
 * *t is a fault at fault of an access at va that Unicorn makes as one of kind asked, and that runs
 * into page va2: let it happen before anything is counted.  The fill that follows for va2 will end
 * the instruction.
 */
static void foretell(struct vcpu *v, u64 va, u64 fault, u64 va2, u32 access, u32 asked,
		     struct translation *t)
{
	struct foretold *f = &v->insn.foretold;

	*f = (struct foretold){
		.page = va2, .access = asked, .va = va, .fault = fault, .faulting = access
	};
	f->resolved = resolve_fault_as(v, fault, access, rights_at(v, fault, access), t);
	f->t = *t;
	if (f->resolved)
		return;
	describe_fault(v, fault, access, t);
	v->shared.exit.exact = 1;
	v->shared.exit.access = access == ACCESS_RMW ? ACCESS_WRITE : access;
}

/* If the access faults on its second page, foretell that; returns whether it does. */
static bool foretell_second_page(struct vcpu *v, u64 va, u64 va2, u32 access, u32 asked)
{
	struct translation t;

	if (!would_fault(v, va2, access, &t))
		return false;
	foretell(v, va, va2, va2, access, asked, &t);
	return true;
}

/* Where the second page lies; NO_ADDRESS: that is not known. */
static u64 look_up_second_page(struct vcpu *v, u64 va2, u32 access)
{
	struct translation t;

	if (translate_access(v, va2, access, &t) == XLATE_OK)
		return t.pa;
	v->shared.broken++;
	return NO_ADDRESS;
}

/* A block is searched for read-modify-writes once. */
static void learn_rmw(struct vcpu *v, struct block *b)
{
	u64 rip = insn_find(v, b->pc, b->size, insn_is_rmw);

	b->rmw = insn_is_rmw_at(v, rip) ? RMW_SOME : RMW_NONE;
	v->block.careful = b->rmw == RMW_SOME;
}

/* Whether this load is that of a read-modify-write. */
static bool is_rmw_load(struct vcpu *v)
{
	if (is_traced(v))
		return v->trace.now->rmw;
	return v->block.careful && insn_is_rmw_at(v, load_rip(v));
}

/* With identity, and nobody of ours to ask, pages fault in the order that Unicorn comes to them. */
static bool is_in_unicorns_order(const struct vcpu *v)
{
	return v->identity && !v->handled && !v->deliver;
}

/*
 * The load of a read-modify-write whose store will fault, although as a load it does not: nothing
 * of it happens before that.  If its second page cannot even be read, there will be no store, and
 * the first page's fault, which comes first on processors, is foretold, where order is theirs.
 */
static bool leave_to_store(struct vcpu *v, u64 va, u64 va2)
{
	bool unreadable, crosses = page_of(va) != va2;
	struct translation t, t2;

	unreadable = crosses && would_fault(v, va2, ACCESS_READ, &t2);
	if (would_fault(v, va, ACCESS_RMW, &t)) {
		if (unreadable && !is_in_unicorns_order(v))
			foretell(v, va, va, va2, ACCESS_RMW, ACCESS_READ, &t);
		else
			v->insn.rmw_denied = va;
		return true;
	}
	if (!crosses || unreadable || !would_fault(v, va2, ACCESS_RMW, &t2))
		return false;
	v->insn.rmw_denied = va;
	return true;
}

/*
 * If a store to [pa, pa + size) of a frame changes tables: translations behind them change now, but
 * not those the model still holds.
 */
static void note_table_store(struct vcpu *v, u64 pa, u32 size)
{
	if (likely(!is_table(v, pa)))
		return;
	MMU(v, mmu_tables_changed, tables_changed)(v->mmu);
	if (!v->mmu->check)
		return;
	for (u64 entry = pa & ~7ull; entry < pa + size; entry += sizeof(u64))
		check_store(v->mmu->check, entry);
	forget_memos(v);
}

/* An access of size bytes to two pages. */
static void look_up_both(struct vcpu *v, u64 va, u64 pa, u32 size, u32 access, u32 asked)
{
	u32 first = PAGE_SIZE - (u32)(va & ~PAGE_MASK);
	u64 pa2;

	look_up(v, va, pa, access);
	pa2 = look_up_second_page(v, page_of(va) + PAGE_SIZE, access);
	if (asked != ACCESS_WRITE)
		return;
	note_table_store(v, pa, first);
	if (pa2 != NO_ADDRESS)
		note_table_store(v, pa2, size - first);
}

/* trace: the access is made; the model may say that its data is elsewhere than Unicorn would go. */
static void tell_access(struct vcpu *v, u64 va, u64 pa, u32 size, u32 access)
{
	struct translation t;

	if (!is_traced(v))
		return;
	if (!would_fault(v, va, access, &t))
		pa = t.pa;
	trace_emit(v, EVENT_access, va, size, access, pa);
}

/* An access of one kind, of size bytes: false if its second page faults. */
static bool look_up_pages(struct vcpu *v, u64 va, u64 pa, u32 size, u32 access, u32 asked)
{
	u64 va2 = page_of(va + size - 1);
	bool to_table = asked == ACCESS_WRITE && is_table(v, pa);

	if (unlikely(va2 != page_of(va))) {
		if (foretell_second_page(v, va, va2, access, asked))
			return false;
		tell_access(v, va, pa, size, access);
		look_up_both(v, va, pa, size, access, asked);
		return true;
	}
	tell_access(v, va, pa, size, access);
	if (to_table || !hit(v, va, pa, page_of(pa), access))
		look_up(v, va, pa, access);
	if (unlikely(to_table))
		note_table_store(v, pa, size);
	return true;
}

/* Whether pa lies on a page that Unicorn was given as it is: settle_passed() looks it up. */
static bool is_passed(const struct vcpu *v, u64 pa)
{
	return v->insn.passed != NO_ADDRESS && page_of(pa) == guest_physical(v->insn.passed);
}

/*
 * A store that met its own block, and was undone, is heard when it is made again: with what its
 * instruction loads, that was an access the first time.
 */
static void hears_again(struct vcpu *v, u32 access)
{
	if (access == ACCESS_WRITE)
		v->pending.deaf = 0;
}

/* An access that no memo answers. */
static __attribute__((noinline)) void access_in_full(struct vcpu *v, u64 pa, u32 size, u32 access)
{
	u64 va = owner_address(v, pa);
	u64 va2 = page_of(va + size - 1);
	u32 asked = access;

	if (unlikely(v->pending.deaf)) {
		hears_again(v, access);
		return;
	}
	if (unlikely(is_passed(v, pa))) {
		if (is_traced(v))
			trace_emit(v, EVENT_access, v->insn.passed_va, size, access, pa);
		return;
	}
	if (unlikely(va == NO_ADDRESS)) {
		v->shared.broken++;
		return;
	}
	if (v->attached)
		control_look(v);
	if (unlikely(v->stream.crossing != NO_ADDRESS))
		fetch_reached(v, reg_read(v, UC_X86_REG_RIP));
	if (v->block.careful && v->block.known && v->block.known->rmw == RMW_UNKNOWN)
		learn_rmw(v, v->block.known);
	if (access == ACCESS_READ && is_rmw_load(v)) {
		if (leave_to_store(v, va, va2))
			return;
		access = ACCESS_RMW;
	} else if (access == ACCESS_WRITE && unlikely(is_denied_rmw(v, va))) {
		v->insn.rmw_denied = NO_ADDRESS;
		access = ACCESS_RMW;
	}
	if (look_up_pages(v, va, pa, size, access, asked) && unlikely(v->mmu->soft.nr))
		soft_drain_evicted(v, va, va2);
}

static always_inline void access_once(struct vcpu *v, u64 pa, u32 size, u32 access)
{
	struct memo *m = memo_of(v, pa, access);

	if (likely(stands(v, m, page_of(pa)) && (pa & ~PAGE_MASK) + size <= PAGE_SIZE &&
		   v->stream.crossing == NO_ADDRESS &&
		   (access == ACCESS_WRITE || m->writable || !v->block.careful)))
		use(v, m->entry, access);
	else
		access_in_full(v, pa, size, access);
}

void on_load(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_once(arg, guest_physical(pa), (u32)size, ACCESS_READ);
}

void on_store(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_once(arg, guest_physical(pa), (u32)size, ACCESS_WRITE);
}

/* trace: as access_once(), with the events of the instructions up to the access's, and its own. */
static always_inline void access_traced(struct vcpu *v, u64 pa, u32 size, u32 access)
{
	const struct traced_insn *insn;
	struct memo *m;
	u64 va;

	if (unlikely(v->stream.crossing != NO_ADDRESS))
		fetch_reached(v, reg_read(v, UC_X86_REG_RIP));
	insn = trace_reach(v);
	m = memo_of(v, pa, access);
	if (unlikely(!insn || !stands(v, m, page_of(pa)) || (pa & ~PAGE_MASK) + size > PAGE_SIZE)) {
		access_in_full(v, pa, size, access);
		return;
	}
	va = m->va | (pa & ~PAGE_MASK);
	if (access == ACCESS_READ && insn->rmw) {
		if (unlikely(!m->writable)) {
			access_in_full(v, pa, size, access);
			return;
		}
		access = ACCESS_RMW;
	}
	trace_emit(v, EVENT_access, va, size, access, pa);
	trace_hit(v, va, access, m->entry);
	use(v, m->entry, access);
}

void on_load_trace(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_traced(arg, guest_physical(pa), (u32)size, ACCESS_READ);
}

void on_store_trace(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg)
{
	(void)uc, (void)type, (void)value;
	access_traced(arg, guest_physical(pa), (u32)size, ACCESS_WRITE);
}
