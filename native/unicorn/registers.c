/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers that paging depends on, where the guest or whoever owns the instance changes them
 * in Unicorn: CR0, CR3, CR4, EFER, PKRU and RFLAGS.AC are looked at before each run and each look,
 * at each fill, and behind instructions that write them; what has changed is written to the MMU.
 */
#include "unicorn/vcpu.h"

/* EFER's bits that are brought over: LMA the MMU keeps itself, others Unicorn has for no use. */
#define EFER_OURS (EFER_SCE | EFER_LME | EFER_NXE | EFER_TCE)

static u64 read_msr(const struct vcpu *v, u32 nr)
{
	uc_x86_msr msr = { .rid = nr };

	UC(v, reg_read)(v->uc, UC_X86_REG_MSR, &msr);
	return msr.value;
}

static void write_msr(const struct vcpu *v, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &msr);
}

static u64 read_efer(const struct vcpu *v)
{
	return private_has(v, PRIVATE_ENV) ? *private_efer(v) : read_msr(v, MSR_EFER);
}

static void read_controls(const struct vcpu *v, struct controls *now)
{
	now->cr0 = reg_read(v, UC_X86_REG_CR0);
	now->cr3 = reg_read(v, UC_X86_REG_CR3);
	now->cr4 = reg_read(v, UC_X86_REG_CR4);
	now->efer = read_efer(v);
}

static bool is_same(const struct controls *a, const struct controls *b)
{
	return a->cr0 == b->cr0 && a->cr3 == b->cr3 && a->cr4 == b->cr4 && a->efer == b->efer;
}

static struct controls controls_of_mmu(const struct vcpu *v)
{
	const struct mmu_unit *u = v->mmu;

	return (struct controls){ u->cr0, u->cr3, u->cr4, u->efer };
}

static u32 set_cr0(struct vcpu *v, u64 value)
{
	return value == v->mmu->cr0 ? XLATE_OK : MMU(v, mmu_write_cr0, write_cr0)(v->mmu, value);
}

static u32 set_cr3(struct vcpu *v, u64 value)
{
	return value == v->mmu->cr3 ? XLATE_OK : MMU(v, mmu_write_cr3, write_cr3)(v->mmu, value);
}

static u32 set_cr4(struct vcpu *v, u64 value)
{
	return value == v->mmu->cr4 ? XLATE_OK : MMU(v, mmu_write_cr4, write_cr4)(v->mmu, value);
}

static u32 set_efer(struct vcpu *v, u64 value)
{
	if ((value ^ v->mmu->efer) & EFER_OURS)
		return MMU(v, mmu_write_efer, write_efer)(v->mmu, value & ~(u64)EFER_LMA);
	return XLATE_OK;
}

/*
 * Each register by a write of its own, CR3 before CR4, whose PCIDE may ask its PCID to be 0.
 * result[]: of EFER, CR3, CR0, CR4.
 */
static u32 write_each(struct vcpu *v, const struct controls *want, u32 result[4])
{
	result[0] = set_efer(v, want->efer);
	result[1] = set_cr3(v, want->cr3);
	result[2] = set_cr0(v, want->cr0);
	result[3] = set_cr4(v, want->cr4);
	for (u32 i = 0; i < 4; i++)
		if (result[i] != XLATE_OK)
			return result[i];
	return XLATE_OK;
}

/*
 * All registers at once, as a script sets them or restores a context: a state may be legal although
 * no order of single writes is. By way of paging off, where what depends on it may change.
 */
static u32 write_all(struct vcpu *v, const struct controls *want)
{
	const u64 late = CR4_PCIDE | CR4_CET;
	u32 result = set_cr4(v, v->mmu->cr4 & ~late);

	if (result == XLATE_OK)
		result = set_cr0(v, v->mmu->cr0 & ~(u64)CR0_PG);
	if (result == XLATE_OK)
		result = set_efer(v, want->efer);
	if (result == XLATE_OK)
		result = set_cr4(v, want->cr4 & ~late);
	if (result == XLATE_OK)
		result = set_cr3(v, want->cr3 & PAGE_MASK & ~(u64)CR3_NOFLUSH);
	if (result == XLATE_OK)
		result = set_cr0(v, want->cr0);
	if (result == XLATE_OK)
		result = set_cr4(v, want->cr4);
	return result == XLATE_OK ? set_cr3(v, want->cr3) : result;
}

/* Put back what Unicorn holds and the MMU does not take, as result[] says. */
static void put_back(struct vcpu *v, struct controls *now, const u32 result[4])
{
	if (result[0] != XLATE_OK)
		write_msr(v, MSR_EFER, now->efer = v->seen.efer);
	if (result[1] != XLATE_OK)
		reg_write(v, UC_X86_REG_CR3, now->cr3 = v->seen.cr3);
	if (result[2] != XLATE_OK)
		reg_write(v, UC_X86_REG_CR0, now->cr0 = v->seen.cr0);
	if (result[3] != XLATE_OK)
		reg_write(v, UC_X86_REG_CR4, now->cr4 = v->seen.cr4);
}

/* CR0 as it was before PG was cleared, and 64-bit code, which Unicorn left with that. */
static void restore_paging(struct vcpu *v)
{
	reg_write(v, UC_X86_REG_CR0, v->seen.cr0);
	write_msr(v, MSR_EFER, v->seen.efer);
	if (env_has(v, ENV_HFLAGS))
		env_set(v, ENV_HFLAGS, env_get(v, ENV_HFLAGS) | HF_LMA | HF_CS64);
}

/* MOV from CR3 reads bit 63 as 0 (SDM vol. 2B MOV to CR); Unicorn keeps it. */
static void clear_no_flush(struct vcpu *v, struct controls *now)
{
	if (!(now->cr3 & CR3_NOFLUSH))
		return;
	now->cr3 &= ~CR3_NOFLUSH;
	reg_write(v, UC_X86_REG_CR3, now->cr3);
}

/* What the MMU is to hold: its own, with the bits that differ from those seen as they are now. */
static struct controls wanted(const struct vcpu *v, const struct controls *now)
{
	struct controls want = controls_of_mmu(v);

	want.cr0 ^= v->seen.cr0 ^ now->cr0;
	want.cr4 ^= v->seen.cr4 ^ now->cr4;
	want.efer ^= (v->seen.efer ^ now->efer) & EFER_OURS;
	if (now->cr3 != v->seen.cr3)
		want.cr3 = now->cr3;
	return want;
}

/* write_all(), or, if not even that will do, nothing of it. */
static bool try_all(struct vcpu *v, const struct controls *want)
{
	struct controls before = controls_of_mmu(v);

	if (write_all(v, want) == XLATE_OK)
		return true;
	write_all(v, &before);
	return false;
}

/*
 * Registers were changed: tell the MMU, and take back what no processor would hold. by_guest: by
 * one instruction, of which the order of writes is known. Returns why something was taken back.
 */
static u32 bring_over(struct vcpu *v, struct controls *now, bool by_guest)
{
	struct controls want = wanted(v, now);
	u32 result[4], why = write_each(v, &want, result);

	forget_memos(v);
	if (why != XLATE_OK) {
		if (!by_guest && try_all(v, &want))
			why = XLATE_OK;
		else
			put_back(v, now, result);
	}
	clear_no_flush(v, now);
	v->seen = *now;
	return why;
}

/* Bring RFLAGS over, of whose bits AC matters. */
void sync_ac(struct vcpu *v)
{
	u64 rflags = reg_read(v, UC_X86_REG_EFLAGS);

	if ((rflags ^ v->mmu->rflags) & RFLAGS_AC)
		forget_memos(v);
	v->mmu->rflags = rflags;
}

/* RFLAGS, of whose bits AC matters, under SMAP; and PKRU, under CR4.PKE, which counts at once. */
static void sync_user_rights(struct vcpu *v)
{
	u32 pkru;

	if (v->mmu->cr4 & CR4_SMAP)
		sync_ac(v);
	if (!(v->mmu->cr4 & CR4_PKE))
		return;
	pkru = env_get(v, ENV_PKRU);
	if (pkru == v->mmu->pkru)
		return;
	MMU(v, mmu_write_pkru, write_pkru)(v->mmu, pkru);
	forget_memos(v);
}

/* Bring over what a script, or the guest, has changed. What no processor would hold is put back. */
void control_sync(struct vcpu *v)
{
	struct controls now;

	read_controls(v, &now);
	if (unlikely(!is_same(&now, &v->seen)))
		bring_over(v, &now, false);
	sync_user_rights(v);
}

/* A MOV to CR0 or CR4 is #GP, which Unicorn has executed: the registers are as before. XLATE_GP. */
u32 control_refuse_cr0_cr4(struct vcpu *v)
{
	struct controls now;

	read_controls(v, &now);
	if (v->seen.cr0 & ~now.cr0 & CR0_PG)
		restore_paging(v);
	reg_write(v, UC_X86_REG_CR0, v->seen.cr0);
	reg_write(v, UC_X86_REG_CR4, v->seen.cr4);
	return XLATE_GP;
}

/* MOV to CR0 or CR4 of the guest's. XLATE_OK, or XLATE_GP, and the register is as it was before. */
u32 control_load_cr0_cr4(struct vcpu *v)
{
	struct controls now;
	u32 result;

	read_controls(v, &now);
	if (v->seen.cr0 & ~now.cr0 & CR0_PG) { /* in 64-bit mode (SDM vol. 2B MOV to CR) */
		restore_paging(v);
		return XLATE_GP;
	}
	result = bring_over(v, &now, true);
	sync_user_rights(v);
	return result;
}

/* WRMSR ends no block: has the guest written EFER, or PKRU, since its block began? */
void control_look(struct vcpu *v)
{
	if (unlikely(read_efer(v) != v->seen.efer))
		control_sync(v);
	else
		sync_user_rights(v);
}

/* MOV to CR3, which counts even if the value is the same. */
u32 control_load_cr3(struct vcpu *v)
{
	struct controls now = v->seen;
	u32 result;

	now.cr3 = reg_read(v, UC_X86_REG_CR3);
	result = MMU(v, mmu_write_cr3, write_cr3)(v->mmu, now.cr3);
	if (result != XLATE_OK) {
		reg_write(v, UC_X86_REG_CR3, v->seen.cr3);
		return result;
	}
	forget_memos(v);
	clear_no_flush(v, &now);
	v->seen = now;
	return XLATE_OK;
}

/* As Unicorn holds them now the registers are known to the MMU. */
void control_begin(struct vcpu *v)
{
	read_controls(v, &v->seen);
}

/*
 * An instance that owns its paging is attached to: make all of its registers the MMU's, and change
 * none of them. XLATE_OK, or why no processor like the MMU's would hold them.
 */
u32 vcpu_take_controls(struct vcpu *v)
{
	struct controls now, before = controls_of_mmu(v), want;
	u32 result;

	read_controls(v, &now);
	want = now;
	want.cr3 &= ~CR3_NOFLUSH;
	want.efer = (before.efer & ~(u64)EFER_OURS) | (now.efer & EFER_OURS);
	result = write_all(v, &want);
	if (result != XLATE_OK) {
		write_all(v, &before);
		return result;
	}
	v->seen = now;
	sync_user_rights(v);
	forget_memos(v);
	return XLATE_OK;
}
