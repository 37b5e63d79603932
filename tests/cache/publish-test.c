/* SPDX-License-Identifier: MIT */
/* Bytes become clean at the last close.  An open() that had found the content
 * just before goes on with it, and has its bytes (C6). */
#include <config.h>

#include "cache/cache-priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

static struct cache *
open_cache(const char *dir, bool in_place, struct cache_ctx *ctx)
{
	struct cache_config cfg = {
		.dir = dir,
		.instance = "one",
		.actimeo_ns = 1000000000,
		.cto = true,
		.whole_max = 1 << 20,
	};
	struct backend *be;
	struct be_caps caps;
	struct cache *c;

	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	assert_int_equal(be_probe(be, &ctx->be), 0);
	assert_int_equal(cache_new(&cfg, &be, &c, NULL), 0);
	return c;
}

static struct cfile *
written(struct cache *c, struct cache_ctx *ctx, const char *text)
{
	struct be_attr a;
	struct cfile *f;

	assert_int_equal(cache_create(c, ctx, "a", O_RDWR | O_CREAT, 0644, &f,
				      &a),
			 0);
	assert_int_equal(cache_write(f, ctx, 0, text, strlen(text), false), 0);
	assert_int_equal(cache_flush(f, ctx), 0);
	return f;
}

static void
is(struct cfile *f, struct cache_ctx *ctx, const char *text)
{
	char p[64];
	size_t got;

	assert_int_equal(cache_read(f, ctx, 0, p, sizeof(p), &got), 0);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(p, text, got);
}

static void
publish(struct content *k)
{
	bool begun;

	cache_lock(k->c);
	pthread_mutex_lock(&k->lock);
	begun = content_publish_begin_locked(k);
	pthread_mutex_unlock(&k->lock);
	cache_unlock(k->c);
	assert_true(begun);
	content_publish(k);
}

static void
late_open(bool in_place)
{
	char dir[] = "/tmp/sharedfs-publish-XXXXXX";
	struct cache_ctx ctx = { .be.err = NULL };
	struct cache *c;
	struct cfile *f;
	bool keep;

	assert_non_null(mkdtemp(dir));
	c = open_cache(dir, in_place, &ctx);
	f = written(c, &ctx, "what was written");
	publish(f->k);
	/* To read, and to change a part of it. */
	is(f, &ctx, "what was written");
	assert_int_equal(cache_write(f, &ctx, 0, "W", 1, false), 0);
	assert_int_equal(cache_flush(f, &ctx), 0);
	is(f, &ctx, "What was written");
	cache_release(f, &ctx);
	assert_int_equal(cache_open(c, &ctx, "a", O_RDONLY, &f, &keep), 0);
	is(f, &ctx, "What was written");
	cache_release(f, &ctx);
	cache_free(c);
	box_remove_tree(dir);
}

static void
whole_files(void **state)
{
	late_open(false);
}

static void
in_place(void **state)
{
	late_open(true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_files),
		cmocka_unit_test(in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
