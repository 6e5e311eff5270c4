/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From records to the parts of a chunk: what came otherwise than the model expects. */
#include "trace/encode.h"

#include "trace/column.h"
#include "trace/model.h"

#include <stdlib.h>

#define MAX_COLUMNS 9
#define MAX_HEAD (1 + 5 * MAX_VARINT)

struct part_writer {
	struct model *model;
	struct column positions, column[MAX_COLUMNS];
	u32 nr, nr_columns;
	u32 start, next; /* of the run of places that is growing */
	u32 end;	 /* of the one before */
	u64 expected;	 /* how many came as expected since the last that did not */
	u8 *bytes;	 /* the part as a whole */
};

struct encoder {
	u32 max_records;
	struct part_writer part[TRACE_PARTS];
};

/* Bytes a record can take in each column. */
static const u8 insns_room[NR_INSNS_COLUMNS] = {
	[INSNS_RUNS] = MAX_VARINT,     [INSNS_TOKENS] = 1,
	[INSNS_HEADS] = MAX_HEAD,      [INSNS_ADDRESS] = MAX_VARINT,
	[INSNS_CODE] = 3 * MAX_VARINT, [INSNS_VALUES] = 3 * MAX_VARINT,
};

static const u8 others_room[NR_OTHERS_COLUMNS] = {
	[OTHERS_IDS] = 1,
	[OTHERS_FLAGS] = 1,
	[OTHERS_MODES] = 1,
	[OTHERS_HEADS] = MAX_HEAD,
	[OTHERS_FIELD] = MAX_VARINT,
	[OTHERS_FIELD + 1] = MAX_VARINT,
	[OTHERS_FIELD + 2] = MAX_VARINT,
	[OTHERS_FIELD + 3] = MAX_VARINT,
};

static bool make_column(struct column *column, u64 size)
{
	column->begin = column->at = malloc(size);
	return column->begin;
}

static bool make_writer(struct part_writer *writer, u32 part, u32 max_records)
{
	const u8 *room = part == TRACE_PART_INSNS ? insns_room : others_room;
	u64 records = (u64)max_records + 1, size = 2 * MAX_VARINT * records;
	u32 i;

	writer->nr_columns = part == TRACE_PART_INSNS ? NR_INSNS_COLUMNS : NR_OTHERS_COLUMNS;
	writer->model = model_create(part == TRACE_PART_INSNS ? max_records : 0);
	if (!writer->model || !make_column(&writer->positions, size))
		return false;
	for (i = 0; i < writer->nr_columns; i++) {
		if (!make_column(&writer->column[i], room[i] * records))
			return false;
		size += room[i] * records;
	}
	writer->bytes = malloc(size + sizeof(u32) * (MAX_COLUMNS + 1));
	return writer->bytes;
}

struct encoder *encoder_create(u32 max_records)
{
	struct encoder *encoder = calloc(1, sizeof(*encoder));
	u32 part;

	if (!encoder)
		return NULL;
	encoder->max_records = max_records;
	for (part = 0; part < TRACE_PARTS; part++) {
		if (!make_writer(&encoder->part[part], part, max_records)) {
			encoder_destroy(encoder);
			return NULL;
		}
	}
	return encoder;
}

void encoder_destroy(struct encoder *encoder)
{
	u32 part, i;

	if (!encoder)
		return;
	for (part = 0; part < TRACE_PARTS; part++) {
		struct part_writer *writer = &encoder->part[part];

		model_destroy(writer->model);
		free(writer->positions.begin);
		for (i = 0; i < MAX_COLUMNS; i++)
			free(writer->column[i].begin);
		free(writer->bytes);
	}
	free(encoder);
}

static void begin_part(struct part_writer *writer, const struct event_roles *roles)
{
	u32 i;

	model_reset(writer->model, roles);
	writer->positions.at = writer->positions.begin;
	for (i = 0; i < writer->nr_columns; i++)
		writer->column[i].at = writer->column[i].begin;
	writer->nr = writer->start = writer->next = writer->end = 0;
	writer->expected = 0;
}

static void end_run(struct part_writer *writer)
{
	if (writer->next == writer->start)
		return;
	put_number(&writer->positions, writer->start - writer->end);
	put_number(&writer->positions, writer->next - writer->start);
	writer->end = writer->next;
}

static always_inline void put_position(struct part_writer *writer, u32 position)
{
	if (unlikely(writer->next != position)) {
		end_run(writer);
		writer->start = position;
	}
	writer->next = position + 1;
	writer->nr++;
}

/*
 * Write what of CPU, task, site, time and instruction is not as expected; returns HEAD_*.  The
 * state of the CPU, which is then the current one, becomes the event's.
 */
static u32 put_head(struct model *model, struct column *column, const struct event *event,
		    u16 *site, u64 expected)
{
	u64 ahead = event->time - event->instruction;
	struct model_cpu *cpu = &model->cpu[model->current];
	u32 flags = 0;

	if (event->cpu != model->current) {
		cpu = &model->cpu[event->cpu];
		expected += cpu->instruction - model->cpu[model->current].instruction;
		model->current = event->cpu;
		flags |= HEAD_CPU;
		put_byte(column, event->cpu);
	}
	if (event->task != cpu->task) {
		flags |= HEAD_TASK;
		put_number(column, event->task);
		cpu->task = event->task;
	}
	if (!site)
		site = &cpu->site;
	if (event->site != *site) {
		flags |= HEAD_SITE;
		put_number(column, event->site);
		*site = event->site;
	}
	if (ahead != cpu->ahead) {
		flags |= HEAD_AHEAD;
		put_number(column, fold(ahead - cpu->ahead));
		cpu->ahead = ahead;
	}
	if (event->instruction != expected) {
		flags |= HEAD_INSTRUCTION;
		put_number(column, fold(event->instruction - expected));
	}
	return flags;
}

static bool is_code(const struct node *node, const struct event *event)
{
	return node->role == TRACE_ROLE_INSN && node->a == event->a && node->b == event->b &&
	       node->c == event->c && node->d == event->d;
}

/* Write which instruction it is; returns TOKEN_* and its node. */
static u32 put_insn(struct part_writer *writer, const struct node *from, const struct event *event,
		    u32 *number)
{
	struct column *code = &writer->column[INSNS_CODE];
	struct model *model = writer->model;
	u64 after = from->role == TRACE_ROLE_INSN ? from->a + from->b
						  : model->cpu[model->current].base;
	u32 i;

	for (i = 0; i < 2; i++) {
		*number = from->next[i];
		if (*number && is_code(&model->node[*number], event))
			return i ? TOKEN_SECOND : TOKEN_FIRST;
	}
	put_number(&writer->column[INSNS_ADDRESS], fold(event->a - after));
	*number = model_find(model, event->a);
	if (*number && is_code(&model->node[*number], event))
		return TOKEN_KNOWN;
	put_number(code, event->b);
	put_word(code, event->c);
	put_number(code, event->d);
	*number = model_add(model, TRACE_ROLE_INSN);
	model->node[*number].a = event->a;
	model->node[*number].b = event->b;
	model->node[*number].c = event->c;
	model->node[*number].d = event->d;
	model_enter(model, *number);
	return TOKEN_NEW;
}

/* Write an access or TLB hit; returns which fields were not as expected. */
static u32 put_data(struct part_writer *writer, struct node *node, const struct event *event,
		    bool first)
{
	struct column *values = &writer->column[INSNS_VALUES];
	struct model *model = writer->model;
	struct model_cpu *cpu = &model->cpu[model->current];
	u64 a = first ? cpu->base : expected_a(cpu, node), d;
	u32 fields = 0;

	if (event->a != a) {
		fields |= 1;
		put_number(&writer->column[INSNS_ADDRESS], fold(event->a - a));
	}
	if (event->b != node->b) {
		fields |= 2;
		put_number(values, event->b);
	}
	if (event->c != node->c) {
		fields |= 4;
		put_number(values, event->c);
	}
	d = expected_d(model, node, event->a, event->c);
	if (event->d != d) {
		fields |= 8;
		put_number(values, fold(event->d - d));
	}
	return fields;
}

/* Write an event with a role that did not come as expected. */
static void put_token(struct part_writer *writer, const struct event *event, u32 role)
{
	struct model *model = writer->model;
	struct column *heads = &writer->column[INSNS_HEADS];
	struct model_cpu *cpu;
	u32 number, head, fields;
	struct node *from;
	u8 *head_at = heads->at++; /* its flags are known after its values */

	put_number(&writer->column[INSNS_RUNS], writer->expected);
	writer->expected = 0;
	head = put_head(model, heads, event, NULL,
			model->cpu[model->current].instruction + (role == TRACE_ROLE_INSN));
	if (head)
		*head_at = head;
	else
		heads->at = head_at;
	cpu = &model->cpu[model->current];
	cpu->instruction = event->instruction;
	from = &model->node[cpu->node];
	if (role == TRACE_ROLE_INSN) {
		fields = put_insn(writer, from, event, &number);
		cpu->base = event->a;
	} else {
		bool first;

		number = model_follower(model, from, role);
		first = !number;
		if (first)
			number = model_add(model, role);
		fields = put_data(writer, &model->node[number], event, first);
		model_learn(model, cpu, &model->node[number], event, first);
	}
	model_link(from, number);
	cpu->node = number;
	put_byte(&writer->column[INSNS_TOKENS],
		 (role - 1) | (head ? TOKEN_HEAD : 0) | fields << TOKEN_FIELD_SHIFT);
}

/* Whether the event is the one expected; if so, learn from it. */
static always_inline bool came_as_expected(struct model *model, const struct event *event)
{
	struct model_cpu *cpu = &model->cpu[event->cpu];
	struct node *from = &model->node[cpu->node];
	struct node *node = &model->node[from->next[0]];
	u64 instruction = cpu->instruction + (node->role == TRACE_ROLE_INSN);

	if (event->cpu != model->current || event->id != model->id[node->role] ||
	    event->instruction != instruction || event->time - instruction != cpu->ahead ||
	    event->task != cpu->task || event->site != cpu->site || !from->next[0])
		return false;
	if (node->role == TRACE_ROLE_INSN) {
		if (event->a != node->a || event->b != node->b || event->c != node->c ||
		    event->d != node->d)
			return false;
		cpu->base = event->a;
	} else {
		if (event->a != expected_a(cpu, node) || event->b != node->b ||
		    event->c != node->c || event->d != expected_d(model, node, event->a, event->c))
			return false;
		model_learn(model, cpu, node, event, false);
	}
	cpu->instruction = instruction;
	cpu->node = from->next[0];
	if (from->doubt)
		from->doubt = false;
	return true;
}

/* Write one of the kinds without a role. */
static void put_other(struct part_writer *writer, const struct event *event)
{
	struct model *model = writer->model;
	struct model_kind *kind = &model->kind[event->id];
	struct model_cpu *cpu;
	u32 i, modes = 0;

	put_byte(&writer->column[OTHERS_IDS], event->id);
	put_byte(&writer->column[OTHERS_FLAGS],
		 put_head(model, &writer->column[OTHERS_HEADS], event, &kind->site,
			  model->cpu[model->current].instruction));
	cpu = &model->cpu[model->current];
	cpu->instruction = event->instruction;
	for (i = 0; i < 4; i++) {
		struct model_field *field = &kind->field[i];
		u64 value = event_field(event, i);
		u32 mode;

		if (value == field->last) {
			mode = FIELD_LAST;
		} else if (value == field->last + field->stride) {
			mode = FIELD_STRIDE;
		} else if (value == model->before) {
			mode = FIELD_BEFORE;
		} else {
			mode = FIELD_GIVEN;
			put_number(&writer->column[OTHERS_FIELD + i], fold(value - field->last));
		}
		modes |= mode << 2 * i;
		model_learn_field(field, value);
	}
	put_byte(&writer->column[OTHERS_MODES], modes);
	model->before = event->a;
}

/* Join the columns of a part, each one's size first. */
static void end_part(struct part_writer *writer, struct encoded_part *part)
{
	u8 *at = writer->bytes + sizeof(u32) * (writer->nr_columns + 1);
	u32 i;

	*part = (struct encoded_part){ .bytes = writer->bytes, .nr = writer->nr };
	if (!writer->nr)
		return;
	end_run(writer);
	if (writer->nr_columns == NR_INSNS_COLUMNS)
		put_number(&writer->column[INSNS_RUNS], writer->expected);
	for (i = 0; i <= writer->nr_columns; i++) {
		const struct column *column = i ? &writer->column[i - 1] : &writer->positions;
		u32 size = column->at - column->begin;

		memcpy(writer->bytes + sizeof(size) * i, &size, sizeof(size));
		memcpy(at, column->begin, size);
		at += size;
	}
	part->size = at - writer->bytes;
}

void encode_chunk(struct encoder *encoder, const struct event_roles *roles,
		  const struct event *records, u32 nr, struct encoded_part part[3],
		  struct digest *digest)
{
	u32 i;

	for (i = 0; i < TRACE_PARTS; i++)
		begin_part(&encoder->part[i], roles);
	for (i = 0; i < nr; i++) {
		const struct event *event = &records[i];
		struct part_writer *writer = &encoder->part[roles->part[event->id]];

		put_position(writer, i);
		if (roles->part[event->id] != TRACE_PART_INSNS)
			put_other(writer, event);
		else if (likely(came_as_expected(writer->model, event)))
			writer->expected++;
		else
			put_token(writer, event, roles->role[event->id]);
	}
	for (i = 0; i < TRACE_PARTS; i++)
		end_part(&encoder->part[i], &part[i]);
	digest_records(digest, roles, records, nr);
}
