/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unicorn started at RIP. */
#include <time.h>

#include "unicorn/vcpu.h"

#define NS_PER_US 1000
#define NS_PER_S 1000000000ull

static u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * NS_PER_S + (u64)now.tv_nsec;
}

/* The deadline of a run that may take timeout_us; 0: none. */
u64 deadline_after(u64 timeout_us)
{
	u64 now = now_ns();

	if (!timeout_us || timeout_us > (~0ull - now) / NS_PER_US)
		return 0;
	return now + timeout_us * NS_PER_US;
}

/*
 * Microseconds left for Unicorn's timer, at least 1; 0: as long as it takes. Unicorn has one timer:
 * of a run inside another's hook each block looks at the time.
 */
static u64 time_left(const struct vcpu *v)
{
	u64 now;

	if (!v->run.deadline || v->depth > 1)
		return 0;
	now = now_ns();
	return now + NS_PER_US < v->run.deadline ? (v->run.deadline - now) / NS_PER_US : 1;
}

/* Whether the run has taken the time it may take. */
bool is_late(const struct vcpu *v)
{
	return v->run.deadline && now_ns() >= v->run.deadline;
}

/*
 * Instructions left of run.count; 0: no matter how many, and NO_LIMIT if a run around this one
 * counts, whose hook Unicorn would take off.
 */
static u64 count_left(const struct vcpu *v)
{
	if (v->run.count)
		return v->run.count - (v->shared.count - v->run.counted);
	return v->hook_counts && v->depth > 1 ? NO_LIMIT : 0;
}

/* Unicorn counts by a hook, which code translated before does not call. */
static void prepare_count(struct vcpu *v, u64 count)
{
	if (count && !v->hook_counts)
		drop_all_code(v);
	v->hook_counts = count;
}

static uc_err start_unicorn(struct vcpu *v)
{
	u64 begin = v->run.begin != NO_ADDRESS ? v->run.begin : reg_read(v, UC_X86_REG_RIP);

	u64 count = count_left(v);
	uc_err err;

	prepare_count(v, count);
	show_exits(v);
	v->run.begin = NO_ADDRESS;
	v->run.started = true;
	err = UC(v, emu_start)(v->uc, begin, v->run.until, time_left(v), count);
	v->run.started = false;
	return err;
}

/* Start Unicorn at RIP; v->end says why it came back. */
void start(struct vcpu *v)
{
	uc_err err = v->run.ahead == NO_ADDRESS ? start_unicorn(v) : start_ahead(v, start_unicorn);

	if (v->end.reason == STOP_NONE)
		end_from_outside(v, err);
	v->run.ahead = NO_ADDRESS;
	if (v->insn.flags_rip != NO_ADDRESS)
		restore_flags(v, v->end.rip);
}
