/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RCU of one CPU: a grace period is over when no read section is open. */
#ifndef UCMMU_MM_RCU_H
#define UCMMU_MM_RCU_H

#include "mm/mm.h"

/* cffi-begin */
/* Enter or leave a read section; they nest. */
void rcu_read_lock(struct mm_struct *mm);
void rcu_read_unlock(struct mm_struct *mm);
/* Queue the table frame pfn to be freed after a grace period. */
void call_rcu(struct mm_struct *mm, u64 pfn);
/* If no read section is open, end a grace period and free what waits. Returns frames freed. */
u32 rcu_process_callbacks(struct mm_struct *mm);
/* cffi-end */

#endif
