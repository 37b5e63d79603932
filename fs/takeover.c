/* SPDX-License-Identifier: MIT */
/* See takeover.h. */
#include <config.h>

#include "fs/takeover.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "common/xalloc.h"
#include "fs/request.h"
#include "fs/table.h"

/* Files that the kernel still holds open: a worker ago they may have had bytes
 * that no close() has sent yet, or lost their names. */
struct opens {
	struct table *table;
	struct {
		uint64_t node;
		char *path; /* NULL: none any more */
		bool writes;
	} *v;
	size_t n;
	bool moving; /* a rename was under way: any path may be the new one of
		      * such a file */
	bool live;   /* what is there a worker of this mount has left */
};

static void
add_move(void *arg, uint32_t slot, const struct table_op *op)
{
	struct opens *o = arg;

	if (op->type == REQUEST_rename &&
	    !(*table_op_did(o->table, slot) & TABLE_OP_NAMED))
		o->moving = true;
}

static void
add_open(void *arg, uint64_t fh, const struct table_handle *h)
{
	struct opens *o = arg;

	if (h->kind != TABLE_FILE)
		return;
	o->v = xrealloc(o->v, o->n + 1, sizeof(*o->v));
	o->v[o->n].node = h->node;
	o->v[o->n].path = table_path(o->table, h->node);
	o->v[o->n++].writes = cache_open_changes(h->flags);
}

/* A file without a node was made by a request that was not answered, or is of
 * an older program: then its name tells. */
static enum cache_wanted
is_open(void *arg, const char *path, uint64_t node)
{
	const struct opens *o = arg;

	for (size_t i = 0; i < o->n; i++) {
		if (node && o->v[i].node == node)
			return o->v[i].path ? CACHE_WANTED : CACHE_NAMELESS;
		if (!node && o->v[i].writes && o->v[i].path &&
		    strcmp(o->v[i].path, path) == 0)
			return CACHE_WANTED;
	}
	if (!node && o->moving)
		return CACHE_WANTED;
	return o->live ? CACHE_CLOSED : CACHE_UNWANTED;
}

void
takeover(struct fs *fs)
{
	struct opens opens = { .table = fs->table };

	opens.live = table_taken_over(fs->table);
	table_handles(fs->table, add_open, &opens);
	table_ops(fs->table, add_move, &opens);
	cache_takeover(fs->cache, is_open, &opens);
	table_set_taken_over(fs->table);
	for (size_t i = 0; i < opens.n; i++)
		free(opens.v[i].path);
	free(opens.v);
}
