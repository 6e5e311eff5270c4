/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers that paging depends on, and what a processor has of what is optional. */
#ifndef UCMMU_X86_REGISTERS_H
#define UCMMU_X86_REGISTERS_H

#include "types.h"

/* cffi-begin */
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

/* Memory types, by their encodings (SDM vol. 3A table 12-2). */
#define MEMORY_UC 0
#define MEMORY_WC 1
#define MEMORY_WT 4
#define MEMORY_WP 5
#define MEMORY_WB 6
#define MEMORY_UC_MINUS 7 /* in IA32_PAT only: UC that an MTRR may make WC */
/* cffi-end */

/* Whether bits 63:47 (63:56 with 5 levels) of a linear address are all equal (SDM vol. 1 3.3.7.1).
 */
static inline bool va_is_canonical(u64 va, u32 levels)
{
	u32 unused = levels == 5 ? 7 : 16;

	return (u64)((s64)(va << unused) >> unused) == va;
}

#endif
