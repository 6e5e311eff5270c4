/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INVLPG, INVPCID, INVLPGB, and dropping everything (SDM vol. 3A 4.10.4.1). */
#ifndef UCMMU_X86_INVALIDATE_H
#define UCMMU_X86_INVALIDATE_H

#include "x86/state.h"

/* cffi-begin */
/* INVLPG: va's entries of the current PCID, global ones of any, and its paging-structure caches
 * (AMD's TCE: va's). */
void mmu_invlpg(struct mmu_unit *u, u64 va);
/* INVPCID type 0-3 (SDM vol. 2A INVPCID). XLATE_OK, XLATE_GP for an illegal descriptor, XLATE_UD
 * without the feature. */
u32 mmu_invpcid(struct mmu_unit *u, u32 type, u64 pcid, u64 va);
/* INVLPGB (APM vol. 3 INVLPGB): what it does to this processor. XLATE_OK, XLATE_GP, XLATE_UD. */
u32 mmu_invlpgb(struct mmu_unit *u, u64 rax, u32 ecx, u32 edx);
/* Drop every entry, global ones too. */
void mmu_flush_all(struct mmu_unit *u);
/* Entries of tables changed without a flush: consumers must ask again, the model keeps what it has.
 */
void mmu_tables_changed(struct mmu_unit *u);
/* cffi-end */

/* Drop every entry of every PCID; what: DROP_GLOBAL or 0.  Counted, with its event. */
void drop_all(struct mmu_unit *u, u32 what);
/* Name everything in the list of what a consumer must forget. */
void forget_everything(struct mmu_unit *u);

#endif
