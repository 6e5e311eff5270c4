/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/tlbflush.h"

#include "mm/pgtable.h"
#include "mm/site.h"

bool flush_tlb_is_local(struct mm_struct *mm)
{
	const struct cpu *cpu = this_cpu(mm->kernel);

	return !(READ_ONCE(mm->cpu_bitmap) & ~(1ull << cpu->id)) && !mm->global_asid &&
	       !(cpu->loaded_mm == mm && cpu->is_lazy);
}

void flush_tlb_func(struct cpu *cpu, struct mm_struct *mm, const struct flush_tlb_info *f)
{
	struct tlb_context *ctx = &cpu->ctxs[cpu->loaded_mm_asid];
	u64 nr_invalidate = TLB_FLUSH_ALL;

	if (f->end != TLB_FLUSH_ALL && f->new_tlb_gen == ctx->tlb_gen + 1) {
		nr_invalidate = (f->end - f->start) >> f->stride_shift;
		for (u64 addr = f->start; addr < f->end; addr += 1ull << f->stride_shift)
			mmu_invlpg(cpu->mmu, addr);
		stat_add(mm->counter[MM_COUNTER_nr_tlb_local_flush_one], nr_invalidate);
	} else {
		mmu_write_cr3(cpu->mmu, cpu->mmu->cr3);
		stat_inc(mm->counter[MM_COUNTER_nr_tlb_local_flush_all]);
	}
	ctx->tlb_gen = f->new_tlb_gen;
	emit_from(__func__, mm->kernel->ring, tlb_flush, TLB_LOCAL_MM_SHOOTDOWN, nr_invalidate,
		  mm->pgd);
}

void flush_tlb_mm_range_from(const char *from, struct mm_struct *mm, u64 start, u64 end,
			     u32 stride_shift, u32 freed_tables)
{
	struct kernel *kernel = mm->kernel;
	struct cpu *cpu = this_cpu(kernel);
	struct flush_tlb_info f = {
		.start = start,
		.end = end,
		.new_tlb_gen = __atomic_add_fetch(&mm->tlb_gen, 1, __ATOMIC_SEQ_CST),
		.stride_shift = stride_shift,
		.freed_tables = freed_tables,
	};

	if ((end - start) >> stride_shift > TLB_SINGLE_PAGE_FLUSH_CEILING) {
		f.start = 0;
		f.end = TLB_FLUSH_ALL;
	}
	funcgraph_entry("flush_tlb_mm_range", mm, f.start, f.end);
	emit_from(from, kernel->ring, flush_tlb_mm_range, f.start, f.end, freed_tables, mm->pgd);
	if (unlikely(!flush_tlb_is_local(mm)))
		kernel->flush_others(mm, &f);
	else if (cpu->loaded_mm == mm)
		flush_tlb_func(cpu, mm, &f);
	funcgraph_exit("flush_tlb_mm_range", mm, 0);
}

u64 ptep_clear_flush_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte)
{
	u64 old = ptep_get_and_clear_from(from, mm, addr, pte);

	if (old & X86_P)
		flush_tlb_mm_range_from(from, mm, addr, addr + PAGE_SIZE, PAGE_SHIFT, 0);
	return old;
}
