/* SPDX-License-Identifier: MIT */
/*
 * A set of byte ranges [off, off+len): sorted, disjoint, never adjacent.
 * Offsets are below 2^63.  Not locked: the owner locks.
 */
#ifndef COMMON_RANGE_H
#define COMMON_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
	uint64_t off;
	uint64_t len;
};

struct rangeset {
	struct range *v; /* sorted by off; owned */
	size_t n;
	size_t cap;
};

#define RANGESET_INIT                                                          \
	{                                                                      \
		NULL, 0, 0                                                     \
	}

void rangeset_add(struct rangeset *s, uint64_t off, uint64_t len);
void rangeset_add_all(struct rangeset *to, const struct rangeset *from);
void rangeset_del(struct rangeset *s, uint64_t off, uint64_t len);
bool rangeset_has(const struct rangeset *s, uint64_t off, uint64_t len);
bool rangeset_intersects(const struct rangeset *s, uint64_t off, uint64_t len);
/* The first part of [off, off+len) that is in the set; false: none. */
bool rangeset_first(const struct rangeset *s, uint64_t off, uint64_t len,
		    struct range *out);
/* The first part of [off, off+len) that is not in the set; false: none. */
bool rangeset_gap(const struct rangeset *s, uint64_t off, uint64_t len,
		  struct range *out);
uint64_t rangeset_bytes(const struct rangeset *s);
void rangeset_copy(struct rangeset *to, const struct rangeset *from);
void rangeset_clear(struct rangeset *s); /* empty; memory kept */
void rangeset_release(struct rangeset *s);

#endif
