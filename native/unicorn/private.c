/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unicorn's private symbols and offsets: those of the x86-64 wheel of version 2.1.4, and nowhere
 * else in this project.  Each is tried on an instance of its own before it is used, and each has a
 * fallback on the public API where it is used.
 */
#include <setjmp.h>

#include "unicorn/vcpu.h"

#define UC_CPU 0x1b8	  /* struct uc_struct: CPUState *cpu */
#define UC_SKIP_PC 0x3a32 /* struct uc_struct: leave RIP stale in memory hooks */
#define UC_JMP_BUFS 0x7f8 /* struct uc_struct: jmp_buf jmp_bufs[], one for each level */
#define UC_LEVEL 0x39f8	  /* struct uc_struct: int nested_level, 0 while Unicorn stands still */
#define UC_CONTEXT 0x7dc  /* struct uc_struct: what uc_context_save() saves */
#define UC_COUNTER 0x558  /* struct uc_struct: u64 emu_counter, emu_count */
#define UC_PARTS 0x568	  /* struct uc_struct: int size_recur_mem, of an access made in parts */
#define UC_STOP 0x56d	  /* struct uc_struct: bool stop_request */
#define JMP_BUF_PC 0x38	  /* jmp_buf of glibc: where longjmp() goes on, mangled */
#define CPU_ENV 0x128	  /* CPUState: CPUX86State *env_ptr */
#define HFLAGS 176	  /* CPUX86State: u32 hflags, its low bits the privilege level */
#define EFER 0x250	  /* CPUX86State: u64 efer */
#define NO_RAM_ADDR 0xffffffffffffffff /* RAM_ADDR_INVALID */
#define MMU_KSMAP_IDX 0
#define MMU_USER_IDX 1
#define MMU_KNOSMAP_IDX 2

typedef void (*tlb_flush_page_fn)(void *cpu, u64 va);
typedef bool (*cpu_restore_state_fn)(void *cpu, uintptr_t host_pc, bool will_exit);
typedef void *(*find_memory_mapping_fn)(uc_engine *uc, u64 address);
typedef u64 (*memory_region_get_ram_addr_fn)(void *region);
typedef void *(*cpu_get_address_space_fn)(void *cpu, int number);
typedef void *(*address_space_map_fn)(void *space, u64 address, u64 *size, bool is_write,
				      u32 attributes);
typedef u64 (*qemu_ram_addr_from_host_fn)(uc_engine *uc, void *host);
typedef void (*tb_invalidate_phys_range_fn)(uc_engine *uc, u64 begin, u64 end);
typedef void (*tlb_set_page_fn)(void *cpu, u64 va, u64 pa, int prot, int mmu_idx, u64 size);

static u32 access_of(uc_mem_type type)
{
	return type == UC_MEM_WRITE   ? ACCESS_WRITE
	       : type == UC_MEM_FETCH ? ACCESS_FETCH
				      : ACCESS_READ;
}

/* The public fill hook: the address is its page's. */
static bool fill_hook(uc_engine *uc, u64 page, uc_mem_type type, uc_tlb_entry *entry, void *user)
{
	struct fill_target *target = user;

	(void)uc;
	return target->fill(target->self, page, page, access_of(type), entry);
}

#ifdef __x86_64__
bool fill_hook_at(uc_engine *uc, u64 page, uc_mem_type type, uc_tlb_entry *entry, void *user,
		  u64 va, void *cpu, u64 probe) __attribute__((used, visibility("hidden")));
bool fill_hook_private(uc_engine *uc, u64 page, uc_mem_type type, uc_tlb_entry *entry, void *user)
	__attribute__((visibility("hidden")));

/*
 * unicorn_fill_tlb() passes the page. When it calls a hook it has the exact address in rbp: take
 * that as a sixth argument. At its stack pointer it keeps CPUState and, 8 above, whether it only
 * probes, as for uc_vmem_read(): that is where a seventh and an eighth argument stand.
 */
__asm__(".text\n"
	".hidden fill_hook_private\n"
	".globl fill_hook_private\n"
	".type fill_hook_private, @function\n"
	"fill_hook_private:\n"
	"	movq %rbp, %r9\n"
	"	jmp fill_hook_at\n"
	".size fill_hook_private, . - fill_hook_private\n");

bool fill_hook_at(uc_engine *uc, u64 page, uc_mem_type type, uc_tlb_entry *entry, void *user,
		  u64 va, void *cpu, u64 probe)
{
	struct fill_target *target = user;

	(void)uc, (void)cpu;
	target->probe = (u8)probe;
	return target->fill(target->self, page, page_of(va) == page ? va : page, access_of(type),
			    entry);
}

/*
 * load_helper() keeps the address that its caller, translated code, goes on at in its frame, 0x18
 * above its stack pointer, which is 8 above ours: put it into the user data, a struct load_target.
 */
void load_hook_private(uc_engine *uc, uc_mem_type type, u64 pa, int size, s64 value, void *user)
	__attribute__((visibility("hidden")));
__asm__(".text\n"
	".hidden load_hook_private\n"
	".globl load_hook_private\n"
	".type load_hook_private, @function\n"
	"load_hook_private:\n"
	"	movq 0x20(%rsp), %rax\n"
	"	movq %rax, (%r9)\n"
	"	jmp *8(%r9)\n"
	".size load_hook_private, . - load_hook_private\n");
_Static_assert(offsetof(struct load_target, return_address) == 0 &&
		       offsetof(struct load_target, hook) == 8 && !offsetof(struct vcpu, load),
	       "load_hook_private() counts on it");
#else
#define fill_hook_private fill_hook
#endif

/* The fill hook to put on an instance; its user data is a struct fill_target. */
void *private_fill_hook(u32 private)
{
	return (void *)(private & PRIVATE_FILL_ADDRESS ? fill_hook_private : fill_hook);
}

/* The hook for loads to put on an instance; its user data begins with *target. */
void *private_load_hook(u32 private, const struct load_target *target)
{
#ifdef __x86_64__
	if (private & PRIVATE_LOAD_RIP)
		return (void *)load_hook_private;
#endif
	return (void *)target->hook;
}

/*
 * RIP inside the hook of a load, although memory hooks find it stale: do what Unicorn left out.
 * What a script's hook of the same load has written there stays.
 */
u64 private_rip(struct vcpu *v)
{
	u64 rip;

	((cpu_restore_state_fn)v->api.cpu_restore_state)(v->cpu, v->load.return_address, false);
	rip = reg_read(v, UC_X86_REG_RIP);
	if (v->pending.jump)
		reg_write(v, UC_X86_REG_RIP, v->jump.to);
	return rip;
}

/* Find the private parts of v's instance that are allowed. */
void private_bind(struct vcpu *v, u32 allowed)
{
	u8 *uc = (u8 *)v->uc;

	v->shared.private = allowed;
	v->skip_pc = allowed & (PRIVATE_SKIP_PC | PRIVATE_LOAD_RIP) ? uc + UC_SKIP_PC
								    : &v->no_skip_pc;
	if (!allowed)
		return;
	v->cpu = *(void **)(uc + UC_CPU);
	v->env = *(u8 **)((u8 *)v->cpu + CPU_ENV);
	if (allowed & PRIVATE_CPL)
		v->hflags = (const u32 *)(v->env + HFLAGS);
}

/* Where a word of the processor's state stands. */
u32 *private_env(const struct vcpu *v, enum env_word word)
{
	static const u32 offset[NR_ENV_WORDS] = {
		[ENV_HFLAGS] = HFLAGS,	   [ENV_CS] = 0xd0,	     [ENV_SS] = 0xe8,
		[ENV_ERROR_CODE] = 0x1508, [ENV_IN_FLIGHT] = 0x1578, [ENV_PKRU] = 0x14b8,
		[ENV_IS_INT] = 0x150c,
	};

	return (u32 *)(v->env + offset[word]);
}

const u64 *private_efer(const struct vcpu *v)
{
	return (const u64 *)(v->env + EFER);
}

/*
 * The place in Unicorn's code that catches the fault if this fill is denied, as a number without
 * further meaning; 0: none does. Running the guest and invalidating code each have their own.
 */
u64 private_asker(const struct vcpu *v)
{
	const u8 *uc = (const u8 *)v->uc;
	s32 level = *(const s32 *)(uc + UC_LEVEL);
	const u8 *jmp_buf_of_level = uc + UC_JMP_BUFS + (level - 1) * (s64)sizeof(jmp_buf);

	return level > 0 ? *(const u64 *)(jmp_buf_of_level + JMP_BUF_PC) : 0;
}

/* Forget one page of the soft TLB. */
void private_flush_page(struct vcpu *v, u64 va)
{
	((tlb_flush_page_fn)v->api.tlb_flush_page)(v->cpu, page_of(va));
}

/* Replace va's entry of the soft TLB, also inside a memory hook of an access to it. */
void private_set_page(struct vcpu *v, u64 va, u64 address, u32 perms)
{
	bool smap = v->mmu && (v->mmu->cr4 & CR4_SMAP) && !(v->mmu->rflags & RFLAGS_AC);
	int index = v->user ? MMU_USER_IDX : smap ? MMU_KSMAP_IDX : MMU_KNOSMAP_IDX;

	((tlb_set_page_fn)v->api.tlb_set_page)(v->cpu, page_of(va), page_of(address), (int)perms,
					       index, PAGE_SIZE);
}

/*
 * Host address of the memory that the instance has at [address, address + size); NULL: it is not in
 * one piece, or no memory: memory-mapped I/O, of which no address_space_map() must be asked.
 */
u8 *private_host(struct vcpu *v, u64 address, u64 size)
{
	void *region = ((find_memory_mapping_fn)v->api.find_memory_mapping)(v->uc, address);
	u64 found = size;
	void *space;
	u8 *host;

	if (!region || ((memory_region_get_ram_addr_fn)v->api.memory_region_get_ram_addr)(region) ==
			       NO_RAM_ADDR)
		return NULL;
	space = ((cpu_get_address_space_fn)v->api.cpu_get_address_space)(v->cpu, 0);
	host = ((address_space_map_fn)v->api.address_space_map)(space, address, &found, false, 0);
	return found == size ? host : NULL;
}

/* Note what Unicorn keeps of the run under way. */
void private_save_run(const struct vcpu *v, struct unicorn_run *run)
{
	const u8 *uc = (const u8 *)v->uc;

	if (!private_has(v, PRIVATE_RUN))
		return;
	run->counter = *(const u64 *)(uc + UC_COUNTER);
	run->count = *(const u64 *)(uc + UC_COUNTER + 8);
	run->stop = uc[UC_STOP];
}

/* Put it back. A run that does not count must not be stopped by the other's hook that does. */
void private_restore_run(struct vcpu *v, const struct unicorn_run *run)
{
	u8 *uc = (u8 *)v->uc;

	if (!private_has(v, PRIVATE_RUN))
		return;
	*(u64 *)(uc + UC_COUNTER) = run->counter;
	*(u64 *)(uc + UC_COUNTER + 8) = run->count ? run->count : NO_LIMIT;
	uc[UC_STOP] = run->stop;
}

/*
 * Unicorn calls no hook of the parts of an access. It believes itself in one for good where a
 * misaligned store meets its own block: tell it otherwise.
 */
void private_hear_again(struct vcpu *v)
{
	*(u32 *)((u8 *)v->uc + UC_PARTS) = 0;
}

/*
 * Drop code translated from what the instance has at [address, address + size), without looking any
 * page up. Safe in every hook: a block under way goes on to its end.
 */
void private_drop_code(struct vcpu *v, u64 address, u64 size)
{
	u8 *host = private_host(v, address, size);
	u64 ram;

	if (!host)
		return;
	ram = ((qemu_ram_addr_from_host_fn)v->api.qemu_ram_addr_from_host)(v->uc, host);
	((tb_invalidate_phys_range_fn)v->api.tb_invalidate_phys_range)(v->uc, ram, ram + size);
}

u32 private_context_mode(const void *uc)
{
	return *(const u32 *)((const u8 *)uc + UC_CONTEXT);
}
