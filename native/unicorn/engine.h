/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One Unicorn instance run through our MMU: what Python sees of it. */
#ifndef UCMMU_UNICORN_ENGINE_H
#define UCMMU_UNICORN_ENGINE_H

#include "types.h"

/* cffi-begin */
#define FIDELITY_FAST 0	 /* architecture exact: translations, A and D, faults, counts */
#define FIDELITY_EXACT 1 /* every fetch, load and store passes through the TLB model */
#define FIDELITY_TRACE 2 /* exact, and each instruction's events go to the ring */

/* Why vcpu_run() returned. */
#define EXIT_LIMIT 0	  /* count reached the limit, exactly */
#define EXIT_SYSCALL 1	  /* SYSCALL executed: rcx, r11 and rip are set as it sets them */
#define EXIT_PAGE_FAULT 2 /* #PF at rip: address, error_code, access; CR2 is set */
#define EXIT_EXCEPTION 3  /* vector; rip as the processor would push it */
#define EXIT_BAD_TABLE 4  /* address needs memory that is neither guest RAM nor a region */
#define EXIT_STOPPED 5	  /* vcpu_stop(), a user's hook or the end address stopped it */
#define EXIT_ABORTED 6	  /* a callback into Python raised */
#define EXIT_ENGINE 7	  /* uc_emu_start() failed with uc_err */
#define EXIT_SHUTDOWN 8	  /* a triple fault, which began as vector with error_code at insn */

/* Private symbols and offsets of Unicorn that passed their self-test. */
#define PRIVATE_FILL_ADDRESS 0x1 /* the fill hook learns the exact address */
#define PRIVATE_CPL 0x2		 /* hflags tell the privilege level */
#define PRIVATE_FLUSH_PAGE 0x4	 /* one page of the soft TLB can be dropped */
#define PRIVATE_SET_PAGE 0x8	 /* an entry of the soft TLB can be replaced inside a hook */
#define PRIVATE_SKIP_PC 0x10	 /* memory hooks can leave RIP stale, and so be quicker */
#define PRIVATE_LOAD_RIP 0x20	 /* ... and a load's hook can still find it out */
#define PRIVATE_ASKER 0x40	 /* who asks for a fill can be told */
#define PRIVATE_RUN 0x80	 /* a run goes on rightly after one inside its hook */
#define PRIVATE_HOST 0x100	 /* the host address of the instance's memory is known */
#define PRIVATE_ENV 0x200	 /* the processor's state can be reached, word by word */
#define PRIVATE_CONTEXT 0x400	 /* whether contexts hold memory can be told */
#define PRIVATE_HEARING 0x800	 /* hooks that Unicorn has gone deaf to can be called again */
#define PRIVATE_ALL 0xfff

/* Instructions that never execute: the run stops before them (intercept.c says which and why). */
#define INTERCEPT_NONE 0
#define INTERCEPT_UD 1	 /* #UD: the processor modelled does not have it, or it is no instruction */
#define INTERCEPT_GP 2	 /* #GP: not for user mode */
#define INTERCEPT_INT1 3 /* #DB, a trap */
#define INTERCEPT_INT3 4 /* #BP, a trap */
#define INTERCEPT_INTO 5 /* INT 4: #OF, a trap */
/* #GP because of CR4.TSD: the kernel may emulate it, length bytes long */
#define INTERCEPT_RDTSC 6
#define INTERCEPT_RDTSCP 7
/* Unicorn would execute it wrongly: said so, and #UD, which is wrong too but seen */
#define INTERCEPT_WRONG 8
#define INTERCEPT_EMULATED 9 /* never an exit: carried out by us (emulate.c) */
/* never an exit: if its store will fault, it does so before all else */
#define INTERCEPT_STORE_FIRST 10

/* What Unicorn does otherwise than a processor, that the guest's code has met
 * (docs/engine_limits.md). */
#define LIMIT_X87_PRECISION 0x1 /* an x87 instruction computed to 53 bits */
/* MXCSR was read or written: exception flags are never set, FZ and DAZ do little */
#define LIMIT_MXCSR 0x2

/* What vcpu_config.on_fault returns; the fault is in shared.exit. */
#define FAULT_RAISED 0 /* it ends the run */
#define FAULT_RETRY 1  /* try the access again */
#define FAULT_ABORT 2  /* the callback raised */

#define NR_SYSCALL_ARGS 6
#define NO_LIMIT 0xffffffffffffffff

/* Addresses of libunicorn's and libcapstone's functions; private ones may be NULL. */
struct uc_api {
	void *open, *close, *emu_start, *emu_stop, *hook_add, *hook_del, *ctl;
	void *reg_read, *reg_write, *reg_read_batch, *reg_write_batch;
	void *mem_map, *mem_read, *mem_write, *vmem_translate;
	void *context_alloc, *context_save, *context_restore, *context_free, *context_size;
	void *context_reg_read, *context_reg_write;
	void *context_reg_read_batch, *context_reg_write_batch;
	void *mmio_map;
	void *tlb_flush_page, *tlb_set_page, *cpu_restore_state;
	void *find_memory_mapping, *memory_region_get_ram_addr;
	void *cpu_get_address_space, *address_space_map;
	void *qemu_ram_addr_from_host, *tb_invalidate_phys_range;
	void *cs_disasm_iter;
	size_t cs_handle;
	void *cs_insn; /* from cs_malloc(cs_handle) */
};

/* Addresses of mmu._native's functions, or of Python's in their place. */
struct mmu_api {
	void *refill, *translate, *page_fault, *tables_changed;
	void *invlpg, *invpcid, *write_cr0, *write_cr3, *write_cr4, *write_efer, *write_pkru;
	void *walk;
	void *hit, *touch; /* NULL: every access asks translate */
	void *fast_fault;  /* NULL: no fault is resolved inside the fill hook */
	void *ring_emit, *take_code, *free_code, *code_stored, *code_fetched, *set_cpu;
};

/* Sizes and last offsets as mmu._native was built: both modules must agree. */
struct layout {
	size_t memory_size, memory_ring;
	size_t unit_size, unit_tlb;
	size_t ring_size, ring_arg;
	size_t mm_size, mm_vmas;
	size_t cpu_size, cpu_code_written;
	size_t kernel_size, kernel_cpu;
	size_t translation_size, translation_error_code;
};

/* Where a saved context has words of the processor's state that no register names; 0: not known. */
#define NR_ENV_WORDS 7
struct env_places {
	u32 at[NR_ENV_WORDS];
};

#define REGION_MMIO 0x80000000 /* beside UC_PROT_*: callbacks answer for the region */

/* Memory of the instance's, by its own address. */
struct vcpu_region {
	u64 base, size; /* bytes, whole pages */
	u32 perms;	/* UC_PROT_*, REGION_MMIO */
};

struct vcpu_config {
	void *uc;	/* uc_engine */
	void *mmu;	/* struct mmu_unit */
	void *mm;	/* struct mm_struct, or NULL */
	void *cpu;	/* struct cpu of its kernel, or NULL: there is no kernel */
	void *ring;	/* struct event_ring, or NULL */
	u32 fidelity;	/* FIDELITY_* */
	u32 count;	/* count instructions (in exact and trace always) */
	u32 private;	/* PRIVATE_* that may be used */
	u32 attached;	/* somebody else's instance: its guest owns the control registers */
	u32 identity;	/* attached: an address without memory is given to Unicorn as it is */
	void *on_fault; /* attached: u32 (struct vcpu *), FAULT_*; NULL: faults end the run */
	u32 deliver;	/* attached: exceptions go through the guest's IDT, SYSCALL to its LSTAR */
	void *settle_exit;	  /* deliver: void (struct vcpu *), Python's part of a fault */
	struct env_places places; /* what is used without PRIVATE_ENV */
};

/* What ended a run.  Fields that a reason does not name hold rubbish. */
struct vm_exit {
	u32 reason; /* EXIT_* */
	u32 vector; /* EXCEPTION; of an address not canonical always 13 here, Python tells #SS apart
		     */
	u32 error_code; /* PAGE_FAULT: PF_* */
	u32 access;	/* PAGE_FAULT, BAD_TABLE: ACCESS_*; RMW only if !exact */
	u32 exact;	/* 0: address is only its page's, decode rip; in exact the fault is still to
			   happen */
	u32 uc_err; /* ENGINE; of an attached instance's fault, Unicorn's error for it or UC_ERR_OK
		     */
	u32 intercept; /* EXCEPTION: INTERCEPT_* if the instruction was intercepted, else 0 */
	u32 length;    /* bytes, if intercept is not 0; 0: not known */
	u64 address;   /* PAGE_FAULT, BAD_TABLE, EXCEPTION of an address not canonical */
	u64 rip;       /* where the guest stands */
	u64 insn; /* SYSCALL, EXCEPTION: address of the instruction that raised it; rip, or before
		     it */
	u64 nr;	  /* SYSCALL: rax */
	u64 arg[NR_SYSCALL_ARGS]; /* SYSCALL: rdi, rsi, rdx, r10, r8, r9 */
	u64 rsp;		  /* SYSCALL */
};

/* What Python and the hooks share of a vCPU. */
struct vcpu_shared {
	struct vm_exit exit;
	u64 count;  /* instructions executed */
	u64 result; /* written to rax at the next start, if has_result */
	u64 has_result;
	u32 private;	   /* PRIVATE_* in use */
	u64 repairs;	   /* soft TLB entries corrected in the very access that met them */
	u64 broken;	   /* accesses that Unicorn did by another translation than the model's */
	u64 miscounts;	   /* cut blocks whose instructions could not be told apart */
	u64 fills;	   /* soft TLB fills: by the wall clock, not deterministic */
	u64 fast_faults;   /* faults resolved inside the fill hook */
	u32 syscall_hooks; /* of the script: with any, SYSCALL is theirs, and is not delivered */
	u64 limits; /* LIMIT_* of the instructions translated; of a guest attached to, none */
};

struct vcpu;

/* NULL if the layouts agree, else the name of the struct that does not. */
const char *layout_mismatch(const struct layout *native);
/* Which of the PRIVATE_* in wanted work with this library, each tried on an instance of its own. */
u32 private_self_test(const struct uc_api *api, u32 wanted);
/* Find out where saved contexts have what no register names, on an instance of its own. */
void find_places(const struct uc_api *api, struct env_places *places);

/* With PRIVATE_CONTEXT: the UC_CTL_CONTEXT_* that the instance's contexts hold. */
u32 private_context_mode(const void *uc);

/* Put hooks on an instance whose TLB mode is UC_TLB_VIRTUAL. NULL: out of memory, or a hook was
 * refused. */
struct vcpu *vcpu_create(const struct vcpu_config *config, const struct uc_api *uc,
			 const struct mmu_api *mmu);
/* Take the hooks off; the instance stays, and the vCPU is good for nothing but vcpu_free(). */
void vcpu_unhook(struct vcpu *v);
/* Go on with another fidelity; the hooks are taken off and put on again. 0, or -1. */
int vcpu_set_fidelity(struct vcpu *v, u32 fidelity);
/* Free the vCPU, whose instance has no hooks of it any more or is closed. */
void vcpu_free(struct vcpu *v);
struct vcpu_shared *vcpu_shared(struct vcpu *v);
/* The program that runs next has this struct mm_struct, whose faults may be resolved at once. */
void vcpu_set_mm(struct vcpu *v, void *mm);

/*
 * Run from RIP until something of EXIT_*, at the latest when shared->count is limit. From the
 * count due on the caller wants to look, before anything changes that it may see: each fault is
 * told, and some thousand instructions later EXIT_LIMIT. Returns shared->exit.reason.
 */
u32 vcpu_run(struct vcpu *v, u64 limit, u64 due);
/*
 * An attached instance's uc_emu_start(); *exit says how it ended. It may be called in hooks: each
 * level has its own end, count and stop.
 */
void vcpu_emu_start(struct vcpu *v, u64 begin, u64 until, u64 timeout_us, u64 count,
		    struct vm_exit *exit);
/* An attached instance's uc_emu_stop(): ends the innermost run under way, if there is one. */
void vcpu_emu_stop(struct vcpu *v);
/* Whether vcpu_config.on_fault is to be asked about faults of an attached instance. */
void vcpu_handle_faults(struct vcpu *v, u32 handled);
/* How many runs of an attached instance are under way, one inside the other's hook. */
u32 vcpu_depth(const struct vcpu *v);
/* The script is about to write RIP, in a hook or between runs. */
void vcpu_jump(struct vcpu *v, u64 rip);
/* End the run that is under way, or the next, at the next block. Safe in a signal handler. */
void vcpu_stop(struct vcpu *v);
/* Before a run or a look while the guest stands still: take over registers that were changed;
 * forget what the MMU asked consumers to forget, and code of frames that were freed. */
void vcpu_sync(struct vcpu *v);
/* Make the registers that paging depends on the MMU's as Unicorn holds them, and change none.
 * XLATE_*: why no processor like the MMU's would hold them; nothing is changed then. */
u32 vcpu_take_controls(struct vcpu *v);
/* Forget the whole soft TLB. */
void vcpu_flush(struct vcpu *v);
/* The frame of pa was written by the host: drop code translated from it. */
void vcpu_drop_code(struct vcpu *v, u64 pa);
/* Instruction at RIP, length bytes long, was emulated: count it and step over it. */
void vcpu_skip(struct vcpu *v, u32 length);
/*
 * Begin a program at CPL 3; registers as after exec. The instance has a page behind RAM that begins
 * with SYSRETQ. Returns uc_err.
 */
u32 vcpu_enter_user(struct vcpu *v, u64 rip, u64 rsp);
/*
 * The instance has memory at [base, base + size), with perms of its UC_PROT_* and REGION_MMIO, in
 * the place of what it had there. 0, -ENOMEM, or -EINVAL: its low 52 bits run over.
 */
int vcpu_add_region(struct vcpu *v, u64 base, u64 size, u32 perms);
/* The instance has no memory at [base, base + size) any more. 0, or -ENOMEM. */
int vcpu_remove_region(struct vcpu *v, u64 base, u64 size);
/*
 * The instance has this memory and no other but our RAM, which may be among the nr regions. As
 * vcpu_add_region(), but what was I/O still is; if it fails, nothing has changed.
 */
int vcpu_set_regions(struct vcpu *v, const struct vcpu_region *regions, u32 nr);
/*
 * A host has written, or is about to write, [address, address + size) of the instance's memory:
 * code translated from it is dropped, and tables that lie there have changed.
 */
void vcpu_host_wrote(struct vcpu *v, u64 address, u64 size);
/*
 * Drop code translated from virtual [begin, end), as uc_ctl_remove_cache(), in every hook. 0: only
 * that can do it here.
 */
u32 vcpu_remove_code(struct vcpu *v, u64 begin, u64 end);
/* Somebody else's memory hooks need exact RIP and virtual addresses, in fast too. 0, or -ENOMEM. */
int vcpu_serve_hooks(struct vcpu *v);
/*
 * Somebody else's CODE hook on [begin, end] is coming: keep the flags of denied instructions right.
 * A handle for vcpu_unguard_flags(); 0: Unicorn refused.
 */
u64 vcpu_guard_flags(struct vcpu *v, u64 begin, u64 end);
/* That CODE hook is gone. */
void vcpu_unguard_flags(struct vcpu *v, u64 guard);
/* The virtual address behind the guest-physical one of an access; NO_LIMIT: nobody's. */
u64 vcpu_hook_address(struct vcpu *v, u64 pa);
/*
 * Put a hook of this UC_HOOK_MEM_* type on the instance that is called (a uc_cb_hookmem_t, with no
 * user data) for virtual [begin, end] only, everything if begin > end. Returns its handle; 0: there
 * is no memory for it, or Unicorn refused it.
 */
u64 vcpu_watch(struct vcpu *v, int type, void *callback, u64 begin, u64 end);
/* Others have hooks of loads and stores: pages of a changed table wait for the next block. */
void vcpu_foreign_hooks(struct vcpu *v);
/* The hook with that handle was removed. */
void vcpu_unwatch(struct vcpu *v, u64 hook);
/* Have all code translated anew. */
void vcpu_forget_code(struct vcpu *v);
/* Copy up to n bytes at va as the processor would fetch them, without side effects. Returns how
 * many. */
u32 vcpu_peek(struct vcpu *v, u64 va, void *out, u32 n);
u64 vcpu_reg_read(struct vcpu *v, int reg);
void vcpu_reg_write(struct vcpu *v, int reg, u64 value);
/* Whether exceptions can be delivered through the guest's IDT with this Unicorn. */
u32 vcpu_can_deliver(const struct vcpu *v);
/* Privilege level the guest runs at. */
u32 vcpu_cpl(struct vcpu *v);
/* cffi-end */

#endif
