// SPDX-License-Identifier: GPL-2.0-or-later
/* The first that was entered goes: struct tlb_entry.used is of its fill, since hits do not count.
 */
#include "x86/replacement.h"
#include "x86/replacement/oldest.h"

const struct replacement fifo = { .victim = oldest };
