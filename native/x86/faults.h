/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The error code of a page fault (SDM vol. 3A 4.7). */
#ifndef UCMMU_X86_FAULTS_H
#define UCMMU_X86_FAULTS_H

#include "types.h"

/* cffi-begin */
/*
 * Page-fault error code (SDM vol. 3A figure 4-12).
 *
 *   31       7   6    5    4    3    2   1   0
 *  +----------+----+----+----+----+----+---+---+
 *  |     0    | SS | PK |I/D |RSVD|U/S |W/R| P |
 *  +----------+----+----+----+----+----+---+---+
 */
#define PF_P 0x1
#define PF_WR 0x2
#define PF_US 0x4
#define PF_RSVD 0x8
#define PF_ID 0x10
#define PF_PK 0x20
#define PF_SS 0x40
/* cffi-end */

#endif
