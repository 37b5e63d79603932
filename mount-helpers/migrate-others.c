/* SPDX-License-Identifier: MIT */
/*
 * Who else writes to the share.  Nothing in a store tells which nodes have it
 * mounted.  But what this host changes is told by its worker; so a name that is
 * found changed, and was not told by the time that nothing is under way here,
 * was changed by another node.  One that does not write just then is not seen.
 */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "common/path.h"
#include "common/xalloc.h"

struct name {
	char *path; /* key */
	bool tree;  /* told: with all below it */
	UT_hash_handle hh;
};

struct mig_others {
	pthread_mutex_t lock; /* all below */
	struct name *told, *found;
	bool lost; /* not all was told */
};

struct mig_others *
mig_others_new(void)
{
	struct mig_others *o = xcalloc(1, sizeof(*o));

	pthread_mutex_init(&o->lock, NULL);
	return o;
}

static void
drop(struct name **table)
{
	struct name *n, *next;

	HASH_ITER(hh, *table, n, next) {
		HASH_DEL(*table, n);
		free(n->path);
		free(n);
	}
}

void
mig_others_free(struct mig_others *o)
{
	if (!o)
		return;
	drop(&o->told);
	drop(&o->found);
	pthread_mutex_destroy(&o->lock);
	free(o);
}

static struct name *
add_locked(struct name **table, const char *path)
{
	struct name *n;

	HASH_FIND_STR(*table, path, n);
	if (n)
		return n;
	n = xcalloc(1, sizeof(*n));
	n->path = xstrdup(path);
	HASH_ADD_KEYPTR(hh, *table, n->path, strlen(n->path), n);
	return n;
}

void
mig_others_told(struct mig_others *o, const struct mig_changes *c)
{
	pthread_mutex_lock(&o->lock);
	o->lost |= c->lost;
	for (size_t i = 0; i < c->n; i++)
		add_locked(&o->told, c->v[i].path)->tree |= c->v[i].tree;
	pthread_mutex_unlock(&o->lock);
}

void
mig_others_found(void *arg, const char *path)
{
	struct mig_others *o = arg;

	pthread_mutex_lock(&o->lock);
	add_locked(&o->found, path);
	pthread_mutex_unlock(&o->lock);
}

/* It, or a directory above it that was moved. */
static bool
is_told_locked(struct mig_others *o, const char *path)
{
	char *up = xstrdup(path), *slash;
	struct name *n;

	HASH_FIND_STR(o->told, up, n);
	while (!n && (slash = strrchr(up, '/'))) {
		*slash = '\0';
		HASH_FIND_STR(o->told, up, n);
		if (n && !n->tree)
			n = NULL;
	}
	free(up);
	return n != NULL;
}

char *
mig_others_name(struct mig_others *o)
{
	struct name *n, *next;
	char *found = NULL;

	pthread_mutex_lock(&o->lock);
	HASH_ITER(hh, o->found, n, next) {
		if (o->lost || found)
			break;
		if (!is_told_locked(o, n->path))
			found = xstrdup(n->path);
	}
	pthread_mutex_unlock(&o->lock);
	return found;
}
