/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/tlbflush.h"

#include "mm/pgtable.h"

/* What one CPU does: locally, or in the handler of the interprocessor interrupt. */
static void flush_tlb_func(struct cpu *cpu, struct mm_struct *mm, u64 start, u64 end,
			   u32 stride_shift)
{
	if (end == TLB_FLUSH_ALL) {
		mm->counter[MM_COUNTER_nr_tlb_local_flush_all]++;
		mmu_write_cr3(cpu->mmu, cpu->mmu->cr3 & ~CR3_NOFLUSH);
		return;
	}
	for (u64 addr = start; addr < end; addr += 1ull << stride_shift) {
		mm->counter[MM_COUNTER_nr_tlb_local_flush_one]++;
		mmu_invlpg(cpu->mmu, addr);
	}
}

/* Have the CPUs of mask, none of them this one, flush. */
static void flush_tlb_multi(struct mm_struct *mm, u64 mask, u64 start, u64 end, u32 stride_shift)
{
	struct kernel *kernel = mm->kernel;
	struct cpu *this_cpu = kernel->this_cpu;

	mm->counter[MM_COUNTER_nr_tlb_remote_flush]++;
	for (; mask; mask &= mask - 1) {
		struct cpu *cpu = kernel->cpu[__builtin_ctzll(mask)];

		set_this_cpu(kernel, cpu);
		mm->counter[MM_COUNTER_nr_tlb_remote_flush_received]++;
		flush_tlb_func(cpu, mm, start, end, stride_shift);
	}
	set_this_cpu(kernel, this_cpu);
}

void flush_tlb_mm_range(struct mm_struct *mm, u64 start, u64 end, u32 stride_shift,
			u32 freed_tables)
{
	struct cpu *this_cpu = mm->kernel->this_cpu;
	u64 this_bit = 1ull << this_cpu->id, others = mm->cpu_bitmap & ~this_bit;

	if ((end - start) >> stride_shift > TLB_SINGLE_PAGE_FLUSH_CEILING) {
		start = 0;
		end = TLB_FLUSH_ALL;
	}
	emit(mm->kernel->ring, tlb_flush, start, end, freed_tables);
	if (unlikely(others))
		flush_tlb_multi(mm, others, start, end, stride_shift);
	if (mm->cpu_bitmap & this_bit)
		flush_tlb_func(this_cpu, mm, start, end, stride_shift);
}
