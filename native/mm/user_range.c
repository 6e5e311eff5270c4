/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/user_range.h"

#include "mm/pgtable.h"
#include "x86/check.h"
#include "x86/translate.h"

/* One access of the kernel's, which the checker of stale translations hears of. */
static u32 translate(struct mmu_unit *u, u64 addr, u32 access, struct translation *t)
{
	u64 flags = u->rflags;

	u->rflags |= RFLAGS_AC;
	if (unlikely(u->check))
		mmu_translate_checked(u, addr, access, 0, t);
	else
		mmu_translate(u, addr, access, 0, t);
	u->rflags = flags;
	return t->result;
}

/* The bytes follow: they make the last stretch longer, or a new one. */
static void add_stretch(struct user_range *r, u64 pa, u64 size)
{
	r->done += size;
	if (r->nr && r->pa[r->nr - 1] + r->size[r->nr - 1] == pa) {
		r->size[r->nr - 1] += size;
		return;
	}
	r->pa[r->nr] = pa;
	r->size[r->nr++] = size;
}

u32 user_range(struct mm_struct *mm, u64 addr, u64 n, u32 access, struct user_range *r)
{
	struct mmu_unit *u = this_cpu(mm->kernel)->mmu;
	struct translation t;

	r->done = r->nr = r->result = r->error_code = 0;
	while (r->done < n && r->nr < USER_RANGE_MAX) {
		u64 at = addr + r->done, size = PAGE_SIZE - (at & (PAGE_SIZE - 1));

		r->result = translate(u, at, access, &t);
		if (unlikely(r->result != XLATE_OK)) {
			r->error_code = t.error_code;
			break;
		}
		if (access != ACCESS_READ &&
		    pfn_to_page(mm->ram, t.pa >> PAGE_SHIFT)->flags & PG_code)
			note_code_written(mm->kernel, t.pa);
		add_stretch(r, t.pa, size < n - r->done ? size : n - r->done);
	}
	return r->result;
}
