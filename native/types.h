/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integer names of the kernel's, and what every C file of ours needs. */
#ifndef UCMMU_TYPES_H
#define UCMMU_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* cffi-begin */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096
/* cffi-end */

#define PAGE_MASK (~(u64)(PAGE_SIZE - 1))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define always_inline inline __attribute__((always_inline))

#endif
