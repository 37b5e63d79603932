/* SPDX-License-Identifier: MIT */
/*
 * A clean file that is open and was verified: is it still what it was?  A
 * change shows in its ctime; a disk that fails shows only in what is read from
 * it again.
 */
#include <config.h>

#include "cache/store-priv.h"

#include <stdint.h>

#include "common/io.h"
#include "common/xalloc.h"

struct verified *
store_good(struct store_file *f)
{
	struct verified *good = atomic_load(&f->good);
	struct store *s = f->s;
	struct stat st;

	if (fstat(f->fd, &st) < 0 || verified_fits(good, &st))
		return good;
	if ((uint64_t)st.st_size != f->rec.size)
		return NULL;
	/* Another daemon has renamed or used it, or somebody has written to
	 * it.  Other threads may be looking at the old one. */
	pthread_mutex_lock(&s->retire_lock);
	good = atomic_load(&f->good);
	if (!verified_fits(good, &st)) {
		f->retired = xrealloc(f->retired, f->nretired + 1,
				      sizeof(*f->retired));
		f->retired[f->nretired++] = good;
		good = verified_get(s->verified, &st, f->rec.nblocks);
		atomic_store(&f->good, good);
	}
	pthread_mutex_unlock(&s->retire_lock);
	return good;
}

/* Are the blocks [from, to) all in memory? */
static bool
in_memory(const struct store_file *f, uint64_t from, uint64_t to)
{
	uint64_t start = from * STORE_BLOCK, end = to * STORE_BLOCK;

	if (end > f->rec.size)
		end = f->rec.size;
	/* An older kernel does not tell; it does not read by itself either. */
	return start >= end || io_in_memory(f->fd, start, end - start) != 0;
}

uint64_t
store_first_on_disk(const struct store_file *f)
{
	uint64_t from = 0, to = f->rec.nblocks;

	if (in_memory(f, 0, to))
		return to;
	while (to - from > 1) {
		uint64_t mid = from + (to - from) / 2;

		if (in_memory(f, from, mid))
			from = mid;
		else
			to = mid;
	}
	return from;
}
