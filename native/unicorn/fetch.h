/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The instruction stream, looked up in the instruction TLB page by page. */
#ifndef UCMMU_UNICORN_FETCH_H
#define UCMMU_UNICORN_FETCH_H

#include "unicorn/memo.h"
#include "unicorn/trace.h"

/* One instruction-TLB look-up.  False: the page cannot be fetched from; *t says why. */
static inline bool fetch_page(struct vcpu *v, u64 va, struct translation *t)
{
	struct memo *m = memo_of(v, va, ACCESS_FETCH);

	if (unlikely(!stands(v, m, page_of(va))))
		return fetch_in_full(v, va, t);
	use(v, m->entry, ACCESS_FETCH);
	if (is_traced(v))
		trace_hit(v, va, ACCESS_FETCH, m->entry);
	return true;
}

/*
 * Instructions of [pc, pc + size) are about to be executed: look up each page that control enters,
 * by a transfer or by running into it, once.  An instruction that repeats itself enters nothing.
 * crossing: the instruction that enters the second page, whose look-up waits until it is reached.
 */
static always_inline bool fetch_block(struct vcpu *v, u64 pc, u32 size, u64 crossing, bool repeated,
				      struct translation *t)
{
	struct stream *s = &v->stream;
	u64 last = pc + size - 1;

	if (!repeated && (pc != s->next || page_of(pc) != s->page)) {
		if (!fetch_page(v, pc, t))
			return false;
		s->crossed = NO_ADDRESS;
	}
	s->page = page_of(pc);
	s->next = pc + size;
	if (page_of(last) != page_of(pc)) {
		s->crossing = repeated || crossing == s->crossed ? NO_ADDRESS : crossing;
		s->page = page_of(last);
	}
	s->crossed = NO_ADDRESS;
	return true;
}

#endif
