/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/rmap.h"

#define VM_ACCESS_FLAGS ((u64)(VM_READ | VM_WRITE | VM_EXEC))

/* Could a and b, in this order, become one VMA if their rights were the same? */
static bool anon_vma_compatible(const struct vm_area_struct *a, const struct vm_area_struct *b)
{
	return a->vm_end == b->vm_start && a->vm_file == b->vm_file &&
	       !((a->vm_flags ^ b->vm_flags) & ~VM_ACCESS_FLAGS) &&
	       b->vm_pgoff == a->vm_pgoff + ((b->vm_start - a->vm_start) >> PAGE_SHIFT);
}

/*
 * Does the VMA lead to anon_vmas of parents besides its own?  vma_had_uncowed_parents(): such a one
 * shares with nobody.
 */
static bool has_parents(const struct vm_area_struct *vma)
{
	return vma->nr_anon_vma_chain > 1;
}

/* Number i of the index, NULL if there is none. */
static const struct vm_area_struct *vma_number(const struct mm_struct *mm, u32 i)
{
	return i < mm->vmas.nr ? mm->vmas.vma[i] : NULL;
}

/* May a neighbour take over its anon_vma? */
static bool has_anon_vma_to_give(const struct vm_area_struct *vma)
{
	return vma && vma->anon_vma && !has_parents(vma);
}

/* The anon_vma of the next VMA, or else of the one before, if the VMA may use it. 0: neither. */
static u64 find_mergeable_anon_vma(struct mm_struct *mm, const struct vm_area_struct *vma)
{
	u32 i = vma_index_of(mm, vma->vm_start);
	const struct vm_area_struct *next = vma_number(mm, i + 1), *prev = vma_number(mm, i - 1);

	if (has_anon_vma_to_give(next) && anon_vma_compatible(vma, next))
		return next->anon_vma;
	if (has_anon_vma_to_give(prev) && anon_vma_compatible(prev, vma))
		return prev->anon_vma;
	return 0;
}

void __anon_vma_prepare(struct mm_struct *mm, struct vm_area_struct *vma)
{
	u64 anon_vma;

	if (vma->anon_vma)
		return;
	anon_vma = find_mergeable_anon_vma(mm, vma);
	vma->nr_anon_vma_chain = 1;
	vma->anon_vma = anon_vma ? anon_vma : ++mm->nr_anon_vmas;
}
