// SPDX-License-Identifier: GPL-2.0-or-later
/* Writes of the registers that paging depends on: which values are illegal, and what a change
 * invalidates. */
#include "x86/control.h"

#include "x86/check.h"
#include "x86/invalidate.h"
#include "x86/tlb.h"
#include "x86/walk.h"

/* CR0's bits; those of 31:0 that are none are ignored (SDM vol. 3A 2.5). */
#define CR0_DEFINED 0xe005003full
/* CR4's bits that do not concern paging: VME to PCE but PGE, OSFXSR to UMIP, VMXE, SMXE, FSGSBASE,
 * OSXSAVE. */
#define CR4_OTHERS 0x56f7full

/* The bits that may be set in CR4, given what the processor has. */
static u64 cr4_legal(const struct mmu_unit *u)
{
	static const struct {
		u32 feature;
		u64 bit;
	} optional[] = {
		{ FEATURE_PGE, CR4_PGE },    { FEATURE_PCID, CR4_PCIDE },
		{ FEATURE_SMEP, CR4_SMEP },  { FEATURE_SMAP, CR4_SMAP },
		{ FEATURE_PKU, CR4_PKE },    { FEATURE_PKS, CR4_PKS },
		{ FEATURE_CET_SS, CR4_CET }, { FEATURE_LA57, CR4_LA57 },
	};
	u64 legal = CR4_OTHERS;

	for (u32 i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
		if (has_feature(u, optional[i].feature))
			legal |= optional[i].bit;
	return legal;
}

/* Why MOV to CR0 of value is illegal (SDM vol. 2B MOV to CR), or XLATE_OK. */
static u32 check_cr0(const struct mmu_unit *u, u64 value)
{
	u64 changed = u->cr0 ^ value;

	if (value >> 32 || (value & CR0_NW && !(value & CR0_CD)) ||
	    (value & CR0_PG && !(value & CR0_PE)))
		return XLATE_GP;
	if (u->cr4 & CR4_CET && !(value & CR0_WP))
		return XLATE_GP;
	if (!(changed & CR0_PG))
		return XLATE_OK;
	if (!(value & CR0_PG))
		return u->cr4 & CR4_PCIDE ? XLATE_GP : XLATE_OK;
	if (!(u->efer & EFER_LME))
		return XLATE_LEGACY;
	return u->cr4 & CR4_PAE ? XLATE_OK : XLATE_GP;
}

u32 mmu_write_cr0(struct mmu_unit *u, u64 value)
{
	u32 result = check_cr0(u, value);
	u64 changed;

	if (result != XLATE_OK)
		return result;
	value &= CR0_DEFINED;
	changed = u->cr0 ^ value;
	u->cr0 = value;
	if (value & CR0_PG)
		u->efer |= EFER_LMA;
	else
		u->efer &= ~(u64)EFER_LMA;
	if (changed & CR0_PG && (!(value & CR0_PG) || u->vendor == VENDOR_AMD))
		drop_all(u, DROP_GLOBAL);
	if (changed)
		forget_everything(u);
	return XLATE_OK;
}

u32 mmu_write_cr3(struct mmu_unit *u, u64 value)
{
	bool pcide = u->cr4 & CR4_PCIDE, keep = value & CR3_NOFLUSH;
	u64 reserved = ~0ull << u->maxphyaddr;

	if (value & (pcide ? reserved & ~CR3_NOFLUSH : reserved))
		return XLATE_GP;
	emit(u->ring, mov_cr3, value);
	if ((u->cr3 ^ value) & X86_ADDR_MASK)
		u->table_gen++; /* entries that stay are of other tables */
	u->cr3 = value & ~CR3_NOFLUSH;
	if (unlikely(u->check))
		check_load(u, u->cr3 & X86_ADDR_MASK, current_pcid(u), keep);
	if (!keep) {
		u->counter[COUNTER_tlb_invalidations]++;
		tlb_drop_context(u, current_pcid(u), 0);
	}
	tlb_switch_pcid(u, current_pcid(u));
	forget_everything(u);
	return XLATE_OK;
}

/* Why MOV to CR4 of value is illegal (SDM vol. 2B MOV to CR, vol. 3A 2.5 and 4.10.1), or XLATE_OK.
 */
static u32 check_cr4(const struct mmu_unit *u, u64 value)
{
	u64 changed = u->cr4 ^ value, set = changed & value;
	bool lma = u->efer & EFER_LMA;

	if (value & ~cr4_legal(u) || (value & CR4_CET && !(u->cr0 & CR0_WP)))
		return XLATE_GP;
	if (lma && (!(value & CR4_PAE) || changed & CR4_LA57))
		return XLATE_GP;
	if (set & CR4_PCIDE && (!lma || u->cr3 & CR3_PCID_MASK))
		return XLATE_GP;
	return XLATE_OK;
}

/* Bits of CR4 whose change drops everything, and whose setting drops the current PCID's entries,
 * global ones too. */
static u64 cr4_drops_all(const struct mmu_unit *u)
{
	return u->vendor == VENDOR_AMD ? CR4_PSE | CR4_PAE | CR4_PGE : CR4_PGE;
}

u32 mmu_write_cr4(struct mmu_unit *u, u64 value)
{
	u64 changed = u->cr4 ^ value, set = changed & value, cleared = changed & u->cr4;
	bool all = changed & cr4_drops_all(u) || cleared & CR4_PCIDE;
	bool context = !all && u->vendor == VENDOR_INTEL && (changed & CR4_PAE || set & CR4_SMEP);
	u16 pcid = current_pcid(u);

	if (check_cr4(u, value) != XLATE_OK)
		return XLATE_GP;
	if (changed)
		emit(u->ring, mov_cr4, u->cr4, value, context);
	u->cr4 = value;
	if (all) {
		drop_all(u, DROP_GLOBAL);
	} else if (context) {
		u->counter[COUNTER_tlb_invalidations]++;
		tlb_drop_context(u, pcid, DROP_GLOBAL);
	}
	if (changed & CR4_PCIDE)
		tlb_switch_pcid(u, current_pcid(u));
	if (changed)
		forget_everything(u);
	return XLATE_OK;
}

/* WRMSR of EFER (SDM vol. 4, APM vol. 2 3.1.7): reserved bits, and LME while paging is on, are #GP;
 * LMA stays. */
u32 mmu_write_efer(struct mmu_unit *u, u64 value)
{
	u64 legal = EFER_SCE | EFER_LME | EFER_LMA;

	if (has_feature(u, FEATURE_NX))
		legal |= EFER_NXE;
	if (has_feature(u, FEATURE_TCE))
		legal |= EFER_TCE;
	if (value & ~legal || ((u->efer ^ value) & EFER_LME && u->cr0 & CR0_PG))
		return XLATE_GP;
	value = (value & ~(u64)EFER_LMA) | (u->efer & EFER_LMA);
	if (value != u->efer)
		mmu_tables_changed(u); /* NXE decides what XD means */
	u->efer = value;
	return XLATE_OK;
}

/* WRMSR of IA32_PAT: eight bytes, each a memory type (SDM vol. 3A 12.12.2); 2, 3 and the rest are
 * reserved. */
u32 mmu_write_pat(struct mmu_unit *u, u64 value)
{
	static const u8 legal = 1 << MEMORY_UC | 1 << MEMORY_WC | 1 << MEMORY_WT | 1 << MEMORY_WP |
				1 << MEMORY_WB | 1 << MEMORY_UC_MINUS;

	for (u32 i = 0; i < 64; i += 8)
		if ((value >> i & 0xff) > MEMORY_UC_MINUS || !(legal >> (value >> i & 7) & 1))
			return XLATE_GP;
	u->pat = value;
	return XLATE_OK;
}

/* WRPKRU, for which bits 63:32 (EDX) must be 0 (SDM vol. 2D WRPKRU); #UD without CR4.PKE. */
u32 mmu_write_pkru(struct mmu_unit *u, u64 value)
{
	if (!(u->cr4 & CR4_PKE))
		return XLATE_UD;
	if (value >> 32)
		return XLATE_GP;
	if (u->pkru != value)
		forget_everything(u);
	u->pkru = value;
	return XLATE_OK;
}

/* WRMSR of IA32_PKRS (SDM vol. 3A 4.6.2): bits 63:32 are reserved, and without PKS there is no such
 * register. */
u32 mmu_write_pkrs(struct mmu_unit *u, u64 value)
{
	if (value >> 32 || !has_feature(u, FEATURE_PKS))
		return XLATE_GP;
	if (u->pkrs != value)
		forget_everything(u);
	u->pkrs = value;
	return XLATE_OK;
}
