/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU: made, armed, taken down.
 */
#include <errno.h>
#include <stdlib.h>

#include "unicorn/vcpu.h"

/* Hooks that see the guest execute; blocks translated before them would not call them. */
bool arm(struct vcpu *v)
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
		ok = ok &&
		     add_hook(v, UC_HOOK_MEM_READ, private_load_hook(v->shared.private, &v->load),
			      0) &&
		     add_hook(v, UC_HOOK_MEM_WRITE, (void *)on_store, 0);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
	v->armed = ok;
	return ok;
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

/* RIP may be stale in memory hooks only if those of loads can find it out. */
static u32 usable_private(u32 private)
{
	u32 both = PRIVATE_SKIP_PC | PRIVATE_LOAD_RIP;

	return (private & both) == both ? private : private & ~both;
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
	v->load.hook = on_load;
	v->fill_target = (struct fill_target){ .fill = fill, .self = v };
	private_bind(v, usable_private(config->private));
	clear_vcpu(v);
	if (add_region(v, v->ram->base, v->ram->size, false) < 0 ||
	    !add_hook(v, UC_HOOK_TLB_FILL, private_fill_hook(config->private), 0)) {
		vcpu_unhook(v);
		vcpu_free(v);
		return NULL;
	}
	if (v->attached)
		learn_invalidator(v);
	else
		UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
	return v;
}

void vcpu_unhook(struct vcpu *v)
{
	unwatch_until(v);
	while (v->nr_hooks)
		del_last_hook(v);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
	unwatch_all(v);
}

void vcpu_free(struct vcpu *v)
{
	free_regions(v);
	free(v);
}
