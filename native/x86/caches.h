/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paging-structure caches (SDM vol. 3A 4.10.3). */
#ifndef UCMMU_X86_CACHES_H
#define UCMMU_X86_CACHES_H

#include "x86/walk.h"

/* Where a walk for va may begin; *hit is the paging-structure cache entry it rests on, or NULL. */
struct walk_start psc_start(struct mmu_unit *u, u64 va, struct tlb_entry **hit);
/* Enter the table-referencing entries that a completed walk read. */
void psc_fill(struct mmu_unit *u, const struct walk *w, const struct walk_start *from);
/* Drop the entries of a PCID that a walk for va would use. */
void psc_drop_address(struct mmu_unit *u, u64 va, u16 pcid);
/* Drop every entry of a PCID. */
void psc_drop_context(struct mmu_unit *u, u16 pcid);
/* Drop the entries of every PCID; only those that a walk for va would use, if that is all. */
void psc_drop_any(struct mmu_unit *u, u64 va, bool only_va);

#endif
