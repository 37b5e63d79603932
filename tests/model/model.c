/* SPDX-License-Identifier: MIT */
/*
 * Random operations on the cache over a store, held against tree.c:
 *   model URL [ops=N] [seed=N] [lost=N] [faults=N] [actimeo=MS] [cto=0]
 *             [links=1] [verbose=1]
 * It behaves as the kernel does: a name is looked up before it is used, and
 * what the kernel itself refuses is not sent.
 * lost=N: every Nth call of the store is done and its reply lost; the retry
 * wrapper must hide that.  faults=N: every Nth call fails for good; what then
 * failed has happened or not, and nothing else.
 * The store must be empty.  SHAREDFS_NAME in the environment are its options.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/model/run.h"

static bool
number(const char *arg, const char *name, uint64_t *out)
{
	size_t n = strlen(name);

	if (strncmp(arg, name, n) != 0 || arg[n] != '=')
		return false;
	*out = strtoull(arg + n + 1, NULL, 0);
	return true;
}

static void
arguments(struct run *r, int argc, char **argv)
{
	uint64_t ops = 1000, lost = 0, faults = 0, actimeo = 1000, cto = 1,
		 links = 0, verbose = 0;

	for (int i = 2; i < argc; i++) {
		if (number(argv[i], "ops", &ops) ||
		    number(argv[i], "seed", &r->seed) ||
		    number(argv[i], "lost", &lost) ||
		    number(argv[i], "faults", &faults) ||
		    number(argv[i], "actimeo", &actimeo) ||
		    number(argv[i], "cto", &cto) ||
		    number(argv[i], "links", &links) ||
		    number(argv[i], "verbose", &verbose))
			continue;
		fprintf(stderr, "model: what is \"%s\"?\n", argv[i]);
		exit(2);
	}
	r->ops = ops;
	r->lost = lost;
	r->faults = faults;
	r->actimeo_ns = actimeo * NSEC_PER_MSEC;
	r->cto = cto;
	r->links = links;
	r->verbose = verbose;
}

int
main(int argc, char **argv)
{
	struct run r = {.size_max = 700 * 1024};
	struct be_caps play;
	char why[400];

	if (argc < 2) {
		fprintf(stderr, "usage: model URL [name=value…]\n");
		return 2;
	}
	r.url = argv[1];
	if (getrandom(&r.seed, sizeof(r.seed), 0) != sizeof(r.seed))
		return 1;
	r.seed &= UINT32_MAX;
	arguments(&r, argc, argv);
	printf("model '%s' seed=%" PRIu64
	       " ops=%u lost=%u faults=%u actimeo=%" PRId64 " cto=%d\n",
	       r.url, r.seed, r.ops, r.lost, r.faults,
	       r.actimeo_ns / NSEC_PER_MSEC, r.cto);
	fflush(stdout);
	if (r.verbose)
		log_init(LOG_LEVEL_DEBUG, LOG_TEXT, STDERR_FILENO);
	r.dice = r.seed * 2654435761u + 88172645463325252u;
	for (int i = 0; i < 10; i++)
		dice(&r, 2);
	doing(&r, "start");
	if (strncmp(r.url, "mem:", 4) == 0) {
		backend_mem_caps(&play, strcmp(r.url, "mem:object") != 0);
		must(&r, "mem", backend_mem_open_as(&play, &r.keeper));
	}
	node_up(&r, true);
	check_all(&r);
	if (r.faults)
		faults_run(&r);
	else
		ops_run(&r);
	doing(&r, "end");
	node_down(&r);
	r.lost = 0;
	r.faults = 0;
	/* The store itself, without any cache. */
	{
		struct backend *be = open_store(&r);

		if (!store_is(&r, be, &r.t, why, sizeof(why)))
			die(&r, "in the store %s", why);
		backend_free(be);
	}
	backend_free(r.keeper);
	tree_release(&r.t);
	err_release(&r.err);
	printf("ok: %u operations\n", r.ops);
	return 0;
}
