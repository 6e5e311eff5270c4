/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All of one processor's MMU: what the mm and Unicorn's hooks include. */
#ifndef UCMMU_X86_UNIT_H
#define UCMMU_X86_UNIT_H

#include "x86/check.h"
#include "x86/control.h"
#include "x86/invalidate.h"
#include "x86/state.h"
#include "x86/tlb.h"
#include "x86/translate.h"
#include "x86/walk.h"

#endif
