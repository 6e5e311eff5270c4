/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 4- and 5-level paging as the manuals' tables put it, to judge the engines by: what one access to
 * one address must come to. Shares no code, header or constant with the engines.
 */
#ifndef UCMMU_TESTS_PAGING_ORACLE_H
#define UCMMU_TESTS_PAGING_ORACLE_H

#include <stdint.h>

/* cffi-begin */
#define ORACLE_READ 0
#define ORACLE_WRITE 1
#define ORACLE_FETCH 2
#define ORACLE_SHSTK_READ 3
#define ORACLE_SHSTK_WRITE 4
#define ORACLE_KINDS 5

#define ORACLE_SUPERVISOR 0 /* explicit */
#define ORACLE_USER 1
#define ORACLE_IMPLICIT 2 /* supervisor, of a system data structure */
#define ORACLE_MODES 3

/* The state of a processor that the tables ask for: each 0 or 1, but for numbers. */
struct oracle_processor {
	uint8_t amd, page1gb, maxphyaddr, levels;
	uint8_t wp, smep, smap, pke, pks, nxe, ac;
	uint32_t pkru, pkrs;
};

/*
 * What an access comes to.
 *
 *    15   14   13   12            7   6                    0
 *  +----+----+----+----+-----------+------------------------+
 *  | PF | GP | A  | D  |     0     |  page-fault error code |
 *  +----+----+----+----+-----------+------------------------+
 *  A, D: set them in the entry that maps the page.
 */
#define ORACLE_PF 0x8000
#define ORACLE_GP 0x4000
#define ORACLE_SET_A 0x2000
#define ORACLE_SET_D 0x1000
#define ORACLE_CODE 0x7f

/* Rows of verdicts: the three ways to have no translation, then pages by their rights. */
#define ORACLE_NOT_CANONICAL 0
#define ORACLE_NOT_PRESENT 1
#define ORACLE_RESERVED 2
/* + 4 * (user | writable << 1 | no-execute << 2 | shadow stack << 3) + key's rights */
#define ORACLE_PAGE 3
#define ORACLE_ROWS 67

/* The tables' answers for one state of the processor. */
struct oracle {
	struct oracle_processor processor;
	uint64_t reserved[6][2]; /* by level, and by whether the entry maps a page */
	uint64_t frame[6]; /* by level: address bits of an entry that maps a page; [0]: of one that
			      refers to a table */
	uint16_t verdict[ORACLE_ROWS][ORACLE_KINDS * ORACLE_MODES];
};

/* The way of one address through the tables. */
struct oracle_path {
	uint64_t pa;	      /* if it leads to a page */
	uint64_t entry_pa[6]; /* by level, of the entries it led through */
	uint8_t row;	      /* of verdict */
	uint8_t level;	      /* of the entry that ended it */
	uint8_t used; /* bit n: the entry of level n was used to reach a table, so its A is set */
};

/* Take a state of the processor and work its verdicts out. */
void oracle_prepare(struct oracle *o, const struct oracle_processor *processor);
/* Follow va through the tables under cr3, in ram that starts at physical 0. Every table must lie in
 * ram. */
void oracle_follow(const struct oracle *o, const uint8_t *ram, uint64_t cr3, uint64_t va,
		   struct oracle_path *path);
/* The number of accesses for which the table of rights has not exactly one row. */
int oracle_ambiguities(void);
/* cffi-end */

/* What an access of that kind and mode comes to on a path. */
static inline uint16_t oracle_judge(const struct oracle *o, const struct oracle_path *path,
				    int kind, int mode)
{
	return o->verdict[path->row][kind * ORACLE_MODES + mode];
}

#endif
