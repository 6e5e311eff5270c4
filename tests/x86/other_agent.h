/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Another agent that changes table entries between a walk's reading one and setting A or D in it.
 *
 *   walk                                     agent
 *   reads the entry
 *   LOCK CMPXCHG  --- page fault --->        makes the page writable, writes
 *   LOCK CMPXCHG again: the entry differs    (its handler returns to the instruction)
 */
#ifndef UCMMU_TESTS_OTHER_AGENT_H
#define UCMMU_TESTS_OTHER_AGENT_H

#include <stdint.h>

/* cffi-begin */
struct agent_write {
	uint64_t *word; /* in a page that no trap protects, or in the trap's own */
	uint64_t value;
};

/* Protect a host page; the first write to it makes these writes first. 0, or -1 for too many or no
 * memory. */
int agent_trap(void *page, const struct agent_write *writes, uint32_t nr);
/* Take all traps away. How many were sprung by a LOCK CMPXCHG; minus 1 for each that other code
 * sprang. */
int agent_release(void);
/* cffi-end */

#endif
