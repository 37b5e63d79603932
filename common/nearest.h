/* SPDX-License-Identifier: MIT */
/* Which known word did somebody mean? */
#ifndef COMMON_NEAREST_H
#define COMMON_NEAREST_H

#include <stddef.h>

/* Letters to add, drop, change or swap to make b out of a. */
size_t edit_distance(const char *a, const char *b);

struct nearest {
	const char *word; /* what was written */
	const char *best; /* NULL: nothing is near */
	size_t distance;
};

/* Start with { .word = w } and offer every candidate. */
void nearest_offer(struct nearest *n, const char *candidate);

#endif
