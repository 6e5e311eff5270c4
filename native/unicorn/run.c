/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU: made, run, asked, taken down. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "unicorn/vcpu.h"

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define STAR_SYSRET (0x23ull << 48) /* SYSRETQ loads CS 0x33 and SS 0x2b, as Linux's */
/* 0x600: OSFXSR, OSXMMEXCPT, which SSE needs */
#define CR4_USER (CR4_TSD | CR4_PAE | CR4_PGE | 0x600)

const char *layout_mismatch(const struct layout *native)
{
	if (native->memory_size != sizeof(struct memory) ||
	    native->memory_ring != offsetof(struct memory, ring))
		return "struct memory";
	if (native->unit_size != sizeof(struct mmu_unit) ||
	    native->unit_tlb != offsetof(struct mmu_unit, tlb))
		return "struct mmu_unit";
	if (native->ring_size != sizeof(struct event_ring) ||
	    native->ring_arg != offsetof(struct event_ring, arg))
		return "struct event_ring";
	if (native->mm_size != sizeof(struct mm_struct) ||
	    native->mm_vmas != offsetof(struct mm_struct, vmas))
		return "struct mm_struct";
	if (native->translation_size != sizeof(struct translation) ||
	    native->translation_error_code != offsetof(struct translation, error_code))
		return "struct translation";
	return NULL;
}

/* Put one more hook on the instance; insn only matters to UC_HOOK_INSN. */
bool add_hook(struct vcpu *v, int type, void *callback, int insn)
{
	void *user = type == UC_HOOK_TLB_FILL ? (void *)&v->fill_target : (void *)v;

	if (v->nr_hooks == NR_HOOKS || UC(v, hook_add)(v->uc, &v->hook[v->nr_hooks], type, callback,
						       user, (u64)1, (u64)0, insn) != UC_ERR_OK)
		return false;
	v->nr_hooks++;
	return true;
}

/* Hooks that see the guest execute; blocks translated before them would not call them. */
static bool arm(struct vcpu *v)
{
	bool ok = true;

	if (!v->attached)
		ok = add_hook(v, UC_HOOK_INTR, (void *)on_interrupt, 0) &&
		     add_hook(v, UC_HOOK_INSN, (void *)on_syscall, UC_X86_INS_SYSCALL);
	if (!v->attached || v->counting)
		ok = ok && add_hook(v, UC_HOOK_EDGE_GENERATED, (void *)on_edge, 0);
	if (v->fidelity == FIDELITY_TRACE)
		ok = ok && add_hook(v, UC_HOOK_CODE, (void *)on_code, 0);
	else if (v->counting)
		ok = ok && add_hook(v, UC_HOOK_BLOCK,
				    v->fidelity == FIDELITY_EXACT ? (void *)on_block_exact
								  : (void *)on_block_fast,
				    0);
	if (v->fidelity != FIDELITY_FAST)
		ok = ok && add_hook(v, UC_HOOK_MEM_READ, private_load_hook(v->shared.private), 0) &&
		     add_hook(v, UC_HOOK_MEM_WRITE, (void *)on_store, 0);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
	v->armed = ok;
	return ok;
}

static int add_region(struct vcpu *v, u64 base, u64 size, bool code_flags)
{
	struct region *r = &v->region[v->nr_regions];
	u64 nr = size >> PAGE_SHIFT;

	if (v->nr_regions == NR_REGIONS)
		return -ENOMEM;
	*r = (struct region){ .base = base, .size = size };
	if (v->owning && !(r->owner = map_lazily(nr * sizeof(*r->owner))))
		return -ENOMEM;
	if (code_flags && !(r->code = map_lazily(nr)))
		return -ENOMEM;
	v->nr_regions++;
	return 0;
}

int vcpu_add_region(struct vcpu *v, u64 base, u64 size)
{
	return add_region(v, base, size, true);
}

int vcpu_serve_hooks(struct vcpu *v)
{
	v->keep_pc = true;
	skip_pc(v, false);
	if (v->owning)
		return 0;
	for (u32 i = 0; i < v->nr_regions; i++) {
		struct region *r = &v->region[i];

		r->owner = map_lazily((r->size >> PAGE_SHIFT) * sizeof(*r->owner));
		if (!r->owner)
			return -ENOMEM;
	}
	v->owning = true;
	soft_drop_all(v);
	return 0;
}

static void free_regions(struct vcpu *v)
{
	for (u32 i = 0; i < v->nr_regions; i++) {
		struct region *r = &v->region[i];

		if (r->owner)
			munmap(r->owner, (r->size >> PAGE_SHIFT) * sizeof(*r->owner));
		if (r->code)
			munmap(r->code, r->size >> PAGE_SHIFT);
	}
}

/* The state of a vCPU before its first instruction. */
static void reset(struct vcpu *v)
{
	v->until = NO_ADDRESS;
	v->watched = NO_ADDRESS;
	v->refused = NO_ADDRESS;
	v->unsafe_page = NO_ADDRESS;
	v->foretold.page = NO_ADDRESS;
	v->rmw_denied = NO_ADDRESS;
	v->stream = (struct stream){ .next = NO_ADDRESS,
				     .crossing = NO_ADDRESS,
				     .crossed = NO_ADDRESS,
				     .insn = NO_ADDRESS,
				     .denied = NO_ADDRESS,
				     .flags_rip = NO_ADDRESS };
	v->owner_epoch = 1;
	v->epoch = 1;
	v->limit = NO_LIMIT;
	v->seen_cr0 = reg_read(v, UC_X86_REG_CR0);
	v->seen_cr3 = reg_read(v, UC_X86_REG_CR3);
	v->seen_cr4 = reg_read(v, UC_X86_REG_CR4);
}

/* RIP may be stale in memory hooks only if those of loads can find it out. */
static u32 usable_private(u32 private)
{
	u32 both = PRIVATE_SKIP_PC | PRIVATE_LOAD_RIP;

	return (private & both) == both ? private : private & ~both;
}

/* A vcpu of zeros that can call Unicorn; NULL: no memory. */
struct vcpu *vcpu_alloc(const struct uc_api *api)
{
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->api = *api;
	return v;
}

struct vcpu *vcpu_create(const struct vcpu_config *config, const struct uc_api *uc,
			 const struct mmu_api *mmu)
{
	struct vcpu *v = vcpu_alloc(uc);

	if (!v)
		return NULL;
	v->mmu_api = *mmu;
	v->uc = config->uc;
	v->mmu = config->mmu;
	v->mm = config->mm;
	v->ring = config->ring;
	v->ram = v->mmu->ram;
	v->fidelity = config->fidelity;
	v->counting = config->count || config->fidelity != FIDELITY_FAST;
	v->owning = config->fidelity != FIDELITY_FAST;
	v->attached = config->attached;
	v->keep_pc = config->attached || v->mmu->check;
	v->fill_target = (struct fill_target){ .fill = fill, .self = v };
	private_bind(v, usable_private(config->private));
	reset(v);
	if (add_region(v, v->ram->base, v->ram->size, false) < 0 ||
	    !add_hook(v, UC_HOOK_TLB_FILL, private_fill_hook(config->private), 0)) {
		vcpu_unhook(v);
		vcpu_free(v);
		return NULL;
	}
	if (!v->attached)
		UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
	return v;
}

void vcpu_unhook(struct vcpu *v)
{
	if (v->watched != NO_ADDRESS)
		UC(v, hook_del)(v->uc, v->end_hook);
	while (v->nr_hooks)
		UC(v, hook_del)(v->uc, v->hook[--v->nr_hooks]);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
	unwatch_all(v);
}

void vcpu_free(struct vcpu *v)
{
	free_regions(v);
	free(v);
}

struct vcpu_shared *vcpu_shared(struct vcpu *v)
{
	return &v->shared;
}

void vcpu_stop(struct vcpu *v)
{
	v->pending.stop = 1;
	UC(v, emu_stop)(v->uc);
}

/* Start Unicorn at RIP; returns what uc_emu_start() did, and v->stop says the rest. */
uc_err start(struct vcpu *v, u64 timeout_us)
{
	v->stop = STOP_NONE;
	v->foretold.page = NO_ADDRESS;
	uc_err err = UC(v, emu_start)(v->uc, reg_read(v, UC_X86_REG_RIP), 0, timeout_us, 0);
	if (v->stream.flags_rip != NO_ADDRESS)
		restore_flags(v);
	return err;
}

/* The block under way was left before the instruction at rip, which is fetched already. */
static void cut_block(struct vcpu *v, u64 rip, u32 access)
{
	if (access != ACCESS_FETCH && v->fidelity == FIDELITY_EXACT)
		fetch_catch_up(v, false);
	if (v->block && rip != v->block->pc + v->block->size)
		v->pending.control = CONTROL_NONE;
	uncount_from(v, rip);
	fetch_denied(v, rip, access);
}

/* The run ended before the first instruction of the block under way: it is neither executed nor
 * fetched. */
static void leave_block_unbegun(struct vcpu *v)
{
	v->pending.control = CONTROL_NONE;
	uncount_from(v, v->block->pc);
}

/* The instruction at rip did not complete. */
static void finish_fault(struct vcpu *v, u64 rip, u32 access)
{
	cut_block(v, rip, access);
	if (access == ACCESS_FETCH)
		return;
	v->stream.denied = rip;
}

/* The instruction at rip is intercepted: what was begun of its block ends before it. */
void leave_intercepted(struct vcpu *v, u64 rip)
{
	finish_fault(v, rip, ACCESS_READ);
	v->stream.denied = NO_ADDRESS;
}

/* Tell Python why the run ended. */
static void leave(struct vcpu *v, uc_err err)
{
	struct vm_exit *exit = &v->shared.exit;

	exit->rip = reg_read(v, UC_X86_REG_RIP);
	exit->insn = exit->rip;
	exit->intercept = INTERCEPT_NONE;
	exit->uc_err = err;
	switch (v->stop) {
	case STOP_SYSCALL:
		exit->reason = EXIT_SYSCALL;
		finish_syscall(v);
		break;
	case STOP_DENIED:
		finish_fault(v, exit->rip, exit->access);
		break;
	case STOP_INTERRUPT:
		if (v->refused != NO_ADDRESS) {
			exit->rip = exit->insn = v->refused;
			reg_write(v, UC_X86_REG_RIP, exit->rip);
			v->refused = NO_ADDRESS;
		}
		exit->reason = EXIT_EXCEPTION;
		exit->vector = v->vector;
		exit->address = 0;
		finish_fault(v, exit->rip, ACCESS_READ);
		v->stream.denied = NO_ADDRESS;
		break;
	case STOP_INTERCEPT:
		leave_intercepted(v, exit->rip);
		finish_intercept(v);
		break;
	case STOP_LIMIT:
		exit->reason = EXIT_LIMIT;
		break;
	case STOP_END:
		exit->reason = EXIT_STOPPED;
		if (v->block && exit->rip == v->block->pc)
			leave_block_unbegun(v);
		else if (v->block && exit->rip - v->block->pc < v->block->size)
			cut_block(v, exit->rip, ACCESS_READ);
		break;
	default:
		if (err == UC_ERR_INSN_INVALID) {
			exit->reason = EXIT_EXCEPTION;
			exit->vector = VECTOR_UD;
			exit->address = 0;
			finish_fault(v, exit->rip, ACCESS_READ);
			v->stream.denied = NO_ADDRESS;
		} else {
			exit->reason = err == UC_ERR_OK ? EXIT_STOPPED : EXIT_ENGINE;
			v->pending.stop = 0;
			if (err != UC_ERR_OK)
				finish_fault(v, exit->rip, ACCESS_READ);
			else if (v->fidelity == FIDELITY_EXACT)
				fetch_catch_up(v, false);
		}
	}
}

/* What Python left to be done before the guest goes on. */
static bool prepare(struct vcpu *v)
{
	if (!v->armed && !arm(v))
		return false;
	if (v->shared.has_result) {
		v->shared.has_result = 0;
		reg_write(v, UC_X86_REG_RAX, v->shared.result);
	}
	vcpu_sync(v);
	forget_memos(v);
	v->user = cpl(v) == 3;
	return true;
}

/* Go on block by block; where blocks are too long for the limit, or reach too far, step by step. */
static uc_err run_to_stop(struct vcpu *v, u64 timeout_us)
{
	bool by_steps = false;

	for (;;) {
		bool stepped = by_steps;
		uc_err err;

		v->stop = v->pending.stop ? STOP_ASKED : STOP_LIMIT;
		if (v->pending.stop || v->shared.count >= v->limit)
			return UC_ERR_OK;
		err = by_steps ? step(v, v->limit - v->shared.count) : start(v, timeout_us);
		if (v->stop == STOP_AHEAD) {
			err = step(v, v->limit - v->shared.count);
			stepped = true;
		}
		if (unlikely(v->intercepts.nr_found)) {
			uc_err watch_err = watch_found(v);

			if (watch_err != UC_ERR_OK)
				return watch_err;
			if (v->stop == STOP_FOUND)
				continue;
		}
		if (v->stop == STOP_INTERCEPT && emulate_intercepted(v))
			continue;
		if (v->stop == STOP_LIMIT)
			by_steps = true;
		else if (v->stop == STOP_RETRY)
			finish_fault(v, reg_read(v, UC_X86_REG_RIP), v->retried);
		else if (v->stop != STOP_NONE || err != UC_ERR_OK || !stepped)
			return err;
	}
}

void vcpu_run(struct vcpu *v, u64 limit)
{
	v->limit = limit;
	leave(v, prepare(v) ? run_to_stop(v, 0) : UC_ERR_HOOK);
}

void vcpu_run_until(struct vcpu *v, u64 until, u64 timeout_us, u64 limit)
{
	uc_err err = begin_run(v, until);

	v->limit = limit;
	if (err == UC_ERR_OK)
		err = prepare(v) ? run_to_stop(v, timeout_us) : UC_ERR_HOOK;
	leave(v, err);
	end_run(v);
}

void vcpu_skip(struct vcpu *v, u32 length)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);

	v->shared.count++;
	if (v->stream.next == rip)
		v->stream.next += length;
	reg_write(v, UC_X86_REG_RIP, rip + length);
}

static void write_msr(struct vcpu *v, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &msr);
}

/* Run SYSRETQ from the stub frame: nothing but the stub is mapped, so the guest's first fetch ends
 * it. */
static void run_sysret(struct vcpu *v, u64 stub_pa, u64 rip)
{
	static const u8 sysretq[] = { 0x48, 0x0f, 0x07 };

	memcpy(pa_to_host(v->ram, stub_pa), sysretq, sizeof(sysretq));
	write_msr(v, MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	write_msr(v, MSR_STAR, STAR_SYSRET);
	reg_write(v, UC_X86_REG_CR4, reg_read(v, UC_X86_REG_CR4) | CR4_USER);
	reg_write(v, UC_X86_REG_CR0, v->mmu->cr0);
	reg_write(v, UC_X86_REG_RCX, rip);
	reg_write(v, UC_X86_REG_R11, RFLAGS_USER);
	soft_drop_all(v);
	v->window = true;
	UC(v, emu_start)(v->uc, CODE_WINDOW | stub_pa, 0, 0, 0);
	v->window = false;
	soft_drop_all(v);
	drop_code(v, stub_pa);
}

u32 vcpu_enter_user(struct vcpu *v, u64 stub_pa, u64 rip, u64 rsp)
{
	if (cpl(v) != 3)
		run_sysret(v, stub_pa, rip);
	start_thread(v, rip, rsp);
	v->stream.next = NO_ADDRESS;
	return cpl(v) == 3 ? UC_ERR_OK : UC_ERR_EXCEPTION;
}

u64 vcpu_reg_read(struct vcpu *v, int reg)
{
	return reg_read(v, reg);
}

void vcpu_reg_write(struct vcpu *v, int reg, u64 value)
{
	reg_write(v, reg, value);
}
