/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a part of a chunk back to records. */
#ifndef UCMMU_TRACE_DECODE_H
#define UCMMU_TRACE_DECODE_H

#include "trace/roles.h"

/* cffi-begin */

struct decoder;

/* Make a decoder for chunks of up to max_records; NULL without memory. */
struct decoder *decoder_create(u32 max_records);
/* Free it; NULL is no decoder. */
void decoder_destroy(struct decoder *decoder);
/*
 * Decode a part of nr records of a chunk of total: each to records[its place in the chunk] if
 * scatter, else one after the other; their places go to positions.  False: the bytes are no such
 * part.
 */
bool decode_part(struct decoder *decoder, const struct event_roles *roles, u32 part,
		 const u8 *bytes, u64 size, u32 nr, u32 total, bool scatter, struct event *records,
		 u32 *positions);
/* cffi-end */

#endif
