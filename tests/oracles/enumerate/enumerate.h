/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every case of a plan: set registers and entries, ask the engine and the oracle, compare. */
#ifndef UCMMU_TESTS_ENUMERATE_H
#define UCMMU_TESTS_ENUMERATE_H

#include "paging_oracle.h"

/* cffi-begin */
typedef uint32_t (*enum_walk_fn)(void *unit, uint64_t va, uint32_t access, uint32_t privilege,
				 uint32_t mode, void *walk);
typedef uint32_t (*enum_translate_fn)(void *unit, uint64_t va, uint32_t access, uint32_t privilege,
				      void *translation);
typedef void (*enum_flush_fn)(void *unit);

/* The functions of the engine under test, and its struct mmu_unit; RAM starts at physical 0. */
struct enum_engine {
	void *unit;
	enum_walk_fn walk;
	enum_translate_fn translate;
	enum_flush_fn flush_all;
};

/* Ways to be wrong, put between the engine and the comparison to see that it notices. */
enum enum_defect {
	DEFECT_NONE,
	DEFECT_WP_ALWAYS, /* CR0.WP taken for 1 */
	DEFECT_SMEP_NEVER,
	DEFECT_SMAP_NEVER,
	DEFECT_AC_HEEDED, /* by implicit accesses, too */
	DEFECT_AC_IGNORED,
	DEFECT_PKE_NEVER,
	DEFECT_PKS_NEVER,
	DEFECT_PKRU_FOR_ALL, /* PKRU rules supervisor-mode addresses */
	DEFECT_UPPER_US,     /* U/S of the leaf's parent taken for 1 */
	DEFECT_UPPER_RW,
	DEFECT_UPPER_XD, /* XD of the leaf's parent taken for 0 */
	DEFECT_TOP_US,	 /* U/S of the first entry taken for 1 */
	DEFECT_NXE_ALWAYS,
	DEFECT_INTEL_ONLY, /* bit 8 of a PML4E not reserved on AMD */
	DEFECT_MAXPHYADDR, /* one bit too wide */
	DEFECT_PAGE1GB,	   /* 1-GByte pages without the feature */
	DEFECT_CODE_PK,	   /* PK missing from the error code */
	DEFECT_CODE_ID,
	DEFECT_CODE_SS,
	DEFECT_CODE_RSVD,
	DEFECT_FAULT_SETS_A, /* of the leaf */
	DEFECT_READ_SETS_D,
	DEFECT_FAULT_KEEPS_A, /* of upper entries when a lower level faults */
	DEFECT_PA,	      /* the offset in a large page cut to 12 bits */
	NR_DEFECTS
};

/*
 * The cases: registers x upper x parent x leaf x the accesses of the mask x three modes. upper
 * holds six entries a row, by level. Of the rows of registers x upper x parent every stride-th is
 * taken, from phase.
 */
struct enum_plan {
	struct enum_engine engine;
	uint64_t va;
	uint64_t table[6]; /* by level: physical address of the table that holds va's entry */
	uint32_t leaf_level;
	uint32_t kinds; /* bit n: ORACLE_* access n */
	uint32_t cet;	/* CR4.CET */
	uint32_t defect;
	uint64_t stride, phase;
	const struct oracle_processor *registers;
	const uint64_t *upper, *parent, *leaf;
	uint64_t nr_registers, nr_upper, nr_parent, nr_leaf;
};

/* One case and what came of it: outcomes as the oracle's verdicts, entries by level. */
struct enum_case {
	struct oracle_processor processor;
	uint64_t va;
	uint64_t before[6], wanted[6], got[6];
	uint64_t wanted_pa, got_pa;
	uint32_t kind, mode,
		first; /* first: the access that filled the TLB, in kinds * modes; ~0 none */
	uint32_t wanted_result, got_result; /* XLATE_* */
	uint32_t wanted_code, got_code, wanted_level, got_level;
};

/* What a run came to; the first nr_shown mismatches are in shown. */
struct enum_result {
	uint64_t cases, faults, mismatches;
	uint64_t nr_shown, max_shown;
	struct enum_case *shown;
};

/* Walk (WALK_QUIET) every case with registers[first, first + nr) and add to *r. */
void enum_walks(const struct enum_plan *plan, uint64_t first, uint64_t nr, struct enum_result *r);
/*
 * The same through an empty TLB in exact: each access, and after one that was allowed each other
 * access, which then hits. A pair is a case.
 */
void enum_translations(const struct enum_plan *plan, uint64_t first, uint64_t nr,
		       struct enum_result *r);
/* Bytes of struct mmu_unit, struct walk, struct translation: 0, 1, 2; to be compared with the
 * engine's own. */
uint64_t enum_sizeof(int which);
/* Put one state of the processor in the unit's registers. */
void enum_load(void *unit, const struct oracle_processor *p, uint32_t cet, uint64_t cr3);
/* cffi-end */

#endif
