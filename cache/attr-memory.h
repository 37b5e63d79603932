/* SPDX-License-Identifier: MIT */
/*
 * Attributes and absences by path, in memory: about 110 bytes for an object in
 * a directory of many.  Bounded by bytes; what was not used for longest goes,
 * about (a clock, not a list).
 *
 * No lock of its own: cache.lock.  Nothing here blocks.
 */
#ifndef CACHE_ATTR_MEMORY_H
#define CACHE_ATTR_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/backend.h"

struct attr_memory;

struct known {
	struct be_attr attr; /* mode 0: absent */
	int64_t until_ns;    /* CLOCK_MONOTONIC; kept to the millisecond */
	uint64_t pages;	     /* hash of the version whose pages the kernel may
			      * have; 0 = none */
};

struct attr_memory *attr_memory_new(uint64_t bytes_max);
void attr_memory_free(struct attr_memory *m);
void attr_memory_limit(struct attr_memory *m, uint64_t bytes_max);

bool attr_memory_get(struct attr_memory *m, const char *path,
		     struct known *out);
/* In place of what was known. */
void attr_memory_put(struct attr_memory *m, const char *path,
		     const struct known *k);
/* Just its lifetime. */
void attr_memory_believe(struct attr_memory *m, const char *path,
			 int64_t until_ns);
void attr_memory_drop(struct attr_memory *m, const char *path);
/* path and all below it. */
void attr_memory_drop_tree(struct attr_memory *m, const char *path);

uint64_t attr_memory_bytes(const struct attr_memory *m);
uint64_t attr_memory_names(const struct attr_memory *m);

#endif
