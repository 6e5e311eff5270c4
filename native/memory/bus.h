/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of the guest's outside our RAM, which somebody else has: paging structures may lie in it.
 */
#ifndef UCMMU_MEMORY_BUS_H
#define UCMMU_MEMORY_BUS_H

#include "types.h"

struct memory;

/* cffi-begin */
/* What a compare-and-exchange ended in. */
#define EXCHANGE_DONE 0
#define EXCHANGE_CHANGED 1   /* the word is another by now, and stays */
#define EXCHANGE_READ_ONLY 2 /* the store has no effect, as with ROM; also where no memory is */

/* How memory outside RAM is reached. Addresses are guest-physical; those of words are aligned. */
struct bus {
	void *self; /* the first argument of each function */
	/* Copy n bytes of one frame from pa on; an aligned word is read at once. False: there is no
	 * memory that can hold a paging structure. */
	bool (*read)(void *self, u64 pa, void *out, u32 n);
	/* LOCK CMPXCHG of the word at pa: EXCHANGE_*. */
	u32 (*exchange)(void *self, u64 pa, u64 old, u64 value);
	/* The memory of pa's frame; NULL: there is none, or it is not known where. */
	u64 *(*host)(void *self, u64 pa);
	/* PG_table and PG_code of pa's frame, which has no struct page; NULL: there is no memory.
	 */
	u32 *(*flags)(void *self, u64 pa);
};

/* The aligned word at pa, in RAM or beyond; false: there is no memory. */
bool memory_load(const struct memory *m, u64 pa, u64 *value);
/* LOCK CMPXCHG of the aligned word at pa, in RAM or beyond: EXCHANGE_*. */
u32 memory_exchange(const struct memory *m, u64 pa, u64 old, u64 value);
/* The flags of pa's frame: those of its struct page, or the bus's; NULL: there is no memory. */
u32 *memory_flags(const struct memory *m, u64 pa);
/* The 512 words of pa's frame, copied to *copy unless they can be read in place; NULL: there is no
 * memory. */
const u64 *memory_words(const struct memory *m, u64 pa, u64 *copy);
/* cffi-end */

/* LOCK CMPXCHG of a word of the host's: EXCHANGE_DONE or EXCHANGE_CHANGED. */
static inline u32 exchange_word(u64 *word, u64 old, u64 value)
{
	return __atomic_compare_exchange_n(word, &old, value, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST)
		       ? EXCHANGE_DONE
		       : EXCHANGE_CHANGED;
}

#endif
