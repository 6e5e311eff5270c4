/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a recorder must know of each kind of event; a file's reader takes it from the file's table.
 */
#ifndef UCMMU_TRACE_ROLES_H
#define UCMMU_TRACE_ROLES_H

#include "trace/ring.h"

/* cffi-begin */

/* Each chunk of a file is stored in parts, so that who wants one need not read the others. */
#define TRACE_PART_INSNS 0     /* insn, access, tlb_hit: the most, and best predicted */
#define TRACE_PART_PROCESSOR 1 /* what else the processor did */
#define TRACE_PART_KERNEL 2    /* what the kernel did */
#define TRACE_PARTS 3

#define TRACE_ROLE_NONE 0
#define TRACE_ROLE_INSN 1    /* fields ip, size, code, code_high */
#define TRACE_ROLE_ACCESS 2  /* fields address, size, access, pa */
#define TRACE_ROLE_TLB_HIT 3 /* fields address, access, array, slot */

#define TRACE_NO_FIELD 4

/* By number of the kind. */
struct event_roles {
	u8 part[EVENT_KINDS];	  /* TRACE_PART_*; 0 only for kinds with a role */
	u8 role[EVENT_KINDS];	  /* TRACE_ROLE_* */
	u8 address[EVENT_KINDS];  /* the field (0 to 3) with a guest-virtual address, or
				     TRACE_NO_FIELD */
	u8 pfn[EVENT_KINDS];	  /* mask of the fields that are frame numbers */
	u8 entry_pa[EVENT_KINDS]; /* mask of the fields that are physical addresses in tables */
};
/* cffi-end */

static inline u64 event_field(const struct event *event, u32 field)
{
	return (&event->a)[field];
}

#endif
