/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unicorn's own walker against our MMU.
 *
 * A state is: control registers, tables, and one instruction.  Unicorn executes it with its own
 * walker (UC_TLB_CPU).  What had to happen is told by judge(), which knows the instruction, and
 * asks our engine for each page it touches.  Both start from the same bytes of RAM and must leave
 * the same.
 *
 * Guest-physical memory:
 *
 *   0x100000  paging structures, one frame each: enum table
 *   0x110000  the instructions       0x112000  data that always can be reached
 *   0x400000  frames of 4 KiB        0x800000  pages of 2 MiB      1 GiB on: pages of 1 GiB
 *
 * Guest-virtual, the same in each state, where no address under test is translated:
 *
 *   STUB            instructions, of the supervisor's    STUB + 0x1000  the same, the user's
 *   STUB + 0x2000   data, the supervisor's               STUB + 0x3000  the same, the user's
 *   STUB + 2 MiB    guest-physical 0 to 2 MiB, the supervisor's: the tables
 */
#ifndef UCMMU_TESTS_UNICORN_WALKER_INSIDE_H
#define UCMMU_TESTS_UNICORN_WALKER_INSIDE_H

#include <unicorn/unicorn.h>

#include "unicorn/engine.h"
#include "unicorn_walker.h"
#include "x86/unit.h"

#define UC(w, name) ((__typeof__(&uc_##name))(w)->uc_api.name)
#define OURS(w, type, name) ((__typeof__(&type))(w)->ours.name)

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define EFER_ALWAYS (EFER_SCE | EFER_LME | EFER_LMA)
#define CR0_ALWAYS (CR0_PE | CR0_PG)
#define CR4_ALWAYS (CR4_PAE | 0x600)
#define BASE_CR4(la57) (CR4_ALWAYS | ((la57) ? CR4_LA57 : 0))
#define MAXPHYADDR 40 /* of Unicorn's walker, whatever the model */
#define ALL_FEATURES                                                                               \
	(FEATURE_NX | FEATURE_PAGE1GB | FEATURE_PGE | FEATURE_PCID | FEATURE_SMEP | FEATURE_SMAP | \
	 FEATURE_PKU | FEATURE_LA57)

#define STUB 0xfffffe8000000000
#define USER_STUB (STUB + 0x1000)
#define STUB_DATA (STUB + 0x2000)
#define TABLE_WINDOW (STUB + 0x200000)
#define NEVER (STUB + 0xff0) /* an address that nothing executes */
#define STUB_PML4 509
#define CODE_PA 0x110000
#define DATA_PA 0x112000
#define SMALL_PA 0x400000
#define NR_SMALL 4
#define BIG_PA 0x800000
#define HUGE_PA 0x40000000
#define NR_LARGE 2
#define RAM_SIZE 0xc0000000

#define STUB_SIZE 32	  /* bytes of code for one kind */
#define SKIP_PKRU 3	  /* a stub begins with WRPKRU */
#define SEQUENCE_AT 0x400 /* stubs of sequences, after those of kinds */
#define SEQUENCE_SIZE 64
#define NR_SEQUENCE_KINDS 2
#define ENTER_AT 0xf00 /* SYSRETQ */
#define INT3_AT 0xf10
#define INT3 0xcc
#define REP_BYTES 16
#define CR2_BEFORE 0x123456789abc
#define CROSSING_INSN 5 /* bytes of MOV EAX, imm32 */
#define CROSSING_IMM 0x44332211
#define VECTOR_BP 3
#define VECTOR_SS 12
#define STOPPED_NOWHERE 0xffffffff
#define OUTSIDE_RAM 0x30000	  /* not a vector: a translation to where nothing is */
#define REGISTERS_REFUSED 0x40000 /* not a vector: our MMU has other control registers */

enum table {
	TABLE_5,
	TABLE_4A,
	TABLE_4B,
	TABLE_3A,
	TABLE_3B,
	TABLE_2A,
	TABLE_2B,
	TABLE_1A,
	TABLE_1B,
	TABLE_STUB_4,
	TABLE_STUB_3,
	TABLE_STUB_2,
	TABLE_STUB_1,
};

/* An instance, and a context of it as prepared. */
struct instance {
	uc_engine *uc;
	uc_context *base, *loaded, *now;
	struct vcpu *vcpu;
	struct mmu_unit *unit; /* of vcpu */
	u32 vector;	       /* of the last exception; STOPPED_NOWHERE: none */
	struct walker *walker;
};

struct cell {
	u8 *host;
	u32 n;
	u8 before[CELL_BYTES];
};

struct walker {
	struct unicorn_api uc_api;
	struct our_api ours;
	struct mmu_unit *unit;
	u8 *ram;
	struct instance of[NR_WHO][2][2]; /* by who, la57, cpl */
	struct instance preparing;
	u32 error_code_at; /* offset in a context */
	u32 stub_insn[NR_KINDS], sequence_insn[NR_SEQUENCE_KINDS][NR_FLUSHES][NR_SEQUENCE_KINDS][2];
	u32 wrong, wrong_bit;
	u32 nr_cells;
	struct cell cell[NR_CELLS];
	u64 rng;
};

/* Bytes of an instruction, or of several. */
struct code {
	u8 byte[16];
	u32 n;
};

/* The instruction of each kind. */
extern const struct code instruction[NR_KINDS];
/* MOV EAX, imm32: the instruction that lies across two pages. */
extern const u8 crossing_insn[CROSSING_INSN];

static inline u64 table_pa(enum table t)
{
	return 0x100000 + t * 0x1000ull;
}

static inline u64 *entry_at(struct walker *w, u64 pa)
{
	return (u64 *)(w->ram + pa);
}

/* Random numbers: splitmix64. */
static inline u64 mix(u64 z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline u64 next(struct walker *w)
{
	return mix(w->rng += 0x9e3779b97f4a7c15);
}

static inline u32 below(struct walker *w, u32 n)
{
	return (u32)((next(w) >> 32) * n >> 32);
}

/* True n times in 1000. */
static inline bool permille(struct walker *w, u32 n)
{
	return below(w, 1000) < n;
}

static inline bool state_canonical(const struct state *s, u64 va)
{
	u32 unused = s->cr4 & CR4_LA57 ? 7 : 16;

	return (u64)((s64)(va << unused) >> unused) == va;
}

static inline bool maps_page(u64 e, u32 level)
{
	return level == 1 || ((level == 2 || level == 3) && e & X86_PS);
}

/* Where the instructions are mapped. */
static inline u64 stub_of(const struct state *s)
{
	return s->cpl == 3 ? USER_STUB : STUB;
}

/* The kinds that sequences are made of: state.way says which two. */
static inline u32 kind_of_step(const struct state *s, u32 step)
{
	u32 number = step ? s->way % NR_SEQUENCE_KINDS : s->way / NR_SEQUENCE_KINDS;

	return number ? KIND_STORE8 : KIND_LOAD8;
}

/* Where the instruction of an access of a sequence stands. */
static inline u64 insn_of_step(const struct walker *w, const struct state *s, u32 step)
{
	return STUB + w->sequence_insn[s->way / NR_SEQUENCE_KINDS][s->flush]
				      [s->way % NR_SEQUENCE_KINDS][step];
}

/* unicorn_walker_states.c */
/* Draw state number index of seed. */
void random_state(struct walker *w, u64 seed, u64 index, struct state *s);
/* List the cells of a state, and what they hold before it. */
void lay_out(struct walker *w, const struct state *s);
/* Write what they hold before it. */
void restore(struct walker *w);
/* Leave no entry of this state to the next. */
void clear(struct walker *w, const struct state *s);
/* Copy the cells out. */
void look_at_cells(struct walker *w, struct outcome *o);
/* Registers before the instruction. */
void outcome_before(const struct state *s, struct outcome *o);

/* unicorn_walker_machine.c */
/* Execute a state that is no sequence. */
void execute(struct walker *w, struct instance *i, const struct state *s, struct outcome *o);
/*
 * Execute a sequence; if its first access faults, a second run goes on at the edit.  What Unicorn
 * has cached stays; a restored context only makes it forget that an exception is under way.
 */
void execute_sequence(struct walker *w, struct instance *i, const struct state *s,
		      struct outcome o[2]);

/* What a sequence's accesses had to do. */
struct expected {
	struct outcome first;
	struct outcome exact;	 /* of the second one: by our TLB model */
	struct outcome new, old; /* by the tables alone, edited and not */
};

/* unicorn_walker_judge.c */
/* What had to happen, by our engine, but for these deviations; the cells are as restored. */
void judge(struct walker *w, const struct state *s, u32 deviations, struct outcome *o);
/* The same of a sequence; restores the cells itself. */
void judge_sequence(struct walker *w, const struct state *s, u32 deviations, struct expected *e);

#endif
