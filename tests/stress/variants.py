# SPDX-License-Identifier: GPL-2.0-or-later
"""Defects put back into native/, one at a time: the threads must find each.

Those with a D are of the published versions (docs/races.md has D1 to D12 as lessons).
"""

from __future__ import annotations

from dataclasses import dataclass

from native import cdef
from tests.stress.native import STRESS, Form

SCAN = Form("scan")
REFCOUNT = Form("refcount")
BROADCAST = Form("refcount-pmdlock", invlpgb=True)
PUD = Form("refcount", "pud")


@dataclass(frozen=True)
class Variant:
    """One defect: a text of a file of native/ and what stands there instead."""

    name: str
    form: Form
    """What it shows under."""
    file: str
    """Below native/, or one of the program's own."""
    was: str
    becomes: str

    def changed(self) -> dict[str, str]:
        """The changed file, for native.smp.build(). ValueError if the text is not there once."""
        folder = STRESS.folder if self.file in STRESS.sources else cdef.NATIVE
        text = (folder / self.file).read_text()
        if text.count(self.was) != 1:
            raise ValueError(f"{self.name}: {self.file} has the text {text.count(self.was)} times")
        return {self.file: text.replace(self.was, self.becomes)}


VARIANTS = (
    Variant(
        "D1 published before its count is set",
        REFCOUNT,
        "mm/pte_ref.c",
        """\
		pte_ref_init(mm, *table, pmd, counted);
		*table = pmd_install_from(from, mm, pmd, addr, *table);
""",
        """\
		{
			u64 made = *table;

			*table = pmd_install_from(from, mm, pmd, addr, made);
			rcu_read_lock(mm->kernel);
			rcu_read_unlock(mm->kernel);
			pte_ref_init(mm, made, pmd, counted);
		}
""",
    ),
    Variant(
        "D2 who meets a count of 0 spins until its freer comes",
        REFCOUNT,
        "mm/pte_ref.c",
        "			free_pte_table(mm, pmd, addr);\n			continue;\n",
        "			continue;\n",
    ),
    Variant(
        "D3 the flush does not say that tables are freed",
        REFCOUNT,
        "mm/mmu_gather.c",
        "	tlb->freed_tables = 1;\n	smp",
        "	smp",
    ),
    Variant(
        "D7 a failed try-get is put",
        REFCOUNT,
        "mm/zap.c",
        "	if (pte_try_get(mm, pmd, &table) != TRYGET_SUCCEEDED)\n		return;\n",
        """\
	if (pte_try_get(mm, pmd, &table) != TRYGET_SUCCEEDED) {
		if (table)
			pte_put_tlb(tlb, table, start);
		return;
	}
""",
    ),
    Variant(
        "D8 an entry that is set again is counted again",
        REFCOUNT,
        "mm/anon.c",
        "		result = resolve_set(mm, vma, pte, addr, write);\n		pte_unlock(mm, table);\n",
        """\
		result = resolve_set(mm, vma, pte, addr, write);
		if (!result)
			pte_entries_set(mm, table, 1);
		pte_unlock(mm, table);
""",
    ),
    Variant(
        "D10 an error path loses its put",
        REFCOUNT,
        "mm/anon.c",
        "	pte_put(mm, table, addr);\n	return result;\n",
        "	if (result != VM_FAULT_NOPAGE)\n		pte_put(mm, table, addr);\n	return result;\n",
    ),
    Variant(
        "D12 entries are counted after the visitor's put",
        REFCOUNT,
        "mm/anon.c",
        """\
		put = result || !pte_entry_set_from("do_anonymous_page", mm, table);
		pte_unlock(mm, table);
""",
        """\
		put = result != 0;
		pte_unlock(mm, table);
		if (!put) {
			pte_put(mm, table, addr);
			pte_entries_set(mm, table, 1);
		}
""",
    ),
    Variant(
        "D12, once ours: who handed its reference over looks at the count after the PTE lock",
        REFCOUNT,
        "mm/anon.c",
        """\
		put = result || !pte_entry_set_from("do_anonymous_page", mm, table);
		pte_unlock(mm, table);
""",
        """\
		pte_unlock(mm, table);
		put = result || !pte_entry_set_from("do_anonymous_page", mm, table);
""",
    ),
    Variant(
        "the count is not atomic",
        REFCOUNT,
        "mm/pte_ref.c",
        "	old = __atomic_fetch_add(&page->pte_refcount, nr, __ATOMIC_RELAXED);\n",
        "	old = page->pte_refcount;\n	WRITE_ONCE(page->pte_refcount, old + nr);\n",
    ),
    Variant(
        "the put is not atomic",
        REFCOUNT,
        "mm/pte_ref.c",
        "	} while (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old - nr, true,\n"
        "					      __ATOMIC_RELEASE, __ATOMIC_RELAXED));\n",
        "		WRITE_ONCE(page->pte_refcount, old - nr);\n	} while (0);\n",
    ),
    Variant(
        "a table is freed without a grace period",
        REFCOUNT,
        "mm/mmu_gather.c",
        "	bool at_once = kernel->policy == FREE_TABLES_REFCOUNT_PMDLOCK;\n",
        "	bool at_once = true;\n",
    ),
    Variant(
        "ABA: a table is found outside the read section, and not looked for again",
        REFCOUNT,
        "mm/pte_ref.c",
        """\
	result = get_named(from, mm, *pmdval, counted);
	if (result == TRYGET_SUCCEEDED && unlikely(pmdp_get(pmd) != *pmdval)) {
""",
        """\
	for (u32 i = 0; i < 16; i++) {
		rcu_read_unlock(mm->kernel);
		rcu_read_lock(mm->kernel);
	}
	result = get_named(from, mm, *pmdval, counted);
	if (false) {
""",
    ),
    Variant(
        "a table without a count is locked outside the read section of its lookup",
        SCAN,
        "mm/pte_ref.c",
        "		if (found)\n			pte_lock(mm, *table);\n		if (counted)\n",
        """\
		if (!counted) {
			rcu_read_unlock(mm->kernel);
			rcu_read_lock(mm->kernel);
		}
		if (found)
			pte_lock(mm, *table);
		if (counted)
""",
    ),
    Variant(
        "merged scan: a table that was refilled while its lock was dropped is freed",
        SCAN,
        "mm/pt_reclaim.c",
        "		empty = table_is_empty(table_of(mm, pmdval));\n",
        "		empty = true;\n",
    ),
    Variant(
        "a table is locked without looking whether it is still there",
        SCAN,
        "mm/pte_ref.c",
        "		same = !found || entry_pfn(pmdp_get(pmd)) == *table;\n",
        "		same = true;\n",
    ),
    Variant(
        "a lock that is held is taken",
        REFCOUNT,
        "mm/locks.c",
        "	} while (had && !spin_try(mm, lock));\n",
        "		WRITE_ONCE(*lock, this_cpu(kernel)->id + 1);\n	} while (false);\n",
    ),
    Variant(
        "a gather is finished without its flush",
        REFCOUNT,
        "mm/mmu_gather.c",
        "	tlb_flush_mmu_tlbonly(tlb);\n	smp_lock(",
        "	smp_lock(",
    ),
    Variant(
        "a grace period does not wait for readers",
        REFCOUNT,
        "mm/rcu.c",
        "		if (rcu->qs_mask)\n			return freed;\n",
        "",
    ),
    Variant(
        "FAST: a fast fault leaves its VMA before it is done",
        REFCOUNT,
        "mm/anon.c",
        "	if (!common)\n		vma_end_read(vma);\n",
        "	vma_end_read(vma);\n",
    ),
    Variant(
        "MOVE: a moved table keeps its old back pointer",
        REFCOUNT,
        "move.c",
        "	WRITE_ONCE(pfn_to_page(mm->ram, table)->pmd, host_to_pa(mm->ram, new_pmd));\n",
        "",
    ),
    Variant(
        "MOVE: the old address of a moved table is not flushed",
        REFCOUNT,
        "move.c",
        "	flush_tlb_mm_range(mm, old, old + PMD_SIZE, PAGE_SHIFT, 1);\n	if (!same)\n",
        "	if (!same)\n",
    ),
    Variant(
        "MOVE: the old address of moved entries is not flushed elsewhere",
        REFCOUNT,
        "move.c",
        "	if (moved)\n		flush_tlb_mm_range(mm, old, old + PMD_SIZE, PAGE_SHIFT, 1);\n",
        "	if (moved && old)\n		mmu_write_cr3(&me->mmu, me->mmu.cr3);\n",
    ),
    Variant(
        "BROADCAST: a table is freed at once, and no CPU has had its interrupts on",
        BROADCAST,
        "mm/mmu_gather.c",
        "		kernel->sync_one(kernel);\n",
        "		(void)0;\n",
    ),
    Variant(
        "UPPER: a PMD table is freed without a grace period",
        PUD,
        "mm/mmu_gather.c",
        "		call_rcu(kernel, counted[i]);\n",
        "		free_table_frame(kernel, counted[i]);\n",
    ),
    Variant(
        "UPPER: a PMD table's last put does not free it",
        PUD,
        "mm/pmd_ref.c",
        "	if (table_put(from, mm, table, level, holder))\n		free_table",
        "	if (table_put(from, mm, table, level, holder) && level == 3)\n		free_table",
    ),
    Variant(
        "UPPER: a dead PMD table is visited",
        PUD,
        "mm/pmd_ref.c",
        "		if (!old)\n			return false;\n",
        "",
    ),
    Variant(
        "UPPER: a PMD table's count is not atomic",
        PUD,
        "mm/pmd_ref.c",
        "	old = __atomic_fetch_add(&page->pte_refcount, 1, __ATOMIC_RELAXED);\n",
        "	old = page->pte_refcount;\n	WRITE_ONCE(page->pte_refcount, old + 1);\n",
    ),
    Variant(
        "UPPER: a PMD table is found in one read section, and visited in another",
        PUD,
        "mm/pmd_ref.c",
        "	pmd = mm_find_pmd(mm, addr);\n	if (pmd && !get",
        """\
	pmd = mm_find_pmd(mm, addr);
	for (u32 i = 0; i < 16; i++) {
		rcu_read_unlock(mm->kernel);
		rcu_read_lock(mm->kernel);
	}
	if (pmd && !get""",
    ),
    Variant(
        "UPPER: a freed table still has its entry",
        PUD,
        "mm/pte_ref.c",
        "		pmd_entry_cleared_tlb(tlb, pmd, addr);\n",
        "		;\n",
    ),
)
