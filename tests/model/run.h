/* SPDX-License-Identifier: MIT */
/* One run of the model test: the cache, the store below it, what both must
 * hold, and the dice. */
#ifndef TESTS_MODEL_RUN_H
#define TESTS_MODEL_RUN_H

#include "cache/cache.h"
#include "tests/model/tree.h"

#define HANDLES 6

struct handle {
	struct cfile *cf; /* NULL: free */
	struct mfile *f;
	int flags; /* of open(2) */
};

struct run {
	/* as asked for */
	const char *url;
	unsigned ops, lost, faults;
	uint64_t seed;
	int64_t actimeo_ns;
	bool cto, links, verbose;
	size_t size_max; /* of a file */

	uint64_t dice;
	unsigned op;	/* number of the one under way */
	char what[600]; /* it, in words */

	struct backend *keeper; /* mem: has the tree while no cache runs */
	struct backend *fault;	/* within the chain of c, or NULL */
	char dir[64];		/* of the cache */
	struct cache *c;
	struct cache_ctx ctx;
	struct err err;

	struct tree t;
	struct handle h[HANDLES];
};

/* Says what went wrong, how to see it again, and ends the program. */
void die(struct run *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
/* Names the operation that begins. */
void doing(struct run *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void must(struct run *r, const char *call, int ret);

uint64_t dice(struct run *r, uint64_t below); /* [0, below) */
bool one_in(struct run *r, unsigned n);
char *dice_bytes(struct run *r, size_t len);
size_t dice_size(struct run *r, size_t max);
/* A path whose directory exists; wants something there, or nothing, or does
 * not care.  NULL: the dice found none.  Caller frees. */
enum want { ANYTHING, SOMETHING, NOTHING };
char *dice_path(struct run *r, enum want want);

struct cache_ctx *fresh(struct run *r); /* context with no words in it */

struct backend *open_store(struct run *r); /* with the wrappers asked for */
void node_up(struct run *r, bool new_dir);
void node_down(struct run *r);

/* As the kernel: every component; nothing else than the model may be told. */
void look_up(struct run *r, const char *path);
/* The whole share as the cache tells it. */
void check_all(struct run *r);
/* Is the store itself like t?  If not, why is in `why`. */
bool store_is(struct run *r, struct backend *be, const struct tree *t,
	      char *why, size_t cap);

void ops_run(struct run *r);	/* ops.c */
void faults_run(struct run *r); /* faults.c */

#endif
