/* SPDX-License-Identifier: MIT */
/* See tree.h. */
#include <config.h>

#include "tests/model/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/path.h"
#include "common/xalloc.h"

struct mfile *
mfile_new(mode_t mode)
{
	struct mfile *f = xcalloc(1, sizeof(*f));

	f->mode = mode;
	f->refs = 1;
	return f;
}

struct mfile *
mfile_copy(const struct mfile *f)
{
	struct mfile *c = xmemdup(f, sizeof(*f));

	c->refs = 1;
	c->names = 0;
	c->data = xmalloc(f->size + 1);
	if (f->data)
		memcpy(c->data, f->data, f->size);
	c->data[f->size] = '\0';
	c->tag = f->tag ? xstrdup(f->tag) : NULL;
	return c;
}

struct mfile *
mfile_ref(struct mfile *f)
{
	f->refs++;
	return f;
}

void
mfile_put(struct mfile *f)
{
	if (--f->refs)
		return;
	free(f->data);
	free(f->tag);
	free(f);
}

void
mfile_truncate(struct mfile *f, size_t size)
{
	f->data = xrealloc(f->data, size + 1, 1);
	if (size > f->size)
		memset(f->data + f->size, 0, size - f->size);
	f->data[size] = '\0';
	f->size = size;
	f->has_mtime = false;
}

void
mfile_write(struct mfile *f, size_t off, const char *p, size_t len)
{
	if (len == 0)
		return;
	if (off + len > f->size)
		mfile_truncate(f, off + len);
	memcpy(f->data + off, p, len);
	f->has_mtime = false;
}

void
tree_release(struct tree *t)
{
	while (t->n)
		tree_del(t, t->v[t->n - 1].path);
	free(t->v);
	memset(t, 0, sizeof(*t));
}

/* Where path is, or would be. */
static size_t
find(const struct tree *t, const char *path)
{
	size_t i = 0;

	while (i < t->n && strcmp(t->v[i].path, path) < 0)
		i++;
	return i;
}

struct mfile *
tree_get(const struct tree *t, const char *path)
{
	size_t i = find(t, path);

	return i < t->n && strcmp(t->v[i].path, path) == 0 ? t->v[i].f : NULL;
}

const char *
tree_path(const struct tree *t, const struct mfile *f)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->v[i].f == f)
			return t->v[i].path;
	return NULL;
}

bool
tree_is_dir(const struct tree *t, const char *path)
{
	const struct mfile *f = tree_get(t, path);

	return !*path || (f && S_ISDIR(f->mode));
}

static bool
is_child(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (n == 0)
		return !strchr(path, '/');
	return strncmp(path, dir, n) == 0 && path[n] == '/' &&
	       !strchr(path + n + 1, '/');
}

size_t
tree_children(const struct tree *t, const char *dir)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += is_child(t->v[i].path, dir);
	return n;
}

void
tree_add(struct tree *t, const char *path, struct mfile *f)
{
	size_t i = find(t, path);

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->v = xrealloc(t->v, t->cap, sizeof(*t->v));
	}
	memmove(t->v + i + 1, t->v + i, (t->n - i) * sizeof(*t->v));
	t->v[i].path = xstrdup(path);
	t->v[i].f = mfile_ref(f);
	f->names++;
	t->n++;
}

void
tree_del(struct tree *t, const char *path)
{
	size_t i = find(t, path);
	struct mname gone = t->v[i];

	memmove(t->v + i, t->v + i + 1, (t->n - i - 1) * sizeof(*t->v));
	t->n--;
	gone.f->names--;
	mfile_put(gone.f);
	free(gone.path);
}

/* Takes all at and below path out. */
static struct tree
take(struct tree *t, const char *path)
{
	struct tree out = {0};

	for (size_t i = 0; i < t->n;) {
		if (!path_within(t->v[i].path, path)) {
			i++;
			continue;
		}
		tree_add(&out, t->v[i].path, t->v[i].f);
		tree_del(t, t->v[i].path);
	}
	return out;
}

static void
give(struct tree *t, struct tree *some, const char *from, const char *to)
{
	for (size_t i = 0; i < some->n; i++) {
		char *path = path_rebase(some->v[i].path, from, to);

		tree_add(t, path, some->v[i].f);
		free(path);
	}
	tree_release(some);
}

void
tree_move(struct tree *t, const char *from, const char *to, bool exchange)
{
	struct tree a = take(t, from), b = take(t, to);

	give(t, &a, from, to);
	if (exchange)
		give(t, &b, to, from);
	else
		tree_release(&b);
}
