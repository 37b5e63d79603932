/* SPDX-License-Identifier: MIT */
/*
 * What is known of the attributes of objects, on the local disk: a listing
 * that shows the same version again needs no further question (DESIGN 7).
 *
 * Segments of records that are only appended to, below the store's
 * mounts/NAME (docs/cache-format.md), and an index of 8 bytes a name in memory.
 * Private to the daemon that has the instance's lock (rule 21), so that nobody
 * else writes it; a second mount learns by itself.
 *
 * A record is believed if its sum holds and it names this path, this data
 * version, this attribute version and this size.  Attributes that carry no
 * attribute version (rule 12: changed less than 2 s before the store's answer)
 * are not kept.  Anything damaged is dropped: slower, never wrong.  Every write
 * may fail: then that record is not kept.
 *
 * Any thread; get and put touch the local disk.
 */
#ifndef CACHE_ATTR_TABLE_H
#define CACHE_ATTR_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"
#include "cache/store.h"

struct attr_table;

#define ATTR_TABLE_MIN (UINT64_C(1) << 20)
#define ATTR_TABLE_MAX (UINT64_C(1) << 32)

/* `defaults` stands for all that attributes depend on beside the object: a
 * table that was written with others is not read.  bytes_max: of all segments;
 * brought between the two bounds.  Nothing is read before the first use. */
struct attr_table *attr_table_new(struct store *s, uint64_t bytes_max,
				  uint64_t defaults);
void attr_table_free(struct attr_table *t); /* NULL is fine */

/* All that is known of path, if `listed` (what a listing said) has the same
 * versions and size. */
bool attr_table_get(struct attr_table *t, const char *path,
		    const struct be_attr *listed, struct be_attr *out);
/* Attributes in full, as the store told them. */
void attr_table_put(struct attr_table *t, const char *path,
		    const struct be_attr *a);

struct attr_table_stats {
	uint64_t names;	     /* in the index */
	uint64_t disk_bytes; /* of all segments */
	uint64_t memory_bytes;
};
void attr_table_stats_get(struct attr_table *t, struct attr_table_stats *out);

#endif
