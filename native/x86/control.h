/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes of the registers that paging depends on. */
#ifndef UCMMU_X86_CONTROL_H
#define UCMMU_X86_CONTROL_H

#include "x86/state.h"

/* cffi-begin */
/*
 * Register writes.  Each answers XLATE_OK, or XLATE_GP and changes nothing where the manuals say
 * #GP; those that a processor's mode or CPL forbids are the caller's to know.
 */
/* MOV to CR3: switches tables; without bit 63 drops the PCID's non-global entries. */
u32 mmu_write_cr3(struct mmu_unit *u, u64 value);
/* MOV to CR4 and CR0: what the change of bits invalidates (SDM 4.10.4.1). XLATE_LEGACY: PG without
 * EFER.LME. */
u32 mmu_write_cr4(struct mmu_unit *u, u64 value);
u32 mmu_write_cr0(struct mmu_unit *u, u64 value);
/* WRMSR of EFER, IA32_PAT, IA32_PKRS; WRPKRU. */
u32 mmu_write_efer(struct mmu_unit *u, u64 value);
u32 mmu_write_pat(struct mmu_unit *u, u64 value);
u32 mmu_write_pkrs(struct mmu_unit *u, u64 value);
u32 mmu_write_pkru(struct mmu_unit *u, u64 value);
/* cffi-end */

#endif
