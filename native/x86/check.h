/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stale-translation checker: who used, or may have used, what memory no longer says. */
#ifndef UCMMU_X86_CHECK_H
#define UCMMU_X86_CHECK_H

#include "types.h"
#include "x86/state.h"
#include "x86/translate.h"

/* cffi-begin */
#define CHECK_MAX_RANGES 65536 /* stale ranges at a time */
#define CHECK_MAX_USES 256     /* uses told singly */
#define CHECK_MAX_PCIDS 4      /* PCIDs under which a table is followed */
#define CHECK_NR_STORES 8
#define CHECK_NOWHERE 0xffffffffffffffff
#define CHECK_SPECULATION 6 /* stale_use.access: a walk that no instruction asked for */

/* On whose behalf the kernel, or whoever drives the MMU, is at work. */
#define CHECK_BY_HOST 0	   /* a program that drives the MMU */
#define CHECK_BY_STORE 1   /* a store of the guest's own */
#define CHECK_BY_SYSCALL 2 /* detail: the system call's number */
#define CHECK_BY_FAULT 3   /* detail: the address that faulted */

struct check_where {
	u64 rip;	 /* CHECK_NOWHERE: no guest executes */
	u64 instruction; /* its number, or CHECK_NOWHERE */
	u64 detail;
	u32 by; /* CHECK_BY_* */
	u32 cpu;
	u64 operation; /* number of the kernel's operation, 0: of none */
};

#define CHECK_MAX_OPERATIONS 4096

/* Operations of the kernel in progress, by number; all units have the same list. */
struct check_operations {
	u32 nr, pad;
	u64 number[CHECK_MAX_OPERATIONS];
};

/*
 * What a changed table entry (or, with entry_pa 0, a new root) leaves behind until it is flushed:
 * addresses from va on, as many as an entry of level maps, which a processor may still translate by
 * old.
 */
struct stale_range {
	u64 va;
	u64 entry_pa, old, new;
	struct check_where changed;
	u32 nr_freed; /* how often old's frame had been freed by then */
	u32 next;     /* in its hash chain */
	u16 pcid;
	u8 level;
	u8 table; /* 1: old led to a table, and paging-structure caches may hold it */
	u8 global;
	u8 told; /* bit 0: a use that may have been, bit 1: one that was, is told */
	u8 pad[2];
};

/* One access to an address of a stale range, the first of its kind. */
struct stale_use {
	struct stale_range range;
	struct check_where at;
	struct check_where filled; /* where the entry that served it was made, if used */
	u64 va;
	u32 access, privilege;
	u32 used;  /* 1: the model translated by it; 0: another processor may have */
	u32 freed; /* 1: the frame or table behind it had been freed */
};

struct tlb_check {
	struct check_where now;	   /* where the guest is; kept by whoever runs it */
	struct check_where kernel; /* on whose behalf tables change, where a store of the guest's
				      does not say it */
	struct check_where store[CHECK_NR_STORES]; /* the guest's last stores to tables, with the
						      entry's address as detail */
	u32 nr_stores;
	u32 every_access; /* 1: look for changed entries before each access */
	u32 changed;	  /* 1: look before the next one */
	u32 nr_ranges;
	u32 nr_uses;
	u32 served;	     /* number of the entry that will serve the access under way, + 1 */
	u64 nr_used, nr_may; /* all uses, told or not */
	u64 lost;	     /* ranges for which there was no room */
	const struct check_operations *operations; /* NULL: there are none */
	struct stale_use use[CHECK_MAX_USES];
	struct check_inside *inside;
};

/* Begin to check this unit's translations. 0, or -ENOMEM. */
int check_begin(struct mmu_unit *u);
/* Stop, and free all that check_begin() made. */
void check_end(struct mmu_unit *u);
/* Find table entries that changed since the last time. */
void check_sync(struct mmu_unit *u);
/* Around mmu_translate() of an access: what is stale for it, and was it used? */
void check_before(struct mmu_unit *u, u64 va, u32 access);
void check_after(struct mmu_unit *u, u64 va, u32 access, u32 privilege,
		 const struct translation *t);
/* mmu_translate() with these around it. */
u32 mmu_translate_checked(struct mmu_unit *u, u64 va, u32 access, u32 privilege,
			  struct translation *t);
/*
 * Tables were freed: tell which of them the processor may still walk through of its own accord,
 * by paging-structure caches of the PCID it uses, though nobody makes an access there.
 */
void check_speculation(struct mmu_unit *u);
/*
 * CR3 is loaded with a root table for a PCID.  kept: with bit 63; then what is cached of other
 * tables that the PCID had is stale.
 */
void check_load(struct mmu_unit *u, u64 root, u16 pcid, u32 kept);
/* A walk reads va's entry of level in this table. */
void check_table(struct mmu_unit *u, u64 table, u32 level, u64 va);
/* A walk set A or D, or both, in the entry at entry_pa. */
void check_set_ad(struct mmu_unit *u, u64 entry_pa, u64 entry);
/* Entry number of the TLB was filled by a walk, or copied from entry number from. */
void check_filled(struct mmu_unit *u, u32 number);
void check_copied(struct mmu_unit *u, u32 number, u32 from);
/*
 * Invalidations, as the TLB is told of them: which stale ranges no processor can hold any more.
 * what is a set of DROP_*.
 */
void check_drop_page(struct mmu_unit *u, u64 va, u16 pcid, u32 what);
void check_drop_context(struct mmu_unit *u, u16 pcid, u32 what);
void check_drop_tables(struct mmu_unit *u, u64 va, u32 only_va, u16 pcid, u32 what);
/* cffi-end */

/* The guest is about to store to pa, in a frame that holds a table. */
static inline void check_store(struct tlb_check *check, u64 pa)
{
	struct check_where *store = &check->store[check->nr_stores++ % CHECK_NR_STORES];

	*store = check->now;
	store->by = CHECK_BY_STORE;
	store->detail = pa & ~7ull;
	check->changed = 1;
}

#endif
