/* SPDX-License-Identifier: MIT */
/*
 * Bytes that no close() acknowledged, as they lie in a cache directory: found,
 * copied and dropped without a mount (sharedfs recover).
 *
 * An instance is live while a daemon holds its lock: then only what that daemon
 * has given up is listed, by its records or by what it says itself, and it alone
 * may drop it.  Nothing here sends anything.  Errors: negative errno with words.
 * Any thread.
 */
#ifndef CACHE_KEPT_H
#define CACHE_KEPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/journal.h"

struct kept {
	const char *instance, *name; /* names are unique in a cache directory */
	const char *file;	     /* path of the bytes */
	const char *path;	     /* in the share; NULL: not known */
	bool live;
	bool failed; /* no daemon will send it any more */
	const struct journal_rec *rec; /* NULL: the record can't be read */
	uint64_t bytes;		       /* that are here and were not sent */
	uint64_t size;		       /* of the file */
	const struct range *dirty;     /* which; sorted, disjoint */
	size_t ndirty;
};
typedef void kept_fn(void *arg, const struct kept *k);

/* GIVEN_UP: paths by names, as a daemon says (errors.given_up of its status);
 * NULL: none.  -EINVAL: that is no cache directory. */
int kept_scan(const char *cache_dir, const json_t *given_up, kept_fn *fn,
	      void *arg, struct err *err);
/* Copies the bytes to a new file: owner (if we may), mode and mtime too.  What
 * was never on this node are zeros.  -EEXIST. */
int kept_save(const struct kept *k, const char *target, struct err *err);
/* For good.  -EBUSY: a daemon has the instance. */
int kept_drop(const char *cache_dir, const char *instance, const char *name,
	      struct err *err);

#endif
