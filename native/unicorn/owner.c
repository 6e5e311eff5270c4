/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Through which virtual page each frame may be read and written (exact and trace).
 *
 * Unicorn tells memory hooks guest-physical addresses. The virtual one is known because, at any
 * time, a frame is open to loads and stores through one virtual page only: its owner.
 */
#include "unicorn/vcpu.h"

#define VPN_BITS 45 /* of a canonical 57-bit address */
#define VPN_MASK ((1ull << VPN_BITS) - 1)
#define OWNER_EPOCHS (1ull << (64 - VPN_BITS))

/*
 * Whose a frame is, and since which epoch; an older epoch's owner is nobody.
 *
 *   63      45 44                                0
 *  +----------+-----------------------------------+
 *  |  epoch   | virtual page number (va[56:12])   |
 *  +----------+-----------------------------------+
 */
static u64 owner_tag(const struct vcpu *v, u64 va)
{
	return (v->owner_epoch << VPN_BITS) | (va >> PAGE_SHIFT & VPN_MASK);
}

static bool owned(const struct vcpu *v, u64 slot)
{
	return slot >> VPN_BITS == v->owner_epoch;
}

static u64 slot_address(u64 slot)
{
	return (u64)((s64)(slot << (64 - VPN_BITS)) >> (64 - VPN_BITS)) << PAGE_SHIFT;
}

/* The page that owns pa's frame; NO_ADDRESS if none does, or va's. The frame is open. */
u64 other_owner(struct vcpu *v, u64 pa, u64 va)
{
	u64 slot = *frame_owner(v, pa);

	return owned(v, slot) && slot != owner_tag(v, va) ? slot_address(slot) : NO_ADDRESS;
}

/* Make va's page the owner of pa's frame, which is open. */
void set_owner(struct vcpu *v, u64 pa, u64 va)
{
	*frame_owner(v, pa) = owner_tag(v, va);
}

/* Make va's page the owner of pa's frame unless another is; returns whether it is now. */
bool claim(struct vcpu *v, u64 pa, u64 va)
{
	u64 *slot = frame_owner(v, pa);

	if (!owned(v, *slot))
		*slot = owner_tag(v, va);
	return *slot == owner_tag(v, va);
}

/* No frame is anybody's.  When the epochs are used up, tags of long ago must not seem to be of now.
 */
void disown_all(struct vcpu *v)
{
	if (++v->owner_epoch < OWNER_EPOCHS)
		return;
	v->owner_epoch = 1;
	clear_owners(v);
}

/* The virtual address of an access that a memory hook knows as pa; NO_ADDRESS if nobody owns it. */
u64 owner_address(struct vcpu *v, u64 pa)
{
	u64 *slot = frame_owner(v, pa);

	return slot && owned(v, *slot) ? slot_address(*slot) | (pa & ~PAGE_MASK) : NO_ADDRESS;
}

u64 vcpu_hook_address(struct vcpu *v, u64 pa)
{
	return owner_address(v, guest_physical(pa));
}
