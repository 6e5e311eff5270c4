/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The walk that finds nothing to do: 4 KiB page, every entry present and accessed, nothing
 * reserved, the access allowed, D set if it writes, tables where one comparison finds them.
 * It only reads, so whatever it does not expect it leaves to the full walk, which starts afresh.
 */
#ifndef UCMMU_X86_WARM_H
#define UCMMU_X86_WARM_H

#include "x86/rights.h"
#include "x86/walk.h"

/* The kernel's: the compiler knows nothing of the variable's value any more. */
#define OPTIMIZER_HIDE_VAR(var) __asm__("" : "=r"(var) : "0"(var))

/* The four entries of a 4 KiB page. */
struct warm {
	u64 pml4e, pdpte, pde, pte;
};

/*
 * Bytes of the block at the start of guest RAM that is a power of two and as aligned as it is
 * long: an address lies in it if its bits above the block's are those of RAM's base.
 */
static always_inline u64 warm_block(const struct memory *ram)
{
	u64 block = 1ull << (63 - __builtin_clzll(ram->size)), aligned = ram->base & -ram->base;

	return ram->base && aligned < block ? aligned : block;
}

/*
 * Read the entry of va in a table known to lie in guest RAM.  Each load waits for the one before,
 * so all that does not depend on table is added up first; left to itself the compiler adds it last.
 */
static always_inline u64 warm_entry(uintptr_t bias, u64 table, u64 va, u32 level)
{
	uintptr_t row = bias + entry_offset(va, level);

	OPTIMIZER_HIDE_VAR(row);
	return __atomic_load_n((u64 *)(row + (table & X86_ADDR_MASK)), __ATOMIC_RELAXED);
}

/*
 * Read the four entries of va; false if one above the PTE is not as the full walk would leave it.
 * One comparison an entry asks for P, A, no PS, U/S if user, and an address in the block: then no
 * bit that MAXPHYADDR reserves is set either, and under NXE no other bit is reserved.
 * In exact it declines, for the full walk marks tables there, and where CR4 has more to say than it
 * knows. AMD reserves bit 8 of a PML4E or PML5E: the full walk looks into that.
 */
static always_inline bool warm_to_pte(const struct mmu_unit *u, u64 va, u32 privilege,
				      struct warm *e)
{
	const struct memory *ram = u->ram;
	const uintptr_t bias = (uintptr_t)ram->ram - ram->base;
	const u64 outside = X86_ADDR_MASK & -warm_block(ram);
	const u64 used = X86_P | X86_A | (privilege == PRIVILEGE_USER ? X86_US : 0);
	const u64 mask = outside | used | X86_PS, want = ram->base | used;

	if (unlikely(!va_is_canonical(va, 4) || u->exact || !(u->cr0 & CR0_PG) ||
		     !(u->efer & EFER_NXE)))
		return false;
	if (unlikely(u->cr4 & (CR4_LA57 | CR4_PKE | CR4_CET | CR4_PKS)))
		return false;
	if (unlikely((u->cr3 & outside) != ram->base))
		return false;
	e->pml4e = warm_entry(bias, u->cr3, va, 4);
	if (unlikely((e->pml4e & (mask | X86_G)) != want))
		return false;
	e->pdpte = warm_entry(bias, e->pml4e, va, 3);
	if (unlikely((e->pdpte & mask) != want))
		return false;
	e->pde = warm_entry(bias, e->pdpte, va, 2);
	if (unlikely((e->pde & mask) != want))
		return false;
	e->pte = warm_entry(bias, e->pde, va, 1);
	return true;
}

/* Is the PTE as the full walk would leave it too? */
static always_inline bool pte_is_warm(const struct mmu_unit *u, u32 access, u32 privilege,
				      const struct warm *e)
{
	const u64 outside = X86_ADDR_MASK & -warm_block(u->ram);
	const u64 used = X86_P | X86_A | (privilege == PRIVILEGE_USER ? X86_US : 0) |
			 (sets_dirty(access) ? X86_D : 0);

	return (e->pte & (outside | used)) == (u->ram->base | used);
}

/* Read the four entries of va; false if one is not as the full walk would leave it. */
static always_inline bool walk_warm(const struct mmu_unit *u, u64 va, u32 access, u32 privilege,
				    struct warm *e)
{
	return warm_to_pte(u, va, privilege, e) && likely(pte_is_warm(u, access, privilege, e));
}

static always_inline u64 warm_rights(const struct warm *e)
{
	return e->pml4e & e->pdpte & e->pde & e->pte & (X86_RW | X86_US);
}

static always_inline u64 warm_xd(const struct warm *e)
{
	return (e->pml4e | e->pdpte | e->pde | e->pte) >> 63;
}

static always_inline u64 warm_pa(const struct warm *e, u64 va)
{
	return (e->pte & X86_ADDR_MASK) | (va & ~PAGE_MASK);
}

_Static_assert(PERM_W == X86_RW && X86_D == X86_RW << 5, "one shift lays D over R/W, and R/W is W");

/* permissions() of a warm walk, W only if D is set. */
static always_inline u32 warm_permissions(const struct mmu_unit *u, const struct warm *e,
					  u32 privilege)
{
	u32 rights = warm_rights(e) | warm_xd(e) * TLB_XD;

	if (unlikely(privilege != PRIVILEGE_USER))
		return perms_if_dirty(permissions(u, rights, 0, privilege), e->pte & X86_D);
	return PERM_R | (warm_rights(e) & e->pte >> 5 & PERM_W) | (PERM_X & (warm_xd(e) - 1));
}

#endif
