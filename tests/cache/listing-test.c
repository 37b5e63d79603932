/* SPDX-License-Identifier: MIT */
/*
 * Listings of large directories: they come in parts, readers follow, and what
 * this node does meanwhile is seen by the next one ([F.8], rule 11, [F.2], [O.8]).
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/cache-priv.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define FAR (3600 * INT64_C(1000000000))

struct rig {
	struct node n;	   /* through the gate */
	struct node other; /* the same store */
	struct gate *g;
};

static pthread_attr_t detached;

struct job {
	void (*fn)(void *job);
	void *job;
};

static void *
job_run(void *arg)
{
	struct job *j = arg;

	j->fn(j->job);
	free(j);
	return NULL;
}

static void
run_soon(void *arg, void (*fn)(void *job), void *job)
{
	struct job *j = xcalloc(1, sizeof(*j));
	pthread_t t;

	*j = (struct job){ fn, job };
	assert_int_equal(pthread_create(&t, &detached, job_run, j), 0);
}

/* A full pool: what it is given waits until the test lets it go. */
static struct job waiting[64];
static unsigned nwaiting;

static void
run_late(void *arg, void (*fn)(void *job), void *job)
{
	assert_true(nwaiting < 64);
	waiting[nwaiting++] = (struct job){ fn, job };
}

static void
rig_start(struct rig *r, const struct cache_config *cfg)
{
	struct backend *be, *other, *gated;
	struct be_caps caps;

	backend_mem_caps(&caps, false);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	r->g = gate_new(&be, &gated);
	node_start(&r->n, gated, cfg);
	node_start(&r->other, other, NULL);
}

static void
rig_stop(struct rig *r)
{
	node_stop(&r->n);
	node_stop(&r->other);
}

/* Behind the cache's back: dir/PREFIX00000 … */
static void
make(struct rig *r, const char *dir, const char *prefix, unsigned n)
{
	struct backend *be = cache_backend(r->other.c);
	struct be_attr a = { .mode = S_IFREG | 0644, .nlink = 1 }, out;
	struct be_opid id;

	for (unsigned i = 0; i < n; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%s%05u", dir, prefix, i);
		be_opid_new(&id);
		assert_int_equal(be_create(be, &r->other.ctx.be, path, &a, &id,
					   &out), 0);
	}
}

struct seen {
	size_t n;
	unsigned char *times; /* of the names made above */
	unsigned others;
};

static struct seen
read_all_of(struct rig *r, struct cache_listing *l, const char *prefix,
	    unsigned n)
{
	struct seen s = { .times = xcalloc(n, 1) };
	struct cache_dirent d;
	size_t len = strlen(prefix);
	int ret;

	while ((ret = cache_listing_get(l, &r->n.ctx, s.n, &d)) == 0) {
		unsigned i;

		s.n++;
		if (strncmp(d.name, prefix, len) == 0 &&
		    sscanf(d.name + len, "%u", &i) == 1 && i < n)
			s.times[i]++;
		else
			s.others++;
	}
	assert_int_equal(ret, -ENOENT);
	return s;
}

static void
each_once(struct seen *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(s->times[i], 1);
	free(s->times);
}

/* The first part is there while the second is still asked for. */
static void
test_follows(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_soon };
	struct cache_listing *l, *again;
	struct cache_ctx try = { .try_only = true };
	struct cache_dirent d;
	struct be_attr a;
	struct seen s;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a),
			 0);
	make(&r, "d", "f", 2500);
	assert_int_equal(cache_list(r.n.c, &try, "d", &l), -EAGAIN);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	assert_int_equal(cache_listing_get(l, &r.n.ctx, 999, &d), 0);
	s = read_all_of(&r, l, "f", 2500);
	assert_int_equal(s.n, 2500);
	each_once(&s, 2500);
	assert_int_equal(gate_calls(r.g, GATE_LIST), 3);
	/* Again, within actimeo: nothing is asked, also where nobody waits. */
	assert_int_equal(cache_list(r.n.c, &try, "d", &again), 0);
	assert_ptr_equal(l, again);
	assert_int_equal(cache_listing_get(again, &try, 2499, &d), 0);
	assert_int_equal(cache_listing_get(again, &try, 2500, &d), -ENOENT);
	assert_int_equal(gate_calls(r.g, GATE_LIST), 3);
	cache_listing_put(again);
	cache_listing_put(l);
	/* Errors of the first part are those of cache_list. */
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "no", &l), -ENOENT);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d/f00001", &l), -ENOTDIR);
	rig_stop(&r);
}

/* [F.2], rule 11: what we create and remove while a listing is under way is
 * right in the next one; the one under way has each name at most once. */
static void
test_changes(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_soon };
	struct cache_listing *l;
	struct cache_dirent d;
	struct cfile *f, *g;
	struct be_attr a;
	struct seen s;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a),
			 0);
	make(&r, "d", "f", 1500);
	f = node_create(&r.n, "d/pending", O_WRONLY);
	node_write(&r.n, f, 0, "x");
	g = node_create(&r.n, "d/sent", O_WRONLY);
	node_write(&r.n, g, 0, "x");
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	assert_int_equal(node_close(&r.n, g), 0);
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "d/f01400"), 0);
	s = read_all_of(&r, l, "f", 1500);
	for (unsigned i = 0; i < 1500; i++)
		assert_in_range(s.times[i], i == 1400 ? 0 : 1, 1);
	assert_int_equal(s.others, 2);
	free(s.times);
	cache_listing_put(l);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	s = read_all_of(&r, l, "f", 1500);
	assert_int_equal(s.times[1400], 0);
	assert_int_equal(s.n, 1501);
	assert_int_equal(s.others, 2);
	free(s.times);
	/* Offsets stay: an entry is where it was. */
	assert_int_equal(cache_listing_get(l, &r.n.ctx, 77, &d), 0);
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "d/f00003"), 0);
	{
		struct cache_dirent again;

		assert_int_equal(cache_listing_get(l, &r.n.ctx, 77, &again), 0);
		assert_string_equal(d.name, again.name);
	}
	cache_listing_put(l);
	assert_int_equal(node_close(&r.n, f), 0);
	rig_stop(&r);
}

/* A pool that is full has nobody who fills: the reader does. */
static void
test_no_thread(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_late };
	struct cache_listing *l;
	struct be_attr a;
	struct seen s;
	struct rig r;

	nwaiting = 0;
	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a),
			 0);
	make(&r, "d", "f", 1100);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	s = read_all_of(&r, l, "f", 1100);
	each_once(&s, 1100);
	cache_listing_put(l);
	/* And then there is nothing left to do. */
	while (nwaiting--)
		waiting[nwaiting].fn(waiting[nwaiting].job);
	assert_int_equal(gate_calls(r.g, GATE_LIST), 2);
	rig_stop(&r);
}

/* An error in a later part is told where it is reached, and is not kept. */
static void
test_error(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR };
	struct cache_listing *l;
	struct cache_dirent d;
	struct be_attr a;
	struct seen s;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a),
			 0);
	make(&r, "d", "f", 1100);
	gate_fail(r.g, GATE_LIST, 1, -EIO, false);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), -EIO);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	assert_int_equal(cache_listing_get(l, &r.n.ctx, 1099, &d), 0);
	s = read_all_of(&r, l, "f", 1100);
	each_once(&s, 1100);
	cache_listing_put(l);
	rig_stop(&r);
}

/* 100,000 names while others come and go; bytes that the listing takes. */
static void
test_large(void **state)
{
	unsigned n = box_under_valgrind() || getenv("SHAREDFS_QUICK") ?
			     10000 :
			     100000;
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_soon };
	struct cache_listing *l;
	struct be_attr a;
	struct seen s;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a),
			 0);
	make(&r, "d", "f", n);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	for (unsigned i = 0; i < 50; i++) {
		char path[64];

		snprintf(path, sizeof(path), "d/new%u", i);
		node_put(&r.n, path, "x");
		snprintf(path, sizeof(path), "d/f%05u", i * 97);
		assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, path), 0);
	}
	s = read_all_of(&r, l, "f", n);
	for (unsigned i = 0; i < n; i++)
		assert_in_range(s.times[i],
				i % 97 == 0 && i / 97 < 50 ? 0 : 1, 1);
	assert_in_range(s.others, 0, 50);
	free(s.times);
	cache_listing_put(l);
	assert_int_equal(cache_list(r.n.c, &r.n.ctx, "d", &l), 0);
	s = read_all_of(&r, l, "f", n);
	assert_int_equal(s.others, 50);
	assert_int_equal(s.n, n);
	free(s.times);
	cache_listing_put(l);
	rig_stop(&r);
}

/* [Q.10] The directory above a name is asked for in time, once.  That it is time is
 * so because actimeo grows, not because it has passed. */
static void
test_ancestors(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_soon };
	struct be_attr a;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a), 0);
	assert_int_equal(node_stat(&r.n, "d", NULL), 0);
	gate_reset(r.g);
	assert_int_equal(node_stat(&r.n, "d/x", NULL), -ENOENT);
	assert_int_equal(gate_calls(r.g, GATE_GETATTR), 1);
	atomic_store(&r.n.c->cfg.actimeo_ns, 16 * FAR);
	/* The second and third see that it is asked for. */
	gate_shut(r.g, GATE_GETATTR, 1, false);
	ancestors_renew(r.n.c, "d/x");
	gate_wait(r.g, GATE_GETATTR, 1);
	assert_int_equal(node_stat(&r.n, "d/y", NULL), -ENOENT);
	assert_int_equal(node_stat(&r.n, "d/z", NULL), -ENOENT);
	gate_open(r.g, GATE_GETATTR);
	while (atomic_load(&r.n.c->jobs))
		sched_yield();
	assert_int_equal(gate_calls(r.g, GATE_GETATTR), 4);
	/* And now it is young. */
	assert_int_equal(node_stat(&r.n, "d/x", NULL), -ENOENT);
	assert_int_equal(atomic_load(&r.n.c->jobs), 0);
	assert_int_equal(gate_calls(r.g, GATE_GETATTR), 5);
	rig_stop(&r);
}

/* What is made in a directory meanwhile does not make that answer void. */
static void
test_ancestors_busy(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .run = run_soon };
	struct cfile *f;
	struct be_attr a;
	struct rig r;

	rig_start(&r, &cfg);
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &a), 0);
	assert_int_equal(node_stat(&r.n, "d", NULL), 0);
	atomic_store(&r.n.c->cfg.actimeo_ns, 16 * FAR);
	gate_shut(r.g, GATE_GETATTR, 1, false);
	ancestors_renew(r.n.c, "d/x");
	gate_wait(r.g, GATE_GETATTR, 1);
	f = node_create(&r.n, "d/x", O_WRONLY);
	assert_int_equal(node_close(&r.n, f), 0);
	gate_open(r.g, GATE_GETATTR);
	while (atomic_load(&r.n.c->jobs))
		sched_yield();
	gate_reset(r.g);
	ancestors_renew(r.n.c, "d/x");
	assert_int_equal(node_stat(&r.n, "d", NULL), 0);
	assert_int_equal(atomic_load(&r.n.c->jobs), 0);
	assert_int_equal(gate_calls(r.g, GATE_GETATTR), 0);
	rig_stop(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follows),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_no_thread),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_ancestors),
		cmocka_unit_test(test_ancestors_busy),
	};
	int ret;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	pthread_attr_destroy(&detached);
	return ret;
}
