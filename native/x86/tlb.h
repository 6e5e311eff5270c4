/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TLB and the paging-structure caches of one processor (SDM vol. 3A 4.10). */
#ifndef UCMMU_X86_TLB_H
#define UCMMU_X86_TLB_H

#include "types.h"
#include "x86/paging.h"

/* cffi-begin */
#define TLB_MAX_ARRAYS 12
#define TLB_MAX_ENTRIES 8192

/* What an array serves. */
#define TLB_ITLB 0x1		/* first level, fetches */
#define TLB_DTLB 0x2		/* first level, loads and stores */
#define TLB_STLB 0x4		/* second level, both */
#define TLB_PSC 0x8		/* a paging-structure cache: sizes names the level it caches */

/* struct tlb_entry.flags; X86_RW and X86_US keep their places, they are the combined rights. */
#define TLB_VALID 0x1
#define TLB_RW 0x2
#define TLB_US 0x4
#define TLB_XD 0x8
#define TLB_DIRTY 0x10
#define TLB_GLOBAL 0x20
#define TLB_SHSTK 0x40		/* a shadow-stack page */
#define TLB_RIGHTS 0x4e		/* what permissions() asks for: RW, US, XD, SHSTK */

/*
 * One entry.  In a TLB array: vpn = va >> 12, its low bits cleared to the page's size, maps to
 * frame (guest-physical address of the page).  In a paging-structure cache of level L: vpn is
 * va >> 12 cleared below level L's reach, frame the address of the table that level L points to.
 */
struct tlb_entry {
	u64 vpn;
	u64 frame;
	u64 used;		/* clock of the last use: the smallest is the least recent */
	u64 table_gen;		/* struct mmu_unit.table_gen when the oldest table entry behind it was read */
	u16 pcid;
	u8 flags;		/* TLB_* */
	u8 level;		/* page size, or the level a PSC entry stands for */
	u8 pkey;		/* protection key */
	u8 pat;			/* index into IA32_PAT: PAT, PCD, PWT */
	u8 page_level;
	u8 pad;
};

/* sets * ways entries from number first on; set s holds [first + s * ways, + ways). */
struct tlb_array {
	u32 kind;		/* one TLB_ITLB..TLB_PSC */
	u32 sizes;		/* bit L set: holds pages of level L (a PSC: caches level L) */
	u32 sets, ways;		/* set = (vpn >> 9 * (level - 1)) % sets */
	u32 first;
	u32 pad;
};

struct tlb {
	u32 nr_arrays;		/* 0: no TLB, every access walks */
	u32 nr_entries;
	u64 clock;		/* ticks once per lookup or fill that touches an entry */
	struct tlb_array array[TLB_MAX_ARRAYS];
	struct tlb_entry entry[TLB_MAX_ENTRIES];
};
/* cffi-end */

#endif
