/* SPDX-License-Identifier: MIT */
/* See nearest.h. */
#include <config.h>

#include "common/nearest.h"

#include <string.h>

#define MAX_WORD 64

static size_t
min2(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t
edit_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b), i, j;
	size_t d[3][MAX_WORD + 1]; /* rows i-2, i-1, i, taken modulo 3 */

	if (la > MAX_WORD || lb > MAX_WORD)
		return la > lb ? la : lb;
	for (j = 0; j <= lb; j++)
		d[0][j] = j;
	for (i = 1; i <= la; i++) {
		size_t *row = d[i % 3], *up = d[(i - 1) % 3];

		row[0] = i;
		for (j = 1; j <= lb; j++) {
			row[j] = min2(min2(up[j], row[j - 1]) + 1,
				      up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				row[j] =
					min2(row[j], d[(i - 2) % 3][j - 2] + 1);
		}
	}
	return d[la % 3][lb];
}

void
nearest_offer(struct nearest *n, const char *candidate)
{
	size_t d = edit_distance(n->word, candidate);
	size_t limit = strlen(n->word) / 3;

	/* Two slips in a short word make another word. */
	if (limit < 1)
		limit = 1;
	if (limit > 3)
		limit = 3;
	if (d > limit || (n->best && d >= n->distance))
		return;
	n->best = candidate;
	n->distance = d;
}
