/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of each guest frame: struct page and its flags. */
#ifndef UCMMU_MEMORY_FRAMES_H
#define UCMMU_MEMORY_FRAMES_H

#include "types.h"

/* cffi-begin */
#define PAGE_NONE 0xffffffff /* "no frame" in links of struct page */

/*
 * struct page.flags
 *
 *    31       24 23     12 11  10   9   8   7   6   5   4   3   2   1   0
 *   +-----------+---------+---+---+---+---+---+---+---+---+---+---+---+---+
 *   |   order   |    0    |LCK|UPR|EXC|DTY|SWB|HST|ANO|RSV|COD|TBL|BUD|ZER|
 *   +-----------+---------+---+---+---+---+---+---+---+---+---+---+---+---+
 */
#define PG_zero 0x1		/* free, and every byte is known to be 0 */
#define PG_buddy 0x2		/* first frame of a free block of 2^order frames */
#define PG_table 0x4		/* holds a paging structure */
#define PG_code 0x8		/* instructions were fetched from it since it was handed out */
#define PG_reserved 0x10	/* never freed: the zero page */
#define PG_anon 0x20		/* mapped anonymously (counted in RssAnon) */
#define PG_host 0x40		/* was handed out since its host memory was last given back */
#define PG_swapbacked 0x80	/* anonymous or shared memory: its only other home would be swap */
#define PG_dirty 0x100		/* written, though no PTE that is left may say so by its D */
#define PG_anon_exclusive 0x200 /* anonymous, and no other process can map it: no copy is due */
#define PG_upper 0x400		/* a PMD or PUD table that is counted: RCU alone frees it */
#define PG_locked 0x800		/* a page of a file, whose folio lock is held */
#define PG_order_shift 24

/* One guest frame; 32 bytes, so that one host page describes 512 KiB. */
struct page {
	u32 flags;
	u32 _refcount; /* owners; 0 means free */
	union {
		u32 _mapcount; /* data frames: PTEs that map it */
		u32 ptl;       /* tables: the table's lock word, 0 or 1 */
	};
	u32 pte_refcount; /* tables that are counted: entries + visitors */
	u32 next, prev;	  /* links of a free list or a callback list: frame indexes */
	union {
		u64 pmd;   /* tables that are counted: where the entry is that refers to it */
		u64 index; /* page-cache frames: page offset in the file */
	};
};
/* cffi-end */

#endif
