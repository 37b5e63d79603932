/* SPDX-License-Identifier: MIT */
/*
 * Names that are not asked for, because a listing did not have them: never one
 * that this node made, and none at all without negative_timeout.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "cache/cache-priv.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define FAR (3600 * INT64_C(1000000000))
#define LIFE INT64_C(1000000000)

struct rig {
	struct node n, other;
	struct gate *g;
};

static void
rig_start(struct rig *r, int64_t negative_ns)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .negative_ns = negative_ns };
	struct backend *be, *other;
	struct be_caps caps;
	struct be_attr a;

	backend_mem_caps(&caps, false);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	r->g = gate_new(&be, &be);
	node_start(&r->n, be, &cfg);
	node_start(&r->other, other, NULL);
	assert_int_equal(cache_mkdir(r->other.c, &r->other.ctx, "d", 0755, &a),
			 0);
	node_put(&r->other, "d/there", "x");
}

static void
rig_stop(struct rig *r)
{
	node_stop(&r->n);
	node_stop(&r->other);
}

static void
list(struct rig *r, const char *dir)
{
	struct cache_listing *l;

	assert_int_equal(cache_list(r->n.c, &r->n.ctx, dir, &l), 0);
	cache_listing_put(l);
}

/* What the listing alone says, whatever else is known of the name. */
static bool
absent_or_old(struct rig *r, const char *path, bool *renew)
{
	int64_t until;
	bool yes;

	cache_lock(r->n.c);
	yes = names_absent_locked(r->n.c, path, &until, renew);
	cache_unlock(r->n.c);
	return yes;
}

static bool
absent(struct rig *r, const char *path)
{
	bool renew;

	return absent_or_old(r, path, &renew);
}

/* [P2.5], and that it costs nothing. */
static void
believed(void **state)
{
	struct rig r;
	struct be_attr a;

	rig_start(&r, FAR);
	assert_false(absent(&r, "d/new"));
	list(&r, "d");
	gate_reset(r.g);
	assert_int_equal(node_stat(&r.n, "d/new", NULL), -ENOENT);
	assert_int_equal(gate_all_calls(r.g), 0);
	assert_false(absent(&r, "d/there"));
	node_put(&r.n, "d/new", "y");
	assert_int_equal(gate_calls(r.g, GATE_GETATTR), 0);
	assert_int_equal(gate_calls(r.g, GATE_COMMIT), 1);
	assert_int_equal(node_stat(&r.n, "d/new", &a), 0);
	assert_false(absent(&r, "d/new"));

	/* what leaves here is gone at once */
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "d/new", "d/to", 0), 0);
	assert_true(absent(&r, "d/new"));
	assert_false(absent(&r, "d/to"));
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "d/to"), 0);
	assert_true(absent(&r, "d/to"));

	/* another node's new file: missing here, and never overwritten */
	node_put(&r.other, "d/theirs", "theirs");
	assert_int_equal(node_stat(&r.n, "d/theirs", NULL), -ENOENT);
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "d/theirs", 0755, &a),
			 -EEXIST);

	/* a directory that was made here is empty */
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "mine", 0755, &a), 0);
	assert_true(absent(&r, "mine/x"));
	rig_stop(&r);
}

/* [P2.2] */
static void
never_by_default(void **state)
{
	struct rig r;
	struct be_attr a;

	rig_start(&r, 0);
	list(&r, "d");
	assert_false(absent(&r, "d/x"));
	assert_int_equal(node_stat(&r.n, "d/x", NULL), -ENOENT);
	node_put(&r.other, "d/x", "x");
	assert_int_equal(node_stat(&r.n, "d/x", &a), 0);
	rig_stop(&r);
}

static void *
lister(void *arg)
{
	struct rig *r = arg;
	struct cache_ctx ctx = { 0 };
	struct cache_listing *l;

	assert_int_equal(cache_list(r->n.c, &ctx, "d", &l), 0);
	cache_listing_put(l);
	return NULL;
}

/* Rule 11: the listing does not have what was made while it was on its way. */
static void
made_meanwhile(void **state)
{
	struct rig r;
	struct be_attr a;
	pthread_t t;
	char name[32];

	rig_start(&r, FAR);
	gate_shut(r.g, GATE_LIST, 1, true);
	assert_int_equal(pthread_create(&t, NULL, lister, &r), 0);
	gate_wait(r.g, GATE_LIST, 1);
	node_put(&r.n, "d/a", "x");
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "d/b", 0755, &a), 0);
	assert_int_equal(cache_symlink(r.n.c, &r.n.ctx, "d/c", "x", &a), 0);
	node_put(&r.n, "d/e", "x");
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "d/e", "d/f", 0), 0);
	gate_open(r.g, GATE_LIST);
	pthread_join(t, NULL);
	assert_false(absent(&r, "d/a"));
	assert_false(absent(&r, "d/b"));
	assert_false(absent(&r, "d/c"));
	assert_false(absent(&r, "d/f"));
	assert_true(absent(&r, "d/other"));

	/* more than is remembered: the listing tells nothing */
	gate_shut(r.g, GATE_LIST, 1, true);
	node_put(&r.n, "d/again", "x");
	assert_int_equal(pthread_create(&t, NULL, lister, &r), 0);
	gate_wait(r.g, GATE_LIST, 1);
	cache_lock(r.n.c);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "d/n%d", i);
		attr_changed_locked(r.n.c, name);
		names_made_locked(r.n.c, name);
	}
	cache_unlock(r.n.c);
	gate_open(r.g, GATE_LIST);
	pthread_join(t, NULL);
	assert_false(absent(&r, "d/n0"));
	assert_false(absent(&r, "d/n19999"));
	rig_stop(&r);
}

/* Of a directory that went away with all that is in it nothing is known. */
static void
trees(void **state)
{
	struct rig r;

	rig_start(&r, FAR);
	list(&r, "d");
	assert_true(absent(&r, "d/x"));
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "d", "e", 0), 0);
	assert_false(absent(&r, "d/x"));
	assert_false(absent(&r, "e/x"));
	rig_stop(&r);
}

/* A listing that has become too old is renewed when there are enough lookups that
 * it would answer. */
static void
lapsed(void **state)
{
	struct rig r;
	bool renew;

	rig_start(&r, LIFE);
	list(&r, "d");
	while (absent(&r, "d/x"))
		sched_yield();
	names_renewed(r.n.c, "d");
	assert_false(absent_or_old(&r, "d/x", &renew));
	assert_false(renew);
	/* Some of these come within LIFE of each other. */
	for (int i = 0; i < 10000 && !renew; i++) {
		assert_false(absent_or_old(&r, "d/there", &renew));
		assert_false(renew);
		assert_false(absent_or_old(&r, "d/x", &renew));
	}
	assert_true(renew);
	/* Once. */
	for (int i = 0; i < 100; i++) {
		assert_false(absent_or_old(&r, "d/x", &renew));
		assert_false(renew);
	}
	atomic_store(&r.n.c->cfg.actimeo_ns, 0);
	list(&r, "d");
	assert_true(absent(&r, "d/x"));
	rig_stop(&r);
}

/* Many names, some leaving: each is found, the others are not. */
static void
many(void **state)
{
	struct rig r;
	char name[32];

	rig_start(&r, FAR);
	list(&r, "d");
	cache_lock(r.n.c);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "d/n%d", i);
		names_made_locked(r.n.c, name);
		if (i % 3 == 0)
			names_gone_locked(r.n.c, name);
	}
	cache_unlock(r.n.c);
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "d/n%d", i);
		assert_int_equal(absent(&r, name), i % 3 == 0);
	}
	assert_true(absent(&r, "d/n5000"));
	rig_stop(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(believed),
		cmocka_unit_test(never_by_default),
		cmocka_unit_test(made_meanwhile),
		cmocka_unit_test(trees),
		cmocka_unit_test(lapsed),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
