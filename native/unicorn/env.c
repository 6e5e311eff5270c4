/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Words of Unicorn's processor state that no register names: where they stand (private), or, by the
 * public API alone, in a saved context, whose places find_places() knows.
 */
#include <stdlib.h>

#include "unicorn/vcpu.h"

/* A segment register with what is cached of its descriptor. */
struct env_segment {
	u32 selector, pad;
	u64 base;
	u32 limit, flags;
};

/* Where the word stands now, in Unicorn or in a context just saved; NULL if that is not known. */
static void *env_at(struct vcpu *v, enum env_word word)
{
	if (private_has(v, PRIVATE_ENV))
		return private_env(v, word);
	if (!v->places.at[word])
		return NULL;
	if (!v->context && UC(v, context_alloc)(v->uc, &v->context) != UC_ERR_OK)
		return NULL;
	if (UC(v, context_save)(v->uc, v->context) != UC_ERR_OK)
		return NULL;
	return (u8 *)v->context + v->places.at[word];
}

/* What env_at() led to was changed. */
static void env_changed(struct vcpu *v)
{
	if (!private_has(v, PRIVATE_ENV))
		UC(v, context_restore)(v->uc, v->context);
}

/* Whether env_get() and env_set() reach the word. */
bool env_has(const struct vcpu *v, enum env_word word)
{
	return private_has(v, PRIVATE_ENV) || v->places.at[word];
}

/* The word's value; 0 if it is not known where that stands. */
u32 env_get(struct vcpu *v, enum env_word word)
{
	const u32 *at = env_at(v, word);

	return at ? *at : 0;
}

void env_set(struct vcpu *v, enum env_word word, u32 value)
{
	u32 *at = env_at(v, word);

	if (!at)
		return;
	*at = value;
	env_changed(v);
}

/* Load CS or SS with a selector and a descriptor's attributes, flat as in 64-bit mode. */
void env_set_segment(struct vcpu *v, enum env_word which, u32 selector, u32 flags)
{
	struct env_segment *segment = env_at(v, which);

	if (!segment)
		return;
	*segment =
		(struct env_segment){ .selector = selector, .limit = 0xffffffff, .flags = flags };
	env_changed(v);
}

/* Whether at may be the cached segment of these: for find_places(). */
bool env_is_segment(const void *at, u32 selector, u32 flags)
{
	const struct env_segment *segment = at;

	return segment->selector == selector && !segment->base && segment->limit == 0xffffffff &&
	       segment->flags == flags;
}

void env_free(struct vcpu *v)
{
	if (v->context)
		UC(v, context_free)(v->context);
	v->context = NULL;
}
