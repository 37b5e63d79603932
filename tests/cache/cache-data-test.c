/* SPDX-License-Identifier: MIT */
/*
 * Right bytes under all that may happen to a file and to the cache's disk:
 * random calls against an array (with faults too), restarts, eviction, a
 * cache directory that is damaged, deleted or full (C3 to C6).
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ftw.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/cache-priv.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/gate.h"
#include "tests/cache/nodes.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define FAR (3600 * INT64_C(1000000000))
#define KB 1024u

/* --- random calls against an array --------------------------------------- */

#define SIZE_MAX_ (900 * KB)

struct walk {
	struct node n;
	struct gate *g;
	struct cfile *f; /* open for both, or NULL */
	char *now;	 /* what a reader of this node sees */
	char *sent;	 /* what the store has, unless `dirty` */
	size_t size, sent_size;
	bool dirty;   /* something is not sent */
	bool faults;
	unsigned seed, step;
	bool trace;
};

/* What was done, for who looks for the reason. */
#define TRACE(w, ...)                                                          \
	do {                                                                   \
		if ((w)->trace) {                                              \
			fprintf(stderr, "%u: ", (w)->step);                    \
			fprintf(stderr, __VA_ARGS__);                          \
		}                                                              \
	} while (0)

static void
wrong(struct walk *w, const char *what, const char *p, size_t got, size_t off,
      const char *want, size_t len)
{
	size_t i = 0;

	while (i < got && i < len && p[i] == want[i])
		i++;
	fail_msg("step %u: %s %zu+%zu: %zu bytes, the first wrong one at %zu",
		 w->step, what, off, len, got, off + i);
}

static unsigned
rnd(struct walk *w, unsigned below)
{
	w->seed = w->seed * 1103515245u + 12345u;
	return (w->seed >> 8) % below;
}

/* Small ones mostly, and edges of blocks. */
static size_t
rnd_off(struct walk *w)
{
	static const size_t edges[] = { 0, 4096, 128 * KB, 256 * KB,
					256 * KB - 1, 512 * KB, 300 * KB };

	switch (rnd(w, 4)) {
	case 0:
		return edges[rnd(w, 7)];
	case 1:
		return w->size;
	case 2:
		return w->size ? rnd(w, (unsigned)w->size) : 0;
	default:
		return rnd(w, 600 * KB);
	}
}

static size_t
rnd_len(struct walk *w)
{
	return rnd(w, 3) ? 1 + rnd(w, 9000) : 1 + rnd(w, 250 * KB);
}

/* With faults on, a call may fail with what the gate says.  After an answer
 * that was lost, what is not here is of a version that is gone, until the next
 * flush finds that out. */
static bool
ok(struct walk *w, int ret)
{
	if (ret == 0)
		return true;
	if (!w->faults || (ret != -EIO && (ret != -ESTALE || !w->dirty)))
		fail_msg("step %u: %s: %s", w->step, strerror(-ret),
			 err_words(&w->n.err));
	return false;
}

static void
resize(struct walk *w, size_t size)
{
	if (size > w->size)
		memset(w->now + w->size, 0, size - w->size);
	w->size = size;
	w->dirty = true;
}

static void
do_open(struct walk *w)
{
	bool keep;
	int ret;

	if (w->f)
		return;
	ret = node_stat(&w->n, "f", NULL);
	if (!ok(w, ret))
		return;
	ret = cache_open(w->n.c, &w->n.ctx, "f", O_RDWR, &w->f, &keep);
	if (!ok(w, ret))
		w->f = NULL;
}

static void
do_write(struct walk *w)
{
	bool append = rnd(w, 4) == 0;
	size_t off = rnd_off(w), len = rnd_len(w);
	_cleanup_free_ char *p = NULL;

	if (append)
		off = w->size;
	if (off + len > SIZE_MAX_)
		return;
	p = box_bytes(len, w->seed);
	TRACE(w, "write %zu+%zu%s\n", off, len, append ? " append" : "");
	if (!ok(w, cache_write(w->f, &w->n.ctx, append ? 0 : off, p, len,
			       append)))
		return;
	if (off + len > w->size)
		resize(w, off + len);
	memcpy(w->now + off, p, len);
	w->dirty = true;
}

static void
do_read(struct walk *w)
{
	size_t off = rnd_off(w), len = rnd_len(w), got;
	_cleanup_free_ char *p = xmalloc(len);
	size_t want = off >= w->size ? 0 :
		      len < w->size - off ? len : w->size - off;

	TRACE(w, "read %zu+%zu\n", off, len);
	if (!ok(w, cache_read(w->f, &w->n.ctx, off, p, len, &got)))
		return;
	if (got != want || memcmp(p, w->now + off, got) != 0)
		wrong(w, "read", p, got, off, w->now + off, want);
}

static void
do_truncate(struct walk *w)
{
	struct be_attr a = { .size = rnd_off(w) };
	int ret;

	if (a.size > SIZE_MAX_)
		return;
	TRACE(w, "truncate %zu -> %llu\n", w->size, (unsigned long long)a.size);
	ret = cache_setattr(w->n.c, &w->n.ctx, "f", w->f, CACHE_SET_SIZE, &a,
			    &a);
	if (ok(w, ret)) {
		assert_int_equal(ret, 0);
		resize(w, a.size);
	} else {
		/* What it did is not known: look. */
		cache_getattr(w->n.c, &w->n.ctx, "f", w->f, &a,
			      &(struct cache_life){ 0 });
		resize(w, a.size);
	}
}

static void
do_punch(struct walk *w)
{
	size_t off = rnd_off(w), len = rnd_len(w);

	TRACE(w, "punch %zu+%zu\n", off, len);
	if (!ok(w, cache_fallocate(w->f, &w->n.ctx,
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   off, len)))
		return;
	if (off < w->size) {
		memset(w->now + off, 0,
		       len < w->size - off ? len : w->size - off);
		w->dirty = true;
	}
}

static void
sent(struct walk *w)
{
	memcpy(w->sent, w->now, w->size);
	w->sent_size = w->size;
	w->dirty = false;
}

static void
do_flush(struct walk *w)
{
	TRACE(w, "flush\n");
	if (ok(w, cache_flush(w->f, &w->n.ctx)))
		sent(w);
}

static void
do_close(struct walk *w)
{
	TRACE(w, "close\n");
	/* A close that fails keeps the bytes; this walk wants them sent. */
	while (!ok(w, cache_flush(w->f, &w->n.ctx)))
		;
	sent(w);
	cache_release(w->f, &w->n.ctx);
	w->f = NULL;
}

/* A second handle sees the same at once; another node what was sent. */
static void
look_from(struct walk *w, struct node *n, const char *want, size_t size)
{
	_cleanup_free_ char *p = xmalloc(size + 1);
	struct cfile *f;
	size_t got;
	bool keep;

	TRACE(w, "look %s\n", n == &w->n ? "here" : "there");
	if (!ok(w, node_stat(n, "f", NULL)) ||
	    !ok(w, cache_open(n->c, &n->ctx, "f", O_RDONLY, &f, &keep)))
		return;
	if (ok(w, cache_read(f, &n->ctx, 0, p, size + 1, &got)) &&
	    (got != size || memcmp(p, want, size) != 0))
		wrong(w, "look", p, got, 0, want, size);
	cache_release(f, &n->ctx);
}

static void
walk_steps(struct walk *w, struct node *other, unsigned steps)
{
	for (w->step = 0; w->step < steps; w->step++) {
		do_open(w);
		if (!w->f)
			continue;
		switch (rnd(w, 16)) {
		case 0:
		case 1:
		case 2:
		case 3:
			do_write(w);
			break;
		case 4:
			do_truncate(w);
			break;
		case 5:
			do_punch(w);
			break;
		case 6:
			do_flush(w);
			break;
		case 7:
		case 8:
			do_close(w);
			break;
		case 9:
			look_from(w, &w->n, w->now, w->size);
			break;
		case 10:
			if (!w->dirty && !w->faults)
				look_from(w, other, w->sent, w->sent_size);
			break;
		default:
			do_read(w);
		}
	}
	gate_fail_random(w->g, 0, 0);
	w->faults = false;
	do_open(w);
	do_close(w);
	look_from(w, &w->n, w->now, w->size);
	look_from(w, other, w->sent, w->sent_size);
}

static void
random_calls(bool in_place, bool faults)
{
	struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
				    .whole_max = 64 * KB };
	const char *given = getenv("SHAREDFS_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) :
				(unsigned)time(NULL);

	print_message("SHAREDFS_TEST_SEED=%u\n", seed);
	for (unsigned round = 0; round < (box_under_valgrind() ? 1 : 4);
	     round++) {
		struct walk w = { .seed = seed + round,
				  .trace = getenv("SHAREDFS_TEST_TRACE") };
		struct backend *be, *other_be, *gated;
		struct be_caps caps;
		struct node other;

		backend_mem_caps(&caps, in_place);
		assert_int_equal(backend_mem_open_as(&caps, &be), 0);
		assert_int_equal(backend_mem_share(be, &other_be), 0);
		w.g = gate_new(&be, &gated);
		node_start(&w.n, gated, &cfg);
		node_start(&other, other_be, NULL);
		w.now = xcalloc(SIZE_MAX_ + 1, 1);
		w.sent = xcalloc(SIZE_MAX_ + 1, 1);
		node_put(&w.n, "f", "x");
		w.now[0] = w.sent[0] = 'x';
		w.size = w.sent_size = 1;
		w.faults = faults;
		if (faults)
			gate_fail_random(w.g, 6, seed);
		walk_steps(&w, &other, 600);
		node_stop(&w.n);
		node_stop(&other);
		free(w.now);
		free(w.sent);
	}
}

static void
random_whole(void **state)
{
	random_calls(false, false);
}

static void
random_in_place(void **state)
{
	random_calls(true, false);
}

static void
random_faults_whole(void **state)
{
	random_calls(false, true);
}

static void
random_faults_in_place(void **state)
{
	random_calls(true, true);
}

/* --- the cache's disk ---------------------------------------------------- */

struct shelf {
	struct node n, writer;
	struct backend *be; /* to start again with */
	struct gate *g;
};

static struct cache_config
shelf_config(uint64_t size_max)
{
	return (struct cache_config){ .actimeo_ns = FAR, .cto = true,
				      .whole_max = 256 * KB,
				      .size_max = size_max };
}

static void
shelf_start(struct shelf *s, bool in_place, uint64_t size_max)
{
	struct cache_config cfg = shelf_config(size_max);
	struct backend *be, *a, *b, *gated;
	struct be_caps caps;

	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(backend_mem_share(be, &a), 0);
	assert_int_equal(backend_mem_share(be, &b), 0);
	s->be = be;
	s->g = gate_new(&a, &gated);
	node_start(&s->n, gated, &cfg);
	node_start(&s->writer, b, NULL);
}

static void
shelf_stop(struct shelf *s)
{
	node_stop(&s->n);
	node_stop(&s->writer);
	backend_free(s->be);
}

#define FILES 40

static size_t
file_size(unsigned i)
{
	return i % 8 == 7 ? 700 * KB + i : 1000 + i * 777;
}

static void
file_put(struct node *n, unsigned i)
{
	_cleanup_free_ char *p = box_bytes(file_size(i), i);
	struct cfile *f;
	char path[16];

	snprintf(path, sizeof(path), "file%u", i);
	f = node_stat(n, path, NULL) == 0 ?
		    node_open(n, path, O_WRONLY | O_TRUNC) :
		    node_create(n, path, O_WRONLY);
	assert_int_equal(cache_write(f, &n->ctx, 0, p, file_size(i), false),
			 0);
	assert_int_equal(node_close(n, f), 0);
}

/* NULL: right.  (Also called by threads, so it does not assert.) */
static const char *
file_check(struct cache *c, struct cache_ctx *ctx, unsigned i)
{
	size_t n = file_size(i), got;
	_cleanup_free_ char *want = box_bytes(n, i), *p = xmalloc(n);
	struct cache_life life;
	struct be_attr a;
	struct cfile *f;
	const char *wrong = NULL;
	char path[16];
	bool keep;

	snprintf(path, sizeof(path), "file%u", i);
	if (cache_lookup(c, ctx, path, &a, &life) < 0)
		return "lookup";
	if (cache_open(c, ctx, path, O_RDONLY, &f, &keep) < 0)
		return "open";
	for (size_t at = 0; at < n && !wrong; at += 100 * KB) {
		size_t len = n - at < 100 * KB ? n - at : 100 * KB;

		if (cache_read(f, ctx, at, p, len, &got) < 0)
			wrong = "read";
		else if (got != len || memcmp(p, want + at, len) != 0)
			wrong = "bytes";
	}
	cache_release(f, ctx);
	return wrong;
}

static void
all_right(struct shelf *s)
{
	for (unsigned i = 0; i < FILES; i++) {
		const char *wrong = file_check(s->n.c, &s->n.ctx, i);

		if (wrong)
			fail_msg("file%u: %s: %s", i, wrong,
				 err_words(&s->n.err));
	}
}

static void
restart(struct shelf *s, uint64_t size_max)
{
	struct cache_config cfg = shelf_config(size_max);
	struct backend *be, *gated;

	cache_free(s->n.c);
	assert_int_equal(backend_mem_share(s->be, &be), 0);
	s->g = gate_new(&be, &gated);
	cfg.dir = s->n.dir;
	cfg.instance = "one";
	assert_int_equal(be_probe(gated, &s->n.ctx.be), 0);
	assert_int_equal(cache_new(&cfg, &gated, &s->n.c, &s->n.err), 0);
	cache_takeover(s->n.c, NULL, NULL);
}

/* A write in place that failed had begun an append: it is gone on with, and not
 * made once more behind that.  What another node appended stays. */
static void
test_append_begun(void **state)
{
	static const struct {
		const char *there, *want;
	} v[] = {
		{ "01234", "base0123456789" },
		{ "0123456789", "base0123456789" },
		{ "012xy", "base012xy0123456789" },
		{ "0123456789more", "base0123456789more0123456789" },
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++) {
		struct cfile *f, *g;
		struct shelf s;

		shelf_start(&s, true, 0);
		node_put(&s.writer, "f", "base");
		f = node_open(&s.n, "f", O_WRONLY | O_APPEND);
		node_append(&s.n, f, "0123456789");
		gate_fail(s.g, GATE_COMMIT, 1, -EIO, false);
		assert_int_equal(cache_fsync(f, &s.n.ctx), -EIO);
		err_release(&s.n.err);
		g = node_open(&s.writer, "f", O_WRONLY | O_APPEND);
		node_append(&s.writer, g, v[i].there);
		assert_int_equal(node_close(&s.writer, g), 0);
		assert_int_equal(cache_fsync(f, &s.n.ctx), 0);
		assert_int_equal(node_close(&s.n, f), 0);
		node_is(&s.writer, "f", v[i].want);
		shelf_stop(&s);
	}
}

/* "restart of the daemon finds its cache again" */
static void
test_restart(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		struct shelf s;

		shelf_start(&s, in_place, 0);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.writer, i);
		all_right(&s);
		restart(&s, 0);
		gate_reset(s.g);
		all_right(&s);
		assert_int_equal(gate_bytes(s.g), 0);
		shelf_stop(&s);
	}
}

static int
harm_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	int fd;
	char c;

	if (type != FTW_F || !strstr(path, "/clean/") || st->st_size == 0)
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (st->st_ino % 3 == 0) {
		if (ftruncate(fd, st->st_size / 2) < 0)
			perror("ftruncate");
	} else if (pread(fd, &c, 1, st->st_size / 2) == 1) {
		c ^= 1;
		if (pwrite(fd, &c, 1, st->st_size / 2) != 1)
			perror("pwrite");
	}
	close(fd);
	return 0;
}

/* C5, C6: every cached file is damaged, before and during. */
static void
test_damaged(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		struct cache_stats st;
		struct shelf s;

		shelf_start(&s, in_place, 0);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.writer, i);
		all_right(&s);
		nftw(s.n.dir, harm_one, 16, FTW_PHYS);
		all_right(&s);
		all_right(&s);
		cache_stats_get(s.n.c, &st);
		assert_true(st.disk_errors > 0);
		nftw(s.n.dir, harm_one, 16, FTW_PHYS);
		restart(&s, 0);
		all_right(&s);
		shelf_stop(&s);
	}
}

/* C4: "deleting the whole cache directory loses nothing acknowledged". */
static void
test_deleted(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		_cleanup_free_ char *p = box_bytes(700 * KB, 7);
		struct cfile *partial, *written;
		struct shelf s;
		char path[128];
		size_t got;

		shelf_start(&s, in_place, 0);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.n, i);
		file_put(&s.writer, 7);
		node_stat(&s.n, "file7", NULL);
		partial = node_open(&s.n, "file7", O_RDONLY);
		written = node_create(&s.n, "written", O_RDWR);
		assert_int_equal(cache_write(written, &s.n.ctx, 0, p, 700 * KB,
					     false), 0);
		snprintf(path, sizeof(path), "%s/v1", s.n.dir);
		box_remove_tree(path);
		/* What is open goes on. */
		assert_int_equal(cache_read(partial, &s.n.ctx, 400 * KB, p,
					    1000, &got), 0);
		assert_int_equal(got, 1000);
		cache_release(partial, &s.n.ctx);
		assert_int_equal(node_close(&s.n, written), 0);
		all_right(&s);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.n, i);
		all_right(&s);
		restart(&s, 0);
		all_right(&s);
		shelf_stop(&s);
	}
}

struct thread {
	struct shelf *s;
	unsigned seed;
	const char *wrong;
	pthread_t id;
};

static void *
read_many(void *arg)
{
	struct thread *t = arg;
	struct cache_ctx ctx = { 0 };
	unsigned rounds = box_under_valgrind() ? 60 : 400;

	for (unsigned i = 0; i < rounds && !t->wrong; i++) {
		t->seed = t->seed * 1103515245u + 12345u;
		t->wrong = file_check(t->s->n.c, &ctx,
				      (t->seed >> 8) % FILES);
	}
	return NULL;
}

/* A cache far too small for what is read, by several threads. */
static void
test_eviction(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		struct thread t[3];
		struct cache_stats st;
		struct shelf s;

		shelf_start(&s, in_place, 300 * KB);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.writer, i);
		for (unsigned i = 0; i < 3; i++) {
			t[i] = (struct thread){ &s, i };
			assert_int_equal(pthread_create(&t[i].id, NULL,
							read_many, &t[i]), 0);
		}
		for (unsigned i = 0; i < 3; i++) {
			pthread_join(t[i].id, NULL);
			if (t[i].wrong)
				fail_msg("reader %u: %s", i, t[i].wrong);
		}
		/* The thread that evicts may not have had its turn. */
		store_reclaim(s.n.c->store);
		cache_stats_get(s.n.c, &st);
		if (!box_under_valgrind()) /* too few rounds */
			assert_true(st.evictions > 0);
		assert_int_equal(st.disk_errors, 0);
		shelf_stop(&s);
	}
}

/* "on a full one reads go on and a file being written gets ENOSPC" */
static void
test_full(void **state)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("no mount namespace of our own: not tested\n");
		skip();
	}
	for (int in_place = 0; in_place < 2; in_place++) {
		_cleanup_free_ char *p = box_bytes(100 * KB, 1);
		char top[] = "/tmp/sharedfs-full-XXXXXX";
		char dir[64];
		struct cache_stats st;
		struct cfile *f;
		struct shelf s;
		uint64_t off = 0;
		int ret;

		shelf_start(&s, in_place, 0);
		assert_non_null(mkdtemp(top));
		assert_int_equal(mount("tmpfs", top, "tmpfs", 0, "size=3m"), 0);
		memcpy(dir, s.n.dir, sizeof(dir));
		snprintf(s.n.dir, sizeof(s.n.dir), "%s/cache", top);
		restart(&s, 0);
		for (unsigned i = 0; i < FILES; i++)
			file_put(&s.writer, i);
		f = node_create(&s.n, "large", O_RDWR);
		do {
			ret = cache_write(f, &s.n.ctx, off, p, 100 * KB, false);
			off += 100 * KB;
		} while (ret == 0 && off < 20000 * KB);
		assert_int_equal(ret, -ENOSPC);
		assert_non_null(strstr(err_words(&s.n.err), "full"));
		all_right(&s);
		all_right(&s);
		/* The bytes that were taken are right and can be sent. */
		assert_int_equal(node_close(&s.n, f), 0);
		all_right(&s);
		cache_stats_get(s.n.c, &st);
		assert_int_equal(st.pending_files, 0);
		/* There is room again. */
		file_put(&s.n, 3);
		memcpy(s.n.dir, dir, sizeof(dir));
		shelf_stop(&s);
		assert_int_equal(umount(top), 0);
		rmdir(top);
	}
}

/* --- several threads ----------------------------------------------------- */

#define UNIFORM (300 * KB)

struct rewriter {
	struct node *n;
	atomic_bool *stop;
	int failed;
	pthread_t id;
};

static void *
rewrite(void *arg)
{
	struct rewriter *r = arg;
	struct cache_ctx ctx = { 0 };
	_cleanup_free_ char *p = xmalloc(UNIFORM);
	struct cfile *f;
	bool keep;

	for (unsigned i = 0; !atomic_load(r->stop) && !r->failed; i++) {
		memset(p, 'a' + (int)(i % 26), UNIFORM);
		if (cache_open(r->n->c, &ctx, "f", O_WRONLY, &f, &keep) < 0) {
			r->failed = 1;
			break;
		}
		if (cache_write(f, &ctx, 0, p, UNIFORM, false) < 0 ||
		    cache_flush(f, &ctx) < 0)
			r->failed = 2;
		cache_release(f, &ctx);
	}
	return NULL;
}

#define NOT_OPENED 1

/* One handle reads "f", which is one letter from end to end in each of its
 * versions, in pieces into p: 0, NOT_OPENED, or what a read said. */
static int
read_uniform(struct node *n, char *p)
{
	struct cfile *f;
	size_t got = 0;
	bool keep;
	int ret = 0;

	node_stat(n, "f", NULL);
	if (cache_open(n->c, &n->ctx, "f", O_RDONLY, &f, &keep) < 0)
		return NOT_OPENED;
	for (size_t at = 0; at < UNIFORM - 1; at += got) {
		ret = cache_read(f, &n->ctx, at, p + at, 50 * KB, &got);
		if (ret < 0 || got == 0)
			break;
		for (size_t k = 0; k < got; k++)
			assert_int_equal(p[at + k], p[0]);
	}
	cache_release(f, &n->ctx);
	return ret;
}

/* C1: another node rewrites the file all the time; what one handle reads, in
 * pieces, is of one version, or ESTALE. */
static void
test_one_version(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		_cleanup_free_ char *p = xcalloc(1, UNIFORM);
		struct cache_config cfg = { .actimeo_ns = FAR, .cto = true,
					    .whole_max = 64 * KB };
		unsigned whole = 0, stale = 0;
		struct backend *be, *other_be;
		struct be_caps caps;
		struct rewriter w = { 0 };
		atomic_bool stop = false;
		struct node n, other;

		backend_mem_caps(&caps, in_place);
		assert_int_equal(backend_mem_open_as(&caps, &be), 0);
		assert_int_equal(backend_mem_share(be, &other_be), 0);
		node_start(&n, be, &cfg);
		node_start(&other, other_be, NULL);
		memset(p, 'a', UNIFORM - 1);
		node_put(&other, "f", p);
		assert_int_equal(node_stat(&other, "f", NULL), 0);
		w.n = &other;
		w.stop = &stop;
		assert_int_equal(pthread_create(&w.id, NULL, rewrite, &w), 0);
		for (unsigned i = 0; i < (box_under_valgrind() ? 30 : 300);
		     i++) {
			int ret = read_uniform(&n, p);

			assert_true(ret == 0 || ret == -ESTALE ||
				    ret == NOT_OPENED);
			whole += ret == 0;
			stale += ret == -ESTALE;
		}
		atomic_store(&stop, true);
		pthread_join(w.id, NULL);
		assert_int_equal(w.failed, 0);
		print_message("%u whole, %u stale\n", whole, stale);

		/* How many were whole is a matter of speed, until the writer
		 * has stopped. */
		assert_int_equal(read_uniform(&n, p), 0);
		node_stop(&n);
		node_stop(&other);
	}
}

struct mob {
	struct node *n;
	unsigned seed;
	int bad; /* an errno that no program should see here */
	pthread_t id;
};

static void
mob_name(unsigned i, char *out, size_t cap)
{
	snprintf(out, cap, i % 2 ? "d/%u" : "%u", i);
}

static int
mob_write(struct mob *m, struct cache_ctx *ctx, const char *name, unsigned how)
{
	size_t n = 1 + how * 7 % (200 * KB);
	_cleanup_free_ char *p = box_bytes(n, how);
	struct cache_life life;
	struct be_attr a;
	struct cfile *f;
	bool keep;
	int ret, trunc = how % 3 ? O_TRUNC : 0;

	ret = cache_lookup(m->n->c, ctx, name, &a, &life);
	if (ret == 0)
		ret = cache_open(m->n->c, ctx, name, O_RDWR | trunc, &f, &keep);
	else if (ret == -ENOENT)
		ret = cache_create(m->n->c, ctx, name, O_RDWR | O_CREAT | trunc,
				   0644, &f, &a);
	if (ret < 0)
		return ret;
	ret = cache_write(f, ctx, how % 5 * 1000, p, n, how % 4 == 0);
	if (ret == 0)
		ret = cache_flush(f, ctx);
	cache_release(f, ctx);
	return ret;
}

static int
mob_read(struct mob *m, struct cache_ctx *ctx, const char *name, char *p)
{
	struct cache_life life;
	struct be_attr a;
	struct cfile *f;
	size_t got;
	bool keep;
	int ret;

	ret = cache_lookup(m->n->c, ctx, name, &a, &life);
	if (ret == 0)
		ret = cache_open(m->n->c, ctx, name, O_RDONLY, &f, &keep);
	if (ret < 0)
		return ret;
	ret = cache_read(f, ctx, 0, p, 100 * KB, &got);
	cache_release(f, ctx);
	return ret;
}

static void *
mob_run(void *arg)
{
	struct mob *m = arg;
	_cleanup_free_ char *p = xmalloc(100 * KB);
	struct cache *c = m->n->c;
	struct cache_ctx ctx = { 0 };
	unsigned rounds = box_under_valgrind() ? 60 : 400;

	for (unsigned i = 0; i < rounds && !m->bad; i++) {
		char name[16], to[16];
		struct cache_listing *l;
		struct be_attr a = { .size = 777, .mode = 0640 };
		int ret = 0;

		m->seed = m->seed * 1103515245u + 12345u;
		mob_name((m->seed >> 8) % 8, name, sizeof(name));
		mob_name((m->seed >> 16) % 8, to, sizeof(to));
		switch ((m->seed >> 20) % 10) {
		case 0:
		case 1:
		case 2:
			ret = mob_write(m, &ctx, name, m->seed >> 8);
			break;
		case 3:
			ret = cache_unlink(c, &ctx, name);
			break;
		case 4:
			ret = cache_rename(c, &ctx, name, to, 0);
			break;
		case 5:
			ret = cache_list(c, &ctx, "d", &l);
			if (ret == 0)
				cache_listing_put(l);
			break;
		case 6:
			ret = cache_setattr(c, &ctx, name, NULL,
					    m->seed & 64 ? CACHE_SET_SIZE :
							   BE_SET_MODE,
					    &a, &a);
			break;
		default:
			ret = mob_read(m, &ctx, name, p);
		}
		if (ret < 0 && ret != -ENOENT && ret != -ESTALE)
			m->bad = ret;
	}
	return NULL;
}

/* Threads that write, read, rename and remove the same few files: nothing
 * breaks, and in the end the store has what this node shows. */
static void
test_mob(void **state)
{
	for (int in_place = 0; in_place < 2; in_place++) {
		struct shelf s;
		struct mob m[4];
		struct be_attr a;

		shelf_start(&s, in_place, 2048 * KB);
		assert_int_equal(cache_mkdir(s.n.c, &s.n.ctx, "d", 0755, &a),
				 0);
		for (unsigned i = 0; i < 4; i++) {
			m[i] = (struct mob){ &s.n, 100 + i };
			assert_int_equal(pthread_create(&m[i].id, NULL, mob_run,
							&m[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			pthread_join(m[i].id, NULL);
			if (m[i].bad)
				fail_msg("thread %u: %s", i,
					 strerror(-m[i].bad));
		}
		if (cache_drain(s.n.c, &s.n.ctx) < 0)
			fail_msg("%s", err_words(&s.n.err));
		for (unsigned i = 0; i < 8; i++) {
			_cleanup_free_ char *p = xcalloc(1, 600 * KB);
			_cleanup_free_ char *q = xcalloc(1, 600 * KB);
			struct cfile *f;
			size_t np, nq;
			char name[16];
			int ret;

			mob_name(i, name, sizeof(name));
			ret = node_stat(&s.n, name, NULL);
			assert_int_equal(node_stat(&s.writer, name, NULL), ret);
			if (ret < 0)
				continue;
			f = node_open(&s.n, name, O_RDONLY);
			assert_int_equal(cache_read(f, &s.n.ctx, 0, p, 600 * KB,
						    &np), 0);
			cache_release(f, &s.n.ctx);
			f = node_open(&s.writer, name, O_RDONLY);
			assert_int_equal(cache_read(f, &s.writer.ctx, 0, q,
						    600 * KB, &nq), 0);
			cache_release(f, &s.writer.ctx);
			assert_int_equal(np, nq);
			assert_memory_equal(p, q, np);
		}
		shelf_stop(&s);
	}
}

/* Calls fn for each file of the only mount; how often it said true. */
static unsigned
each_file(const char *dir, const char *which, bool (*fn)(const char *path))
{
	char pattern[256];
	unsigned n = 0;
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/v1/mounts/one/%s", dir, which);
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	for (size_t i = 0; i < g.gl_pathc; i++)
		n += fn(g.gl_pathv[i]);
	globfree(&g);
	return n;
}

static bool
spoil_record(const char *path)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool done = fd >= 0 && write(fd, "x\n", 2) == 2;

	close(fd);
	return done;
}

static bool
holds_precious(const char *path)
{
	char p[8] = "";
	int fd = open(path, O_RDONLY);
	bool holds = fd >= 0 && read(fd, p, 8) == 8 &&
		     memcmp(p, "precious", 8) == 0;

	close(fd);
	return holds;
}

/* Bytes of a killed daemon stay, even if their record can't be read. */
static void
test_bad_journal(void **state)
{
	struct shelf s;
	struct cfile *f;

	shelf_start(&s, false, 0);
	f = node_create(&s.n, "unsent", O_WRONLY);
	node_write(&s.n, f, 0, "precious");
	gate_fail(s.g, GATE_COMMIT, 1000, -EDQUOT, false);
	assert_int_equal(node_close(&s.n, f), -EDQUOT);
	cache_free(s.n.c);
	assert_true(each_file(s.n.dir, "journal/*.j", spoil_record) > 0);
	for (int i = 0; i < 2; i++) {
		struct cache_config cfg = shelf_config(0);
		struct backend *be;

		assert_int_equal(backend_mem_share(s.be, &be), 0);
		cfg.dir = s.n.dir;
		cfg.instance = "one";
		assert_int_equal(cache_new(&cfg, &be, &s.n.c, &s.n.err), 0);
		cache_takeover(s.n.c, NULL, NULL);
		assert_true(each_file(s.n.dir, "files/*", holds_precious) > 0);
		if (i == 0)
			cache_free(s.n.c);
	}
	shelf_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_whole),
		cmocka_unit_test(random_in_place),
		cmocka_unit_test(random_faults_whole),
		cmocka_unit_test(random_faults_in_place),
		cmocka_unit_test(test_append_begun),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_one_version),
		cmocka_unit_test(test_mob),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_bad_journal),
	};

	alarm(900);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
