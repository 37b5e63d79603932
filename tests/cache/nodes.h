/* SPDX-License-Identifier: MIT */
/* Nodes of one share, each with a cache of its own, for tests over cache.h. */
#ifndef TESTS_CACHE_NODES_H
#define TESTS_CACHE_NODES_H

#include <stdatomic.h>

#include "cache/cache.h"

struct node {
	struct cache *c;
	struct cache_ctx ctx;
	struct err err;
	char dir[64];
	atomic_uint changed; /* calls of cache_config.changed, by any thread */
};

/* Takes over be.  cfg: dir and instance are filled in; NULL: actimeo 1 s, cto,
 * nothing is fetched ahead. */
void node_start(struct node *n, struct backend *be,
		const struct cache_config *cfg);
void node_stop(struct node *n);

/* Whole files by name; each asserts success. */
void node_put(struct node *n, const char *path, const char *text);
void node_is(struct node *n, const char *path, const char *text);
struct cfile *node_open(struct node *n, const char *path, int flags);
struct cfile *node_create(struct node *n, const char *path, int flags);
void node_write(struct node *n, struct cfile *f, uint64_t off,
		const char *text);
void node_append(struct node *n, struct cfile *f, const char *text);
/* flush, then release; returns what flush did. */
int node_close(struct node *n, struct cfile *f);
/* -errno of a lookup, or 0. */
int node_stat(struct node *n, const char *path, struct be_attr *out);

#endif
