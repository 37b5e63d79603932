/* SPDX-License-Identifier: MIT */
/*
 * The invariants of cache/cache.h, each test names its own, over a store that
 * replaces whole files and over one that writes in place.  A gate in between
 * counts, holds and fails the calls.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define MB (1024u * 1024)
#define FAR (3600 * INT64_C(1000000000))

struct rig {
	struct node n;	       /* through the gate */
	struct node other;     /* the same store, not gated */
	struct gate *g;
};

/* Readahead jobs, each in a thread of its own. */
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

static void
run_now(void *arg, void (*fn)(void *job), void *job)
{
	fn(job);
}

static void
rig_start(struct rig *r, bool in_place, const struct cache_config *cfg)
{
	struct cache_config def = { .actimeo_ns = FAR, .cto = true,
				    .whole_max = MB };
	struct backend *be, *other, *gated;
	struct be_caps caps;

	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &other), 0);
	r->g = gate_new(&be, &gated);
	node_start(&r->n, gated, cfg ? cfg : &def);
	node_start(&r->other, other, NULL);
}

static void
rig_stop(struct rig *r)
{
	node_stop(&r->n);
	node_stop(&r->other);
}

static void
put_bytes(struct node *n, const char *path, const char *p, size_t size)
{
	struct cfile *f = node_stat(n, path, NULL) == 0 ?
				  node_open(n, path, O_WRONLY | O_TRUNC) :
				  node_create(n, path, O_WRONLY);

	for (size_t at = 0; at < size; at += MB)
		assert_int_equal(cache_write(f, &n->ctx, at, p + at,
					     size - at < MB ? size - at : MB,
					     false), 0);
	assert_int_equal(node_close(n, f), 0);
}

static void
read_is(struct node *n, struct cfile *f, const char *want, size_t off,
	size_t len)
{
	_cleanup_free_ char *p = xmalloc(len);
	size_t got;

	assert_int_equal(cache_read(f, &n->ctx, off, p, len, &got), 0);
	assert_int_equal(got, len);
	assert_memory_equal(p, want + off, len);
}

/* --- what a call costs --------------------------------------------------- */

/* Rule 14, DESIGN 7: one conditional fetch for an open, nothing else. */
static void
costs(bool in_place)
{
	_cleanup_free_ char *p = box_bytes(300000, 1);
	struct cache_config nocto = { .actimeo_ns = FAR, .whole_max = MB };
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, NULL);
	put_bytes(&r.n, "f", p, 300000);
	gate_reset(r.g);
	for (int i = 0; i < 3; i++) {
		f = node_open(&r.n, "f", O_RDWR);
		read_is(&r.n, f, p, 1000, 200000);
		assert_int_equal(cache_flush(f, &r.n.ctx), 0);
		assert_int_equal(node_close(&r.n, f), 0);
	}
	assert_int_equal(gate_calls(r.g, GATE_FETCH), 3);
	assert_int_equal(gate_all_calls(r.g), 3);
	assert_int_equal(gate_bytes(r.g), 0);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	assert_int_equal(gate_all_calls(r.g), 3);
	/* Another node's bytes come with the fetch. */
	put_bytes(&r.other, "f", p + 1, 200000);
	f = node_open(&r.n, "f", O_RDONLY);
	read_is(&r.n, f, p + 1, 0, 200000);
	node_close(&r.n, f);
	assert_int_equal(gate_calls(r.g, GATE_FETCH), 4);
	assert_int_equal(gate_calls(r.g, GATE_READ), 0);
	rig_stop(&r);

	rig_start(&r, in_place, &nocto);
	put_bytes(&r.n, "f", p, 300000);
	gate_reset(r.g);
	for (int i = 0; i < 3; i++) {
		f = node_open(&r.n, "f", O_RDONLY);
		read_is(&r.n, f, p, 1000, 200000);
		node_close(&r.n, f);
	}
	assert_int_equal(gate_all_calls(r.g), 0);
	rig_stop(&r);
}

/* One commit for a new file, whatever was written how often. */
static void
write_costs(bool in_place)
{
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, NULL);
	node_stat(&r.n, "f", NULL);
	gate_reset(r.g);
	f = node_create(&r.n, "f", O_WRONLY);
	for (int i = 0; i < 100; i++)
		node_append(&r.n, f, "line\n");
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	assert_int_equal(node_close(&r.n, f), 0);
	assert_int_equal(gate_calls(r.g, GATE_COMMIT), 1);
	assert_int_equal(gate_calls(r.g, GATE_CREATE), in_place);
	assert_int_equal(gate_all_calls(r.g), 1 + in_place);
	rig_stop(&r);
}

/* --- fetching ------------------------------------------------------------ */

static void
stream(bool in_place, bool threads)
{
	size_t size = 24 * MB;
	_cleanup_free_ char *p = box_bytes(size, 1);
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .whole_max = MB, .readahead = 16 * MB,
				    .run = threads ? run_soon : run_now };
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, &cfg);
	put_bytes(&r.other, "f", p, size);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDONLY);
	for (size_t at = 0; at < size; at += 128 * 1024)
		read_is(&r.n, f, p, at, 128 * 1024);
	/* Each byte once (C8), in large pieces. */
	assert_false(gate_overlapped(r.g));
	assert_int_equal(gate_bytes(r.g), size);
	if (!threads)
		assert_true(gate_calls(r.g, GATE_READ) <= 8);
	gate_reset(r.g);
	for (size_t at = 0; at < size; at += MB)
		read_is(&r.n, f, p, at, MB);
	node_close(&r.n, f);
	assert_int_equal(gate_all_calls(r.g), 0);
	/* Complete: it was kept. */
	f = node_open(&r.n, "f", O_RDONLY);
	read_is(&r.n, f, p, 0, size);
	node_close(&r.n, f);
	assert_int_equal(gate_bytes(r.g), 0);
	rig_stop(&r);
}

static void
sequential(bool in_place)
{
	stream(in_place, false);
	stream(in_place, true);
}

/* A reader that jumps about gets what it asks for and little else. */
static void
scattered(bool in_place)
{
	size_t size = 24 * MB;
	_cleanup_free_ char *p = box_bytes(size, 1);
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .whole_max = MB, .readahead = 8 * MB,
				    .run = run_soon };
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, &cfg);
	put_bytes(&r.other, "f", p, size);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDONLY);
	gate_reset(r.g);
	for (unsigned i = 0; i < 20; i++)
		read_is(&r.n, f, p, (i * 7 + 3) % 20 * MB + MB + 777, 5000);
	assert_true(gate_bytes(r.g) <= 20 * 512 * 1024);
	node_close(&r.n, f);
	rig_stop(&r);
}

struct reader {
	struct node *n;
	struct cfile *f;
	const char *want;
	size_t off, len;
	int ret;
	pthread_t thread;
};

static void *
reader_run(void *arg)
{
	struct reader *rd = arg;
	struct cache_ctx ctx = { 0 };
	_cleanup_free_ char *p = xmalloc(rd->len);
	size_t got = 0;

	rd->ret = cache_read(rd->f, &ctx, rd->off, p, rd->len, &got);
	if (rd->ret == 0 && (got != rd->len ||
			     memcmp(p, rd->want + rd->off, got) != 0))
		rd->ret = -EILSEQ;
	return NULL;
}

static void
reader_start(struct reader *rd)
{
	assert_int_equal(pthread_create(&rd->thread, NULL, reader_run, rd), 0);
}

/* C8: however many want a block, it is fetched once. */
static void
single_flight(bool in_place)
{
	size_t size = 4 * MB;
	_cleanup_free_ char *p = box_bytes(size, 1);
	struct reader rd[6];
	struct rig r;
	struct cfile *f, *f2;

	rig_start(&r, in_place, NULL);
	put_bytes(&r.other, "f", p, size);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDONLY);
	f2 = node_open(&r.n, "f", O_RDONLY);
	gate_reset(r.g);
	gate_shut(r.g, GATE_READ, 100, false);
	for (int i = 0; i < 6; i++) {
		rd[i] = (struct reader){ &r.n, i % 2 ? f : f2, p,
					 2 * MB + 100u * (unsigned)i, 5000 };
		reader_start(&rd[i]);
	}
	gate_wait(r.g, GATE_READ, 1);
	gate_open(r.g, GATE_READ);
	for (int i = 0; i < 6; i++) {
		pthread_join(rd[i].thread, NULL);
		assert_int_equal(rd[i].ret, 0);
	}
	assert_int_equal(gate_calls(r.g, GATE_READ), 1);
	assert_false(gate_overlapped(r.g));
	node_close(&r.n, f);
	node_close(&r.n, f2);
	rig_stop(&r);
}

/* C7: while one fetch hangs, all that does not need it goes on. */
static void
no_lock_held(bool in_place)
{
	size_t size = 4 * MB;
	_cleanup_free_ char *p = box_bytes(size, 1), *q = xmalloc(5000);
	struct reader rd;
	struct cache_stats st;
	struct rig r;
	struct cfile *f;
	size_t got;

	rig_start(&r, in_place, NULL);
	put_bytes(&r.other, "f", p, size);
	put_bytes(&r.n, "small", p, 1000);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDWR);
	read_is(&r.n, f, p, 0, 5000);
	gate_shut(r.g, GATE_READ, 100, false);
	rd = (struct reader){ &r.n, f, p, 2 * MB, 5000 };
	reader_start(&rd);
	gate_wait(r.g, GATE_READ, 1);
	read_is(&r.n, f, p, 100, 4000);
	r.n.ctx.try_only = true;
	assert_int_equal(cache_read(f, &r.n.ctx, 2 * MB, q, 5000, &got),
			 -EAGAIN);
	read_is(&r.n, f, p, 100, 4000);
	r.n.ctx.try_only = false;
	node_write(&r.n, f, 3 * MB, "written meanwhile");
	put_bytes(&r.n, "other", p, 2000);
	{
		struct cfile *s = node_open(&r.n, "small", O_RDONLY);

		read_is(&r.n, s, p, 0, 1000);
		node_close(&r.n, s);
	}
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "small", "large", 0), 0);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 1);
	gate_open(r.g, GATE_READ);
	pthread_join(rd.thread, NULL);
	assert_int_equal(rd.ret, 0);
	memcpy(p + 3 * MB, "written meanwhile", 17);
	read_is(&r.n, f, p, 0, size);
	assert_int_equal(node_close(&r.n, f), 0);
	f = node_open(&r.other, "f", O_RDONLY);
	read_is(&r.other, f, p, 0, size);
	node_close(&r.other, f);
	rig_stop(&r);
}

/* An error in the middle is that read's alone. */
static void
read_error(bool in_place)
{
	size_t size = 4 * MB, got;
	_cleanup_free_ char *p = box_bytes(size, 1), *q = xmalloc(size);
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, NULL);
	put_bytes(&r.other, "f", p, size);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDONLY);
	for (unsigned i = 0; i < 6; i++) {
		gate_fail(r.g, GATE_READ, 1, -EIO, i % 2);
		assert_int_equal(cache_read(f, &r.n.ctx, MB / 2 + i * MB / 2,
					    q, 200, &got), -EIO);
		assert_non_null(strstr(err_words(&r.n.err), "gate"));
		read_is(&r.n, f, p, MB / 2 + i * MB / 2, 200);
	}
	read_is(&r.n, f, p, 0, size);
	node_close(&r.n, f);
	gate_fail(r.g, GATE_FETCH, 1, -EIO, false);
	{
		bool keep;

		assert_int_equal(cache_open(r.n.c, &r.n.ctx, "f", O_RDONLY, &f,
					    &keep), -EIO);
	}
	f = node_open(&r.n, "f", O_RDONLY);
	read_is(&r.n, f, p, 0, size);
	node_close(&r.n, f);
	rig_stop(&r);
}

/* C1, rule 13: what is missing of a version that is gone is ESTALE, and what
 * is here stays readable. */
static void
foreign_change(bool in_place)
{
	size_t size = 4 * MB, got;
	_cleanup_free_ char *p = box_bytes(size, 1), *q = box_bytes(size, 2);
	_cleanup_free_ char *buf = xmalloc(size);
	struct rig r;
	struct cfile *f, *g;
	int ret;

	rig_start(&r, in_place, NULL);
	put_bytes(&r.other, "f", p, size);
	assert_int_equal(node_stat(&r.n, "f", NULL), 0);
	f = node_open(&r.n, "f", O_RDONLY);
	read_is(&r.n, f, p, 0, 5000);
	put_bytes(&r.other, "f", q, size);
	assert_int_equal(cache_read(f, &r.n.ctx, 2 * MB, buf, 5000, &got),
			 -ESTALE);
	read_is(&r.n, f, p, 0, 5000);
	/* One read over what is here and what is not: never a mixture. */
	ret = cache_read(f, &r.n.ctx, 0, buf, 2 * MB, &got);
	assert_int_equal(ret, -ESTALE);
	g = node_open(&r.n, "f", O_RDONLY);
	read_is(&r.n, g, q, 0, size);
	read_is(&r.n, f, p, 0, 5000);
	node_close(&r.n, g);
	node_close(&r.n, f);
	rig_stop(&r);
}

/* --- C9: an old answer does not outlive a local change ------------------- */

struct asker {
	struct node *n;
	const char *path;
	bool list;
	pthread_t thread;
};

static void *
asker_run(void *arg)
{
	struct asker *a = arg;
	struct cache_ctx ctx = { 0 };
	struct cache_listing *l;
	struct cache_life life;
	struct be_attr attr;

	if (!a->list)
		cache_lookup(a->n->c, &ctx, a->path, &attr, &life);
	else if (cache_list(a->n->c, &ctx, a->path, &l) == 0)
		cache_listing_put(l);
	return NULL;
}

static void
ask(struct rig *r, struct asker *a, const char *path, bool list)
{
	enum gate_call call = list ? GATE_LIST : GATE_GETATTR;

	*a = (struct asker){ .n = &r->n, .path = path, .list = list };
	gate_shut(r->g, call, 1, true);
	assert_int_equal(pthread_create(&a->thread, NULL, asker_run, a), 0);
	gate_wait(r->g, call, 1); /* it has its answer in hand */
}

static void
answered(struct rig *r, struct asker *a)
{
	gate_open(r->g, a->list ? GATE_LIST : GATE_GETATTR);
	pthread_join(a->thread, NULL);
}

static bool
listed(struct rig *r, const char *dir, const char *name)
{
	struct cache_listing *l;
	struct cache_dirent d;
	bool found = false;

	assert_int_equal(cache_list(r->n.c, &r->n.ctx, dir, &l), 0);
	for (size_t i = 0; cache_listing_get(l, &r->n.ctx, i, &d) == 0; i++)
		found |= strcmp(d.name, name) == 0;
	cache_listing_put(l);
	return found;
}

static void
old_answers(bool in_place)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .negative_ns = FAR,
				    .cto = true, .whole_max = MB };
	struct asker a;
	struct be_attr attr;
	struct cfile *f;
	struct rig r;

	rig_start(&r, in_place, &cfg);
	/* (Of its own directories a node believes that they are empty.) */
	assert_int_equal(cache_mkdir(r.other.c, &r.other.ctx, "d", 0755, &attr),
			 0);

	/* "absent", then we make it */
	ask(&r, &a, "d/x", false);
	f = node_create(&r.n, "d/x", O_WRONLY);
	node_write(&r.n, f, 0, "hello");
	answered(&r, &a);
	assert_int_equal(node_stat(&r.n, "d/x", &attr), 0);
	assert_int_equal(attr.size, 5);
	assert_int_equal(node_close(&r.n, f), 0);

	/* an old size, then we write */
	node_put(&r.other, "d/y", "old");
	ask(&r, &a, "d/y", false);
	f = node_open(&r.n, "d/y", O_WRONLY);
	node_append(&r.n, f, "and new");
	assert_int_equal(node_close(&r.n, f), 0);
	answered(&r, &a);
	assert_int_equal(node_stat(&r.n, "d/y", &attr), 0);
	assert_int_equal(attr.size, 10);

	/* there, then we remove it */
	node_put(&r.other, "d/z", "old");
	ask(&r, &a, "d/z", false);
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "d/z"), 0);
	answered(&r, &a);
	assert_int_equal(node_stat(&r.n, "d/z", NULL), -ENOENT);

	/* an old mode, then we change it */
	node_put(&r.other, "d/m", "old");
	ask(&r, &a, "d/m", false);
	attr.mode = 0400;
	assert_int_equal(cache_setattr(r.n.c, &r.n.ctx, "d/m", NULL,
				       BE_SET_MODE, &attr, &attr), 0);
	answered(&r, &a);
	assert_int_equal(node_stat(&r.n, "d/m", &attr), 0);
	assert_int_equal(attr.mode & 07777, 0400);

	/* listings */
	ask(&r, &a, "d", true);
	f = node_create(&r.n, "d/n", O_WRONLY);
	answered(&r, &a);
	assert_true(listed(&r, "d", "n")); /* also before it is sent */
	assert_int_equal(node_close(&r.n, f), 0);
	assert_true(listed(&r, "d", "n"));
	assert_int_equal(cache_mkdir(r.n.c, &r.n.ctx, "d/dir", 0755, &attr), 0);
	ask(&r, &a, "d", true);
	assert_int_equal(cache_unlink(r.n.c, &r.n.ctx, "d/n"), 0);
	assert_int_equal(cache_rmdir(r.n.c, &r.n.ctx, "d/dir"), 0);
	answered(&r, &a);
	assert_false(listed(&r, "d", "n"));
	assert_false(listed(&r, "d", "dir"));
	node_put(&r.other, "d/p", "x");
	node_put(&r.n, "d/q", "x");
	ask(&r, &a, "d", true);
	assert_int_equal(cache_rename(r.n.c, &r.n.ctx, "d/q", "d/r", 0), 0);
	answered(&r, &a);
	assert_false(listed(&r, "d", "q"));
	assert_true(listed(&r, "d", "r"));
	rig_stop(&r);
}

/* --- sending ------------------------------------------------------------- */

/* C2, C3: not sent means not told, kept, listed, and sent later. */
static void
failed_commit(bool in_place)
{
	_cleanup_free_ char *p = box_bytes(100000, 1);
	struct cache_stats st;
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, NULL);
	f = node_create(&r.n, "f", O_RDWR);
	assert_int_equal(cache_write(f, &r.n.ctx, 0, p, 100000, false), 0);
	gate_fail(r.g, GATE_COMMIT, 1, -EDQUOT, false);
	assert_int_equal(cache_flush(f, &r.n.ctx), -EDQUOT);
	read_is(&r.n, f, p, 0, 100000);
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 0);
	node_write(&r.n, f, 0, "X");
	p[0] = 'X';
	gate_fail(r.g, GATE_COMMIT, 100, -EDQUOT, false);
	assert_int_equal(cache_flush(f, &r.n.ctx), -EDQUOT);
	cache_release(f, &r.n.ctx);
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 1);
	assert_int_equal(st.failed_files, 1);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), -EIO);
	/* The store goes on telling what it has. */
	f = node_open(&r.other, "f", O_RDONLY);
	read_is(&r.other, f, p, 1, 99999);
	node_close(&r.other, f);
	gate_fail(r.g, GATE_COMMIT, 0, 0, false);
	assert_int_equal(cache_drain(r.n.c, &r.n.ctx), 0);
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.pending_files, 0);
	f = node_open(&r.other, "f", O_RDONLY);
	read_is(&r.other, f, p, 0, 100000);
	node_close(&r.other, f);
	rig_stop(&r);
}

/* A lost reply is not a lost race (rule 2), and no byte comes twice. */
static void
lost_reply(bool in_place)
{
	struct cache_stats st;
	struct rig r;
	struct cfile *f;

	rig_start(&r, in_place, NULL);
	node_put(&r.n, "log", "one\n");
	f = node_open(&r.n, "log", O_WRONLY | O_APPEND);
	node_append(&r.n, f, "two\n");
	gate_fail(r.g, GATE_COMMIT, 1, -ETIMEDOUT, true);
	assert_int_equal(cache_flush(f, &r.n.ctx), -ETIMEDOUT);
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	cache_release(f, &r.n.ctx);
	node_is(&r.other, "log", "one\ntwo\n");
	/* More was written between the two. */
	f = node_open(&r.n, "log", O_WRONLY | O_APPEND);
	node_append(&r.n, f, "three\n");
	gate_fail(r.g, GATE_COMMIT, 1, -ETIMEDOUT, true);
	assert_int_equal(cache_flush(f, &r.n.ctx), -ETIMEDOUT);
	node_append(&r.n, f, "four\n");
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	cache_release(f, &r.n.ctx);
	node_is(&r.other, "log", "one\ntwo\nthree\nfour\n");
	/* A new file. */
	f = node_create(&r.n, "new", O_WRONLY);
	node_append(&r.n, f, "first\n");
	gate_fail(r.g, GATE_COMMIT, 1, -ETIMEDOUT, true);
	assert_int_equal(cache_flush(f, &r.n.ctx), -ETIMEDOUT);
	node_append(&r.n, f, "second\n");
	assert_int_equal(cache_flush(f, &r.n.ctx), 0);
	cache_release(f, &r.n.ctx);
	node_is(&r.other, "new", "first\nsecond\n");
	node_is(&r.n, "new", "first\nsecond\n");
	cache_stats_get(r.n.c, &st);
	assert_int_equal(st.conflicts, 0);
	rig_stop(&r);
}

/* Written while it is being sent: the next flush sends that too. */
struct flusher {
	struct node *n;
	struct cfile *f;
	int ret;
	pthread_t thread;
};

static void *
flusher_run(void *arg)
{
	struct flusher *fl = arg;
	struct cache_ctx ctx = { 0 };

	fl->ret = cache_flush(fl->f, &ctx);
	return NULL;
}

static void
write_while_sent(bool in_place)
{
	struct flusher fl;
	struct rig r;

	rig_start(&r, in_place, NULL);
	for (int after = 0; after < 2; after++) {
		fl = (struct flusher){ .n = &r.n };
		node_put(&r.n, "f", "0123456789");
		fl.f = node_open(&r.n, "f", O_RDWR);
		node_write(&r.n, fl.f, 2, "ab");
		gate_shut(r.g, GATE_COMMIT, 1, after);
		assert_int_equal(pthread_create(&fl.thread, NULL, flusher_run,
						&fl), 0);
		gate_wait(r.g, GATE_COMMIT, 1);
		node_write(&r.n, fl.f, 3, "XY");
		gate_open(r.g, GATE_COMMIT);
		pthread_join(fl.thread, NULL);
		assert_int_equal(fl.ret, 0);
		assert_int_equal(node_close(&r.n, fl.f), 0);
		node_is(&r.other, "f", "01aXY56789");
		node_is(&r.n, "f", "01aXY56789");
	}
	rig_stop(&r);
}

/* Rule 6: "appends of two nodes after a believed absence lose nothing". */
static void
append_absent(bool in_place)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .negative_ns = FAR,
				    .cto = true };
	struct rig r;
	struct cfile *f, *g;
	char buf[32];
	size_t got;

	rig_start(&r, in_place, &cfg);
	assert_int_equal(node_stat(&r.n, "log", NULL), -ENOENT);
	g = node_create(&r.other, "log", O_WRONLY | O_APPEND);
	node_append(&r.other, g, "other\n");
	f = node_create(&r.n, "log", O_WRONLY | O_APPEND);
	node_append(&r.n, f, "ours\n");
	assert_int_equal(node_close(&r.other, g), 0);
	assert_int_equal(node_close(&r.n, f), 0);
	f = node_open(&r.n, "log", O_RDONLY);
	assert_int_equal(cache_read(f, &r.n.ctx, 0, buf, sizeof(buf), &got), 0);
	assert_int_equal(got, 11);
	assert_memory_equal(buf, "other\nours\n", 11);
	node_close(&r.n, f);
	node_is(&r.other, "log", "other\nours\n");
	rig_stop(&r);
}

#define BOTH(name)                                                             \
	static void name##_whole(void **state) { name(false); }                \
	static void name##_in_place(void **state) { name(true); }
BOTH(costs)
BOTH(write_costs)
BOTH(sequential)
BOTH(scattered)
BOTH(single_flight)
BOTH(no_lock_held)
BOTH(read_error)
BOTH(foreign_change)
BOTH(old_answers)
BOTH(failed_commit)
BOTH(lost_reply)
BOTH(write_while_sent)
BOTH(append_absent)

/* F.5: a version that this node made stays believed when the store names it
 * again within 2 s, and through a rename. */
static void
own_versions(void **state)
{
	struct cache_config cfg = { .cto = true, .whole_max = MB };
	char dir[] = "/tmp/sharedfs-own-XXXXXX";
	struct backend *be, *gated;
	struct be_ctx ctx = { .uid = getuid(), .gid = getgid() };
	struct node n;
	struct gate *g;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(backend_file_open(dir, NULL, &be, NULL), 0);
	assert_int_equal(be_probe(be, &ctx), 0);
	g = gate_new(&be, &gated);
	node_start(&n, gated, &cfg);
	n.ctx.be.uid = ctx.uid;
	n.ctx.be.gid = ctx.gid;
	node_put(&n, "f", "bytes");
	assert_int_equal(node_stat(&n, "f", NULL), 0);
	node_is(&n, "f", "bytes");
	assert_int_equal(cache_rename(n.c, &n.ctx, "f", "g", 0), 0);
	node_is(&n, "g", "bytes");
	if (gate_bytes(g))
		print_message("is this directory's clock coarse?\n");
	assert_int_equal(gate_bytes(g), 0);
	assert_int_equal(cache_unlink(n.c, &n.ctx, "g"), 0);
	node_stop(&n);
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
#define T(name)                                                                \
	cmocka_unit_test(name##_whole), cmocka_unit_test(name##_in_place)
	const struct CMUnitTest tests[] = {
		T(costs),	  T(write_costs),   T(sequential),
		T(scattered),	  T(single_flight), T(no_lock_held),
		T(read_error),	  T(foreign_change), T(old_answers),
		T(failed_commit), T(lost_reply),    T(write_while_sent),
		T(append_absent), cmocka_unit_test(own_versions),
	};

	/* A lock that is held where it must not be makes this hang. */
	alarm(900);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
