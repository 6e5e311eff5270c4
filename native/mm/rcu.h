/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RCU: a grace period is over when every CPU has passed a quiescent state since it began. */
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
/* CPU number id is in a quiescent state, unless it is in a read section. Returns frames freed. */
u32 rcu_report_qs(struct kernel *kernel, u32 id);
/* rcu_report_qs() of the CPU that runs. */
u32 rcu_process_callbacks(struct kernel *kernel);
/* cffi-end */

/* Tables were freed: have the checkers, if there are any, look whether a CPU may walk there yet. */
void check_speculation_everywhere(const struct kernel *kernel);

#endif
