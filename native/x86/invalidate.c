// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * INVLPG, INVPCID, INVLPGB (SDM vol. 3A 4.10.4.1, APM vol. 2 5.5).
 * What the processor may drop besides, it keeps here: the least that the manuals ask for.
 */
#include "x86/invalidate.h"

#include "x86/caches.h"
#include "x86/tlb.h"
#include "x86/walk.h"

/* INVLPGB's operands (APM vol. 3 INVLPGB). */
#define INVLPGB_VA 0x1
#define INVLPGB_PCID 0x2
#define INVLPGB_ASID 0x4
#define INVLPGB_GLOBAL 0x8
#define INVLPGB_FINAL_ONLY 0x10
#define INVLPGB_NESTED 0x20
#define INVLPGB_RESERVED 0xfc0
#define INVLPGB_STRIDE_2M 0x80000000
#define INVLPGB_COUNT_MAX 7 /* CPUID Fn8000_0008_EDX[15:0] of Zen 3 */

void forget_everything(struct mmu_unit *u)
{
	mmu_soft_flush(u, 0, SOFT_FLUSH_MAX + 1);
}

/* va's page, whose size the tables may no longer tell: everything if any page was large. */
static void forget_page_of(struct mmu_unit *u, u64 va)
{
	if (u->large)
		forget_everything(u);
	else
		mmu_soft_flush(u, va, 1);
}

/*
 * The paging-structure caches that an invalidation of va's page drops: all of the PCID's (SDM vol.
 * 3A 4.10.4.1), under AMD's EFER.TCE only those that lead to va (APM vol. 2 3.1.7).
 */
static void drop_upper(struct mmu_unit *u, u64 va, u16 pcid)
{
	if (u->efer & EFER_TCE)
		psc_drop_address(u, va, pcid);
	else
		psc_drop_context(u, pcid);
}

void mmu_invlpg(struct mmu_unit *u, u64 va)
{
	u16 pcid = current_pcid(u);

	if (!canonical(u, va))
		return; /* a NOP (SDM vol. 2A, INVLPG) */
	emit(u->ring, invlpg, va);
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_address(u, va, pcid, DROP_GLOBAL);
	drop_upper(u, va, pcid);
	forget_page_of(u, va);
}

void drop_all(struct mmu_unit *u, u32 what)
{
	emit(u->ring, tlb_flush_all, !!(what & DROP_GLOBAL));
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_context(u, 0, what | DROP_ANY_PCID);
	forget_everything(u);
}

static void invpcid_address(struct mmu_unit *u, u16 pcid, u64 va)
{
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_address(u, va, pcid, 0);
	psc_drop_address(u, va, pcid);
	if (pcid == current_pcid(u))
		forget_page_of(u, va);
}

static void invpcid_context(struct mmu_unit *u, u16 pcid)
{
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_context(u, pcid, 0);
	if (pcid == current_pcid(u))
		forget_everything(u);
}

u32 mmu_invpcid(struct mmu_unit *u, u32 type, u64 pcid, u64 va)
{
	if (!has_feature(u, FEATURE_INVPCID))
		return XLATE_UD;
	if (type > 3 || pcid & ~(u64)CR3_PCID_MASK)
		return XLATE_GP;
	if (type <= 1 && pcid && !(u->cr4 & CR4_PCIDE))
		return XLATE_GP;
	if (type == 0 && !canonical(u, va))
		return XLATE_GP;
	emit(u->ring, invpcid, type, pcid, va);
	switch (type) {
	case 0:
		invpcid_address(u, pcid, va);
		break;
	case 1:
		invpcid_context(u, pcid);
		break;
	case 2:
		drop_all(u, DROP_GLOBAL);
		break;
	case 3:
		drop_all(u, 0);
		break;
	}
	return XLATE_OK;
}

/* Whose TLB entries INVLPGB's rAX asks for, as DROP_*. */
static u32 invlpgb_what(u64 rax)
{
	return (rax & INVLPGB_GLOBAL ? DROP_GLOBAL : 0) | (rax & INVLPGB_PCID ? 0 : DROP_ANY_PCID);
}

/* INVLPGB's paging-structure caches for the page at va. */
static void invlpgb_upper(struct mmu_unit *u, u64 rax, u16 pcid, u64 va)
{
	if (rax & INVLPGB_PCID)
		drop_upper(u, va, pcid);
	else
		psc_drop_any(u, va, u->efer & EFER_TCE);
}

/* INVLPGB's page at va: every PCID's translations, or those of pcid. */
static void invlpgb_page(struct mmu_unit *u, u64 rax, u16 pcid, u64 va)
{
	if (!canonical(u, va))
		return;
	tlb_drop_address(u, va, pcid, invlpgb_what(rax));
	if (!(rax & INVLPGB_FINAL_ONLY))
		invlpgb_upper(u, rax, pcid, va);
	if (!(rax & INVLPGB_PCID) || rax & INVLPGB_GLOBAL || pcid == current_pcid(u))
		forget_page_of(u, va);
}

/* INVLPGB without an address. */
static void invlpgb_all(struct mmu_unit *u, u64 rax, u16 pcid)
{
	tlb_drop_context(u, pcid, invlpgb_what(rax));
	forget_everything(u);
}

u32 mmu_invlpgb(struct mmu_unit *u, u64 rax, u32 ecx, u32 edx)
{
	u32 asid = edx & 0xffff, pcid = edx >> 16, count = ecx & 0xffff;
	u64 stride = ecx & INVLPGB_STRIDE_2M ? level_size(2) : level_size(1);

	if (!has_feature(u, FEATURE_INVLPGB))
		return XLATE_UD;
	if (rax & INVLPGB_RESERVED || pcid > CR3_PCID_MASK ||
	    (rax & INVLPGB_VA && count > INVLPGB_COUNT_MAX))
		return XLATE_GP;
	if (rax & INVLPGB_PCID && pcid && !(u->cr4 & CR4_PCIDE))
		return XLATE_GP;
	emit(u->ring, invlpgb, rax, ecx, edx);
	if (rax & INVLPGB_ASID && asid)
		return XLATE_OK; /* a guest's: nothing of it is here */
	u->counter[COUNTER_tlb_invalidations]++;
	if (!(rax & INVLPGB_VA))
		invlpgb_all(u, rax, pcid);
	else
		for (u32 i = 0; i <= count; i++)
			invlpgb_page(u, rax, pcid, (rax & PAGE_MASK) + i * stride);
	return XLATE_OK;
}

void mmu_flush_all(struct mmu_unit *u)
{
	drop_all(u, DROP_GLOBAL);
}

void mmu_tables_changed(struct mmu_unit *u)
{
	u->table_gen++;
	forget_everything(u);
}
