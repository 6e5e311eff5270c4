/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of a vCPU: what the hooks keep, by lifetime. */
#ifndef UCMMU_UNICORN_STATE_H
#define UCMMU_UNICORN_STATE_H

#include <pthread.h>
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
#define NR_BLOCKS 4096 /* a power of two */
#define NR_WATCHES 64
#define NR_OWN_EXITS (3 * PAGE_SIZE) /* more than two pages can have */
#define NR_TRACED 65536		     /* instructions, and their accesses, that trace keeps */
#define NR_MEMOS 128		     /* a power of two, for each kind of access */
#define MAX_INSN 15		     /* bytes (SDM vol. 2 2.3.11) */
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define HF_LMA 0x4000 /* Unicorn's hflags: long mode, and 64-bit code in it */
#define HF_CS64 0x8000
#define HF_CS32 0x10 /* these two are set with it */
#define HF_SS32 0x20
#define HF_ADDSEG 0x40 /* and this is not */
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

/* Bits of a guest-physical address. */
#define GUEST_PHYSICAL 0x000fffffffffffff

struct vcpu;
struct insn;
struct tracing;
struct script;
struct before;
struct frame_chunk;

/* Why Unicorn left the guest; docs/hooks.md has the table. */
enum stop {
	STOP_NONE,	/* it has not, or nobody has said why yet */
	STOP_OUTSIDE,	/* HLT, a timeout, or emu_stop() called by somebody else */
	STOP_ENGINE,	/* Unicorn failed; run.err says how */
	STOP_ASKED,	/* vcpu_stop() */
	STOP_LIMIT,	/* the next block or instruction would overrun the limit */
	STOP_UNTIL,	/* attached: an end address is reached that cannot be fetched from */
	STOP_FOUND,	/* translated code holds an instruction to intercept, in intercepts.found */
	STOP_AHEAD,	/* the block reaches into a page that its first instruction does not need,
			   or into one with code that must not be translated */
	STOP_RESOLVED,	/* a fill was denied whose fault is resolved */
	STOP_FAULT,	/* a fill was denied; shared.exit describes the fault */
	STOP_SYSCALL,	/* SYSCALL */
	STOP_EXCEPTION, /* an exception; shared.exit.vector says which */
	STOP_ABORTED,	/* attached: a handler of faults raised */
	STOP_REFUSED,	/* attached: a MOV to CR that is #GP, which Unicorn has executed */
	STOP_INTERCEPT, /* the instruction at RIP is intercepted */
	STOP_EMULATED,	/* the instruction at RIP is intercepted, and carried out here */
	STOP_STEPPED,	/* step(): the instruction is done */
	STOP_DELIVERED, /* an exception or SYSCALL went where the guest's IDT or LSTAR says */
	STOP_SHUTDOWN,	/* ... or came of a double fault's delivery: exit.vector began it */
};

/* How far the instruction at end.rip has come. */
enum progress {
	NOT_BEGUN, /* neither fetched nor executed */
	FETCHED,   /* looked up in the instruction TLB; nothing else of it happened */
	DONE,	   /* executed */
};

/* What run_to_end() does after an end. */
enum again {
	AGAIN_NO,    /* return to Python */
	AGAIN_START, /* start Unicorn at RIP */
	AGAIN_STEP,  /* execute one instruction by itself, then start */
	AGAIN_STEPS, /* execute one instruction at a time until the run is over */
	AGAIN_AHEAD, /* attached: execute up to run.ahead, then start */
};

/* The end of one start of Unicorn. Written by end() only. */
struct ending {
	enum stop reason;
	enum progress progress;
	enum again again;
	u64 rip; /* the instruction that progress speaks of; NO_ADDRESS: not known */
};

/* What an instruction that ends a block does to the MMU (found when a block is first seen). */
enum control {
	CONTROL_NONE,
	CONTROL_INVLPG,
	CONTROL_MOV_CR,
	CONTROL_LOOK, /* it holds a WRMSR, which does not end it: registers may have changed */
};

/* Words of Unicorn's processor state that no register names. */
enum env_word {
	ENV_HFLAGS, /* its two low bits are the privilege level */
	ENV_CS,	    /* the selector, and what is cached of its descriptor behind it */
	ENV_SS,
	ENV_ERROR_CODE, /* of the exception raised last */
	ENV_IN_FLIGHT,	/* the last contributory exception's vector, all ones: none */
	ENV_PKRU,
	ENV_IS_INT, /* whether the exception raised last was an INT n's */
};

/* Registers that paging depends on. */
struct controls {
	u64 cr0, cr3, cr4, efer;
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
	u16 last;     /* offset of that instruction */
	u16 cut;      /* where insns_before() last looked, as an offset; 0: nowhere */
	u16 insns_before_cut;
	u16 rmw; /* enum rmw */
};

/* What the next block must not begin without.  stop may be written by a signal handler. */
union pending {
	struct {
		u8 control;    /* enum control, of the block before */
		u8 code_store; /* 1: it made a store to a frame of code */
		u8 jump;       /* 1: see struct jump */
		u8 deadline;   /* 1: each block looks at the time */
		u8 deaf;       /* so many blocks on, Unicorn is to hear again: see attend() */
		volatile u8 stop;
	};
	u64 any;
};

/* Guest-physical memory, where the instance has it. */
struct region {
	u64 base, size;
	u64 uc_base;
	u8 *host;	/* if host_known: see bus.c */
	u64 host_known; /* regions.changes when host was found */
	u32 perms;	/* UC_PROT_* that Unicorn grants */
	bool mmio;
};

struct regions {
	struct region ram;  /* ours */
	struct region *all; /* the others, by address; none overlap */
	u32 nr, room;
	u32 last; /* the one that was found last */
	u64 changes;
};

/* What is known of frames; see frame.c. */
struct frames {
	u64 *ram_owner; /* if owning: by frame index; see owner_tag(); 0 nobody's */
	u64 nr_ram;
	struct frame_chunk **chain; /* a hash table */
	struct frame_chunk *last;   /* the one that was found last */
	u32 nr_chains, nr;
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
	u64 va;		      /* the virtual page */
	u64 vpn, frame, rest; /* the entry's: all that a look-up and the rights depend on */
};

/* A page fault taken ahead of the fill that will be denied for it. */
struct foretold {
	u64 page; /* NO_ADDRESS: none */
	u32 access;
	bool resolved;
	u64 va;	   /* of the access */
	u64 fault; /* where it faults, as an access of kind faulting */
	u32 faulting;
	struct translation t; /* the fault */
};

/* The instruction stream, as the instruction TLB sees it (exact and trace). */
struct stream {
	u64 next; /* address after the last instruction; NO_ADDRESS: control comes from elsewhere */
	u64 page; /* of the last byte fetched */
	u64 crossing; /* this instruction enters a page not looked up yet; NO_ADDRESS: none */
	u64 crossed;  /* this denied instruction's second page is looked up already */
	u64 denied;   /* trace: the instruction that is about to be executed again */
};

/* Code [begin, end] with a CODE hook of ours: it may hold instructions that are intercepted. */
struct watch {
	u64 begin, end;
	uc_hook hook;
};

/* Where Unicorn leaves a guest of ours: before code that it cannot translate; ascending. */
struct own_exits {
	u64 address[NR_OWN_EXITS];
	u32 nr;
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
	u8 probe; /* private: Unicorn only probes, for whoever called uc_vmem_read() or its kin */
};

/* A fault for which a handler changed registers, and had the instruction begun anew. */
struct mended {
	u64 rip, address, count; /* rip: NO_ADDRESS if there was none */
	u32 error_code;
};

/* State of one run: clear_run() clears it. */
struct run {
	u64 limit;    /* of shared.count */
	u64 due;      /* from this shared.count on faults are the caller's */
	bool exact;   /* the run ends at limit, not with the block before it */
	u64 begin;    /* attached: RIP of the first start; NO_ADDRESS: RIP is right */
	u64 until;    /* Unicorn's own end address */
	u64 ahead;    /* attached: see AGAIN_AHEAD; NO_ADDRESS: nowhere */
	u64 deadline; /* attached: CLOCK_MONOTONIC in ns; 0: none */
	u64 count;    /* attached: instructions to be executed; 0: no matter how many */
	u64 counted;  /* attached: shared.count before the first of them */
	uc_err err;   /* STOP_ENGINE: what Unicorn returned */
	struct mended mended;
	bool started;	       /* Unicorn is executing the guest */
	bool exits;	       /* attached: exits are ours, those of start_ahead() */
	bool stepping;	       /* under TF */
	bool steps;	       /* ... over more than one instruction, if that may be */
	struct before *before; /* step()'s */
	enum stop trap; /* what a #DB is: STOP_EXCEPTION, or STOP_STEPPED if it is only step()'s */
};

/* State of the block under way: clear_block() clears it, the next BLOCK hook fills it. */
struct block_state {
	struct block *known; /* in shared.count already; NULL: none is under way */
	bool careful;	     /* it may hold the load of a read-modify-write */
	bool stopped;	     /* a hook of its first instruction stopped the run */
};

/* trace: how far the events of the block under way have come. clear_block() ends them. */
struct trace_state {
	struct script *script;	       /* its instructions; NULL: no block is under way */
	const struct traced_insn *now; /* the one whose access is under way */
	u64 begin;		       /* shared.count before the first */
	u32 next;		       /* how many are events already */
	u32 access;		       /* loads and stores that they made */
};

/* State of the instruction under way: clear_insn() clears it before each start of Unicorn. */
struct insn_state {
	struct foretold foretold;
	u64 passed; /* attached: the page given to Unicorn as it is; NO_ADDRESS: none */
	u64 passed_va;
	u32 passed_access;
	u64 waiting; /* an access whose second page was passed: it is looked up when it is done */
	u64 rmw_denied;	 /* where a read-modify-write loaded from what it may not write;
			    NO_ADDRESS: nowhere */
	u64 flags_rip;	 /* the last instruction with a CODE hook; NO_ADDRESS: none */
	u64 rflags, rcx; /* before that instruction */
};

/* pending.code_store: the store, and the registers before its instruction. */
struct code_store {
	u64 page, rip, rcx, rsp;
};

/* pending.jump: the script has written RIP in a hook. Whether that is a jump, the next block shows.
 */
struct jump {
	u64 from, to;
	bool early; /* our own hook of the instruction at from is still to come */
};

/* A run inside a hook leaves RIP where it ended: the instruction of that hook stands elsewhere. */
struct nested {
	u64 rip, insn;
};

/* What becomes of a fill that faults. */
enum answer {
	ANSWER_DENY,	/* the run has been ended */
	ANSWER_INSTALL, /* the translation is good now */
	ANSWER_PASS,	/* the fill is answered, with what is no translation */
};

/* What fast, exact and trace do differently; vcpu.c has the three. */
struct fidelity {
	void *on_block, *on_store; /* hooks; NULL: none */
	void (*on_load)(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
	bool modelled; /* a fault happens in the model, with its exact address */
	bool traced;   /* each instruction is an event, and stamps those that it causes */
	bool (*probe)(struct vcpu *v, u64 va, u32 access, u64 *pa);
	bool (*let_fault)(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t);
};

/*
 * What differs with whose the instance is: our own, whose guest is a program at CPL 3, or one that
 * was attached to, whose guest owns its control registers and executes what its own Unicorn does.
 */
struct guest {
	bool (*fill)(void *self, u64 page, u64 va, u32 access, uc_tlb_entry *entry);
	void *on_edge;
	enum control (*control_of_block)(struct vcpu *v, u64 pc, u32 size, u16 *offset);
	bool (*may_translate)(struct vcpu *v, u64 page); /* false: look again, more is known */
	bool (*end_at_exit)(struct vcpu *v, u64 rip);	 /* false: none of ours is there */
	bool (*stops_before)(const struct insn *insn);
	bool (*knows)(const struct insn *insn); /* although Unicorn does not */
	void (*finish_emulated)(struct vcpu *v);
	enum answer (*on_fault)(struct vcpu *v, u64 va, u32 access, u32 faulting,
				struct translation *t, uc_tlb_entry *entry);
	bool (*on_nothing)(struct vcpu *v, u64 va, u64 pa, u32 access, uc_tlb_entry *entry);
	enum again ahead;		   /* what follows STOP_AHEAD */
	bool (*carry_out)(struct vcpu *v); /* what the block's last instruction did to the MMU */
};

/* Whom the hook for loads serves: the beginning of its user data. */
struct load_target {
	u64 return_address; /* private: see private_rip() */
	void (*hook)(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *arg);
};

/* Private: what Unicorn keeps of the run under way, and overwrites in a nested one. */
struct unicorn_run {
	u64 counter, count;
	bool stop;
};

/* A run whose hook began another: what it must find as it was. See enter_level(). */
struct level {
	struct run run;
	struct ending end;
	struct block_state block;
	struct trace_state trace;
	struct block known; /* what block.known points to */
	struct insn_state insn;
	struct jump jump;
	struct stream stream;
	union pending pending;
	struct code_store code_store;
	struct vm_exit exit;
	u64 count;
	u64 rip;
	u64 accessing;
	struct unicorn_run unicorn;
};

struct vcpu {
	struct load_target load; /* first */
	struct vcpu_shared shared;
	struct fill_target fill_target;
	struct uc_api api;
	struct mmu_api mmu_api;
	uc_engine *uc;
	struct mmu_unit *mmu;
	struct mm_struct *mm;
	struct cpu *this_cpu; /* the kernel's CPU that this is, or NULL: there is no kernel */
	struct memory *ram;
	struct event_ring *ring;
	void *cpu;	   /* private: CPUState */
	const u32 *hflags; /* private */
	u8 *env;	   /* private: CPUX86State */
	u8 *skip_pc;	   /* private; elsewhere a byte of no meaning */
	u8 no_skip_pc;
	const struct fidelity *fidelity;
	const struct guest *guest;
	bool counting, attached, armed, keep_pc;
	bool deliver;			     /* attached: exceptions go through the guest's IDT */
	void (*settle_exit)(struct vcpu *v); /* Python's part of a fault in shared.exit */
	bool serving;			     /* somebody else has memory hooks by virtual address */
	bool code_written;		     /* in a hook: drop all code before the next run */
	bool owning;	  /* each frame is open to loads and stores through one virtual page only */
	u64 window_asker; /* private: who asked last while window was set */
	u64 invalidator;  /* private: who asks when Unicorn invalidates code; 0: not known */
	bool window;	  /* fills are about CODE_WINDOW, and only about it */
	u32 user;	  /* 1 at CPL 3; kept by the block hooks */

	struct run run;
	struct ending end; /* of the last start of Unicorn */
	struct block_state block;
	struct trace_state trace;
	struct insn_state insn;
	struct jump jump;
	struct nested nested;
	struct stream stream;
	union pending pending;
	struct code_store code_store;

	u64 epoch; /* grows when code may have changed under blocks */
	struct block blocks[NR_BLOCKS];
	struct block single;	 /* steps: the instruction under way, as a block */
	struct tracing *tracing; /* trace: what is known of instructions; NULL: nobody asked yet */

	struct controls seen; /* attached: Unicorn's registers when last looked at */
	struct env_places places;
	uc_context *context;		/* where env.c looks at the places; NULL: not needed yet */
	struct watchpoint *watchpoints; /* attached: the script's, by virtual address */
	bool foreign_hooks;		/* attached: others hook loads and stores */
	u64 accessing; /* attached: the page of the access whose watchpoint is called, or NO_ADDRESS
			*/
	bool hook_counts; /* attached: code was translated with Unicorn's hook that counts */
	pthread_t thread; /* attached: whose runs are under way */
	u64 runs;	  /* attached: that were begun outside hooks */
	u32 depth;	  /* attached: runs under way, one in the other's hook */
	bool identity;	  /* attached: addresses without memory are Unicorn's */
	u32 (*on_fault)(struct vcpu *v); /* attached: FAULT_*, if handled */
	bool handled;			 /* attached: there is somebody to ask */

	u64 owner_epoch;
	struct regions regions;
	struct frames frames;
	struct bus bus;
	struct intercepts intercepts;
	struct own_exits own_exits;
	u64 translations; /* grows when memos may be wrong although their entries stand */
	u64 tables_met;	  /* the memory's, when memos were last forgotten for it */
	struct memo memo[ACCESS_FETCH + 1][NR_MEMOS];

	uc_hook hook[NR_HOOKS];
	u32 nr_hooks;
};

#endif
