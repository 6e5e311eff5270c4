/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging-structure entries, control registers, faults, and the page walk (SDM vol. 3A ch. 4). */
#ifndef UCMMU_X86_PAGING_H
#define UCMMU_X86_PAGING_H

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

/* Control registers (SDM vol. 3A 2.5), EFER (2.2.1), RFLAGS.AC (2.3). */
#define CR0_PE 0x1
#define CR0_WP 0x10000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000
#define CR3_NOFLUSH 0x8000000000000000
#define CR3_PCID_MASK 0xfff
#define CR4_TSD 0x4
#define CR4_PSE 0x10
#define CR4_PAE 0x20
#define CR4_PGE 0x80
#define CR4_LA57 0x1000
#define CR4_PCIDE 0x20000
#define CR4_SMEP 0x100000
#define CR4_SMAP 0x200000
#define CR4_PKE 0x400000
#define CR4_CET 0x800000
#define CR4_PKS 0x1000000
#define EFER_SCE 0x1
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define EFER_NXE 0x800
#define EFER_TCE 0x8000
#define RFLAGS_AC 0x40000

/* A key's two bits in PKRU and IA32_PKRS (SDM vol. 3A 4.6.2): key i has bits 2i + 1 and 2i. */
#define PKR_AD 0x1 /* no data access */
#define PKR_WD 0x2 /* no write */

/* Whose rules, where the manuals differ. */
#define VENDOR_INTEL 0
#define VENDOR_AMD 1

/* What a processor has of what CPUID makes optional. */
#define FEATURE_NX 0x1
#define FEATURE_PAGE1GB 0x2
#define FEATURE_PGE 0x4
#define FEATURE_PCID 0x8
#define FEATURE_INVPCID 0x10
#define FEATURE_SMEP 0x20
#define FEATURE_SMAP 0x40
#define FEATURE_PKU 0x80
#define FEATURE_PKS 0x100
#define FEATURE_CET_SS 0x200
#define FEATURE_LA57 0x400
#define FEATURE_INVLPGB 0x800
#define FEATURE_TCE 0x1000

/*
 * Page-fault error code (SDM vol. 3A figure 4-12).
 *
 *   31       7   6    5    4    3    2   1   0
 *  +----------+----+----+----+----+----+---+---+
 *  |     0    | SS | PK |I/D |RSVD|U/S |W/R| P |
 *  +----------+----+----+----+----+----+---+---+
 */
#define PF_P 0x1
#define PF_WR 0x2
#define PF_US 0x4
#define PF_RSVD 0x8
#define PF_ID 0x10
#define PF_PK 0x20
#define PF_SS 0x40

/* Kinds of access; also an index, and the bit number among PERM_*. */
#define ACCESS_READ 0
#define ACCESS_WRITE 1
#define ACCESS_FETCH 2
#define ACCESS_SHSTK_READ 3 /* shadow-stack accesses (SDM vol. 1 ch. 17) */
#define ACCESS_SHSTK_WRITE 4
/*
 * The load of a read-modify-write instruction, which processors make as one that a store follows:
 * it needs the rights of a write, sets D, and has W/R = 1 in its error code; else it is a load.
 */
#define ACCESS_RMW 5

/* The mode of an access (SDM vol. 3A 4.6): a CPL of 3 makes user accesses, but for implicit ones.
 */
#define PRIVILEGE_SUPERVISOR 0
#define PRIVILEGE_USER 1
#define PRIVILEGE_IMPLICIT 2 /* supervisor, of descriptor tables and the like: SMAP heeds no AC */

/* What a translation, or an attempt at one, ended in. */
#define XLATE_OK 0
#define XLATE_UD 6	   /* #UD: the processor has no such instruction */
#define XLATE_GP 13	   /* #GP: the address is not canonical, the value not legal */
#define XLATE_PF 14	   /* #PF: error_code says why */
#define XLATE_BAD_TABLE 64 /* a paging structure lies outside guest RAM: nothing x86 defines */
#define XLATE_LEGACY 66	   /* 32-bit or PAE paging, which is not modelled; nothing was changed */

/* Rights of a translation, for one privilege level. */
#define PERM_R 0x1
#define PERM_W 0x2
#define PERM_X 0x4
/* shadow-stack reads and writes; they go together, but for a protection key's WD */
#define PERM_SHSTK 0x18

/* Memory types, by their encodings (SDM vol. 3A table 12-2). */
#define MEMORY_UC 0
#define MEMORY_WC 1
#define MEMORY_WT 4
#define MEMORY_WP 5
#define MEMORY_WB 6
#define MEMORY_UC_MINUS 7 /* in IA32_PAT only: UC that an MTRR may make WC */

/* What mmu_walk() may do to the tables. */
#define WALK_PROBE 0	/* look only: no A, no D, no events, no counters */
#define WALK_QUIET 1	/* set A of used entries, and D for a write, as the processor does */
#define WALK_HARDWARE 2 /* the same, with events and counters */

/*
 * One page walk, step by step.  Level 5 is the PML5E, 4 the PML4E, 3 the PDPTE, 2 the PDE, 1 the
 * PTE; entries above top_level (skipped through a paging-structure cache) are 0.
 */
struct walk {
	u64 va;
	u64 pa;		 /* of va itself, if XLATE_OK */
	u64 entry[6];	 /* by level: the entry as the walk left it */
	u64 entry_pa[6]; /* by level: where it lies, guest-physical */
	u32 level;	 /* where the walk ended: leaf, or the entry that faulted */
	u32 top_level;	 /* where the walk began: 4 or 5 unless a paging-structure cache hit */
	u32 result;	 /* XLATE_* */
	u32 error_code;	 /* PF_*, if XLATE_PF */
	u32 rights;	 /* X86_RW | X86_US, ANDed over the levels, if XLATE_OK */
	u32 xd;		 /* 1 if any level says XD */
	u32 dirty;	 /* 1 if D of the leaf is set */
	u32 global;	 /* 1 if G of the leaf is set and CR4.PGE is on */
	u32 shstk; /* 1 if the page is a shadow-stack page: R/W 0 and D 1 in the leaf, R/W 1 above
		    */
	u32 pkey;  /* protection key of the leaf, if XLATE_OK */
};

/* What an access may do next without asking again: what a soft TLB may keep. */
struct translation {
	u64 pa;		 /* of the address asked for */
	u32 perms;	 /* PERM_*; W only once D is set */
	u32 level;	 /* page size: 1 4 KiB, 2 2 MiB, 3 1 GiB */
	u32 memory_type; /* MEMORY_*, as the leaf and IA32_PAT say */
	u32 result;	 /* XLATE_* */
	u32 error_code;
};
/* cffi-end */

/* Whether bits 63:47 (63:56 with 5 levels) of a linear address are all equal (SDM vol. 1 3.3.7.1).
 */
static inline bool va_is_canonical(u64 va, u32 levels)
{
	u32 unused = levels == 5 ? 7 : 16;

	return (u64)((s64)(va << unused) >> unused) == va;
}

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

#endif
