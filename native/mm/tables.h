/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An independent look at an mm's page tables, for both engines to be judged by. */
#ifndef UCMMU_MM_TABLES_H
#define UCMMU_MM_TABLES_H

#include "mm/mm.h"

/* cffi-begin */
#define TABLES_PROBLEMS_MAX 64 /* disagreements that are kept; more are only counted */

/* What is wrong with an entry or a table (mmu/linux/tables.py has the words). */
/* value: the entry of level for address, which refers to no table in RAM */
#define TABLES_NO_TABLE 0
#define TABLES_LARGE_PAGE 1  /* value: that entry, which maps a page of 1 GiB or more */
#define TABLES_NOT_A_TABLE 2 /* value: the frame that it refers to, which is no table */
/* value: entries of the table of level for address, other: what its count says */
#define TABLES_REFERENCES 3
#define TABLES_LOCKED 4	 /* the table of level for address */
#define TABLES_NO_PAGE 5 /* value: the PTE of address, which maps what is not RAM */

struct tables_problem {
	u32 what; /* TABLES_* */
	u32 level;
	u64 address, value, other;
};

struct tables_report {
	u64 pud_tables, pmd_tables, pte_tables;
	u64 huge_pmds;	      /* PMD entries that map 2 MiB */
	u64 entries;	      /* of PTE tables, not none */
	u64 pages[NR_MM_RSS]; /* mapped by both, by kind */
	u64 nr_problems;
	struct tables_problem problem[TABLES_PROBLEMS_MAX];
};

/*
 * Walk all tables of user space from the PGD at guest-physical root, and fill the report.  Reads
 * memory and struct page only: no lock is needed, none taken.  If address is not NULL, the first
 * address and the reference count of each of at most max PTE tables go to address[] and count[], in
 * order.
 */
void walk_tables(struct mm_struct *mm, u64 root, struct tables_report *report, u64 *address,
		 u32 *count, u64 max);
/* cffi-end */

#endif
