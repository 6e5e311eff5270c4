/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RCU: a grace period is over when no CPU is inside a read section. */
#ifndef UCMMU_MM_RCU_H
#define UCMMU_MM_RCU_H

#include "mm/mm.h"

/* cffi-begin */
/* Enter or leave a read section of this CPU; they nest. */
void rcu_read_lock(struct kernel *kernel);
void rcu_read_unlock(struct kernel *kernel);
/* Queue the table frame pfn to be freed after a grace period. */
void call_rcu(struct kernel *kernel, u64 pfn);
/* Free a table's frame, and its lock with it, now: nobody can come to it any more. */
void free_table_frame(struct kernel *kernel, u64 pfn);
/* If no CPU is in a read section, end a grace period and free what waits. Returns frames freed. */
u32 rcu_process_callbacks(struct kernel *kernel);
/* cffi-end */

#endif
