/* SPDX-License-Identifier: MIT */
/* See nodes.h. */
#include <config.h>

#include "tests/cache/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

static void
on_change(void *arg, const char *path, bool data)
{
	struct node *n = arg;

	atomic_fetch_add(&n->changed, 1);
}

void
node_start(struct node *n, struct backend *be, const struct cache_config *cfg)
{
	struct cache_config def = { .actimeo_ns = 1000000000, .cto = true };
	struct cache_config use = cfg ? *cfg : def;

	memset(n, 0, sizeof(*n));
	snprintf(n->dir, sizeof(n->dir), "/tmp/sharedfs-node-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	use.dir = n->dir;
	use.instance = "one";
	use.changed = on_change;
	use.arg = n;
	n->ctx.be.err = &n->err;
	assert_int_equal(be_probe(be, &n->ctx.be), 0);
	assert_int_equal(cache_new(&use, &be, &n->c, &n->err), 0);
}

void
node_stop(struct node *n)
{
	cache_free(n->c);
	err_release(&n->err);
	box_remove_tree(n->dir);
}

struct cfile *
node_open(struct node *n, const char *path, int flags)
{
	struct cfile *f;
	bool keep;
	int ret = cache_open(n->c, &n->ctx, path, flags, &f, &keep);

	/* As the kernel does: look the name up again. */
	if (ret == -ESTALE)
		ret = cache_open(n->c, &n->ctx, path, flags, &f, &keep);
	assert_int_equal(ret, 0);
	return f;
}

struct cfile *
node_create(struct node *n, const char *path, int flags)
{
	struct be_attr a;
	struct cfile *f;

	assert_int_equal(cache_create(n->c, &n->ctx, path, flags | O_CREAT,
				      0644, &f, &a),
			 0);
	return f;
}

void
node_write(struct node *n, struct cfile *f, uint64_t off, const char *text)
{
	assert_int_equal(cache_write(f, &n->ctx, off, text, strlen(text),
				     false),
			 0);
}

void
node_append(struct node *n, struct cfile *f, const char *text)
{
	assert_int_equal(cache_write(f, &n->ctx, 0, text, strlen(text), true),
			 0);
}

int
node_close(struct node *n, struct cfile *f)
{
	int ret = cache_flush(f, &n->ctx);

	cache_release(f, &n->ctx);
	return ret;
}

int
node_stat(struct node *n, const char *path, struct be_attr *out)
{
	struct cache_life life;
	struct be_attr a;

	return cache_lookup(n->c, &n->ctx, path, out ? out : &a, &life);
}

void
node_put(struct node *n, const char *path, const char *text)
{
	struct cfile *f = node_stat(n, path, NULL) == 0 ?
				  node_open(n, path, O_WRONLY | O_TRUNC) :
				  node_create(n, path, O_WRONLY);

	node_write(n, f, 0, text);
	assert_int_equal(node_close(n, f), 0);
}

void
node_is(struct node *n, const char *path, const char *text)
{
	struct cfile *f = node_open(n, path, O_RDONLY);
	char *p = malloc(strlen(text) + 64);
	size_t got;

	assert_int_equal(cache_read(f, &n->ctx, 0, p, strlen(text) + 64, &got),
			 0);
	assert_int_equal(got, strlen(text));
	assert_memory_equal(p, text, got);
	cache_release(f, &n->ctx);
	free(p);
}
