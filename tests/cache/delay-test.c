/* SPDX-License-Identifier: MIT */
/*
 * Changes of attributes that wait ([A.1] to [A.5]): what is sent, with what, and
 * that none is lost.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "cache/cache-priv.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define FAR (3600 * INT64_C(1000000000))

struct rig {
	struct node n, other;
	struct gate *g;
	struct backend *third; /* one more front, for a next daemon */
};

static const struct timespec old = { .tv_sec = 1000000 };
static const struct timespec older = { .tv_sec = 900000 };

static void
rig_start(struct rig *r, int64_t delay_ns)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .attr_delay_ns = delay_ns };
	struct backend *be, *other;
	struct be_caps caps;

	backend_mem_caps(&caps, false);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	assert_int_equal(backend_mem_share(be, &r->third), 0);
	r->g = gate_new(&be, &be);
	node_start(&r->n, be, &cfg);
	node_start(&r->other, other, NULL);
	cache_recover(r->n.c, &r->n.ctx);
	node_put(&r->n, "f", "x");
	assert_int_equal(node_stat(&r->n, "f", NULL), 0);
	gate_reset(r->g);
}

static void
rig_stop(struct rig *r)
{
	node_stop(&r->n);
	node_stop(&r->other);
	backend_free(r->third);
}

/* What the store says, past all caches. */
static struct be_attr
stored(struct rig *r, const char *path)
{
	struct be_attr a;

	assert_int_equal(be_getattr(cache_backend(r->other.c),
				    &r->other.ctx.be, path, BE_HINT_NONE, &a),
			 0);
	return a;
}

static int
set(struct rig *r, const char *path, unsigned mask, mode_t mode,
    struct timespec mtime)
{
	struct be_attr a = { .mode = mode, .mtime = mtime, .uid = 7 }, out;

	return cache_setattr(r->n.c, &r->n.ctx, path, NULL, mask, &a, &out);
}

static void
waits(struct rig *r, size_t n)
{
	struct cache_stats st;

	cache_stats_get(r->n.c, &st);
	assert_int_equal(st.pending_attrs, n);
}

/* New times and wider modes wait, and are shown here at once. */
static void
wait_and_show(void **state)
{
	struct rig r;
	struct be_attr a;

	rig_start(&r, FAR);
	r.n.ctx.try_only = true; /* nothing is asked */
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0755, old), 0);
	r.n.ctx.try_only = false;
	waits(&r, 1);
	assert_int_equal(gate_all_calls(r.g), 0);
	assert_int_equal(node_stat(&r.n, "f", &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	assert_int_equal(a.mtime.tv_sec, old.tv_sec);
	assert_int_not_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);

	/* an answer of the store does not hide them */
	node_is(&r.n, "f", "x");
	assert_int_equal(node_stat(&r.n, "f", &a), 0);
	assert_int_equal(a.mode & 07777, 0755);

	/* all of it in one change */
	gate_reset(r.g);
	assert_int_equal(cache_sync_name(r.n.c, &r.n.ctx, "f"), 0);
	assert_int_equal(gate_calls(r.g, GATE_CHANGE), 1);
	assert_int_equal(stored(&r, "f").mode & 07777, 0755);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	waits(&r, 0);
	rig_stop(&r);
}

/* What takes a right away, or changes the owner, is there before the reply, and
 * takes along what waited. */
static void
tighter_at_once(void **state)
{
	struct rig r;

	rig_start(&r, FAR);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0600, old), 0);
	assert_int_equal(gate_calls(r.g, GATE_CHANGE), 1);
	assert_int_equal(stored(&r, "f").mode & 07777, 0600);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	waits(&r, 0);

	/* also after it was made wider a moment ago */
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0666, old), 0);
	waits(&r, 1);
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0644, old), 0);
	waits(&r, 0);
	assert_int_equal(stored(&r, "f").mode & 07777, 0644);

	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, older), 0);
	assert_int_equal(set(&r, "f", BE_SET_UID, 0, old), 0);
	assert_int_equal(stored(&r, "f").uid, 7);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, older.tv_sec);
	waits(&r, 0);
	rig_stop(&r);
}

/* A rename and an upload take them along. */
static void
ride(void **state)
{
	struct rig r;
	struct be_attr a;
	struct cfile *f;

	rig_start(&r, FAR);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "f", "g", 0), 0);
	assert_int_equal(gate_calls(r.g, GATE_CHANGE), 1);
	assert_int_equal(stored(&r, "g").mtime.tv_sec, old.tv_sec);
	waits(&r, 0);

	assert_int_equal(set(&r, "g", BE_SET_MODE, 0777, old), 0);
	gate_reset(r.g);
	f = node_open(&r.n, "g", O_WRONLY);
	node_append(&r.n, f, "y");
	assert_int_equal(node_close(&r.n, f), 0);
	assert_int_equal(gate_calls(r.g, GATE_CHANGE), 0);
	assert_int_equal(stored(&r, "g").mode & 07777, 0777);
	waits(&r, 0);

	/* onto the name, and away: nobody's change any more */
	node_put(&r.n, "h", "h");
	assert_int_equal(set(&r, "g", BE_SET_MTIME, 0, older), 0);
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "h", "g", 0), 0);
	waits(&r, 0);
	assert_int_equal(node_stat(&r.n, "g", &a), 0);
	assert_int_not_equal(a.mtime.tv_sec, older.tv_sec);
	assert_int_equal(set(&r, "g", BE_SET_MTIME, 0, older), 0);
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "g"), 0);
	waits(&r, 0);

	/* a directory: before it moves */
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "d", 0755, &a), 0);
	node_put(&r.n, "d/x", "x");
	assert_int_equal(set(&r, "d/x", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "d", "e", 0), 0);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	assert_int_equal(stored(&r, "e/x").mtime.tv_sec, old.tv_sec);
	rig_stop(&r);
}

/* Another node's change of the same file is not undone. */
static void
others(void **state)
{
	struct rig r;
	struct be_attr a = { .mode = 0600 }, out;

	rig_start(&r, FAR);
	assert_int_equal(set(&r, "f", BE_SET_MODE | BE_SET_MTIME, 0666, old), 0);
	node_put(&r.other, "f", "newer");
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	assert_int_not_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);

	/* another file of that name, which is not ours to open up */
	assert_int_equal(cache_sync_name(r.n.c, &r.n.ctx, "f"), 0);
	node_put(&r.n, "p", "p");
	assert_int_equal(set(&r, "p", BE_SET_MODE, 0666, old), 0);
	node_put(&r.other, "q", "private");
	assert_int_equal(cache_setattr(r.other.c, &r.other.ctx, "q", NULL,
				       BE_SET_MODE, &a, &out), 0);
	assert_int_equal(cache_rename(r.other.c, &r.other.ctx, "q", "p", 0), 0);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	assert_int_equal(stored(&r, "p").mode & 07777, 0600);
	waits(&r, 0);

	/* and one that is gone */
	node_put(&r.n, "z", "z");
	assert_int_equal(set(&r, "z", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(cache_unlink(r.other.c, &r.other.ctx, "z"), 0);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	waits(&r, 0);
	rig_stop(&r);
}

/* They go by themselves, and when there is no delay they go at once. */
static void
in_time(void **state)
{
	struct rig r;
	struct cache_stats st;

	rig_start(&r, 20 * NSEC_PER_MSEC);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	do {
		usleep(1000);
		cache_stats_get(r.n.c, &st);
	} while (st.pending_attrs);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	rig_stop(&r);

	rig_start(&r, 0);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	rig_stop(&r);
}

/* A failure of the store is not the end of it; of a drain it is told. */
static void
again(void **state)
{
	struct rig r;

	rig_start(&r, FAR);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	gate_fail(r.g, GATE_CHANGE, 1, -ETIMEDOUT, false);
	assert_true(cache_drain(r.n.c, &r.n.ctx) < 0);
	waits(&r, 1);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	rig_stop(&r);
}

/* A daemon that ends, or is killed, leaves them to the next one. */
static void
next_daemon(void **state)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .attr_delay_ns = FAR, .instance = "one" };
	struct cache_ctx ctx = { 0 };
	struct be_attr a;
	struct rig r;
	int64_t until;

	rig_start(&r, FAR);
	assert_int_equal(set(&r, "f", BE_SET_MTIME, 0, old), 0);
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0755, old), 0);
	cache_free(r.n.c);
	assert_int_not_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	cfg.dir = r.n.dir;
	assert_int_equal(be_probe(r.third, &ctx.be), 0);
	assert_int_equal(cache_new(&cfg, &r.third, &r.n.c, &r.n.err), 0);
	r.third = NULL;
	cache_takeover(r.n.c, NULL, NULL);
	waits(&r, 1);
	assert_int_equal(attr_get(r.n.c, &ctx, "f", &a, &until), 0);
	assert_int_equal(a.mode & 07777, 0755);
	cache_recover(r.n.c, &ctx);
	assert_int_equal(cache_drain(r.n.c, &ctx), 0);
	assert_int_equal(stored(&r, "f").mode & 07777, 0755);
	assert_int_equal(stored(&r, "f").mtime.tv_sec, old.tv_sec);
	waits(&r, 0);
	rig_stop(&r);
}

static void *
send_it(void *arg)
{
	struct rig *r = arg;
	struct cache_ctx ctx = r->n.ctx;

	ctx.be.err = NULL;
	assert_int_equal(cache_sync_name(r->n.c, &ctx, "f"), 0);
	return NULL;
}

/* Who wants to know all that changed waits for what is just being sent, though
 * nothing is pending any more [MIG.9]. */
static void
noted_when_sent(void **state)
{
	struct cache_change *v;
	pthread_t t;
	struct rig r;
	bool lost;
	size_t n;

	rig_start(&r, FAR);
	cache_note_changes(r.n.c, true);
	assert_int_equal(set(&r, "f", BE_SET_MODE, 0755, old), 0);
	gate_shut(r.g, GATE_CHANGE, 1, true);
	assert_int_equal(pthread_create(&t, NULL, send_it, &r), 0);
	gate_wait(r.g, GATE_CHANGE, 1);
	r.n.ctx.be.deadline_ns = clock_mono_ns() + 1;
	assert_int_equal(cache_wait_changes(r.n.c, &r.n.ctx), -ETIMEDOUT);
	r.n.ctx.be.deadline_ns = 0;
	gate_open(r.g, GATE_CHANGE);
	assert_int_equal(cache_wait_changes(r.n.c, &r.n.ctx), 0);
	v = cache_take_changes(r.n.c, &n, &lost);
	assert_int_equal(n, 1);
	assert_string_equal(v[0].path, "f");
	cache_changes_free(v, n);
	pthread_join(t, NULL);
	rig_stop(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wait_and_show),
		cmocka_unit_test(noted_when_sent),
		cmocka_unit_test(tighter_at_once),
		cmocka_unit_test(ride),
		cmocka_unit_test(others),
		cmocka_unit_test(in_time),
		cmocka_unit_test(again),
		cmocka_unit_test(next_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
