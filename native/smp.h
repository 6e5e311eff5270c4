/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One host thread, or many.
 *
 * ucmmu's machine runs all its CPUs on one host thread, so that what Linux keeps per CPU, or behind
 * a lock that no code of ours waits under, needs neither there: as in a kernel without CONFIG_SMP
 * such a lock is nothing, and a statistic is a plain sum.  Counts of references, the locks of
 * tables, and entries of tables are what they are in both: C11 atomics in their orders.
 *
 * With UCMMU_SMP defined, each CPU is a host thread: the same files for make stress and the
 * benchmarks of threads.  All that differs is below, this_cpu() (mm/mm.h), and that the fast fault
 * takes the lock of its VMA, at which it only looks here (mm/anon.c).
 */
#ifndef UCMMU_SMP_H
#define UCMMU_SMP_H

#include "types.h"

#ifdef UCMMU_SMP
#include <sched.h>
#endif

/* A word that another CPU may write, or read, meanwhile: one access, whole, in no order. */
#define READ_ONCE(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define WRITE_ONCE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)

#ifdef UCMMU_SMP

#define SMP_SPINS 256 /* before the CPU is left to another thread, which may hold the lock */

/* A statistic, which Linux keeps per CPU: add n to it.  Its value then. */
#define stat_add(word, n) __atomic_add_fetch(&(word), (n), __ATOMIC_RELAXED)

/* It is at least value from now on. */
static inline void stat_max(u64 *word, u64 value)
{
	u64 old = READ_ONCE(*word);

	while (old < value && !__atomic_compare_exchange_n(word, &old, value, true,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Take a lock under which nobody waits: a word that is 0, or 1. */
static inline void smp_lock(u32 *lock)
{
	for (u32 spins = 1; __atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE); spins++) {
		while (READ_ONCE(*lock) && spins % SMP_SPINS) {
			__builtin_ia32_pause();
			spins++;
		}
		if (spins % SMP_SPINS == 0)
			sched_yield();
	}
}

static inline void smp_unlock(u32 *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

/* Clear a word, an entry that the processor may change meanwhile.  What it was. */
static inline u64 get_and_clear(u64 *word)
{
	return __atomic_exchange_n(word, 0, __ATOMIC_ACQ_REL);
}

#else

#define stat_add(word, n) ((word) += (n))

static inline void stat_max(u64 *word, u64 value)
{
	if (value > *word)
		*word = value;
}

static inline void smp_lock(u32 *lock)
{
	(void)lock;
}

static inline void smp_unlock(u32 *lock)
{
	(void)lock;
}

static inline u64 get_and_clear(u64 *word)
{
	u64 old = *word;

	WRITE_ONCE(*word, 0);
	return old;
}

#endif

#define stat_inc(word) stat_add(word, 1)

#endif
