/* SPDX-License-Identifier: MIT */
/* See range.h. */
#include <config.h>

#include "common/range.h"

#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

static uint64_t
range_end(struct range r)
{
	return r.off + r.len;
}

/* The index of the first range that ends after off, or n. */
static size_t
find(const struct rangeset *s, uint64_t off)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (range_end(s->v[mid]) > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* Replaces the `drop` ranges at i by the k ranges of put. */
static void
splice(struct rangeset *s, size_t i, size_t drop, const struct range *put,
       size_t k)
{
	size_t n = s->n - drop + k;

	if (n > s->cap) {
		s->cap = n + n / 2 + 4;
		s->v = xrealloc(s->v, s->cap, sizeof(*s->v));
	}
	if (s->v)
		memmove(s->v + i + k, s->v + i + drop,
			(s->n - i - drop) * sizeof(*s->v));
	for (size_t j = 0; j < k; j++)
		s->v[i + j] = put[j];
	s->n = n;
}

void
rangeset_add(struct rangeset *s, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	size_t i, j;

	if (len == 0)
		return;
	i = off ? find(s, off - 1) : 0; /* an adjacent one is merged */
	for (j = i; j < s->n && s->v[j].off <= end; j++) {
		if (s->v[j].off < off)
			off = s->v[j].off;
		if (range_end(s->v[j]) > end)
			end = range_end(s->v[j]);
	}
	splice(s, i, j - i, &(struct range){ off, end - off }, 1);
}

void
rangeset_del(struct rangeset *s, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	struct range keep[2];
	size_t i, j, k = 0;

	if (len == 0)
		return;
	i = find(s, off);
	for (j = i; j < s->n && s->v[j].off < end; j++)
		;
	if (i == j)
		return;
	if (s->v[i].off < off)
		keep[k++] = (struct range){ s->v[i].off, off - s->v[i].off };
	if (range_end(s->v[j - 1]) > end)
		keep[k++] =
			(struct range){ end, range_end(s->v[j - 1]) - end };
	splice(s, i, j - i, keep, k);
}

bool
rangeset_first(const struct rangeset *s, uint64_t off, uint64_t len,
	       struct range *out)
{
	uint64_t end = off + len;
	size_t i = find(s, off);
	uint64_t from, to;

	if (len == 0 || i == s->n || s->v[i].off >= end)
		return false;
	from = s->v[i].off > off ? s->v[i].off : off;
	to = range_end(s->v[i]) < end ? range_end(s->v[i]) : end;
	*out = (struct range){ from, to - from };
	return true;
}

bool
rangeset_gap(const struct rangeset *s, uint64_t off, uint64_t len,
	     struct range *out)
{
	uint64_t end = off + len;
	size_t i = find(s, off);

	if (i < s->n && s->v[i].off <= off) {
		off = range_end(s->v[i]);
		i++;
	}
	if (off >= end)
		return false;
	if (i < s->n && s->v[i].off < end)
		end = s->v[i].off;
	*out = (struct range){ off, end - off };
	return true;
}

bool
rangeset_has(const struct rangeset *s, uint64_t off, uint64_t len)
{
	struct range gap;

	return !rangeset_gap(s, off, len, &gap);
}

bool
rangeset_intersects(const struct rangeset *s, uint64_t off, uint64_t len)
{
	struct range r;

	return rangeset_first(s, off, len, &r);
}

uint64_t
rangeset_bytes(const struct rangeset *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->v[i].len;
	return sum;
}

void
rangeset_copy(struct rangeset *to, const struct rangeset *from)
{
	to->n = 0;
	splice(to, 0, 0, from->v, from->n);
}

void
rangeset_add_all(struct rangeset *to, const struct rangeset *from)
{
	for (size_t i = 0; i < from->n; i++)
		rangeset_add(to, from->v[i].off, from->v[i].len);
}

void
rangeset_clear(struct rangeset *s)
{
	s->n = 0;
}

void
rangeset_release(struct rangeset *s)
{
	free(s->v);
	*s = (struct rangeset)RANGESET_INIT;
}
