/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where Unicorn leaves the guest by itself: the end address of each run, or the script's exits
 * (UC_CTL_UC_EXITS), and for a moment one more.
 *
 * A block that reaches into an absent page cannot be translated as a whole. An exit at the first
 * instruction that needs the page cuts it there.
 */
#include <stdlib.h>

#include "unicorn/vcpu.h"

/* The script's exits. */
struct exits {
	bool enabled;
	size_t nr;
	u64 *address; /* with room for one more */
};

static void set_exits(struct vcpu *v, const u64 *address, size_t nr)
{
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_EXITS, 2), (void *)address, nr);
}

static void enable_exits(struct vcpu *v, int enable)
{
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), enable);
}

/* What the script has set. False: no host memory. */
static bool read_exits(struct vcpu *v, struct exits *exits)
{
	exits->nr = 0;
	exits->enabled = UC(v, ctl)(v->uc, UC_CTL_READ(UC_CTL_UC_EXITS_CNT, 1), &exits->nr) ==
			 UC_ERR_OK;
	exits->address = malloc((exits->nr + 1) * sizeof(u64));
	if (!exits->address)
		return false;
	if (exits->nr)
		UC(v, ctl)(v->uc, UC_CTL_READ(UC_CTL_UC_EXITS, 2), exits->address, exits->nr);
	return true;
}

/* Whether the run that is under way ends at address. */
bool is_exit(struct vcpu *v, u64 address)
{
	struct exits exits;
	bool found = false;

	if (!v->attached)
		return false;
	if (!read_exits(v, &exits))
		return false;
	for (size_t i = 0; i < exits.nr; i++)
		found |= exits.address[i] == address;
	free(exits.address);
	return exits.enabled ? found : address == v->run.until;
}

/* A run inside a hook has an end of its own, which Unicorn heeds only while there are no exits. */
void suspend_exits(struct vcpu *v)
{
	enable_exits(v, 0);
}

void resume_exits(struct vcpu *v)
{
	u64 both[] = { v->run.ahead, v->run.until };

	enable_exits(v, 1);
	set_exits(v, both, 2);
}

/* Start Unicorn with one exit more, run.ahead. */
uc_err start_ahead(struct vcpu *v, uc_err (*start_unicorn)(struct vcpu *v))
{
	struct exits exits;
	uc_err err;

	if (!read_exits(v, &exits))
		return UC_ERR_NOMEM;
	exits.address[exits.nr] = v->run.ahead;
	v->run.exits = !exits.enabled;
	if (v->run.exits)
		resume_exits(v);
	else
		set_exits(v, exits.address, exits.nr + 1);
	err = start_unicorn(v);
	v->run.exits = false;
	set_exits(v, exits.address, exits.nr);
	enable_exits(v, exits.enabled);
	free(exits.address);
	return err;
}
