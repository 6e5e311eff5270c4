/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an access may do by the rights of a page, its key and the registers (SDM vol. 3A 4.6). */
#ifndef UCMMU_X86_RIGHTS_H
#define UCMMU_X86_RIGHTS_H

#include "x86/faults.h"
#include "x86/state.h"
#include "x86/walk.h"

/* Rights of one more entry on the way: R/W and U/S by AND, XD by OR (SDM vol. 3A 4.6.1). */
static inline u32 combine(u32 rights, u64 entry)
{
	return (rights & (entry | TLB_XD)) | (entry >> 63) * TLB_XD;
}

/* Is a page of these rights a shadow-stack page: R/W only missing in the leaf, whose D is set (SDM
 * vol. 3A 4.6.1)? */
static inline bool is_shadow_stack(u32 above, u64 leaf)
{
	return above & X86_RW && (leaf & (X86_RW | X86_D)) == X86_D;
}

/*
 * PERM_* that the protection key of a page takes away (SDM vol. 3A 4.6.2): PKRU's for user pages
 * under CR4.PKE, IA32_PKRS's for supervisor pages under CR4.PKS; never fetches.
 */
static inline u32 denied_by_key(const struct mmu_unit *u, u32 rights, u32 pkey, u32 privilege)
{
	bool user_page = rights & TLB_US, keyed = u->cr4 & (user_page ? CR4_PKE : CR4_PKS);
	u32 key = keyed ? (user_page ? u->pkru : u->pkrs) >> 2 * pkey & 3 : 0;

	if (key & PKR_AD)
		return PERM_R | PERM_W | PERM_SHSTK;
	if (key & PKR_WD && (u->cr0 & CR0_WP || (user_page && privilege == PRIVILEGE_USER)))
		return PERM_W | 1u << ACCESS_SHSTK_WRITE;
	return 0;
}

/*
 * PERM_* that combined rights (TLB_RW, US, XD, SHSTK) and a protection key give to one privilege
 * (SDM vol. 3A 4.6), D not considered.  Bit number ACCESS_* of the result is the answer for that
 * access.
 */
static inline u32 permissions(const struct mmu_unit *u, u32 rights, u32 pkey, u32 privilege)
{
	bool fetchable = !(rights & TLB_XD && u->efer & EFER_NXE);
	u32 perms = 0;

	if (likely(privilege == PRIVILEGE_USER)) {
		if (unlikely(!(rights & TLB_US)))
			return 0;
		perms = PERM_R | (rights & TLB_RW ? PERM_W : 0) | (fetchable ? PERM_X : 0);
		if (rights & TLB_SHSTK && u->cr4 & CR4_CET)
			perms |= PERM_SHSTK;
	} else {
		bool ac = privilege == PRIVILEGE_SUPERVISOR && u->rflags & RFLAGS_AC;

		if (!(rights & TLB_US) || !(u->cr4 & CR4_SMAP) || ac) {
			perms |= PERM_R;
			if (rights & TLB_RW || !(u->cr0 & CR0_WP))
				perms |= PERM_W;
		}
		if (fetchable && !(rights & TLB_US && u->cr4 & CR4_SMEP))
			perms |= PERM_X;
		if (rights & TLB_SHSTK && !(rights & TLB_US) && u->cr4 & CR4_CET)
			perms |= PERM_SHSTK;
	}
	if (unlikely(u->cr4 & (CR4_PKE | CR4_PKS)))
		perms &= ~denied_by_key(u, rights, pkey, privilege);
	return perms;
}

/* Does the access set D (SDM vol. 3A 4.8)?  A shadow-stack page has it set. */
static inline bool sets_dirty(u32 access)
{
	return access == ACCESS_WRITE || access == ACCESS_RMW;
}

static inline bool allows(u32 perms, u32 access)
{
	return perms >> (access == ACCESS_RMW ? ACCESS_WRITE : access) & 1;
}

/* The error code of a fault (SDM vol. 3A 4.7); why is 0, PF_P, PF_P | PF_PK or PF_P | PF_RSVD. */
static inline u32 error_code_of(const struct mmu_unit *u, u32 access, u32 privilege, u32 why)
{
	u32 code = why;

	if (sets_dirty(access) || access == ACCESS_SHSTK_WRITE)
		code |= PF_WR;
	if (privilege == PRIVILEGE_USER)
		code |= PF_US;
	if (access == ACCESS_FETCH &&
	    (u->cr4 & CR4_SMEP || (u->cr4 & CR4_PAE && u->efer & EFER_NXE)))
		code |= PF_ID;
	if (access == ACCESS_SHSTK_READ || access == ACCESS_SHSTK_WRITE)
		code |= PF_SS;
	return code;
}

/* Why rights that do not allow an access forbid it: PF_PK where its key alone would. */
static inline u32 why_denied(const struct mmu_unit *u, u32 rights, u32 pkey, u32 access,
			     u32 privilege)
{
	return allows(denied_by_key(u, rights, pkey, privilege), access) ? PF_P | PF_PK : PF_P;
}

/* What is left of perms for a cache that does not come back to have D set. */
static inline u32 perms_if_dirty(u32 perms, u32 dirty)
{
	return dirty ? perms : perms & ~PERM_W;
}

#endif
