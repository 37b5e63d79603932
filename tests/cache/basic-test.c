/* SPDX-License-Identifier: MIT */
/* The cache over the store in memory, writing in place and not: the first
 * things that must work. */
#include <config.h>

#include "cache/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

struct node {
	struct cache *c;
	struct cache_ctx ctx;
	struct err err;
	char dir[64];
};

static void
node_start(struct node *n, struct backend *be, const char *dir)
{
	struct cache_config cfg = {
		.dir = dir,
		.instance = "one",
		.actimeo_ns = 1000000000,
		.cto = true,
	};

	memset(n, 0, sizeof(*n));
	n->ctx.be.err = &n->err;
	assert_int_equal(be_probe(be, &n->ctx.be), 0);
	assert_int_equal(cache_new(&cfg, &be, &n->c, &n->err), 0);
}

static void
put(struct node *n, const char *path, const char *text)
{
	struct be_attr a;
	struct cfile *f;

	assert_int_equal(cache_create(n->c, &n->ctx, path, O_WRONLY | O_CREAT,
				      0644, &f, &a),
			 0);
	assert_int_equal(cache_write(f, &n->ctx, 0, text, strlen(text), false),
			 0);
	assert_int_equal(cache_flush(f, &n->ctx), 0);
	cache_release(f, &n->ctx);
}

static void
is(struct node *n, const char *path, const char *text)
{
	char p[256];
	struct cfile *f;
	size_t got;
	bool keep;

	assert_int_equal(cache_open(n->c, &n->ctx, path, O_RDONLY, &f, &keep),
			 0);
	assert_int_equal(cache_read(f, &n->ctx, 0, p, sizeof(p), &got), 0);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(p, text, got);
	cache_release(f, &n->ctx);
}

static void
basics(bool in_place)
{
	char dir[] = "/tmp/sharedfs-basic-XXXXXX";
	struct backend *be;
	struct be_caps caps;
	struct cache_life life;
	struct cache_listing *l;
	struct cache_dirent d;
	struct be_attr a;
	struct cfile *f;
	struct node n;
	bool keep;
	size_t got;
	char p[16];

	assert_non_null(mkdtemp(dir));
	backend_mem_caps(&caps, in_place);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	node_start(&n, be, dir);
	put(&n, "a", "hello");
	is(&n, "a", "hello");
	is(&n, "a", "hello");
	assert_int_equal(cache_mkdir(n.c, &n.ctx, "d", 0755, &a), 0);
	put(&n, "d/b", "world");
	assert_int_equal(cache_rename(n.c, &n.ctx, "d/b", "d/c", 0), 0);
	is(&n, "d/c", "world");
	assert_int_equal(cache_lookup(n.c, &n.ctx, "d/b", &a, &life), -ENOENT);
	assert_int_equal(cache_rename(n.c, &n.ctx, "d", "e", 0), 0);
	is(&n, "e/c", "world");
	assert_int_equal(cache_list(n.c, &n.ctx, "", &l), 0);
	assert_int_equal(cache_listing_get(l, &n.ctx, 0, &d), 0);
	assert_string_equal(d.name, "a");
	assert_int_equal(cache_listing_get(l, &n.ctx, 1, &d), 0);
	assert_string_equal(d.name, "e");
	assert_int_equal(cache_listing_get(l, &n.ctx, 2, &d), -ENOENT);
	cache_listing_put(l);

	/* write into the middle, append, truncate; seen while it is open */
	assert_int_equal(cache_open(n.c, &n.ctx, "a", O_RDWR, &f, &keep), 0);
	assert_int_equal(cache_write(f, &n.ctx, 1, "E", 1, false), 0);
	is(&n, "a", "hEllo");
	assert_int_equal(cache_write(f, &n.ctx, 0, "!", 1, true), 0);
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	is(&n, "a", "hEllo!");
	a.size = 3;
	assert_int_equal(cache_setattr(n.c, &n.ctx, "a", f, CACHE_SET_SIZE, &a,
				       &a),
			 0);
	a.size = 5;
	assert_int_equal(cache_setattr(n.c, &n.ctx, "a", f, CACHE_SET_SIZE, &a,
				       &a),
			 0);
	/* unlink while open */
	assert_int_equal(cache_unlink(n.c, &n.ctx, "a"), 0);
	assert_int_equal(cache_read(f, &n.ctx, 0, p, sizeof(p), &got), 0);
	assert_int_equal(got, 5);
	assert_memory_equal(p, "hEl\0\0", 5);
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	cache_release(f, &n.ctx);
	assert_int_equal(cache_lookup(n.c, &n.ctx, "a", &a, &life), -ENOENT);
	err_release(&n.err);
	cache_free(n.c);
	box_remove_tree(dir);
}

/* "a b/" of what was noted since the last time, '/' behind trees. */
static void
noted(struct node *n, const char *want)
{
	_cleanup_buf_ struct buf have = BUF_INIT;
	struct cache_change *v;
	bool lost;
	size_t k;

	v = cache_take_changes(n->c, &k, &lost);
	assert_false(lost);
	for (size_t i = 0; i < k; i++)
		buf_addf(&have, "%s%s%s", i ? " " : "", v[i].path,
			 v[i].tree ? "/" : "");
	cache_changes_free(v, k);
	assert_string_equal(buf_str(&have), want);
}

/* What this node changes in the store is noted as long as somebody asks for it
 * [MIG.9]. */
static void
notes(void **state)
{
	char dir[] = "/tmp/sharedfs-notes-XXXXXX";
	struct backend *be;
	struct be_caps caps;
	struct be_attr a;
	struct cfile *f;
	struct node n;
	bool keep;

	assert_non_null(mkdtemp(dir));
	backend_mem_caps(&caps, false);
	assert_int_equal(backend_mem_open_as(&caps, &be), 0);
	node_start(&n, be, dir);
	put(&n, "a", "hello");
	noted(&n, "");
	cache_note_changes(n.c, true);
	is(&n, "a", "hello");
	noted(&n, "");
	put(&n, "b", "1");
	put(&n, "b", "2");
	noted(&n, "b");
	noted(&n, "");
	assert_int_equal(cache_mkdir(n.c, &n.ctx, "d", 0755, &a), 0);
	assert_int_equal(cache_rename(n.c, &n.ctx, "d", "e", 0), 0);
	noted(&n, "d/ e/");
	assert_int_equal(cache_unlink(n.c, &n.ctx, "b"), 0);
	noted(&n, "b");

	/* a program that had it open before */
	assert_int_equal(cache_open(n.c, &n.ctx, "a", O_RDWR, &f, &keep), 0);
	assert_int_equal(cache_write(f, &n.ctx, 0, "H", 1, false), 0);
	cache_note_changes(n.c, true);
	noted(&n, "");
	assert_int_equal(cache_flush(f, &n.ctx), 0);
	cache_release(f, &n.ctx);
	noted(&n, "a");
	cache_note_changes(n.c, false);
	put(&n, "c", "3");
	noted(&n, "");
	err_release(&n.err);
	cache_free(n.c);
	box_remove_tree(dir);
}

static void
whole_files(void **state)
{
	basics(false);
}

static void
in_place(void **state)
{
	basics(true);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_files),
		cmocka_unit_test(in_place),
		cmocka_unit_test(notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
