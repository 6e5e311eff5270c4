// SPDX-License-Identifier: GPL-2.0-or-later
/* Both, compared. */
#include <string.h>

#include "unicorn_walker_inside.h"

static void fail(struct tally *t, const struct state *s, u32 who, u32 step,
		 const struct outcome *expected, const struct outcome *found)
{
	if (!t->failures++) {
		t->failed = *s;
		t->failed_who = who;
		t->failed_step = step;
		t->expected = *expected;
		t->found = *found;
	}
}

/* Which deviations each may show. */
static const u32 deviations_of[NR_WHO] = {
	[WHO_WALKER] = DEVIATION_RMW_READS_FIRST | DEVIATION_CANONICAL_LATE |
		       DEVIATION_STACK_IS_GP | DEVIATION_JUMP_ARRIVES | DEVIATION_IMPLICIT_AC |
		       DEVIATION_HUGE_ACCESSED,
	[WHO_FAST] = DEVIATION_RMW_ASKED_AS_LOAD | DEVIATION_CANONICAL_LATE |
		     DEVIATION_JUMP_ARRIVES,
	[WHO_EXACT] = DEVIATION_CANONICAL_LATE | DEVIATION_JUMP_ARRIVES | DEVIATION_SECOND_FIRST,
};

/* Look for the fewest deviations that explain found; false if none do. */
static bool excuse(struct walker *w, const struct state *s, u32 who, const struct outcome *found,
		   struct tally *t)
{
	struct outcome expected;

	for (u32 nr = 1; nr <= NR_DEVIATIONS; nr++) {
		for (u32 mask = 1; mask < 1u << NR_DEVIATIONS; mask++) {
			if (__builtin_popcount(mask) != (int)nr || mask & ~deviations_of[who])
				continue;
			restore(w);
			judge(w, s, mask, &expected);
			if (memcmp(&expected, found, sizeof(expected)))
				continue;
			for (u32 d = 0; d < NR_DEVIATIONS; d++)
				t->excused[who][d] += mask >> d & 1;
			t->states_excused[who]++;
			return true;
		}
	}
	return false;
}

static void count(struct tally *t, const struct state *s, const struct outcome *found)
{
	t->states++;
	t->by_kind[s->kind]++;
	if (!found->vector) {
		t->completed++;
	} else {
		t->faults++;
		if (found->vector == XLATE_PF)
			t->by_code[found->code & 255]++;
		else
			t->gp++;
	}
}

static void compare_single(struct walker *w, const struct state *s, u32 who,
			   const struct outcome *expected, struct tally *t)
{
	struct instance *i = &w->of[who][!!(s->cr4 & CR4_LA57)][s->cpl == 3];
	struct outcome found;

	restore(w);
	execute(w, i, s, &found);
	t->walks[who]++;
	if (who == WHO_WALKER)
		count(t, s, &found);
	if (memcmp(expected, &found, sizeof(found)) && !excuse(w, s, who, &found, t))
		fail(t, s, who, 0, expected, &found);
}

static void try_single(struct walker *w, const struct state *s, bool vcpu, struct tally *t)
{
	struct outcome expected;

	lay_out(w, s);
	restore(w);
	judge(w, s, 0, &expected);
	compare_single(w, s, WHO_WALKER, &expected, t);
	if (vcpu) {
		compare_single(w, s, WHO_FAST, &expected, t);
		compare_single(w, s, WHO_EXACT, &expected, t);
	}
	clear(w, s);
}

/* Sequences. */

/* Could any of these entries have made a global translation? */
static bool was_global(const struct state *s)
{
	for (u32 i = 0; i < s->nr_entries; i++)
		if (maps_page(s->entry[i], s->entry_level[i]) && s->entry[i] & X86_G)
			return s->cr4 & CR4_PGE;
	return false;
}

/*
 * Whether the second access has but one right answer: nothing that was not present or had a
 * reserved bit set is cached (SDM vol. 3A 4.10.2.3, 4.10.3), and what the flush takes (4.10.4.1).
 */
static bool is_defined(const struct state *s)
{
	u64 reserved = X86_ADDR_MASK & ~0ull << MAXPHYADDR, e = s->entry[s->edited];

	if (!(e & X86_P) || e & (s->efer & EFER_NXE ? reserved : reserved | X86_XD))
		return true;
	switch (s->flush) {
	case FLUSH_INVLPG:
	case FLUSH_PGE:
		return true;
	case FLUSH_CR3:
		return !was_global(s) && !(s->reload & CR3_NOFLUSH);
	default:
		return false;
	}
}

/* Equal but for the table entries: a translation that was cached leaves other A and D. */
static bool same_result(const struct state *s, const struct outcome *a, const struct outcome *b)
{
	return !memcmp(a, b, offsetof(struct outcome, cell)) &&
	       !memcmp(a->cell[s->nr_entries], b->cell[s->nr_entries],
		       (NR_CELLS - s->nr_entries) * CELL_BYTES);
}

/* The second access's outcome is one that the architecture allows. */
static bool allowed(const struct state *s, const struct expected *e, const struct outcome *second)
{
	if (s->defined)
		return !memcmp(second, &e->new, sizeof(*second));
	return same_result(s, second, &e->new) || same_result(s, second, &e->old);
}

/* Which access is not as expected: 1 or 2; 0: both are. */
static u32 wrong_step(const struct state *s, const struct expected *e,
		      const struct outcome found[2])
{
	if (e->first.vector != found[0].vector ||
	    (found[0].vector && memcmp(&e->first, &found[0], sizeof(found[0]))))
		return 1;
	return allowed(s, e, &found[1]) ? 0 : 2;
}

static bool excuse_sequence(struct walker *w, const struct state *s, u32 who,
			    const struct outcome found[2], struct tally *t)
{
	struct expected e;

	for (u32 d = 0; d < NR_DEVIATIONS; d++) {
		if (!(deviations_of[who] >> d & 1))
			continue;
		judge_sequence(w, s, 1u << d, &e);
		if (wrong_step(s, &e, found))
			continue;
		t->excused[who][d]++;
		t->states_excused[who]++;
		return true;
	}
	return false;
}

static void count_sequence(struct tally *t, const struct state *s, const struct outcome *second)
{
	count(t, s, second);
	t->sequences++;
	t->defined += s->defined;
}

/* The architecture leaves a choice: note what was chosen, where it can be told. */
static void count_choice(struct tally *t, const struct state *s, u32 who, const struct expected *e,
			 const struct outcome *second)
{
	if (s->defined || same_result(s, &e->new, &e->old))
		return;
	if (same_result(s, second, &e->new))
		t->answered_new[who]++;
	else if (same_result(s, second, &e->old))
		t->answered_old[who]++;
}

static void compare_sequence(struct walker *w, const struct state *s, u32 who,
			     const struct expected *e, struct tally *t)
{
	struct instance *i = &w->of[who][!!(s->cr4 & CR4_LA57)][0];
	struct outcome found[2];
	u32 wrong;

	restore(w);
	execute_sequence(w, i, s, found);
	t->walks[who]++;
	if (who == WHO_WALKER)
		count_sequence(t, s, &found[1]);
	count_choice(t, s, who, e, &found[1]);
	wrong = wrong_step(s, e, found);
	if (wrong && !excuse_sequence(w, s, who, found, t))
		fail(t, s, who, wrong, wrong == 1 ? &e->first : &e->new, &found[wrong - 1]);
}

static void try_sequence(struct walker *w, struct state *s, bool vcpu, struct tally *t)
{
	struct expected e;

	lay_out(w, s);
	s->defined = is_defined(s);
	judge_sequence(w, s, 0, &e);
	count_choice(t, s, WHO_ENGINE, &e, &e.exact);
	if (!allowed(s, &e, &e.exact))
		fail(t, s, WHO_ENGINE, 2, &e.new, &e.exact);
	compare_sequence(w, s, WHO_WALKER, &e, t);
	if (vcpu) {
		compare_sequence(w, s, WHO_FAST, &e, t);
		compare_sequence(w, s, WHO_EXACT, &e, t);
	}
	clear(w, s);
}

void walker_try(struct walker *w, const struct state *given, u32 vcpu, struct tally *t)
{
	struct state s = *given;

	w->rng = mix(mix(s.seed + 1) - s.index);
	if (s.sequence)
		try_sequence(w, &s, vcpu, t);
	else
		try_single(w, &s, vcpu, t);
}

void walker_run(struct walker *w, u64 seed, u64 first, u64 n, u32 vcpu_every, struct tally *t)
{
	struct state s;

	for (u64 i = first; i < first + n; i++) {
		random_state(w, seed, i, &s);
		walker_try(w, &s, vcpu_every && i % vcpu_every == 0, t);
	}
}
