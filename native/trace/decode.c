/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a part of a chunk back to records.  The bytes may be anything: nothing is read past their
 * end. */
#include "trace/decode.h"

#include "trace/column.h"
#include "trace/model.h"

#include <stdlib.h>

#define MAX_COLUMNS 9

struct decoder {
	u32 max_records;
	struct model *model;
};

struct part_reader {
	struct model *model;
	const struct event_roles *roles;
	struct cursor column[MAX_COLUMNS];
};

struct decoder *decoder_create(u32 max_records)
{
	struct decoder *decoder = malloc(sizeof(*decoder));

	if (!decoder)
		return NULL;
	decoder->max_records = max_records;
	decoder->model = model_create(max_records);
	if (!decoder->model) {
		free(decoder);
		return NULL;
	}
	return decoder;
}

void decoder_destroy(struct decoder *decoder)
{
	if (!decoder)
		return;
	model_destroy(decoder->model);
	free(decoder);
}

/* Find the columns in the bytes. */
static bool cut(const u8 *bytes, u64 size, u32 nr_columns, struct cursor *positions,
		struct part_reader *reader)
{
	const u8 *at = bytes + sizeof(u32) * (nr_columns + 1);
	u32 i;

	if (size < sizeof(u32) * (nr_columns + 1))
		return false;
	size -= sizeof(u32) * (nr_columns + 1);
	for (i = 0; i <= nr_columns; i++) {
		u32 length;

		memcpy(&length, bytes + sizeof(length) * i, sizeof(length));
		if (length > size)
			return false;
		*(i ? &reader->column[i - 1] : positions) =
			(struct cursor){ at, at + length, false };
		at += length;
		size -= length;
	}
	return !size;
}

static bool get_positions(struct cursor *cursor, u32 nr, u32 total, u32 *positions)
{
	u64 at = 0, end;
	u32 i = 0;

	while (i < nr) {
		u64 gap = get_number(cursor), length = get_number(cursor);

		if (cursor->damaged || gap > total - at || !length || length > total - at - gap ||
		    length > nr - i)
			return false;
		at += gap;
		for (end = at + length; at < end; at++)
			positions[i++] = at;
	}
	return cursor->at == cursor->end;
}

/* Read what put_head() wrote, into the event and its CPU's state. */
static void get_head(struct model *model, struct cursor *cursor, u32 flags, u32 more, u16 *site,
		     struct event *event)
{
	struct model_cpu *cpu;

	if (flags & HEAD_CPU)
		model->current = get_byte(cursor);
	cpu = &model->cpu[model->current];
	if (flags & HEAD_TASK)
		cpu->task = get_number(cursor);
	if (!site)
		site = &cpu->site;
	if (flags & HEAD_SITE)
		*site = get_number(cursor);
	if (flags & HEAD_AHEAD)
		cpu->ahead += unfold(get_number(cursor));
	cpu->instruction += more;
	if (flags & HEAD_INSTRUCTION)
		cpu->instruction += unfold(get_number(cursor));
	event->cpu = model->current;
	event->task = cpu->task;
	event->site = *site;
	event->instruction = cpu->instruction;
	event->time = cpu->instruction + cpu->ahead;
}

static bool get_insn(struct part_reader *reader, const struct node *from, u32 mode, u32 *number)
{
	struct cursor *code = &reader->column[INSNS_CODE];
	struct model *model = reader->model;
	u64 after = from->role == TRACE_ROLE_INSN ? from->a + from->b
						  : model->cpu[model->current].base;
	u64 ip;

	if (mode <= TOKEN_SECOND) {
		*number = from->next[mode];
		return *number && model->node[*number].role == TRACE_ROLE_INSN;
	}
	ip = after + unfold(get_number(&reader->column[INSNS_ADDRESS]));
	if (mode == TOKEN_KNOWN) {
		*number = model_find(model, ip);
		return *number;
	}
	*number = model_add(model, TRACE_ROLE_INSN);
	model->node[*number].a = ip;
	model->node[*number].b = get_number(code);
	model->node[*number].c = get_word(code);
	model->node[*number].d = get_number(code);
	model_enter(model, *number);
	return true;
}

static void get_data(struct part_reader *reader, const struct node *node, u32 fields, bool first,
		     struct event *event)
{
	struct cursor *values = &reader->column[INSNS_VALUES];
	struct model *model = reader->model;
	const struct model_cpu *cpu = &model->cpu[model->current];

	event->a = first ? cpu->base : expected_a(cpu, node);
	if (fields & 1)
		event->a += unfold(get_number(&reader->column[INSNS_ADDRESS]));
	event->b = fields & 2 ? get_number(values) : node->b;
	event->c = fields & 4 ? get_number(values) : node->c;
	event->d = expected_d(model, node, event->a, event->c);
	if (fields & 8)
		event->d += unfold(get_number(values));
}

static bool get_token(struct part_reader *reader, struct event *event)
{
	struct model *model = reader->model;
	struct cursor *heads = &reader->column[INSNS_HEADS];
	u32 token = get_byte(&reader->column[INSNS_TOKENS]), role = (token & 3) + 1, number;
	u32 fields = token >> TOKEN_FIELD_SHIFT & 15;
	struct model_cpu *cpu;
	struct node *from;

	if (role > TRACE_ROLE_TLB_HIT)
		return false;
	get_head(model, heads, token & TOKEN_HEAD ? get_byte(heads) : 0, role == TRACE_ROLE_INSN,
		 NULL, event);
	event->id = model->id[role];
	cpu = &model->cpu[model->current];
	from = &model->node[cpu->node];
	if (role == TRACE_ROLE_INSN) {
		if (!get_insn(reader, from, fields & 3, &number))
			return false;
		event->a = model->node[number].a;
		event->b = model->node[number].b;
		event->c = model->node[number].c;
		event->d = model->node[number].d;
		cpu->base = event->a;
	} else {
		bool first;

		number = model_follower(model, from, role);
		first = !number;
		if (first)
			number = model_add(model, role);
		get_data(reader, &model->node[number], fields, first, event);
		model_learn(model, cpu, &model->node[number], event, first);
	}
	model_link(from, number);
	cpu->node = number;
	return true;
}

/* The event that is expected; false: none is. */
static always_inline bool get_expected(struct model *model, struct event *event)
{
	struct model_cpu *cpu = &model->cpu[model->current];
	struct node *from = &model->node[cpu->node];
	struct node *node = &model->node[from->next[0]];

	if (unlikely(!from->next[0]))
		return false;
	cpu->instruction += node->role == TRACE_ROLE_INSN;
	event->id = model->id[node->role];
	event->cpu = model->current;
	event->site = cpu->site;
	event->task = cpu->task;
	event->instruction = cpu->instruction;
	event->time = cpu->instruction + cpu->ahead;
	if (node->role == TRACE_ROLE_INSN) {
		event->a = cpu->base = node->a;
		event->b = node->b;
		event->c = node->c;
		event->d = node->d;
	} else {
		event->a = expected_a(cpu, node);
		event->b = node->b;
		event->c = node->c;
		event->d = expected_d(model, node, event->a, event->c);
		model_learn(model, cpu, node, event, false);
	}
	cpu->node = from->next[0];
	if (from->doubt)
		from->doubt = false;
	return true;
}

static void get_other(struct part_reader *reader, struct event *event)
{
	struct model *model = reader->model;
	u32 i, flags, modes;
	struct model_kind *kind;

	event->id = get_byte(&reader->column[OTHERS_IDS]);
	flags = get_byte(&reader->column[OTHERS_FLAGS]);
	modes = get_byte(&reader->column[OTHERS_MODES]);
	kind = &model->kind[event->id];
	get_head(model, &reader->column[OTHERS_HEADS], flags, 0, &kind->site, event);
	for (i = 0; i < 4; i++, modes >>= 2) {
		struct model_field *field = &kind->field[i];
		u64 value = field->last;

		if ((modes & 3) == FIELD_STRIDE)
			value += field->stride;
		else if ((modes & 3) == FIELD_BEFORE)
			value = model->before;
		else if ((modes & 3) == FIELD_GIVEN)
			value += unfold(get_number(&reader->column[OTHERS_FIELD + i]));
		model_learn_field(field, value);
		(&event->a)[i] = value;
	}
	model->before = event->a;
}

static bool get_insns(struct part_reader *reader, u32 nr, bool scatter, struct event *records,
		      const u32 *positions)
{
	u64 expected = 0;
	bool begun = false;
	u32 i;

	for (i = 0; i < nr; i++) {
		struct event *event = &records[scatter ? positions[i] : i];

		if (!begun) {
			expected = get_number(&reader->column[INSNS_RUNS]);
			begun = true;
		}
		if (likely(expected)) {
			expected--;
			if (!get_expected(reader->model, event))
				return false;
		} else {
			if (!get_token(reader, event))
				return false;
			begun = false;
		}
	}
	return !expected;
}

bool decode_part(struct decoder *decoder, const struct event_roles *roles, u32 part,
		 const u8 *bytes, u64 size, u32 nr, u32 total, bool scatter, struct event *records,
		 u32 *positions)
{
	struct part_reader reader = { .model = decoder->model, .roles = roles };
	u32 i, nr_columns = part == TRACE_PART_INSNS ? NR_INSNS_COLUMNS : NR_OTHERS_COLUMNS;
	struct cursor places;

	if (!nr)
		return !size;
	if (nr > total || total > decoder->max_records ||
	    !cut(bytes, size, nr_columns, &places, &reader) ||
	    !get_positions(&places, nr, total, positions))
		return false;
	model_reset(decoder->model, roles);
	if (part == TRACE_PART_INSNS) {
		if (!get_insns(&reader, nr, scatter, records, positions))
			return false;
	} else {
		for (i = 0; i < nr; i++)
			get_other(&reader, &records[scatter ? positions[i] : i]);
	}
	for (i = 0; i < nr_columns; i++)
		if (reader.column[i].damaged)
			return false;
	return true;
}
