/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * trace: each instruction is an event, and stamps those that it causes.  Unicorn tells only blocks,
 * loads and stores: an instruction's event is written when something is to be written behind it, at
 * the latest when its block ends.
 */
#include "unicorn/trace.h"

#include <stdlib.h>
#include <string.h>

#include "unicorn/opcode_set.h"

/* One-byte opcodes whose accesses depend on more than the code: what reads descriptors. */
static const u64 varying[4] = {
	0,
	0,
	OP(0x8e),
	OP(0xca) | OP(0xcb) | OP(0xcf),
};

/* The same of 0F xx, with MASKMOVQ and kin, FXSAVE and kin, XSAVE and kin, CMPXCHG8B. */
static const u64 varying_0f[4] = {
	OP(0x00) | OP(0x01) | OP(0x02) | OP(0x03),
	0,
	OP(0xa1) | OP(0xa9) | OP(0xae) | OP(0xb2) | OP(0xb4) | OP(0xb5),
	OP(0xc7) | OP(0xf7),
};

bool trace_prepare(struct vcpu *v)
{
	if (!v->tracing)
		v->tracing = calloc(1, sizeof(*v->tracing));
	return v->tracing;
}

/* Whether how often the instruction loads and stores may differ from time to time. */
static bool has_varying_accesses(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), next = insn_opcode(insn, 1), reg = next >> 3 & 7;

	if (op == 0x0f)
		return is_in(varying_0f, next);
	return is_in(varying, op) || (op == 0xff && (reg == 3 || reg == 5)); /* far CALL and JMP */
}

/* Write down the instruction that begins the n bytes at code, of the script's block; its size. */
static u32 write_insn(struct vcpu *v, struct script *s, const u8 *code, u32 n, u32 offset)
{
	struct traced_insn *to = &v->tracing->insn[s->insn + s->nr++];
	struct insn insn;
	u32 size;

	insn_parse(code, n, &insn);
	size = insn_length(v, code, n);
	if (!size)
		size = insn.nr;
	*to = (struct traced_insn){ .offset = (u16)offset, .size = (u8)size };
	to->rmw = insn_is_rmw(&insn);
	memcpy(to->code, code, size);
	s->varies |= has_varying_accesses(&insn);
	return size;
}

/* Read the code of [pc, pc + size); bytes that cannot be read are 0. */
static void read_code(struct vcpu *v, u64 pc, u32 size, u8 code[LONGEST_BLOCK])
{
	memset(code, 0, size);
	vcpu_peek(v, pc, code, size);
}

/* Whether the script is that of a block of this code. */
static bool is_of_code(const struct vcpu *v, const struct script *s, const u8 *code)
{
	const struct traced_insn *insn = &v->tracing->insn[s->insn];

	for (u32 i = 0; i < s->nr; i++)
		if (memcmp(insn[i].code, code + insn[i].offset, insn[i].size))
			return false;
	return true;
}

/* Make *s the script of the block of this code, its instructions from number first on. */
static void write_script(struct vcpu *v, struct script *s, const struct block *b, u32 first,
			 const u8 *code, u32 size)
{
	*s = (struct script){ .pc = b->pc, .size = b->size, .insn = first };
	for (u32 offset = 0; offset < size;)
		offset += write_insn(v, s, code + offset, size - offset, offset);
	s->learned = s->nr == 1; /* all accesses are its */
}

/* Forget all instructions: there is no room for another block's. */
static void forget_scripts(struct tracing *t)
{
	memset(t->scripts, 0, sizeof(t->scripts));
	t->nr_insns = t->nr_accesses = 0;
}

/* The script of a block that enter() has counted. */
static struct script *script_of(struct vcpu *v, const struct block *b)
{
	u32 size = b->size < LONGEST_BLOCK ? b->size : LONGEST_BLOCK;
	struct tracing *t = v->tracing;
	struct script *s = &t->single;
	u8 code[LONGEST_BLOCK];

	if (b != &v->single) {
		s = &t->scripts[b - v->blocks];
		if (likely(s->key == b->key && s->pc == b->pc))
			return s;
	}
	read_code(v, b->pc, size, code);
	if (b == &v->single) {
		write_script(v, s, b, NR_TRACED, code, size);
		return s;
	}
	if (s->pc != b->pc || s->size != b->size || !is_of_code(v, s, code)) {
		if (t->nr_insns + size > NR_TRACED || t->nr_accesses > NR_TRACED / 2)
			forget_scripts(t);
		write_script(v, s, b, t->nr_insns, code, size);
		t->nr_insns += s->nr;
	}
	s->key = b->key;
	return s;
}

/* Write the events of the block's instructions up to that number, which is the one under way. */
void trace_to(struct vcpu *v, u32 number)
{
	struct trace_state *t = &v->trace;
	const struct traced_insn *insn = &v->tracing->insn[t->script->insn];
	u64 pc = t->script->pc;

	for (; t->next <= number; t->next++) {
		v->ring->instruction = t->begin + t->next;
		trace_emit(v, EVENT_insn, pc + insn[t->next].offset, insn[t->next].size,
			   insn[t->next].code[0], insn[t->next].code[1]);
	}
}

/* The block that enter() has counted begins: with its first instruction, unless that begins anew.
 */
void trace_begin(struct vcpu *v)
{
	struct trace_state *t = &v->trace;
	const struct block *b = v->block.known;
	bool again = b->pc == v->stream.denied;

	*t = (struct trace_state){ .script = script_of(v, b), .begin = v->shared.count - b->insns };
	v->stream.denied = NO_ADDRESS;
	if (!t->script->learned)
		t->script->nr_accesses = 0;
	v->ring->instruction = t->begin;
	if (again)
		t->next = 1;
	else
		trace_to(v, 0);
}

/* The number of the block's instruction that holds the byte at rip, or of the first behind it. */
static u32 number_of(const struct vcpu *v, u64 rip)
{
	const struct script *s = v->trace.script;
	const struct traced_insn *insn = &v->tracing->insn[s->insn];
	u32 low = 0, high = s->nr;

	while (low < high) {
		u32 middle = (low + high) / 2;

		if (insn[middle].offset < rip - s->pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The instruction at rip is under way; false: it is none of the block's. */
bool trace_at(struct vcpu *v, u64 rip)
{
	const struct script *s = v->trace.script;
	u32 number;

	if (!s || rip - s->pc >= s->size)
		return false;
	number = number_of(v, rip);
	if (number == s->nr)
		return false;
	trace_to(v, number);
	v->ring->instruction = v->trace.begin + number;
	return true;
}

/* RIP inside a memory hook of a block whose accesses are not known: see on_block_trace(). */
static u32 number_of_access(struct vcpu *v)
{
	const struct script *s = v->trace.script;
	u32 last = s->nr - 1u, number;
	u64 rip;

	if (s->learned)
		return last; /* a repeat that made none the first time, or more */
	rip = reg_read(v, UC_X86_REG_RIP);
	if (rip - s->pc >= s->size)
		return v->trace.next ? v->trace.next - 1 : 0;
	number = number_of(v, rip);
	return number < last ? number : last;
}

/* Remember whose the next access is. */
static void learn_access(struct vcpu *v, struct script *s, u32 number)
{
	struct tracing *t = v->tracing;

	if (s->nr_accesses != v->trace.access || t->nr_accesses == NR_TRACED)
		return;
	if (!s->nr_accesses)
		s->access = t->nr_accesses;
	if (s->access + s->nr_accesses != t->nr_accesses)
		return; /* another block's came between */
	t->access[t->nr_accesses++] = (u16)number;
	s->nr_accesses++;
}

/* trace_reach() where the script does not say it. */
const struct traced_insn *trace_find(struct vcpu *v)
{
	struct trace_state *t = &v->trace;
	struct script *s = t->script;
	u32 number;

	if (!s)
		return NULL;
	number = number_of_access(v);
	if (!s->learned && !s->varies)
		learn_access(v, s, number);
	t->access++;
	trace_to(v, number);
	return &v->tracing->insn[s->insn + number];
}

/* The block has come to its end, with all of its instructions. */
void trace_rest(struct vcpu *v)
{
	struct trace_state *t = &v->trace;
	struct script *s = t->script;

	trace_to(v, s->nr - 1u);
	if (!s->varies && s->nr_accesses == t->access)
		s->learned = true;
	t->script = NULL;
}

/*
 * The block was cut before the instruction at rip. If its first was announced and did not happen,
 * it is no second event when it does.
 */
void trace_cut(struct vcpu *v, u64 rip)
{
	const struct script *s = v->trace.script;
	u32 number;

	if (!s)
		return;
	number = rip - s->pc < s->size ? number_of(v, rip) : s->nr;
	if (number)
		trace_to(v, number - 1);
	else
		v->stream.denied = rip;
	v->trace.script = NULL;
}

/* The instruction at rip, which is of no block, is about to be executed, or to be refused. */
void trace_alone(struct vcpu *v, u64 rip, const struct insn *insn)
{
	u32 size = insn_length(v, insn->byte, insn->nr);
	u64 code[2] = { 0 };

	if (!v->fidelity->traced)
		return;
	memcpy(code, insn->byte, size);
	v->ring->instruction = v->shared.count;
	trace_emit(v, EVENT_insn, rip, size, code[0], code[1]);
}

/* The hook that a run was in goes on in the block that outer tells, whose script may be gone. */
void trace_resume(struct vcpu *v, const struct trace_state *outer)
{
	v->trace = *outer;
	if (!outer->script)
		return;
	v->trace.script = script_of(v, v->block.known);
	if (!v->trace.script->learned)
		v->trace.script->varies = true; /* what was learned of it may be lost */
	v->ring->instruction = outer->begin + outer->next - 1;
}

/* No block is under way; what its end would have done to the MMU is not done either. */
void clear_block(struct vcpu *v)
{
	trace_finish(v);
	v->block = (struct block_state){ .known = NULL };
	v->pending.control = CONTROL_NONE;
}
