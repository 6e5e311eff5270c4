/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MADV_DONTNEED of a page, of some, of a table, of all: each VMA is read-locked until it is over.
 */
#include "mm/mmu_gather.h"
#include "mm/pgtable.h"
#include "mm/pt_reclaim.h"
#include "mm/zap.h"
#include "stress.h"

static void unmap(struct mmu_gather *tlb, u64 start, u64 end)
{
	unmap_page_range(tlb, start, end, ZAP_RECLAIM_PT);
	may_be_preempted();
	linger();
}

void zap(u64 start, u64 end)
{
	tlb_gather_mmu(&me->gather, &world.mm, 0);
	unmap(&me->gather, start, end);
	tlb_finish_mmu(&me->gather);
}

/* All tables at home, or away, whose VMAs no mover has, with one gather. */
static bool zap_all(bool away)
{
	bool locked[TABLES_MAX], any = false;

	tlb_gather_mmu(&me->gather, &world.mm, 0);
	for (u32 i = 0; i < world.options.tables; i++) {
		u64 start = slot_address(i, away);

		locked[i] = lock_slot(start);
		any |= locked[i];
		if (locked[i])
			unmap(&me->gather, start, start + PMD_SIZE);
	}
	tlb_finish_mmu(&me->gather);
	for (u32 i = 0; i < world.options.tables; i++)
		if (locked[i])
			unlock_slot(slot_address(i, away));
	return any;
}

bool zap_some(void)
{
	u64 start = any_page(), table = start & PMD_MASK, way = next_random() % 4;

	if (way == 3)
		return zap_all(start != home_of(start));
	if (!lock_slot(start))
		return false;
	if (way == 0)
		zap(start, start + PAGE_SIZE);
	else if (way == 1)
		zap(start, table + PMD_SIZE);
	else
		zap(table, table + PMD_SIZE);
	unlock_slot(start);
	return true;
}
