/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unicorn's own walker against our MMU: random states, the same guest code, the same tables. */
#ifndef UCMMU_TESTS_UNICORN_WALKER_H
#define UCMMU_TESTS_UNICORN_WALKER_H

#include "types.h"

/* cffi-begin */
#define NR_CELLS 64
#define CELL_BYTES 16
#define NR_VALUES 8
#define NR_ENTRIES 10 /* two chains of five levels */

/* What the guest's one instruction does; the access is at va. */
#define KIND_LOAD8 0 /* MOV r64, m */
#define KIND_LOAD4 1
#define KIND_LOAD1 2 /* MOVZX r32, m8 */
#define KIND_STORE8 3
#define KIND_STORE1 4
#define KIND_ADD 5     /* ADD m, r64 */
#define KIND_XADD 6    /* LOCK XADD m, r64 */
#define KIND_CMPXCHG 7 /* LOCK CMPXCHG m, r64 that finds another value: it writes all the same */
#define KIND_PUSH 8
#define KIND_FETCH 9	     /* JMP r64 to one byte, or to an instruction across two pages */
#define KIND_REP_STORE 10    /* REP MOVSB to va */
#define KIND_REP_LOAD 11     /* REP MOVSB from va */
#define KIND_DESCRIPTOR 12   /* MOV FS, r32: the processor reads a descriptor at va */
#define KIND_DESCRIPTOR_A 13 /* the same, of a descriptor whose accessed bit it has to set */
#define NR_KINDS 14

/* Ways to ask our engine. */
#define ENGINE_WALK 0	/* mmu_walk(WALK_QUIET) */
#define ENGINE_FAST 1	/* mmu_translate() without a TLB */
#define ENGINE_EXACT 2	/* mmu_translate() with an empty TLB */
#define ENGINE_REFILL 3 /* mmu_refill() without a TLB */
#define NR_ENGINE_WAYS 4

/* Where Unicorn is known to differ; see DEVIATIONS in unicorn_walker.py. */
#define DEVIATION_RMW_READS_FIRST 0x1
#define DEVIATION_CANONICAL_LATE 0x2
#define DEVIATION_STACK_IS_GP 0x4
#define DEVIATION_JUMP_ARRIVES 0x8
#define DEVIATION_IMPLICIT_AC 0x10
#define DEVIATION_HUGE_ACCESSED 0x20
#define DEVIATION_SECOND_FIRST 0x40
#define DEVIATION_RMW_ASKED_AS_LOAD 0x80
#define NR_DEVIATIONS 8

/* How a sequence makes the processor forget. */
#define FLUSH_NONE 0
#define FLUSH_INVLPG 1
#define FLUSH_CR3 2
#define FLUSH_PGE 3
#define NR_FLUSHES 4

/* Who was asked. */
#define WHO_WALKER 0 /* Unicorn in UC_TLB_CPU */
#define WHO_FAST 1   /* Unicorn through our MMU, fast */
#define WHO_EXACT 2  /* the same, exact */
#define NR_WHO 3
#define WHO_ENGINE 3 /* our TLB model itself */

/* Faults to plant in our engine's answers. */
#define WRONG_NOTHING 0
#define WRONG_CODE 1	     /* bit wrong_bit of the error code */
#define WRONG_NO_ACCESSED 2  /* A of level wrong_bit stays as it was */
#define WRONG_NO_DIRTY 3     /* D stays as it was */
#define WRONG_ALWAYS_DIRTY 4 /* a load sets D too */
#define WRONG_FRAME 5	     /* the next frame */
#define WRONG_ALLOW 6	     /* a fault by rights alone is none */
#define WRONG_CANONICAL 7    /* not canonical is not present */
#define WRONG_SECOND_PAGE 8  /* CR2 of a second page is that of the first byte */
#define WRONG_FORGETS 9	     /* INVLPG and MOV CR do nothing to the TLB model */

/* One random state. */
struct state {
	u64 seed, index;
	u32 kind, size; /* size: bytes at va */
	u32 cpl, way;	/* way: ENGINE_* */
	u32 second;	/* bytes in the second page, 0: none */
	u32 nr_entries;
	u64 cr0, cr3, cr4, efer, rflags;
	u64 va, rax, rcx;
	u32 pkru, sequence; /* sequence: 1 for access, edit, flush, access */
	u64 entry_pa[NR_ENTRIES], entry[NR_ENTRIES];
	u32 entry_level[NR_ENTRIES];
	u32 flush, edited; /* sequence: FLUSH_*, number of the entry that changes */
	u64 new_entry;
	u64 reload;  /* sequence: what FLUSH_CR3 writes; CR3 but for bit 63 */
	u32 defined; /* sequence: the architecture leaves no choice */
};

/* What can be seen of an execution. */
struct outcome {
	u32 vector; /* 0: the instruction completed */
	u32 code;
	u64 cr2, rip;
	u64 rax, rcx, rsp, rsi, rdi;
	u8 cell[NR_CELLS][CELL_BYTES]; /* memory: the table entries, then the data */
};

struct tally {
	u64 states, walks[NR_WHO], faults, completed;
	u64 by_kind[NR_KINDS];
	u64 by_code[256]; /* page faults by error code */
	u64 gp;
	u64 excused[NR_WHO][NR_DEVIATIONS];
	u64 states_excused[NR_WHO];
	u64 sequences, defined; /* of the states; of the undefined ones: who answered as */
	u64 answered_new[NR_WHO + 1],
		answered_old[NR_WHO + 1]; /* if entries were not cached, and if they were */
	u64 failures;
	struct state failed; /* the first one */
	u32 failed_who, failed_step;
	struct outcome expected, found;
};

/* Addresses of libunicorn's functions. */
struct unicorn_api {
	void *emu_start, *emu_stop, *hook_add, *hook_del, *ctl, *reg_read, *reg_write, *mem_map_ptr;
	void *context_alloc, *context_save, *context_restore, *context_size, *context_free;
};

/* Addresses of mmu._native's and cpu._engine's functions. */
struct our_api {
	void *walk, *translate, *refill, *flush_all, *invlpg, *write_cr3, *write_cr4;
	void *vcpu_emu_start, *vcpu_shared;
	void *settle; /* void (void *vcpu): what Python does to an exit about an address */
};

struct walker;

/* A walker over unit's RAM, of which it uses what walker_ram() says; NULL: no memory. */
struct walker *walker_create(const struct unicorn_api *uc, const struct our_api *ours, void *unit);
void walker_free(struct walker *w);
u64 walker_ram(void);
/*
 * Prepare an instance in UC_TLB_CPU with an ICELAKE_SERVER model and no memory: RAM, long mode,
 * five levels if la57, CPL 0 or 3. Returns NULL, or what went wrong.
 */
const char *walker_prepare(struct walker *w, void *uc, u32 la57, u32 cpl);
/* Give the walker a prepared instance; vcpu and unit are NULL for WHO_WALKER. */
const char *walker_add(struct walker *w, u32 who, u32 la57, u32 cpl, void *uc, void *vcpu,
		       void *unit);
/* Find where a context holds the error code, from faults that leave no doubt. NULL, or what went
 * wrong. */
const char *walker_find_error_code(struct walker *w);
/* Plant a fault in our answers. */
void walker_plant(struct walker *w, u32 wrong, u32 bit);
/* State number index of seed. */
void walker_state(struct walker *w, u64 seed, u64 index, struct state *s);
/* Run states [first, first + n) of seed; every vcpu_every-th also through our MMU (0: none). */
void walker_run(struct walker *w, u64 seed, u64 first, u64 n, u32 vcpu_every, struct tally *t);
/* The same of one given state. */
void walker_try(struct walker *w, const struct state *s, u32 vcpu, struct tally *t);
/* cffi-end */

#endif
