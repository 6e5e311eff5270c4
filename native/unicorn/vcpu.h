/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of a vCPU: what the hooks keep, and how they call Unicorn and the MMU. */
#ifndef UCMMU_UNICORN_VCPU_H
#define UCMMU_UNICORN_VCPU_H

#include <unicorn/unicorn.h>

#include "memory/page_alloc.h"
#include "memory/ram.h"
#include "mm/anon.h"
#include "mm/mm.h"
#include "trace/ring.h"
#include "types.h"
#include "unicorn/engine.h"
#include "x86/unit.h"

/* Call libunicorn, and the MMU, through their tables: UC(v, emu_stop)(v->uc). */
#define UC(v, name) ((__typeof__(&uc_##name))(v)->api.name)
#define MMU(v, type, name) ((__typeof__(&type))(v)->mmu_api.name)

#define NR_HOOKS 12
#define NR_REGIONS 64
#define NR_BLOCKS 4096 /* a power of two */
#define NR_WATCHES 64
#define NR_MEMOS 128 /* a power of two, for each kind of access */
#define MAX_INSN 15  /* bytes (SDM vol. 2 2.3.11) */
#define RFLAGS_TF 0x100
#define RFLAGS_USER 0x202 /* IF and the bit that is always 1 */
#define NO_ADDRESS 0xffffffffffffffff
#define VECTOR_DB 1
#define VECTOR_BP 3
#define VECTOR_OF 4
#define VECTOR_UD 6
#define VECTOR_GP 13

/*
 * Virtual addresses no guest can use (bits 63:52 are not canonical): a frame's code is named to
 * Unicorn, which asks for virtual addresses, as CODE_WINDOW | guest-physical address.
 */
#define CODE_WINDOW 0x4000000000000000
#define CODE_WINDOW_MASK 0xfff0000000000000

/* What the hooks have to say to vcpu_run(). */
enum stop {
	STOP_NONE,   /* Unicorn ended by itself */
	STOP_LIMIT,  /* the next block would overrun the limit */
	STOP_DENIED, /* a fill was denied; exit is filled in */
	STOP_RETRY,  /* a fill was denied whose fault is resolved: the instruction starts anew */
	STOP_AHEAD, /* the block reaches into a page that its first instruction does not need, or an
		       unsafe one */
	STOP_SYSCALL,
	STOP_INTERRUPT, /* an exception; vector says which */
	STOP_INTERCEPT, /* the instruction at RIP is intercepted */
	STOP_FOUND,	/* translated code holds an instruction to intercept, in intercepts.found */
	STOP_ASKED,
	STOP_END, /* attached: the end address is reached */
};

/* What an instruction that ends a block does to the MMU (found when a block is first seen). */
enum control {
	CONTROL_NONE,
	CONTROL_INVLPG,
	CONTROL_MOV_CR,
};

/* Whether a block holds read-modify-write instructions, whose loads are of another kind. */
enum rmw {
	RMW_UNKNOWN,
	RMW_NONE,
	RMW_SOME,
};

/* What is known of the block [pc, pc + size). */
struct block {
	u64 pc;
	u64 key; /* block_key() while what follows is right */
	u32 size;
	u16 insns;
	u16 crossing; /* offset of the instruction that enters its second page; 0: none does */
	u16 control;  /* enum control: what its last instruction does to the MMU */
	u16 cut;      /* where insns_before() last looked, as an offset; 0: nowhere */
	u16 insns_before_cut;
	u16 rmw; /* enum rmw */
};

/* What the next block must not begin without.  stop may be written by a signal handler. */
union pending {
	struct {
		u16 control;	/* enum control, of the block before */
		u16 code_store; /* 1: it made a store to a frame of code */
		volatile u32 stop;
	};
	u64 any;
};

/* Guest-physical memory and, by frame, whose virtual page the soft TLB translates to it. */
struct region {
	u64 base, size;
	u64 *owner; /* if owning: see owner_tag(); 0 nobody's */
	u8 *code;   /* 1: instructions were fetched; NULL: struct page says it */
};

/*
 * A page that the model has just translated by a first-level entry, and would again: as long as
 * nothing has happened that vcpu.translations counts, and the entry holds what it held.
 */
struct memo {
	_Alignas(64) u64 page; /* as the hook knows it: guest-physical, for fetches virtual */
	u64 translations;
	struct tlb_entry *entry;
	bool writable;	      /* a load may as well be that of a read-modify-write */
	u64 vpn, frame, rest; /* the entry's: all that a look-up and the rights depend on */
};

/* A page fault taken ahead of the fill that will be denied for it. */
struct foretold {
	u64 page;
	u32 access;
	enum stop stop; /* STOP_DENIED, or STOP_RETRY if it is resolved */
};

/* The instruction stream, as the instruction TLB sees it (exact and trace). */
struct stream {
	u64 next; /* address after the last instruction; NO_ADDRESS: control comes from elsewhere */
	u64 page; /* of the last byte fetched */
	u64 crossing;  /* this instruction enters a page not looked up yet; NO_ADDRESS: none */
	u64 crossed;   /* this denied instruction's second page is looked up already */
	u64 insn;      /* trace: the last instruction */
	u64 denied;    /* trace: the instruction that is about to be executed again */
	u64 flags_rip; /* the last instruction with a CODE hook in this start; NO_ADDRESS: none */
	u64 rflags;    /* before that instruction */
};

/* Code [begin, end] with a CODE hook of ours: it may hold instructions that are intercepted. */
struct watch {
	u64 begin, end;
	uc_hook hook;
};

/* Instructions that are intercepted: see intercept.c. */
struct intercepts {
	struct watch watch[NR_WATCHES];
	u32 nr;
	u32 nr_found;	    /* since the guest went on last */
	struct watch found; /* the last: to be watched before it goes on again */
};

/* Whom the fill hook serves: all of a fill hook's user data. */
struct fill_target {
	bool (*fill)(void *self, u64 page, u64 va, u32 access, uc_tlb_entry *entry);
	void *self;
};

struct vcpu {
	u64 load_return; /* private: see private_rip(); first, where the stub puts it */
	struct vcpu_shared shared;
	struct fill_target fill_target;
	struct uc_api api;
	struct mmu_api mmu_api;
	uc_engine *uc;
	struct mmu_unit *mmu;
	struct mm_struct *mm;
	struct memory *ram;
	struct event_ring *ring;
	void *cpu;	   /* private: CPUState */
	const u32 *hflags; /* private */
	u8 *skip_pc;	   /* private; elsewhere a byte of no meaning */
	u8 no_skip_pc;
	u32 fidelity;
	bool counting, attached, armed, stepping, keep_pc;
	bool guard_flags; /* somebody else has CODE hooks: see restore_flags() */
	bool owning;	  /* each frame is open to loads and stores through one virtual page only */
	bool window;	  /* fills are about CODE_WINDOW, and only about it */
	u32 user;	  /* 1 at CPL 3; kept by the block hooks */

	enum stop stop;
	u32 vector;
	u32 retried;	/* STOP_RETRY: the access */
	bool careful;	/* this block may hold the load of a read-modify-write */
	u64 syscall_at; /* STOP_SYSCALL: the instruction's address */
	u64 limit;
	u64 until;   /* attached: where vcpu_run_until() ends; NO_ADDRESS outside of it */
	u64 watched; /* the address that has the hook for it */
	uc_hook end_hook;

	struct block *block; /* under way, and in shared.count already; NULL: none is */
	u64 epoch;	     /* grows when code may have changed under blocks */
	union pending pending;
	struct block blocks[NR_BLOCKS];
	struct block insn; /* trace: the instruction under way, as a block */

	u64 code_store; /* pending.code_store: its page */
	u64 code_store_rip;
	u64 code_store_rcx, code_store_rsp;

	u64 refused; /* the MOV to CR that stopped the run; NO_ADDRESS: none did */
	u64 seen_cr0, seen_cr3, seen_cr4; /* attached: Unicorn's registers when last looked at */

	u64 owner_epoch;
	struct region region[NR_REGIONS];
	u32 nr_regions;
	struct foretold foretold;
	struct stream stream;
	struct intercepts intercepts;
	u64 unsafe_page;  /* fetched from for this step alone; NO_ADDRESS: none */
	u64 rmw_denied;	  /* where a read-modify-write loaded from what it may not write; NO_ADDRESS
			   */
	u64 translations; /* grows when memos may be wrong although their entries stand */
	struct memo memo[ACCESS_FETCH + 1][NR_MEMOS];

	uc_hook hook[NR_HOOKS];
	u32 nr_hooks;
};

/* private.c: Unicorn's private parts, each behind its bit of shared.private. */
void private_bind(struct vcpu *v, u32 allowed);
void *private_fill_hook(u32 private);
void private_flush_page(struct vcpu *v, u64 va);
void *private_load_hook(u32 private);
u64 private_rip(struct vcpu *v);
void private_set_page(struct vcpu *v, u64 va, u64 pa, u32 perms);

/* fill.c: the soft TLB asks. */
bool fill(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry);
void deny(struct vcpu *v, u64 va, u32 access, const struct translation *t);
bool resolve_fault(struct vcpu *v, u64 va, u32 access, struct translation *t);
u32 cpl(const struct vcpu *v);

/* soft.c: what the soft TLB must forget, and code that is no more. */
void soft_drop_all(struct vcpu *v);
void soft_drop_page(struct vcpu *v, u64 va);
void soft_drain(struct vcpu *v);
void soft_drain_evicted(struct vcpu *v, u64 va, u64 va2);
void drop_code(struct vcpu *v, u64 pa);
void drop_code_range(struct vcpu *v, u64 pa, u64 size);
bool window_fill(u64 page, uc_tlb_entry *entry);
struct region *region_of(struct vcpu *v, u64 pa);
bool holds_code(struct vcpu *v, const struct region *r, u64 pa);
void note_code(struct vcpu *v, struct region *r, u64 pa);
void note_code_store(struct vcpu *v, u64 va);

/* count.c: instructions, block by block. */
void on_block_fast(uc_engine *uc, u64 pc, u32 size, void *arg);
bool count_block(struct vcpu *v, u64 pc, u32 size);
void attend(struct vcpu *v);
void recount_cut_block(struct vcpu *v, u64 pc, u32 size);
void uncount_from(struct vcpu *v, u64 rip);
u64 count_at(struct vcpu *v, u64 rip);

/* exact.c: every access through the model. */
void on_block_exact(uc_engine *uc, u64 pc, u32 size, void *arg);
bool denied_rmw(struct vcpu *v, u64 va);
void on_load(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
void on_store(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
u64 owner_address(struct vcpu *v, u64 pa);
void tell_checker(struct vcpu *v);
bool fetch(struct vcpu *v, u64 pc, u32 size, u64 crossing, bool repeated);
void fetch_catch_up(struct vcpu *v, bool finished);
void fetch_denied(struct vcpu *v, u64 rip, u32 access);
void forget_memos(struct vcpu *v);
void look_at_privilege(struct vcpu *v);
void own(struct vcpu *v, struct region *r, u64 pa, u64 va);
void disown_all(struct vcpu *v);
bool owned_by(struct vcpu *v, const struct region *r, u64 pa, u64 va);

/* trace.c: instruction by instruction. */
void on_code(uc_engine *uc, u64 pc, u32 size, void *arg);
void save_flags(struct vcpu *v, u64 pc);
void restore_flags(struct vcpu *v);

/* end.c: the end address of a run in an instance that was attached to. */
uc_err begin_run(struct vcpu *v, u64 until);
void end_run(struct vcpu *v);
void stop_at_end(struct vcpu *v);

/* step.c: one instruction by RFLAGS.TF, which the guest never sees. */
uc_err step(struct vcpu *v, u64 room);

/* run.c: hooks on, Unicorn started. */
void leave_intercepted(struct vcpu *v, u64 rip);
struct vcpu *vcpu_alloc(const struct uc_api *api);
bool add_hook(struct vcpu *v, int type, void *callback, int insn);
uc_err start(struct vcpu *v, u64 timeout_us);

/* start_thread.c: every register as a program finds it after exec. */
void start_thread(struct vcpu *v, u64 rip, u64 rsp);

/* traps.c: ways into the kernel. */
void on_syscall(uc_engine *uc, void *arg);
void on_interrupt(uc_engine *uc, u32 vector, void *arg);
void finish_syscall(struct vcpu *v);

/* intercept.c: instructions that are stopped before they execute. */
struct insn;
void on_edge(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg);
bool stops_before(const struct insn *insn);
bool is_unsafe_page(struct vcpu *v, u64 page);
uc_err watch_found(struct vcpu *v);
void unwatch_all(struct vcpu *v);
void finish_intercept(struct vcpu *v);
bool emulate_intercepted(struct vcpu *v);

/* emulate.c: what Unicorn computes wrongly and is carried out here. */
bool is_emulated(const struct insn *insn);
void emulate(struct vcpu *v, const struct insn *insn);

/* fprem.c: the x87's remainder, exactly. */
void fprem(struct vcpu *v, bool nearest);

/* control.c: control registers that a guest of its own changes. */
void control_sync(struct vcpu *v);
void sync_ac(struct vcpu *v);
void control_carry_out(struct vcpu *v);
enum control control_of_block(struct vcpu *v, u64 pc, u32 size);

/* decode.c: as little of the instruction set as the hooks need. */
struct insn {
	u8 byte[MAX_INSN];
	u32 nr;	       /* bytes that could be read */
	u32 opcode_at; /* number of the first opcode byte: after the prefixes */
	u8 rep;	       /* 0xf2, 0xf3 or 0 */
	u8 rex;
	u8 segment; /* 0x64 FS, 0x65 GS, or 0 */
	bool operand16, address32, lock;
	bool both_reps;	     /* F2 and F3: the last counts, and is rep */
	bool segment_undone; /* FS or GS, and then a segment that 64-bit mode ignores */
};
u32 insn_length(const struct vcpu *v, const u8 *code, u32 n);
void insn_parse(const u8 *code, u32 n, struct insn *insn);
void insn_read(struct vcpu *v, u64 rip, struct insn *insn);
u8 insn_opcode(const struct insn *insn, u32 n);
bool insn_is_rmw(const struct insn *insn);
bool insn_is_rmw_at(struct vcpu *v, u64 rip);
bool insn_is_rep(const struct insn *insn);
u64 insn_memory_operand(struct vcpu *v, const struct insn *insn, u64 rip, u32 modrm_at, u32 imm);
bool probe(struct vcpu *v, u64 va, u64 *pa);
u32 insn_count(struct vcpu *v, u64 from, u64 to, u64 *last);
u32 insn_crossing(struct vcpu *v, u64 pc, u32 size);
u64 insn_find(struct vcpu *v, u64 pc, u32 size, bool (*is)(const struct insn *insn));
bool insn_needs_page(struct vcpu *v, u64 rip, u64 page);

static inline u64 reg_read(const struct vcpu *v, int reg)
{
	u64 value = 0;

	UC(v, reg_read)(v->uc, reg, &value);
	return value;
}

static inline void reg_write(const struct vcpu *v, int reg, u64 value)
{
	UC(v, reg_write)(v->uc, reg, &value);
}

static inline bool private_has(const struct vcpu *v, u32 what)
{
	return v->shared.private & what;
}

/* Until the next stop, memory hooks find RIP stale (or, again, exact); without effect where that is
 * not known. */
static inline void skip_pc(struct vcpu *v, bool skip)
{
	*v->skip_pc = skip;
}

static inline u64 block_key(const struct vcpu *v, u32 size)
{
	return v->epoch << 16 | size;
}

static inline struct block *block_slot(struct vcpu *v, u64 pc)
{
	return &v->blocks[(pc ^ pc >> 12) & (NR_BLOCKS - 1)];
}

/* Is *b what is known of the block at pc? */
static inline bool is_known(const struct vcpu *v, const struct block *b, u64 pc, u32 size)
{
	return b->pc == pc && b->key == block_key(v, size);
}

/* Whether anything must be done before the next block. */
static inline bool busy(const struct vcpu *v)
{
	const struct soft_flush *soft = &v->mmu->soft;

	return soft->all | soft->nr | v->pending.any;
}

/* The block goes into the count as a whole, if the limit allows it. */
static inline bool enter(struct vcpu *v, struct block *b)
{
	if (unlikely(b->insns > v->limit - v->shared.count))
		return false;
	v->shared.count += b->insns;
	v->block = b;
	v->pending.control = b->control;
	return true;
}

static inline u64 page_of(u64 va)
{
	return va & PAGE_MASK;
}

#endif
