/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The instruction stream: what is not needed at each block. */
#include "unicorn/fetch.h"

/* One instruction-TLB look-up that no memo answers. False: it faults; *t says how. */
bool fetch_in_full(struct vcpu *v, u64 va, struct translation *t)
{
	if (v->attached)
		control_look(v);
	return hit(v, va, NO_ADDRESS, page_of(va), ACCESS_FETCH) ||
	       translate(v, va, ACCESS_FETCH, t) == XLATE_OK;
}

/*
 * Control has come to the instruction at rip of the block under way, NO_ADDRESS: to its end. Look
 * the block's second page up if that is behind the instruction that enters it.
 */
void fetch_reached(struct vcpu *v, u64 rip)
{
	struct stream *s = &v->stream;
	struct translation t;

	if (s->crossing == NO_ADDRESS || rip < s->crossing)
		return;
	trace_at(v, s->crossing);
	s->crossed = s->crossing;
	s->crossing = NO_ADDRESS;
	if (!fetch_page(v, s->page, &t))
		v->shared.broken++;
}

/* The instruction at rip is fetched, and is fetched no second time when it is executed next. */
void fetch_again_at(struct vcpu *v, u64 rip)
{
	struct stream *s = &v->stream;

	fetch_reached(v, rip);
	s->next = rip;
	s->page = page_of(rip);
	s->crossing = NO_ADDRESS;
	if (s->crossed != rip)
		s->crossed = NO_ADDRESS;
}

/* The block under way ends before the instruction at rip, which is not its first. */
void fetch_cut_before(struct vcpu *v, u64 rip)
{
	struct stream *s = &v->stream;

	fetch_reached(v, rip - 1);
	s->next = rip;
	s->page = page_of(rip - 1);
	s->crossing = NO_ADDRESS;
	s->crossed = NO_ADDRESS;
}
