/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From records to the parts of a chunk, and to what the index says of it. */
#ifndef UCMMU_TRACE_ENCODE_H
#define UCMMU_TRACE_ENCODE_H

#include "trace/digest.h"
#include "trace/roles.h"

/* cffi-begin */

struct encoded_part {
	u8 *bytes;
	u64 size;
	u32 nr; /* records in it */
};

struct encoder;

/* Make an encoder for chunks of up to max_records; NULL without memory. */
struct encoder *encoder_create(u32 max_records);
/* Free it and its last parts; NULL is no encoder. */
void encoder_destroy(struct encoder *encoder);
/* Encode nr records into TRACE_PARTS parts, which are good until the next call; fill *digest. */
void encode_chunk(struct encoder *encoder, const struct event_roles *roles,
		  const struct event *records, u32 nr, struct encoded_part part[3],
		  struct digest *digest);
/* cffi-end */

#endif
