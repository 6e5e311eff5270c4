/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/mmu_gather.h"

#include "memory/page_alloc.h"
#include "mm/pgalloc.h"
#include "mm/pgtable.h"
#include "mm/rcu.h"
#include "mm/site.h"

/* Nothing is left to flush. Another CPU that sees it knows that it is done (add_owed()). */
static void reset_range(struct mmu_gather *tlb)
{
	__atomic_store_n(&tlb->start, TLB_FLUSH_ALL, __ATOMIC_RELEASE);
	__atomic_store_n(&tlb->end, 0, __ATOMIC_RELEASE);
	tlb->freed_tables = 0;
	tlb->stride_shift = 0;
}

/* An entry that reaches 1 << shift bytes was cleared at addr. One page names its translations. */
static void adjust_range(struct mmu_gather *tlb, u64 addr, u32 shift)
{
	if (addr < tlb->start)
		WRITE_ONCE(tlb->start, addr);
	if (addr + PAGE_SIZE > tlb->end)
		WRITE_ONCE(tlb->end, addr + PAGE_SIZE);
	if (!tlb->stride_shift || shift < tlb->stride_shift)
		tlb->stride_shift = shift;
}

/* Say which gather is in progress on the CPU, NULL none: add_owed() and owed_table() look. */
static void set_gather(struct cpu *cpu, struct mmu_gather *tlb)
{
	smp_lock(&cpu->gather_lock);
	cpu->gather = tlb;
	smp_unlock(&cpu->gather_lock);
}

void tlb_gather_mmu(struct mmu_gather *tlb, struct mm_struct *mm, u32 fullmm)
{
	struct cpu *cpu = this_cpu(mm->kernel);

	if (cpu->gather)
		mm_bug(mm, BUG_GATHER_NESTED, 0);
	tlb->mm = mm;
	tlb->cpu = cpu;
	tlb->fullmm = fullmm;
	tlb->nr = 0;
	tlb->nr_tables = 0;
	tlb->delayed_rmap = 0;
	tlb->max = MMU_GATHER_BUNDLE;
	reset_range(tlb);
	set_gather(cpu, tlb);
	__atomic_fetch_add(&mm->tlb_flush_pending, 1, __ATOMIC_SEQ_CST);
}

void tlb_finish_mmu(struct mmu_gather *tlb)
{
	/* Another gather may have cleared PTEs that this one, finding them none, passed by. */
	if (unlikely(READ_ONCE(tlb->mm->tlb_flush_pending) > 1)) {
		tlb->fullmm = 1;
		tlb->freed_tables = 1;
		WRITE_ONCE(tlb->start, 0);
		WRITE_ONCE(tlb->end, TLB_FLUSH_ALL);
	}
	funcgraph_entry(__func__, tlb->mm, tlb->start, tlb->end);
	tlb_flush_mmu(tlb);
	__atomic_fetch_sub(&tlb->mm->tlb_flush_pending, 1, __ATOMIC_SEQ_CST);
	set_gather(tlb->cpu, NULL);
	funcgraph_exit(__func__, tlb->mm, 0);
}

void tlb_flush_mmu_tlbonly(struct mmu_gather *tlb)
{
	if (tlb->start >= tlb->end)
		return;
	if (tlb->fullmm)
		flush_tlb_mm_range(tlb->mm, 0, TLB_FLUSH_ALL, PAGE_SHIFT, tlb->freed_tables);
	else
		flush_tlb_mm_range(tlb->mm, tlb->start, tlb->end, tlb->stride_shift,
				   tlb->freed_tables);
	reset_range(tlb);
}

void tlb_remove_tables(struct kernel *kernel, const u64 *table, u32 nr)
{
	bool at_once = kernel->policy == FREE_TABLES_REFCOUNT_PMDLOCK;

	if (at_once && nr && kernel->invlpgb && kernel->nr_cpus > 1)
		kernel->sync_one(kernel);
	for (u32 i = 0; i < nr; i++) {
		if (at_once)
			free_table_frame(kernel, table[i]);
		else
			call_rcu(kernel, table[i]);
	}
	if (at_once && nr)
		check_speculation_everywhere(kernel);
}

/* Take PMD and PUD tables that are counted, which RCU frees, out of the gathered ones. */
static u32 split_counted(struct mmu_gather *tlb, u32 *nr_tables, u64 *counted)
{
	u32 nr = 0, kept = 0;

	for (u32 i = 0; i < *nr_tables; i++) {
		u64 table = tlb->table[i];

		if (READ_ONCE(pfn_to_page(tlb->mm->ram, table)->flags) & PG_upper)
			counted[nr++] = table;
		else
			tlb->table[kept++] = table;
	}
	*nr_tables = kept;
	return nr;
}

void tlb_flush_mmu(struct mmu_gather *tlb)
{
	struct kernel *kernel = tlb->mm->kernel;
	u64 counted[MMU_GATHER_MAX];
	u32 nr_tables = tlb->nr_tables, nr_counted = 0;

	tlb_flush_mmu_tlbonly(tlb);
	smp_lock(&tlb->cpu->gather_lock);
	tlb->nr_tables = 0;
	smp_unlock(&tlb->cpu->gather_lock);
	if (unlikely(kernel->free_levels > FREE_LEVELS_PTE))
		nr_counted = split_counted(tlb, &nr_tables, counted);
	tlb_remove_tables(kernel, tlb->table, nr_tables);
	for (u32 i = 0; i < nr_counted; i++)
		call_rcu(kernel, counted[i]);
	for (u32 i = 0; i < tlb->nr; i++)
		put_page(tlb->mm->ram, tlb->pfn[i]);
	tlb->nr = 0;
}

/* With a frame to spare for a batch, hold many; without, go on with what the gather itself holds.
 */
static void next_batch(struct mmu_gather *tlb)
{
	if (READ_ONCE(tlb->mm->ram->nr_free) && tlb->mm->ram->fail_after)
		tlb->max = MMU_GATHER_MAX;
}

bool tlb_remove_page(struct mmu_gather *tlb, u64 pfn)
{
	tlb->pfn[tlb->nr++] = pfn;
	if (unlikely(tlb->nr == tlb->max))
		next_batch(tlb);
	return tlb->nr == tlb->max;
}

void tlb_remove_tlb_entry(struct mmu_gather *tlb, u64 addr)
{
	adjust_range(tlb, addr, PAGE_SHIFT);
}

void table_free_tlb(struct mmu_gather *tlb, u64 pfn, u64 addr, u32 level)
{
	u32 shift = PAGE_SHIFT + 9 * level;

	adjust_range(tlb, addr >> shift << shift, shift);
	tlb->freed_tables = 1;
	smp_lock(&tlb->cpu->gather_lock);
	tlb->table[tlb->nr_tables++] = pfn;
	smp_unlock(&tlb->cpu->gather_lock);
	if (tlb->nr_tables == MMU_GATHER_MAX)
		tlb_flush_mmu(tlb);
}

void pte_free_tlb(struct mmu_gather *tlb, u64 pfn, u64 addr)
{
	table_free_tlb(tlb, pfn, addr, 1);
}

void mm_dec_nr_ptes(struct mm_struct *mm)
{
	mm_dec_pgtables(mm);
	stat_inc(mm->counter[MM_COUNTER_pte_tables_freed]);
}

/*
 * What gathers of mm in progress, but for one, have still to flush of what the table of level for
 * addr reaches: widen [*start, *end) by it.  Returns whether there is something.
 */
static bool add_owed(const struct mm_struct *mm, const struct mmu_gather *except, u64 addr,
		     u32 level, u64 *start, u64 *end)
{
	const struct kernel *kernel = mm->kernel;
	u64 size = level_size(level + 1), first = addr & ~(size - 1), last = first + size;
	bool any = false;

	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		struct cpu *cpu = kernel->cpu[i];
		u64 from = TLB_FLUSH_ALL, to = 0;

		smp_lock(&cpu->gather_lock);
		if (cpu->gather && cpu->gather != except && cpu->gather->mm == mm) {
			from = __atomic_load_n(&cpu->gather->start, __ATOMIC_ACQUIRE);
			to = __atomic_load_n(&cpu->gather->end, __ATOMIC_ACQUIRE);
		}
		smp_unlock(&cpu->gather_lock);
		if (from >= last || to <= first)
			continue;
		*start = from < *start ? from : *start;
		*start = *start < first ? first : *start;
		*end = to > *end ? to : *end;
		*end = *end > last ? last : *end;
		any = true;
	}
	return any;
}

void tlb_gather_owed(struct mmu_gather *tlb, u64 addr, u32 level)
{
	u64 start = TLB_FLUSH_ALL, end = 0;

	if (unlikely(add_owed(tlb->mm, tlb, addr, level, &start, &end))) {
		adjust_range(tlb, start, PAGE_SHIFT);
		adjust_range(tlb, end - PAGE_SIZE, PAGE_SHIFT);
	}
}

void flush_pte_table(struct mm_struct *mm, u64 addr)
{
	u64 start = addr & PMD_MASK, end = start + PAGE_SIZE;

	add_owed(mm, NULL, addr, 1, &start, &end);
	flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, 1);
}

void flush_upper_table(struct mm_struct *mm, u64 addr, u32 level)
{
	u64 start = addr & ~(level_size(level + 1) - 1), end = start + PAGE_SIZE;

	add_owed(mm, NULL, addr, level, &start, &end);
	flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, 1);
}

/* The struct page of a table of tlb that was taken out of the entry at pa, or NULL. */
static struct page *table_from(const struct mm_struct *mm, const struct mmu_gather *tlb, u64 pa)
{
	if (!tlb || tlb->mm != mm)
		return NULL;
	for (u32 t = tlb->nr_tables; t-- > 0;) {
		struct page *page = pfn_to_page(mm->ram, tlb->table[t]);

		if (page->pmd == pa)
			return page;
	}
	return NULL;
}

/*
 * Was a table taken out of entry whose flush is owed?  forget: the caller, who holds the entry's
 * lock, does that flush, and the table is not found here again.
 */
static bool owed_table(const struct mm_struct *mm, const u64 *entry, bool forget)
{
	const struct kernel *kernel = mm->kernel;
	u64 pa = host_to_pa(mm->ram, entry);
	bool found = false;

	for (u32 i = 0; i < kernel->nr_cpus && !found; i++) {
		struct cpu *cpu = kernel->cpu[i];
		struct page *page;

		smp_lock(&cpu->gather_lock);
		page = table_from(mm, cpu->gather, pa);
		if (page && forget)
			WRITE_ONCE(page->pmd, 0);
		smp_unlock(&cpu->gather_lock);
		found = page;
	}
	return found;
}

bool flush_is_owed(const struct mm_struct *mm, const u64 *entry)
{
	return owed_table(mm, entry, false);
}

void flush_freed_tables(struct mm_struct *mm, const u64 *entry, u64 addr, u32 level)
{
	if (likely(!owed_table(mm, entry, true)))
		return;
	if (level == 1)
		flush_pte_table(mm, addr);
	else
		flush_upper_table(mm, addr, level);
}
