/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What CPUs ask each other for: flushes by interrupt; flushes by INVLPGB, which the processor does
 * between two instructions though interrupts are off; and interrupts that do nothing.
 */
#include <pthread.h>
#include <signal.h>

#include "mm/tlbflush.h"
#include "stress.h"

#define SIGNALLED 8 /* one request of so many comes at once, others at the next look */

/* Another CPU asks this one for a flush. */
static void flush_tlb_call(const struct flush_tlb_info *info)
{
	me->calls++;
	if (info && info->new_tlb_gen > me->cpu.ctxs[0].tlb_gen)
		flush_tlb_func(&me->cpu, &world.mm, info);
}

/* INVLPGB: of no generation, for it reaches every processor. */
static void invalidate(const struct flush_tlb_info *info)
{
	me->broadcasts++;
	if (info->end == TLB_FLUSH_ALL) {
		mmu_write_cr3(&me->mmu, me->mmu.cr3);
		return;
	}
	for (u64 addr = info->start; addr < info->end; addr += 1ull << info->stride_shift)
		mmu_invlpg(&me->mmu, addr);
}

/* Do what is asked for in a word of world.pending or world.broadcast. */
static void take(u64 *asked, void (*act)(const struct flush_tlb_info *info))
{
	u64 who;

	mask_interrupts();
	who = __atomic_exchange_n(asked, 0, __ATOMIC_ACQUIRE);
	for (; who; who &= who - 1) {
		struct request *request = &world.request[me->cpu.id][__builtin_ctzll(who)];

		act(request->info);
		__atomic_store_n(&request->pending, 0, __ATOMIC_RELEASE);
	}
	unmask_interrupts();
}

void take_interrupts(void)
{
	u32 id = me->cpu.id;

	if (me->masked)
		return;
	if (READ_ONCE(world.broadcast[id]))
		take(&world.broadcast[id], invalidate);
	if (!me->cpu.irqs_disabled && READ_ONCE(world.pending[id]))
		take(&world.pending[id], flush_tlb_call);
}

void on_signal(int signal)
{
	(void)signal;
	take_interrupts();
}

/* Ask CPU number id, by its word of world.pending or world.broadcast. */
static void ask(u32 id, u64 *asked, const struct flush_tlb_info *info)
{
	struct request *request = &world.request[id][me->cpu.id];

	request->info = info;
	WRITE_ONCE(request->pending, 1);
	__atomic_fetch_or(&asked[id], 1ull << me->cpu.id, __ATOMIC_RELEASE);
	if (next_random() % SIGNALLED == 0)
		pthread_kill(world.thread[id].pthread, SIGUSR1);
}

/* Wait until all of them have done it. */
static void await(u64 asked, const char *what)
{
	struct wait w = begin_wait();

	for (u64 mask = asked; mask; mask &= mask - 1) {
		struct request *request = &world.request[__builtin_ctzll(mask)][me->cpu.id];

		while (__atomic_load_n(&request->pending, __ATOMIC_ACQUIRE))
			wait_on(&w, what);
	}
	end_wait(&w);
}

static u64 all_others(void)
{
	return READ_ONCE(world.mm.cpu_bitmap) & ~(1ull << me->cpu.id);
}

/* The other CPUs that a flush must ask: should_flush_tlb() (mmu/linux/tlbflush.py). */
static u64 cpus_to_ask(const struct flush_tlb_info *info)
{
	u64 ask = 0;

	for (u64 mask = all_others(); mask; mask &= mask - 1) {
		u32 id = __builtin_ctzll(mask);
		u32 lazy = __atomic_load_n(&world.thread[id].cpu.is_lazy, __ATOMIC_SEQ_CST);

		if (info->freed_tables || !lazy)
			ask |= 1ull << id;
	}
	return ask;
}

/* INVLPGB and TLBSYNC. */
static void broadcast(const struct flush_tlb_info *info)
{
	u64 others = all_others();

	for (u64 mask = others; mask; mask &= mask - 1)
		ask(__builtin_ctzll(mask), world.broadcast, info);
	mask_interrupts();
	invalidate(info);
	unmask_interrupts();
	await(others, "another CPU's TLBSYNC");
}

void flush_others(struct mm_struct *mm, const struct flush_tlb_info *info)
{
	struct flush_tlb_info f = *info;
	u64 others;

	if (world.options.invlpgb) {
		broadcast(&f);
		return;
	}
	others = cpus_to_ask(&f);
	for (u64 mask = others; mask; mask &= mask - 1)
		ask(__builtin_ctzll(mask), world.pending, &f);
	mask_interrupts();
	if (f.new_tlb_gen > me->cpu.ctxs[0].tlb_gen)
		flush_tlb_func(&me->cpu, mm, &f);
	unmask_interrupts();
	await(others, "another CPU's flush");
}

void sync_one(struct kernel *kernel)
{
	u64 others = all_others();

	(void)kernel;
	for (u64 mask = others; mask; mask &= mask - 1)
		ask(__builtin_ctzll(mask), world.pending, NULL);
	await(others, "another CPU's interrupt");
}
