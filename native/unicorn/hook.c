/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hooks put on the instance, and taken off. */
#include "unicorn/vcpu.h"

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

/* Take the last hook off again. */
void del_last_hook(struct vcpu *v)
{
	UC(v, hook_del)(v->uc, v->hook[--v->nr_hooks]);
}
