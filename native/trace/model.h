/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is expected of the next event: the encoder writes only what came otherwise, and the decoder
 * expects the same.  docs/trace.md describes it.
 *
 * Instructions, accesses and TLB hits are nodes of a graph: each knows the two that followed it
 * last on its CPU, and what its fields were.  Other kinds know the last fields of their kind.
 */
#ifndef UCMMU_TRACE_MODEL_H
#define UCMMU_TRACE_MODEL_H

#include "trace/roles.h"

#define MODEL_CPUS 256
#define MODEL_HASH_BITS 14
#define MODEL_PLACE_BITS 12

enum insns_column {
	INSNS_RUNS,    /* how many came as expected, before each that did not */
	INSNS_TOKENS,  /* what was otherwise */
	INSNS_HEADS,   /* CPU, task, site, time, instruction */
	INSNS_ADDRESS, /* field a */
	INSNS_CODE,    /* fields b, c, d of a new instruction */
	INSNS_VALUES,  /* fields b, c, d of an access or TLB hit */
	NR_INSNS_COLUMNS
};

enum others_column {
	OTHERS_IDS,
	OTHERS_FLAGS, /* HEAD_* */
	OTHERS_MODES, /* FIELD_*, two bits each, a lowest */
	OTHERS_HEADS,
	OTHERS_FIELD, /* four: a to d */
	NR_OTHERS_COLUMNS = OTHERS_FIELD + 4
};

/*
 * A token.
 *
 *     7   6  5  4  3   2    1  0
 *   +---+------------+----+------+
 *   | 0 |   fields   |head| role |  role - 1; head: a byte of HEAD_* follows in INSNS_HEADS
 *   +---+------------+----+------+
 *
 * fields: of an insn, bits 4:3, TOKEN_*; else a to d are not as expected.
 */
#define TOKEN_HEAD 0x04
#define TOKEN_FIELD_SHIFT 3
#define TOKEN_FIRST 0  /* the follower that was expected */
#define TOKEN_SECOND 1 /* the other follower */
#define TOKEN_KNOWN 2  /* an instruction seen at that ip */
#define TOKEN_NEW 3

#define HEAD_CPU 1
#define HEAD_TASK 2
#define HEAD_SITE 4
#define HEAD_AHEAD 8
#define HEAD_INSTRUCTION 16

#define FIELD_LAST 0   /* as the last of the kind */
#define FIELD_STRIDE 1 /* as far from it as that from the one before */
#define FIELD_BEFORE 2 /* as field a of the event before */
#define FIELD_GIVEN 3  /* the difference to the last of the kind is given */

struct node {
	u32 next[2]; /* what followed, the likelier first; 0: nothing yet */
	u32 chain;   /* instructions of one hash */
	u8 role;
	bool doubt; /* the last time it was the second that followed */
	u64 a, b, c, d;
	u64 stride, delta;
};

struct model_cpu {
	u32 node, task;
	u16 site;
	u64 instruction; /* expected of an event that is no insn, less one of an insn */
	u64 ahead;	 /* time - instruction */
	u64 base;	 /* address of the last access or insn */
};

struct model_field {
	u64 last, stride, delta;
};

struct model_kind {
	struct model_field field[4];
	u16 site;
};

struct model {
	u8 current, id[4]; /* CPU; id by role */
	u32 nr_nodes;
	u64 before; /* field a of the event before, of kinds without a role */
	struct model_cpu cpu[MODEL_CPUS];
	u32 hash[1 << MODEL_HASH_BITS];
	u64 frame[1 << MODEL_PLACE_BITS]; /* pa - address, by page */
	u64 slot[1 << MODEL_PLACE_BITS];  /* by page and array */
	struct model_kind kind[EVENT_KINDS];
	struct node *node;
};

/* Make a model for chunks of up to max_records; NULL without memory. */
struct model *model_create(u32 max_records);
/* Free it; NULL is no model. */
void model_destroy(struct model *model);
/* Forget everything: what a chunk starts from. */
void model_reset(struct model *model, const struct event_roles *roles);

static always_inline u32 model_hash(u64 value, u32 bits)
{
	return value * 0x9e3779b97f4a7c15ull >> (64 - bits);
}

static always_inline u64 *model_frame(struct model *model, u64 address)
{
	return &model->frame[model_hash(address >> PAGE_SHIFT, MODEL_PLACE_BITS)];
}

static always_inline u64 *model_slot(struct model *model, u64 address, u64 array)
{
	return &model->slot[model_hash((address >> PAGE_SHIFT) + (array << 56), MODEL_PLACE_BITS)];
}

/* The node for an event of that role after the current one; 0: there is none yet. */
static always_inline u32 model_follower(const struct model *model, const struct node *from,
					u32 role)
{
	if (from->next[0] && model->node[from->next[0]].role == role)
		return from->next[0];
	if (from->next[1] && model->node[from->next[1]].role == role)
		return from->next[1];
	return 0;
}

/* A new node, all 0 but its role. */
static always_inline u32 model_add(struct model *model, u32 role)
{
	model->node[model->nr_nodes] = (struct node){ .role = role };
	return model->nr_nodes++;
}

/* The instruction last seen at ip, or 0. */
static always_inline u32 model_find(const struct model *model, u64 ip)
{
	u32 found = model->hash[model_hash(ip, MODEL_HASH_BITS)];

	while (found && model->node[found].a != ip)
		found = model->node[found].chain;
	return found;
}

/* Enter a new instruction, to be found by its ip from now on. */
static always_inline void model_enter(struct model *model, u32 number)
{
	u32 *head = &model->hash[model_hash(model->node[number].a, MODEL_HASH_BITS)];

	model->node[number].chain = *head;
	*head = number;
}

/* Remember that number followed from. */
static always_inline void model_link(struct node *from, u32 number)
{
	if (likely(from->next[0] == number)) {
		if (from->doubt)
			from->doubt = false;
	} else if (!from->next[0]) {
		from->next[0] = number;
	} else if (from->next[1] == number && from->doubt) {
		from->next[1] = from->next[0];
		from->next[0] = number;
		from->doubt = false;
	} else {
		from->next[1] = number;
		from->doubt = true;
	}
}

/* Fields a to d as they are expected, a given: the others depend on it. */
static always_inline u64 expected_a(const struct model_cpu *cpu, const struct node *node)
{
	return node->role == TRACE_ROLE_TLB_HIT ? cpu->base + node->stride : node->a + node->stride;
}

static always_inline u64 expected_d(struct model *model, const struct node *node, u64 a, u64 c)
{
	if (node->role == TRACE_ROLE_TLB_HIT)
		return *model_slot(model, a, c);
	return *model_frame(model, a) + a;
}

/* Learn what an access or TLB hit was. */
static always_inline void model_learn(struct model *model, struct model_cpu *cpu, struct node *node,
				      const struct event *event, bool first)
{
	if (node->role == TRACE_ROLE_TLB_HIT) {
		node->stride = event->a - cpu->base;
		*model_slot(model, event->a, event->c) = event->d;
	} else {
		u64 delta = event->a - node->a;

		if (first)
			delta = 0;
		if (delta == node->delta)
			node->stride = delta;
		node->delta = delta;
		node->a = event->a;
		cpu->base = event->a;
		*model_frame(model, event->a) = event->d - event->a;
	}
	node->b = event->b;
	node->c = event->c;
}

/* Learn a field of another kind. */
static always_inline void model_learn_field(struct model_field *field, u64 value)
{
	u64 delta = value - field->last;

	if (delta == field->delta)
		field->stride = delta;
	field->delta = delta;
	field->last = value;
}

#endif
