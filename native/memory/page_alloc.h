/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame allocator, and who owns a frame. */
#ifndef UCMMU_MEMORY_PAGE_ALLOC_H
#define UCMMU_MEMORY_PAGE_ALLOC_H

#include "memory/ram.h"

/* cffi-begin */
/* Hand out 2^order frames with _refcount 1, zeroed if zero. Returns the pfn, 0 when RAM is out. */
u64 alloc_pages(struct memory *m, u32 order, bool zero);
/* Drop the frames' one reference and take them back; zero: the caller knows they are all 0. */
void free_pages(struct memory *m, u64 pfn, u32 order, bool zero);
/* Drop one reference; the last one frees the frame. */
void put_page(struct memory *m, u64 pfn);
/* The next freed frame whose translated code must be dropped, 0 if none; give it to free_code(). */
u64 memory_take_code(struct memory *m);
/* Take a frame from memory_take_code() back for good. */
void memory_free_code(struct memory *m, u64 pfn);
/* cffi-end */

#endif
