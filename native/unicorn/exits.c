/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where Unicorn leaves the guest by itself, and translates no further: in a vCPU of ours before
 * code that must not be translated; in an attached instance at the end address of each run, or at
 * the script's exits (UC_CTL_UC_EXITS), and for a moment at one more.
 *
 * There a block that reaches into an absent page cannot be translated as a whole. An exit at the
 * first instruction that needs the page cuts it there.
 */
#include <stdlib.h>
#include <string.h>

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

/* Where address is among our exits, or would be. */
static u32 place_of(const struct own_exits *own, u64 address)
{
	u32 low = 0, high = own->nr;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (own->address[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_own_exit(const struct own_exits *own, u64 address)
{
	u32 at = place_of(own, address);

	return at < own->nr && own->address[at] == address;
}

/*
 * Unicorn is to translate no further than address, as soon as publish_exits() was called. False:
 * it does not already. If there are too many, the others are forgotten, and their pages looked at
 * anew.
 */
bool add_exit(struct vcpu *v, u64 address)
{
	struct own_exits *own = &v->own_exits;
	u32 at;

	if (is_own_exit(own, address))
		return false;
	if (own->nr == NR_OWN_EXITS) {
		own->nr = 0;
		soft_drop_all(v);
	}
	at = place_of(own, address);
	memmove(&own->address[at + 1], &own->address[at], (own->nr - at) * sizeof(u64));
	own->address[at] = address;
	own->nr++;
	return true;
}

/*
 * At the end of each run Unicorn drops what it translated to stop at the exits, one by one, and
 * looks their pages up for it. Ours stay where they are: it need not know of them then.
 */
void hide_exits(struct vcpu *v)
{
	if (v->own_exits.nr)
		enable_exits(v, 0);
}

void show_exits(struct vcpu *v)
{
	if (v->own_exits.nr)
		enable_exits(v, 1);
}

void publish_exits(struct vcpu *v)
{
	set_exits(v, v->own_exits.address, v->own_exits.nr);
}

/* Code at address, an exit of ours, may be translated: it is another now. */
void remove_exit(struct vcpu *v, u64 address)
{
	struct own_exits *own = &v->own_exits;
	u32 at = place_of(own, address);

	own->nr--;
	memmove(&own->address[at], &own->address[at + 1], (own->nr - at) * sizeof(u64));
	publish_exits(v);
}

/* Whether Unicorn leaves the guest at address. */
bool is_exit(struct vcpu *v, u64 address)
{
	struct exits exits;
	bool found = false;

	if (!v->attached)
		return v->own_exits.nr && is_own_exit(&v->own_exits, address);
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
