/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The index of VMAs: an array of pointers in order of address, found by bisection. */
#include "mm/mm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VMA_INDEX_MIN 64

/* Whether number i is the answer for addr: the first VMA that ends above it. */
static bool vma_index_is(const struct vma_index *vmas, u32 i, u64 addr)
{
	return i < vmas->nr && addr < vmas->vma[i]->vm_end &&
	       (i == 0 || vmas->vma[i - 1]->vm_end <= addr);
}

u32 vma_index_of(struct mm_struct *mm, u64 addr)
{
	struct vma_index *vmas = &mm->vmas;
	u32 low, high = vmas->nr;

	low = READ_ONCE(vmas->hint);
	if (likely(vma_index_is(vmas, low, addr)))
		return low;
	low = 0;
	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (vmas->vma[middle]->vm_end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	WRITE_ONCE(vmas->hint, low);
	return low;
}

struct vm_area_struct *find_vma(struct mm_struct *mm, u64 addr)
{
	u32 i = vma_index_of(mm, addr);

	return i < mm->vmas.nr ? mm->vmas.vma[i] : NULL;
}

bool vma_start_read(const struct mm_struct *mm, struct vm_area_struct *vma)
{
	u32 old = READ_ONCE(vma->vm_refcnt);

	if (READ_ONCE(vma->vm_lock_seq) == READ_ONCE(mm->mm_lock_seq))
		return false;
	do {
		if (!old || old >= VMA_LOCK_OFFSET)
			return false;
	} while (!__atomic_compare_exchange_n(&vma->vm_refcnt, &old, old + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	/* Acquires what the writer before changed: mm_lock_seq moves on when it unlocks. */
	if (likely(READ_ONCE(vma->vm_lock_seq) !=
		   __atomic_load_n(&mm->mm_lock_seq, __ATOMIC_ACQUIRE)))
		return true;
	vma_end_read(vma); /* a writer has locked it since the first look */
	return false;
}

struct vm_area_struct *lock_vma_under_rcu(struct mm_struct *mm, u64 addr)
{
	struct vm_area_struct *vma = find_vma(mm, addr);

	if (!vma || addr < vma->vm_start) {
		stat_inc(mm->kernel->counter[KERNEL_COUNTER_vma_lock_miss]);
		emit_from(__func__, mm->kernel->ring, vma_lock, VMA_LOCK_MISS, addr, mm->pgd);
		return NULL;
	}
	if (!vma_start_read(mm, vma)) {
		stat_inc(mm->kernel->counter[KERNEL_COUNTER_vma_lock_abort]);
		emit_from(__func__, mm->kernel->ring, vma_lock, VMA_LOCK_ABORT, addr, mm->pgd);
		return NULL;
	}
	return vma;
}

u32 vma_end_read(struct vm_area_struct *vma)
{
	u32 left;

	if ((READ_ONCE(vma->vm_refcnt) & (VMA_LOCK_OFFSET - 1)) <= 1)
		return VMA_READER_NONE;
	left = __atomic_sub_fetch(&vma->vm_refcnt, 1, __ATOMIC_RELEASE);
	return left == VMA_LOCK_OFFSET + 1 ? VMA_READER_LAST : VMA_READER_ONE;
}

/* Room for one more. 0, or -ENOMEM with the index unchanged. */
static int vma_index_grow(struct vma_index *vmas)
{
	u32 max = vmas->max ? 2 * vmas->max : VMA_INDEX_MIN;
	struct vm_area_struct **vma;

	if (vmas->nr < vmas->max)
		return 0;
	vma = realloc(vmas->vma, max * sizeof(*vma));
	if (!vma)
		return -ENOMEM;
	vmas->vma = vma;
	vmas->max = max;
	return 0;
}

int vma_insert(struct mm_struct *mm, const struct vm_area_struct *vma)
{
	struct vma_index *vmas = &mm->vmas;
	struct vm_area_struct *copy = malloc(sizeof(*copy));
	u32 at;

	if (!copy || vma_index_grow(vmas)) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *vma;
	copy->vm_refcnt = 1;
	copy->vm_lock_seq = mm->mm_lock_seq & 1 ? mm->mm_lock_seq : ~0u;
	at = vma_index_of(mm, copy->vm_start);
	memmove(vmas->vma + at + 1, vmas->vma + at, (vmas->nr - at) * sizeof(*vmas->vma));
	vmas->vma[at] = copy;
	vmas->nr++;
	return 0;
}

void vma_free(struct vm_area_struct *vma)
{
	free(vma);
}

void vma_remove(struct mm_struct *mm, u32 first, u32 nr)
{
	for (u32 i = first; i < first + nr; i++)
		free(mm->vmas.vma[i]);
	vma_detach(mm, first, nr);
}

/* Memory is given back when the last VMA goes: an empty index owns nothing. */
void vma_detach(struct mm_struct *mm, u32 first, u32 nr)
{
	struct vma_index *vmas = &mm->vmas;

	if (!nr)
		return;
	memmove(vmas->vma + first, vmas->vma + first + nr,
		(vmas->nr - first - nr) * sizeof(*vmas->vma));
	vmas->nr -= nr;
	if (vmas->nr)
		return;
	free(vmas->vma);
	*vmas = (struct vma_index){ 0 };
}

void vma_tell(const struct mm_struct *mm, struct vma_facts *out)
{
	for (u32 i = 0; i < mm->vmas.nr; i++) {
		const struct vm_area_struct *vma = mm->vmas.vma[i];

		out[i] = (struct vma_facts){ vma->vm_start, vma->vm_end,  vma->vm_flags,
					     vma->vm_pgoff, vma->vm_file, vma->vm_name };
	}
}
