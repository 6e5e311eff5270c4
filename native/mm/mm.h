/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a Linux mm needs in C: mm_struct, VMAs, PTE-table reference counts, faults, zap. */
#ifndef UCMMU_MM_MM_H
#define UCMMU_MM_MM_H

#include "memory/ram.h"
#include "x86/unit.h"

/* cffi-begin */
/* vm_flags: the kernel's values (include/linux/mm.h, v6.18). */
#define VM_READ 0x1
#define VM_WRITE 0x2
#define VM_EXEC 0x4
#define VM_SHARED 0x8
#define VM_MAYREAD 0x10
#define VM_MAYWRITE 0x20
#define VM_MAYEXEC 0x40
#define VM_GROWSDOWN 0x100
#define VM_PFNMAP 0x400
#define VM_LOCKED 0x2000
#define VM_DONTEXPAND 0x40000
#define VM_ACCOUNT 0x100000
#define VM_NORESERVE 0x200000
#define VM_DROPPABLE 0x10000000000

/*
 * Linux's use of the bits that the processor ignores or that mean something else while P is 0.
 * PROT_NONE pages have P clear and bit 8 set; bit 9 marks a frame without rmap (the zero page).
 */
#define _PAGE_PROTNONE 0x100
#define _PAGE_SPECIAL 0x200
/* Dirty of an entry without R/W: D there would make it a page of a shadow stack (SDM 4.6.1). */
#define _PAGE_SAVED_DIRTY 0x400000000000000 /* bit 58 */
#define _PAGE_DIRTY_BITS 0x400000000000040  /* and X86_D */
#define _PAGE_TABLE 0x67		    /* P | RW | US | A | D */
/*
 * What MADV_GUARD_INSTALL sets: the swap entry make_pte_marker(PTE_MARKER_GUARD).
 *
 *    63    59 58                                    9 8                0
 *   +--------+---------------------------------------+------------------+
 *   |   31   |          ~4: the marker, inverted     | PROTNONE, P: 0   |
 *   +--------+---------------------------------------+------------------+
 */
#define PTE_GUARD_MARKER 0xfffffffffffff600
#define PTRS_PER_PTE 512
#define PMD_SIZE 0x200000
#define TLB_SINGLE_PAGE_FLUSH_CEILING 33
#define TLB_FLUSH_ALL 0xffffffffffffffff

/* Address space identifiers (arch/x86/mm/tlb.c): a CPU's own are 0 to 5, above are global ones. */
#define TLB_NR_DYN_ASIDS 6
#define MAX_ASID_AVAILABLE 4094
#define INIT_MM_CTX_ID 1 /* context.ctx_id of init_mm, which is no struct here: NULL */

/* Reasons of the event tlb_flush (enum tlb_flush_reason, include/linux/mm_types.h). */
#define TLB_FLUSH_ON_TASK_SWITCH 0
#define TLB_REMOTE_SHOOTDOWN 1
#define TLB_LOCAL_SHOOTDOWN 2
#define TLB_LOCAL_MM_SHOOTDOWN 3
#define TLB_REMOTE_SEND_IPI 4
#define TLB_REMOTE_WRONG_CPU 5

/* How empty PTE tables are freed (mmu/linux/pt_reclaim.py says what each does). */
#define FREE_TABLES_NEVER 0
#define FREE_TABLES_SCAN 1
#define FREE_TABLES_REFCOUNT 2
#define FREE_TABLES_REFCOUNT_PMDLOCK 3
#define FREE_TABLES_OWN 4 /* counts, in a way that the Python engine alone knows */

/* Up to which level tables are counted and freed when empty, where PTE tables are. */
#define FREE_LEVELS_PTE 1
#define FREE_LEVELS_PMD 2
#define FREE_LEVELS_PUD 3

#define MM_FILEPAGES 0
#define MM_ANONPAGES 1
#define MM_SWAPENTS 2
#define MM_SHMEMPAGES 3
#define NR_MM_RSS 4

/* vm_fault_t results (include/linux/mm_types.h). */
#define VM_FAULT_OOM 0x1
#define VM_FAULT_SIGBUS 0x2
#define VM_FAULT_MAJOR 0x4
#define VM_FAULT_SIGSEGV 0x40
#define VM_FAULT_NOPAGE 0x100
#define VM_FAULT_RETRY 0x400
#define VM_FAULT_FALLBACK 0x800 /* ours: not a case the C path takes; nothing was changed */

/* Broken invariants; the first one found is kept in mm_struct.bug. */
#define BUG_NONE 0
#define BUG_PTE_REF_UNDERFLOW 1
#define BUG_PTE_REF_OVERFLOW 2
#define BUG_PTE_REF_FROM_ZERO 3
#define BUG_PTE_TABLE_NOT_EMPTY 4
#define BUG_LOCK_HELD 5
#define BUG_LOCK_NOT_HELD 6
#define BUG_RSS_NEGATIVE 7
#define BUG_PTE_TABLE_LEAKED 8 /* counted: tearing down met a PTE table */
#define BUG_GATHER_NESTED 9
#define BUG_RCU_UNBALANCED 10
#define BUG_WAIT_FAILED 11 /* who waits in Python for C met an error, which is kept there */
#define BUG_LOCK_ORDER 12
#define BUG_LOCK_KEPT 13
#define BUG_SLEEP_IN_ATOMIC 14
#define BUG_RCU_STALL 15
#define BUG_IPI_NEVER_ACKNOWLEDGED 16
#define BUG_IPI_IRQS_OFF 17
#define BUG_IRQS_UNBALANCED 18
#define BUG_TABLE_REF_UNDERFLOW 19 /* of a PMD or PUD table, as the next ones */
#define BUG_TABLE_REF_OVERFLOW 20
#define BUG_TABLE_REF_FROM_ZERO 21
#define BUG_TABLE_NOT_EMPTY 22
#define BUG_TABLE_LEAKED 23
#define BUG_PAGE_CACHE_MAPPED 24   /* a page leaves its file while a PTE maps it */
#define BUG_PTE_TABLE_DEPOSITED 25 /* a table is deposited that somebody refers to */

/* Kinds of locks: struct kernel.wait_for_lock's, the contention events', the counters' order. */
#define LOCK_PTE 0
#define LOCK_PMD 1
#define LOCK_PAGE_TABLE 2
#define LOCK_MMAP 3
#define LOCK_VMA 4
#define LOCK_FOLIO 5
#define LOCK_I_MMAP 6
#define NR_LOCK_KINDS 7
#define LOCK_NESTED 0x100 /* with a kind: inside another lock of it (SINGLE_DEPTH_NESTING) */

/* What struct kernel.lockdep is told. */
#define LOCKDEP_ACQUIRE 0
#define LOCKDEP_ACQUIRED 1
#define LOCKDEP_TRYLOCK 2
#define LOCKDEP_RELEASE 3

/* Flags of contention_begin (include/trace/events/lock.h). */
#define LCB_F_SPIN 0x1
#define LCB_F_READ 0x2
#define LCB_F_WRITE 0x4

/* pte_try_get() */
#define TRYGET_SUCCEEDED 0
#define TRYGET_FAILED_ZERO 1
#define TRYGET_FAILED_NONE 2
#define TRYGET_FAILED_HUGE_PMD 3

/* A PMD entry and a PTE, in RAM: entries of a page directory and of a page table. */
typedef u64 pmd_t;
typedef u64 pte_t;

struct vm_area_struct {
	u64 vm_start, vm_end; /* [vm_start, vm_end), page-aligned */
	u64 vm_flags;
	u64 vm_pgoff; /* pages: into the file, or vm_start >> 12 if anonymous */
	u32 vm_file;  /* 0 anonymous, else a number the owner of the mm gives meaning to */
	u32 vm_name;  /* what /proc/self/maps calls it; 0 nothing, else as vm_file */
	u64 anon_vma; /* number of its anon_vma, equal where pages may be shared; 0: none yet */
	u32 nr_anon_vma_chain; /* anon_vmas that its pages may belong to: its own, and parents' */
	u32 vm_refcnt;	 /* 0 detached; 1 in an index, and 1 for each reader; VMA_LOCK_OFFSET */
	u32 vm_lock_seq; /* write-locked if equal to the mm's mm_lock_seq */
	u32 pad;
};

/* What is told of a VMA outside the kernel: as in struct vm_area_struct. */
struct vma_facts {
	u64 vm_start, vm_end, vm_flags, vm_pgoff;
	u32 vm_file, vm_name;
};

/* The event vma_lock. */
#define VMA_LOCK_SUCCESS 0
#define VMA_LOCK_ABORT 1
#define VMA_LOCK_RETRY 2
#define VMA_LOCK_MISS 3

#define VMA_LOCK_OFFSET 0x40000000 /* in vm_refcnt: a writer waits for the readers to leave */
/* What vma_end_read() returns. */
#define VMA_READER_NONE 0 /* there was no reader: nothing is changed */
#define VMA_READER_ONE 1
#define VMA_READER_LAST 2 /* a writer waits for just this */

/* VMAs in order of address, none overlapping, each on the heap, so that it stays where it
   is. */
struct vma_index {
	struct vm_area_struct **vma;
	u32 nr, max;
	u32 hint; /* where the last find ended */
	u32 pad;
};

/*
 * Table frames that wait for a grace period: two lists through struct page.next, oldest first, of
 * frame indexes, PAGE_NONE when empty.
 */
struct rcu_state {
	u32 head, tail;	   /* queued since the grace period began, or while there is none */
	u32 wait_head;	   /* freed when this grace period ends */
	u32 nr_pending;	   /* frames in both */
	u32 gp_running;	   /* a grace period has begun and not ended */
	u32 lock;	   /* of all this, where CPUs are host threads */
	u64 qs_mask;	   /* CPUs that must still pass a quiescent state */
	u64 gp_seq;	   /* grace periods ended */
	u64 gp_seq_needed; /* somebody waits until so many have */
};

/* The third field of rcu_grace_period. */
#define RCU_GP_START 0
#define RCU_GP_CPUQS 1
#define RCU_GP_END 2

/* A sleeping lock (mmu/linux/rwsem.py): 1 a writer holds it, 2 somebody waits, 0x100 a reader. */
struct rw_semaphore {
	u32 count;
};
#define RWSEM_WRITER_LOCKED 0x1
#define RWSEM_FLAG_WAITERS 0x2
#define RWSEM_READER_BIAS 0x100

struct mmu_gather;
struct kernel;
struct mm_struct;

#define NR_CPUS 64
#define CODE_WRITTEN_MAX 64 /* pages listed singly before all code is named */

/* What code translated from guest RAM a CPU must drop before it executes again. */
struct code_written {
	u32 all;		    /* 1: all of it */
	u32 nr;			    /* pages listed */
	u64 page[CODE_WRITTEN_MAX]; /* guest-physical addresses */
};

/* What a CPU's TLB holds under one ASID: of which mm, and as of which of its flushes. */
struct tlb_context {
	u64 ctx_id; /* mm_struct.ctx_id; 0: nothing yet */
	u64 tlb_gen;
};

/* One CPU's own state: what Linux keeps in per-CPU variables. */
struct cpu {
	struct kernel *kernel;
	struct mmu_unit *mmu;
	struct mm_struct *loaded_mm; /* whose tables CR3 names; NULL: init_mm's */
	struct mmu_gather *gather;   /* the one in progress here, or NULL */
	u32 id;
	u32 rcu_nesting;   /* rcu_read_lock() depth */
	u32 rcu_watching;  /* 0: idle, which is one long quiescent state */
	u32 irqs_disabled; /* local_irq_save() depth */
	u32 nr_calls;	   /* calls from other CPUs that wait for this one */
	u32 is_lazy;	   /* 1: loaded_mm stays loaded, but nothing here uses it */
	u32 next_asid;
	u32 loaded_mm_asid;
	u32 current_pid; /* of the task that it runs, 0: idle; stamped on events, as the next two */
	u32 gather_lock; /* another CPU looks at the gather, where CPUs are host threads */
	u64 ahead_ns;	 /* its virtual time less its instructions */
	const u64 *instructions; /* how many it executed; NULL: nobody counts */
	struct tlb_context ctxs[TLB_NR_DYN_ASIDS];
	struct code_written code_written;
};

/* What one flush of an mm asks of the CPUs. */
struct flush_tlb_info {
	u64 start, end;	  /* bytes; end TLB_FLUSH_ALL: the whole address space */
	u64 new_tlb_gen;  /* which of the mm's flushes it is */
	u32 stride_shift; /* log2 of the bytes from one page to the next */
	u32 freed_tables;
};

/* What Linux keeps in global variables. */
struct kernel {
	struct memory *ram;
	struct event_ring *ring;
	struct cpu *this_cpu; /* the one that kernel code runs on: see this_cpu() */
	u32 policy;	      /* FREE_TABLES_* */
	u32 free_levels;      /* FREE_LEVELS_* */
	u64 bug_address;
	u32 bug; /* BUG_*: the first broken invariant since it was last asked for */
	u32 pad;
	struct rcu_state rcu;
	u32 nr_cpus;
	u32 invlpgb; /* 1: flushes of global ASIDs are broadcast, for every CPU has INVLPGB */
	struct cpu *cpu[NR_CPUS];
	u64 last_mm_ctx_id;
	u32 last_global_asid, global_asid_available;
	u64 global_asid_used[64], global_asid_freed[64]; /* bitmaps of MAX_ASID_AVAILABLE */
	u64 counter[NR_KERNEL_COUNTERS];
	/*
	 * The lock word is held: wait until it is 0.  False if nobody can make it so, or an error
	 * came.  NULL: nobody else runs, so that a lock found held never becomes free.
	 */
	bool (*wait_for_lock)(struct kernel *kernel, u32 *lock, u32 kind);
	/* Run the calls that wait for this CPU.  NULL: there are none. */
	void (*run_calls)(struct kernel *kernel, u32 cpu);
	/*
	 * Do this flush of mm, which is not one of this CPU alone: IPIs, a broadcast, or a CPU with
	 * a lazy TLB.  May wait; *info is copied first.  NULL: there is one CPU.
	 */
	void (*flush_others)(struct mm_struct *mm, const struct flush_tlb_info *info);
	/* tlb_remove_table_sync_one(): an IPI to every other CPU.  May wait. */
	void (*sync_one)(struct kernel *kernel);
	/* A spinlock is about to be taken, was taken, or is dropped: LOCKDEP_*. NULL: nobody asks.
	 */
	void (*lockdep)(struct kernel *kernel, u32 what, u64 lock, u32 kind);
};

/* An address space.  It names no CPU: cpu_bitmap has a bit for each that may have it loaded. */
struct mm_struct {
	struct kernel *kernel;
	struct memory *ram;	 /* the kernel's */
	u64 cpu_bitmap;		 /* mm_cpumask(); a CPU that left may still be in it */
	u64 ctx_id;		 /* context.ctx_id: never used again */
	u64 tlb_gen;		 /* context.tlb_gen: flushes so far */
	u64 next_trim_cpumask;	 /* jiffies after which a flush takes CPUs that left out */
	u32 global_asid;	 /* the same on every CPU; 0: none */
	u32 asid_transition;	 /* 1: a CPU may still use an ASID of its own */
	u64 pgd;		 /* guest-physical address of the PML4 table */
	u64 pgtables_bytes;	 /* PTE, PMD and PUD tables: VmPTE * 1024 */
	u64 hiwater_pgtables;	 /* bytes */
	s64 rss_stat[NR_MM_RSS]; /* pages */
	u64 hiwater_rss;	 /* pages */
	u64 total_vm, hiwater_vm, locked_vm, data_vm, exec_vm, stack_vm; /* pages */
	u64 start_code, end_code, start_data, end_data;
	u64 start_brk, brk, start_stack, mmap_base, task_size;
	u64 arg_start, arg_end, env_start, env_end;
	u64 counter[NR_MM_COUNTERS];
	u64 nr_anon_vmas; /* anon_vma numbers given out */
	struct rw_semaphore mmap_lock;
	u32 page_table_lock;   /* guards PML4 and PDPT entries */
	u32 mm_lock_seq;       /* odd while mmap_lock is held for writing; see vm_lock_seq */
	u32 tlb_flush_pending; /* gathers in progress */
	struct vma_index vmas;
};

#define MMU_GATHER_BUNDLE 8 /* frames held without memory for a batch */
#define MMU_GATHER_MAX 514  /* and 506 more with a batch */

/* One mmu_gather: what was unmapped, to be flushed first and freed after. */
struct mmu_gather {
	struct mm_struct *mm;
	struct cpu *cpu; /* who gathers */
	u64 start, end;	 /* bytes of address space to flush; start > end: nothing yet */
	u32 freed_tables;
	u32 fullmm;	  /* the whole mm goes: flush everything */
	u32 stride_shift; /* log2 of the smallest reach of a cleared entry, bytes; 0: none yet */
	u32 nr, max;	  /* frames in pfn[]; how many it may take */
	u32 nr_tables;	  /* frames in table[] */
	u32 delayed_rmap; /* 1: a file's page was unmapped that may be written yet: flush first */
	u64 pfn[MMU_GATHER_MAX];
	u64 table[MMU_GATHER_MAX];
};

/* Whom a zap is for: struct zap_details, what of it we need. */
#define ZAP_RECLAIM_PT 0x1  /* MADV_DONTNEED: CONFIG_PT_RECLAIM may free tables */
#define ZAP_DROP_MARKER 0x2 /* munmap, exit: guard markers go as well */
#define ZAP_KEEP_COWS 0x4   /* a hole in a file: private copies stay (!even_cows) */

/* The kernel and its CPUs (kernel.c). */
/* Run kernel code on cpu from now on; events carry its number, task, time and instructions. */
void set_this_cpu(struct kernel *kernel, struct cpu *cpu);
/* Turn interrupts off on the CPU; they nest. */
void local_irq_save(struct cpu *cpu);
/* Undo one local_irq_save(); the last one runs the calls that came meanwhile. */
void local_irq_restore(struct cpu *cpu);
/* The frame of pa held code and was written: every CPU drops what it translated from it. */
void note_code_written(struct kernel *kernel, u64 pa);
/* cpu's guest is about to store to the frame of pa, which holds code: every other CPU drops that.
 */
void note_code_stored(struct cpu *cpu, u64 pa);
/*
 * cpu's guest is the first to execute from some frame: no other CPU stores there unnoticed any
 * more, whatever its emulator has cached of translations.
 */
void note_code_fetched(struct cpu *cpu);
/*
 * The next freed frame that held code, 0 if none: CPU number id drops its code and hands the frame
 * to memory_free_code(); the kernel's other CPUs are told.  kernel may be NULL: there are none.
 */
u64 take_freed_code(struct memory *m, struct kernel *kernel, u32 id);

/* VMAs (vma.c). */
/* The first VMA that ends above addr, or NULL. */
struct vm_area_struct *find_vma(struct mm_struct *mm, u64 addr);
/* Number of the first VMA that ends above addr; vmas.nr if none. */
u32 vma_index_of(struct mm_struct *mm, u64 addr);
/* Become a reader of the VMA.  false: a writer has it or waits for it, or it is in no index. */
bool vma_start_read(const struct mm_struct *mm, struct vm_area_struct *vma);
/* The VMA that holds addr, read-locked.  NULL, and counted why: there is none, or a writer's. */
struct vm_area_struct *lock_vma_under_rcu(struct mm_struct *mm, u64 addr);
/* A reader leaves.  Returns the VMA_READER_* that it was. */
u32 vma_end_read(struct vm_area_struct *vma);
/*
 * Put a copy of *vma at its place by address, write-locked if mmap_lock is held for writing. 0, or
 * -ENOMEM. Numbers move.
 */
int vma_insert(struct mm_struct *mm, const struct vm_area_struct *vma);
/* Take VMAs [first, first + nr) out and free them. Numbers move. */
void vma_remove(struct mm_struct *mm, u32 first, u32 nr);
/* Copy what is told of all VMAs, in order of address, to out, which has room for mm->vmas.nr. */
void vma_tell(const struct mm_struct *mm, struct vma_facts *out);
/* Take them out, but leave each to the caller, who ends with vma_free(). */
void vma_detach(struct mm_struct *mm, u32 first, u32 nr);
void vma_free(struct vm_area_struct *vma);
/* cffi-end */

#ifdef UCMMU_SMP
extern _Thread_local struct cpu *cpu_of_thread; /* set_this_cpu() sets it */
#endif

/* The CPU that kernel code runs on: Linux's per-CPU data start here. */
static inline struct cpu *this_cpu(const struct kernel *kernel)
{
#ifdef UCMMU_SMP
	(void)kernel;
	return cpu_of_thread;
#else
	return kernel->this_cpu;
#endif
}

#endif
