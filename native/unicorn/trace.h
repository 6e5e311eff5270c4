/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What trace keeps of instructions, and the hot part of telling them. */
#ifndef UCMMU_UNICORN_TRACE_H
#define UCMMU_UNICORN_TRACE_H

#include "unicorn/vcpu.h"

#define LONGEST_BLOCK (2 * PAGE_SIZE) /* bytes: a block reaches into one page more at most */

/* One instruction of a block. */
struct traced_insn {
	u64 code[2]; /* its bytes, the first lowest; 0 where they end, or could not be read */
	u16 offset;  /* from where the block begins */
	u8 size;     /* bytes */
	bool rmw;    /* its load is that of a read-modify-write */
};

/*
 * The instructions of [pc, pc + size), and which of them makes the first, second.. load or store of
 * the block: that is always the same, but for a few instructions, whose blocks are never learned.
 */
struct script {
	u64 pc;
	u64 key; /* block_key() while it is known to be right; 0: the code may be another */
	u32 size;
	u32 insn, access; /* numbers of the first ones among those that tracing keeps */
	u16 nr, nr_accesses;
	bool varies;  /* an instruction's accesses depend on more than its code */
	bool learned; /* the accesses are known */
};

struct tracing {
	struct script scripts[NR_BLOCKS];
	struct script single; /* of a step */
	u32 nr_insns, nr_accesses;
	u16 access[NR_TRACED];			/* numbers of instructions within their block */
	struct traced_insn insn[NR_TRACED + 1]; /* the last is the single one's */
};

/* trace: the block under way is done, and so are all of its instructions. */
static inline void trace_finish(struct vcpu *v)
{
	if (v->trace.script)
		trace_rest(v);
}

/* Whether the events of a block under way are to be told. */
static inline bool is_traced(const struct vcpu *v)
{
	return v->trace.script;
}

/*
 * A load or store is made: the events of all instructions up to its own, which is returned, are
 * there now. NULL: none is known.
 */
static always_inline const struct traced_insn *trace_reach(struct vcpu *v)
{
	struct trace_state *t = &v->trace;
	const struct script *s = t->script;
	u32 number;

	if (unlikely(!s || !s->learned || t->access >= s->nr_accesses))
		return t->now = trace_find(v);
	number = v->tracing->access[s->access + t->access++];
	if (number >= t->next)
		trace_to(v, number);
	return t->now = &v->tracing->insn[s->insn + number];
}

/* An event that the block under way causes. */
static always_inline void trace_emit(struct vcpu *v, u32 id, u64 a, u64 b, u64 c, u64 d)
{
	if (likely(v->ring->enabled))
		ring_put(v->ring, id, a, b, c, d);
}

/* The look-up of va, for an access of ACCESS_*, was answered by e. */
static always_inline void trace_hit(struct vcpu *v, u64 va, u32 access, const struct tlb_entry *e)
{
	trace_emit(v, EVENT_tlb_hit, va, access, e->array, e - v->mmu->tlb.entry);
}

#endif
