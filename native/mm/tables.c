/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/tables.h"

#include <string.h>

#define ENTRIES 512
#define STRETCH 8 /* entries of a cache line, looked at together */

struct table_walk {
	struct mm_struct *mm;
	struct tables_report *report;
	u64 *address;
	u32 *count;
	u64 max;
};

static void problem(struct table_walk *w, u32 what, u32 level, u64 address, u64 value, u64 other)
{
	struct tables_report *report = w->report;

	if (report->nr_problems < TABLES_PROBLEMS_MAX)
		report->problem[report->nr_problems] =
			(struct tables_problem){ what, level, address, value, other };
	report->nr_problems++;
}

/* The kind of page that a PTE maps; NR_MM_RSS if it maps none that is counted. */
static u32 kind_of(struct table_walk *w, u64 pte, u64 address)
{
	const struct memory *ram = w->mm->ram;
	const struct page *page;

	if (!(pte & (X86_P | _PAGE_PROTNONE)) || pte & _PAGE_SPECIAL)
		return NR_MM_RSS;
	if (!memory_holds(ram, pte & X86_ADDR_MASK)) {
		problem(w, TABLES_NO_PAGE, 1, address, pte, 0);
		return NR_MM_RSS;
	}
	page = pfn_to_page(ram, (pte & X86_ADDR_MASK) >> PAGE_SHIFT);
	if (page->flags & PG_anon)
		return MM_ANONPAGES;
	return page->flags & PG_swapbacked ? MM_SHMEMPAGES : MM_FILEPAGES;
}

static u32 count_entries(struct table_walk *w, const u64 *table, u64 address)
{
	u32 used = 0;

	for (u32 i = 0; i < ENTRIES; i += STRETCH) {
		const u64 *e = table + i;

		if (!(e[0] | e[1] | e[2] | e[3] | e[4] | e[5] | e[6] | e[7]))
			continue;
		for (u32 j = 0; j < STRETCH; j++) {
			u32 kind;

			if (!e[j])
				continue;
			used++;
			kind = kind_of(w, e[j], address + ((u64)(i + j) << PAGE_SHIFT));
			if (kind < NR_MM_RSS)
				w->report->pages[kind]++;
		}
	}
	return used;
}

/* A PMD entry that maps 2 MiB: a page of its own for each 4 KiB. */
static void look_at_huge_pmd(struct table_walk *w, u64 pmd, u64 address)
{
	w->report->huge_pmds++;
	for (u32 i = 0; i < ENTRIES; i++) {
		u32 kind =
			kind_of(w, pmd + ((u64)i << PAGE_SHIFT), address + ((u64)i << PAGE_SHIFT));

		if (kind < NR_MM_RSS)
			w->report->pages[kind]++;
	}
}

/* Does the policy keep its counts where this file can read them? */
static bool counts_in_struct_page(const struct kernel *kernel)
{
	return kernel->policy == FREE_TABLES_REFCOUNT ||
	       kernel->policy == FREE_TABLES_REFCOUNT_PMDLOCK;
}

static void look_at_pte_table(struct table_walk *w, const u64 *table, u64 address)
{
	struct tables_report *report = w->report;
	const struct memory *ram = w->mm->ram;
	const struct page *page = pfn_to_page(ram, host_to_pa(ram, table) >> PAGE_SHIFT);
	u32 used = count_entries(w, table, address);

	if (w->address && report->pte_tables < w->max) {
		w->address[report->pte_tables] = address;
		w->count[report->pte_tables] = page->pte_refcount;
	}
	report->pte_tables++;
	report->entries += used;
	if (counts_in_struct_page(w->mm->kernel) && page->pte_refcount != used)
		problem(w, TABLES_REFERENCES, 1, address, used, page->pte_refcount);
	if (page->ptl)
		problem(w, TABLES_LOCKED, 1, address, 0, 0);
}

/* A PMD table (level 2) or PUD table (3), whose first entry is for address. */
static void look_at_count(struct table_walk *w, const u64 *table, u64 address, u32 level)
{
	const struct memory *ram = w->mm->ram;
	const struct page *page = pfn_to_page(ram, host_to_pa(ram, table) >> PAGE_SHIFT);
	u32 used = 0;

	if (page->ptl)
		problem(w, TABLES_LOCKED, level, address, 0, 0);
	if (level > w->mm->kernel->free_levels)
		return;
	for (u32 i = 0; i < ENTRIES; i++)
		used += table[i] != 0;
	if (page->pte_refcount != used)
		problem(w, TABLES_REFERENCES, level, address, used, page->pte_refcount);
}

/* The table that the entry of level refers to, NULL if that cannot be one. */
static const u64 *table_below(struct table_walk *w, u64 entry, u64 address, u32 level)
{
	const struct memory *ram = w->mm->ram;
	u64 pa = entry & X86_ADDR_MASK;

	if (!(entry & X86_P) || !memory_holds(ram, pa)) {
		problem(w, TABLES_NO_TABLE, level, address, entry, 0);
		return NULL;
	}
	if (entry & X86_PS) {
		problem(w, TABLES_LARGE_PAGE, level, address, entry, 0);
		return NULL;
	}
	if (!(pfn_to_page(ram, pa >> PAGE_SHIFT)->flags & PG_table))
		problem(w, TABLES_NOT_A_TABLE, level, address, pa >> PAGE_SHIFT, 0);
	return pa_to_host(ram, pa);
}

/* Have what an entry refers to come nearer meanwhile: tables lie far apart, and each is looked at
 * once. */
static void prefetch_table(const struct memory *ram, u64 entry)
{
	u64 pa = entry & X86_ADDR_MASK;
	const char *table;

	if (!(entry & X86_P) || !memory_holds(ram, pa))
		return;
	table = pa_to_host(ram, pa);
	__builtin_prefetch(pfn_to_page(ram, pa >> PAGE_SHIFT));
	for (u32 line = 0; line < PAGE_SIZE; line += 64)
		__builtin_prefetch(table + line);
}

/* All below the table of level, whose first entry is for address. */
static void look_at_table(struct table_walk *w, const u64 *table, u64 address, u32 level)
{
	u64 span = 1ull << (PAGE_SHIFT + 9 * (level - 1));

	for (u32 i = 0; i < ENTRIES; i++, address += span) {
		const u64 *below;

		if (level == 2 && table[i] & X86_PS) {
			look_at_huge_pmd(w, table[i], address);
			continue;
		}
		below = table[i] ? table_below(w, table[i], address, level) : NULL;
		if (!below)
			continue;
		if (level == 2) {
			if (i + 1 < ENTRIES)
				prefetch_table(w->mm->ram, table[i + 1]);
			look_at_pte_table(w, below, address);
			continue;
		}
		if (level == 4)
			w->report->pud_tables++;
		else
			w->report->pmd_tables++;
		look_at_count(w, below, address, level - 1);
		look_at_table(w, below, address, level - 1);
	}
}

void walk_tables(struct mm_struct *mm, u64 root, struct tables_report *report, u64 *address,
		 u32 *count, u64 max)
{
	struct table_walk w = { mm, report, address, count, max };

	memset(report, 0, sizeof(*report));
	look_at_table(&w, pa_to_host(mm->ram, root), 0, 4);
}
