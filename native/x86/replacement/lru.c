// SPDX-License-Identifier: GPL-2.0-or-later
/* The least recently used entry goes: the one with the smallest struct tlb_entry.used. */
#include "x86/replacement.h"
#include "x86/replacement/oldest.h"

const struct replacement lru = { .by_use = true, .victim = oldest };
