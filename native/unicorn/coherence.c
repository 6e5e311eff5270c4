/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that is no more: frames that hold code, and stores to them. */
#include "unicorn/vcpu.h"

bool holds_code(struct vcpu *v, u64 pa)
{
	const u32 *flags = frame_flags(v, pa);

	return flags && *flags & PG_code;
}

/*
 * Instructions are fetched from pa's frame, which is open: from now on a store to it is seen when
 * it is made. The first time, translations that may still allow silent stores are taken away, from
 * every CPU: no other executes now, and each looks at soft.all before it does.
 */
void note_code(struct vcpu *v, u64 pa)
{
	if (holds_code(v, pa))
		return;
	*frame_flags(v, pa) |= PG_code;
	soft_drop_all(v);
	if (v->this_cpu)
		MMU(v, note_code_fetched, code_fetched)(v->this_cpu);
}

/*
 * The instruction at RIP is about to store to pa's frame, of code.  The other CPUs drop that code
 * before they execute again. The page loses W again at the next block, or, if none is looked at,
 * with the run; and count.c needs the registers to tell whether Unicorn cut the block to start it
 * anew.
 */
void note_code_store(struct vcpu *v, u64 pa, u64 va)
{
	v->epoch++;
	if (v->this_cpu)
		MMU(v, note_code_stored, code_stored)(v->this_cpu, pa);
	if (!v->counting) {
		v->mmu->soft.all |= v->this_cpu && v->this_cpu->kernel->nr_cpus > 1;
		return;
	}
	v->pending.code_store = 1;
	v->code_store.page = page_of(va);
	v->code_store.rip = reg_read(v, UC_X86_REG_RIP);
	v->code_store.rcx = reg_read(v, UC_X86_REG_RCX);
	v->code_store.rsp = reg_read(v, UC_X86_REG_RSP);
}

/* While the window is open its addresses are frames, and there is nothing else. */
bool window_fill(struct vcpu *v, u64 page, uc_tlb_entry *entry)
{
	if ((page & CODE_WINDOW_MASK) != CODE_WINDOW)
		return false;
	if (private_has(v, PRIVATE_ASKER))
		v->window_asker = private_asker(v);
	entry->paddr = uc_address(v, page & ~CODE_WINDOW_MASK);
	entry->perms = UC_PROT_EXEC;
	return true;
}

/* Have Unicorn look the frame up for its code. Not in hooks, for that may evict what is in use. */
void drop_by_window(struct vcpu *v, u64 pa, u64 size)
{
	u64 va = CODE_WINDOW | pa;

	v->window = true;
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2), va, va + size);
	v->window = false;
	soft_drop_page(v, va);
}

/* Drop code translated from any of [pa, pa + size), of one frame. */
void drop_code_range(struct vcpu *v, u64 pa, u64 size)
{
	if (private_has(v, PRIVATE_HOST))
		private_drop_code(v, uc_address(v, pa), size);
	else
		drop_by_window(v, pa, size);
	v->epoch++;
}

/* Drop code translated from pa's frame. */
void drop_code(struct vcpu *v, u64 pa)
{
	drop_code_range(v, page_of(pa), PAGE_SIZE);
}

/* Have all code translated anew; in a hook too, where Unicorn's own flush would crash. */
void drop_all_code(struct vcpu *v)
{
	if (v->depth > 1 || v->run.started)
		for_each_code_frame(v, drop_code);
	else
		UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
	v->epoch++;
}

void vcpu_drop_code(struct vcpu *v, u64 pa)
{
	if (!holds_code(v, pa))
		return;
	drop_code(v, pa);
	soft_drop_all(
		v); /* the frame's pages are fetched from anew, and looked at: may_translate() */
}

void vcpu_forget_code(struct vcpu *v)
{
	drop_all_code(v);
}

/*
 * Drop code that other CPUs, or the kernel, have written since this one executed last. The frame
 * may have been freed since. Its pages are fetched from anew, and looked at: may_translate().
 */
static void drop_code_written(struct vcpu *v)
{
	struct code_written *written = &v->this_cpu->code_written;

	if (likely(!written->nr))
		return;
	if (written->all)
		drop_all_code(v);
	else
		for (u32 i = 0; i < written->nr; i++)
			drop_code(v, written->page[i]);
	written->all = written->nr = 0;
	soft_drop_all(v);
}

/* Forget what the MMU asked consumers to forget, and code of frames that were written or freed. */
void drop_forgotten(struct vcpu *v)
{
	struct kernel *kernel = v->this_cpu ? v->this_cpu->kernel : NULL;
	u64 pfn;

	if (v->run.started || v->depth > 1) {
		soft_drain_in_hook(v);
	} else {
		soft_drain(v);
		if (v->code_written)
			drop_all_code(v);
		v->code_written = false;
	}
	if (v->this_cpu)
		drop_code_written(v);
	if (v->ram->code_free == PAGE_NONE)
		return;
	while ((pfn = MMU(v, take_freed_code, take_code)(v->ram, kernel, v->mmu->cpu))) {
		drop_code(v, pfn << PAGE_SHIFT);
		MMU(v, memory_free_code, free_code)(v->ram, pfn);
	}
}
