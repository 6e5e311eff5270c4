/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging-structure entries (SDM vol. 3A 4.5). */
#ifndef UCMMU_X86_ENTRIES_H
#define UCMMU_X86_ENTRIES_H

#include "types.h"

/* cffi-begin */
/*
 * A paging-structure entry (SDM vol. 3A figure 4-11).
 *
 *   63 62    59 58    52 51      M M-1                12 11  9 8  7  6 5  4   3   2   1   0
 *  +--+--------+--------+---------+--------------------+-----+-+---+-+-+---+---+---+---+---+
 *  |XD| PK/ign | ignored|rsvd (0) | physical address   | ign |G|PS |D|A|PCD|PWT|U/S|R/W| P |
 *  +--+--------+--------+---------+--------------------+-----+-+---+-+-+---+---+---+---+---+
 *  M is MAXPHYADDR.  Bit 7 is PS in a PDPTE or PDE, PAT in a PTE, reserved in a PML4E or PML5E.
 *  PK, G and D are ignored where the entry refers to a table (AMD reserves bit 8 of a PML4E or
 * PML5E).
 */
#define X86_P 0x1
#define X86_RW 0x2
#define X86_US 0x4
#define X86_PWT 0x8
#define X86_PCD 0x10
#define X86_A 0x20
#define X86_D 0x40
#define X86_PS 0x80
#define X86_PAT 0x80
#define X86_G 0x100
#define X86_PK_SHIFT 59
#define X86_XD 0x8000000000000000
#define X86_ADDR_MASK 0x000ffffffffff000
/* cffi-end */

/* Byte offset of va's entry in its table at level (bits 56:48, 47:39, 38:30, 29:21, 20:12). */
static inline u64 entry_offset(u64 va, u32 level)
{
	return (va >> (12 + 9 * (level - 1)) & 511) * 8;
}

/* Bytes that a leaf of level maps. */
static inline u64 level_size(u32 level)
{
	return 1ull << (12 + 9 * (level - 1));
}

/* Does a present entry map a page (SDM vol. 3A 4.5.4)?  PTEs do, PDEs and PDPTEs with PS. */
static inline bool is_leaf(u64 entry, u32 level)
{
	return level == 1 || (level <= 3 && entry & X86_PS);
}

/* The protection key of a leaf: bits 62:59 (SDM vol. 3A 4.6.2). */
static inline u32 pkey_of(u64 leaf)
{
	return leaf >> X86_PK_SHIFT & 15;
}

/* The index into IA32_PAT that a leaf gives: PAT, PCD, PWT (SDM vol. 3A 4.9.2). */
static inline u32 pat_index_of(u64 leaf, u32 level)
{
	u32 pat = level == 1 ? leaf >> 7 & 1 : leaf >> 12 & 1;

	return pat << 2 | (leaf >> 3 & 3); /* PCD is bit 4, PWT bit 3 */
}

/* vpn of the page or table reach of level that va lies in. */
static inline u64 vpn_of(u64 va, u32 level)
{
	u32 shift = 9 * (level - 1);

	return va >> PAGE_SHIFT >> shift << shift;
}

#endif
