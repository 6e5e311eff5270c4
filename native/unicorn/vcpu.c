/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU: made, armed, taken down. */
#include <errno.h>
#include <stdlib.h>

#include "unicorn/vcpu.h"

static const struct fidelity fidelities[] = {
	[FIDELITY_FAST] = { .on_block = (void *)on_block_fast,
			    .probe = probe_by_walk,
			    .let_fault = let_fault_fast },
	[FIDELITY_EXACT] = { .on_block = (void *)on_block_exact,
			     .on_load = on_load,
			     .on_store = (void *)on_store,
			     .modelled = true,
			     .probe = probe_by_model,
			     .let_fault = let_fault_modelled },
	[FIDELITY_TRACE] = { .on_block = (void *)on_block_trace,
			     .on_load = on_load_trace,
			     .on_store = (void *)on_store_trace,
			     .modelled = true,
			     .traced = true,
			     .probe = probe_by_model,
			     .let_fault = let_fault_modelled },
};

static enum control no_control(struct vcpu *v, u64 pc, u32 size, u16 *offset)
{
	(void)v, (void)pc, (void)size;
	*offset = 0;
	return CONTROL_NONE;
}

static bool nothing_to_carry_out(struct vcpu *v)
{
	(void)v;
	return true;
}

static bool may_translate_all(struct vcpu *v, u64 page)
{
	(void)v, (void)page;
	return true;
}

static bool no_exit_of_ours(struct vcpu *v, u64 rip)
{
	(void)v, (void)rip;
	return false;
}

static bool no_intercept(const struct insn *insn)
{
	(void)insn;
	return false;
}

static const struct guest program = {
	.fill = fill,
	.on_edge = (void *)on_edge,
	.control_of_block = no_control,
	.may_translate = may_translate,
	.end_at_exit = end_at_exit,
	.stops_before = stops_before,
	.knows = no_intercept,
	.finish_emulated = finish_emulated,
	.carry_out = nothing_to_carry_out,
	.on_fault = raise_fault,
	.on_nothing = nothing_is_a_bad_table,
	.ahead = AGAIN_STEP,
};

static const struct guest attached = {
	.fill = fill_attached,
	.on_edge = (void *)on_edge_attached,
	.control_of_block = control_of_block,
	.may_translate = may_translate_all,
	.end_at_exit = no_exit_of_ours,
	.stops_before = no_intercept,
	.knows = is_invpcid,
	.finish_emulated = finish_invpcid,
	.carry_out = control_carry_out,
	.on_fault = handle_fault,
	.on_nothing = pass_nothing,
	.ahead = AGAIN_AHEAD,
};

/* Hooks that see the guest execute; blocks translated before them would not call them. */
bool arm(struct vcpu *v)
{
	const struct fidelity *f = v->fidelity;
	bool ok = true;

	if (!v->attached || v->deliver)
		ok = add_hook(v, UC_HOOK_INTR, (void *)on_interrupt, 0) &&
		     add_hook(v, UC_HOOK_INSN, (void *)on_syscall, UC_X86_INS_SYSCALL);
	if (!v->attached || v->counting)
		ok = ok && add_hook(v, UC_HOOK_EDGE_GENERATED, v->guest->on_edge, 0);
	if (f->on_block && v->counting)
		ok = ok && add_hook(v, UC_HOOK_BLOCK, f->on_block, 0);
	if (f->on_load)
		ok = ok &&
		     add_hook(v, UC_HOOK_MEM_READ, private_load_hook(v->shared.private, &v->load),
			      0) &&
		     add_hook(v, UC_HOOK_MEM_WRITE, f->on_store, 0);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
	v->armed = ok;
	return ok;
}

/* From now on each frame is open to loads and stores through one virtual page only. 0, or -ENOMEM.
 */
static int start_owning(struct vcpu *v)
{
	if (v->owning)
		return 0;
	if (!begin_owning(v))
		return -ENOMEM;
	forget_soft(v);
	return 0;
}

/*
 * RIP may be stale in memory hooks only if those of loads can find it out, and nobody else has
 * hooks: Unicorn itself leaves RIP stale when a hook has written it.
 */
static u32 usable_private(u32 private, bool attached)
{
	u32 both = PRIVATE_SKIP_PC | PRIVATE_LOAD_RIP;

	return !attached && (private & both) == both ? private : private & ~both;
}

/* Whether frames must be open to one virtual page only: the address behind a hook's is asked for.
 */
static int own_frames(struct vcpu *v)
{
	v->keep_pc |= v->serving;
	return v->fidelity->modelled || v->serving ? start_owning(v) : 0;
}

/* Choose what the fidelity does; its hooks come with arm(). Without a ring trace is exact. */
static int choose_fidelity(struct vcpu *v, u32 fidelity)
{
	if (fidelity == FIDELITY_TRACE && !v->ring)
		fidelity = FIDELITY_EXACT;
	if (fidelity == FIDELITY_TRACE && !trace_prepare(v))
		return -ENOMEM;
	v->fidelity = &fidelities[fidelity];
	v->counting |= fidelity != FIDELITY_FAST;
	v->load.hook = v->fidelity->on_load;
	return own_frames(v);
}

int vcpu_serve_hooks(struct vcpu *v)
{
	v->serving = true;
	skip_pc(v, false);
	return own_frames(v);
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
	v->this_cpu = config->cpu;
	v->ring = config->ring;
	v->ram = v->mmu->ram;
	v->guest = config->attached ? &attached : &program;
	v->counting = config->count;
	v->attached = config->attached;
	v->identity = config->identity;
	v->on_fault = (u32 (*)(struct vcpu *))config->on_fault;
	v->keep_pc = config->attached || v->mmu->check;
	v->fill_target = (struct fill_target){ .fill = v->guest->fill, .self = v };
	v->places = config->places;
	v->deliver = config->deliver;
	v->settle_exit = (void (*)(struct vcpu *))config->settle_exit;
	private_bind(v, usable_private(config->private, config->attached));
	clear_vcpu(v);
	control_begin(v);
	begin_regions(v);
	if (choose_fidelity(v, config->fidelity) < 0 ||
	    !add_hook(v, UC_HOOK_TLB_FILL, private_fill_hook(config->private), 0)) {
		vcpu_unhook(v);
		vcpu_free(v);
		return NULL;
	}
	if (v->attached) {
		connect_bus(v);
	} else {
		UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
	}
	learn_invalidator(v);
	return v;
}

void vcpu_unhook(struct vcpu *v)
{
	disconnect_bus(v);
	while (v->nr_hooks)
		del_last_hook(v);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
	unwatch_all(v);
}

int vcpu_set_fidelity(struct vcpu *v, u32 fidelity)
{
	while (v->nr_hooks > 1)
		del_last_hook(v);
	v->armed = false;
	v->stream.next = v->stream.crossing = NO_ADDRESS;
	v->epoch++;
	forget_memos(v);
	return choose_fidelity(v, fidelity);
}

void vcpu_free(struct vcpu *v)
{
	env_free(v);
	free_watchpoints(v, true);
	free_regions(&v->regions);
	free_frames(v);
	free(v->tracing);
	free(v);
}
