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

/* The anon_vma of the next VMA, or else of the one before, if the VMA may use it. 0: neither. */
static u64 find_mergeable_anon_vma(const struct mm_struct *mm, const struct vm_area_struct *vma)
{
	const struct vm_area_struct *first = mm->vmas.vma, *last = first + mm->vmas.nr - 1;

	if (vma < last && vma[1].anon_vma && !has_parents(vma + 1) &&
	    anon_vma_compatible(vma, vma + 1))
		return vma[1].anon_vma;
	if (vma > first && vma[-1].anon_vma && !has_parents(vma - 1) &&
	    anon_vma_compatible(vma - 1, vma))
		return vma[-1].anon_vma;
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
