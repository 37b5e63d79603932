/* SPDX-License-Identifier: MIT */
/* See mem-tree.h. */
#include <config.h>

#include "backends/mem-tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/xalloc.h"

static void
node_free(struct mem_node *n)
{
	struct mem_name *e, *tmp;

	HASH_ITER(hh, n->names, e, tmp)
	{
		struct mem_node *child = e->node;

		HASH_DEL(n->names, e);
		if (S_ISDIR(child->mode) || --child->nlink == 0)
			node_free(child);
		free(e->name);
		free(e);
	}
	while (n->xattrs) {
		struct mem_xattr *x = n->xattrs;

		n->xattrs = x->next;
		free(x->name);
		free(x->value);
		free(x);
	}
	free(n->data);
	free(n);
}

struct mem_node *
mem_node_new(struct mem_tree *t, const struct be_attr *attr)
{
	struct mem_node *n = xcalloc(1, sizeof(*n));

	n->mode = attr->mode;
	n->uid = attr->uid;
	n->gid = attr->gid;
	n->rdev = attr->rdev;
	n->nlink = S_ISDIR(attr->mode) ? 2 : 0;
	n->ctime = clock_wall();
	n->mtime = n->ctime;
	n->atime = n->ctime;
	n->ino = ++t->counter;
	n->ver = ++t->counter;
	n->aver = ++t->counter;
	return n;
}

struct mem_tree *
mem_tree_new(void)
{
	struct be_attr attr = {.mode = S_IFDIR | 0755};
	struct mem_tree *t = xcalloc(1, sizeof(*t));
	struct be_opid id;

	be_opid_new(&id);
	pthread_mutex_init(&t->lock, NULL);
	t->refs = 1;
	t->id = xasprintf("mem:%s", id.s);
	t->root = mem_node_new(t, &attr);
	return t;
}

struct mem_tree *
mem_tree_ref(struct mem_tree *t)
{
	pthread_mutex_lock(&t->lock);
	t->refs++;
	pthread_mutex_unlock(&t->lock);
	return t;
}

void
mem_tree_put(struct mem_tree *t)
{
	unsigned left;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	left = --t->refs;
	pthread_mutex_unlock(&t->lock);
	if (left)
		return;
	node_free(t->root);
	pthread_mutex_destroy(&t->lock);
	free(t->id);
	free(t);
}

int
mem_find(struct mem_tree *t, const char *path, struct mem_place *out)
{
	struct mem_place p = {.tree = t, .node = t->root, .base = path};

	while (*path) {
		size_t len = strcspn(path, "/");

		if (!p.node)
			return -ENOENT;
		if (!S_ISDIR(p.node->mode))
			return -ENOTDIR;
		p.dir = p.node;
		p.base = path;
		HASH_FIND(hh, p.dir->names, path, len, p.name);
		p.node = p.name ? p.name->node : NULL;
		path += len;
		if (*path == '/')
			path++;
	}
	*out = p;
	return 0;
}

struct mem_xattr **
mem_xattr_find(struct mem_node *n, const char *name)
{
	struct mem_xattr **x = &n->xattrs;

	while (*x && strcmp((*x)->name, name) != 0)
		x = &(*x)->next;
	return x;
}

/* A name came or went. */
static void
touch_dir(struct mem_place *at)
{
	at->dir->mtime = at->dir->ctime = clock_wall();
	at->dir->ver = ++at->tree->counter;
	at->dir->aver = ++at->tree->counter;
}

void
mem_name_add(struct mem_place *at, struct mem_node *n)
{
	struct mem_name *e = xcalloc(1, sizeof(*e));

	e->name = xstrdup(at->base);
	e->node = n;
	HASH_ADD_KEYPTR(hh, at->dir->names, e->name, strlen(e->name), e);
	if (S_ISDIR(n->mode))
		at->dir->nlink++;
	else
		n->nlink++;
	touch_dir(at);
	at->name = e;
	at->node = n;
}

struct mem_node *
mem_name_take(struct mem_place *at)
{
	struct mem_name *e = at->name;
	struct mem_node *n = e->node;

	HASH_DEL(at->dir->names, e);
	if (S_ISDIR(n->mode))
		at->dir->nlink--;
	else
		n->nlink--;
	touch_dir(at);
	free(e->name);
	free(e);
	at->name = NULL;
	at->node = NULL;
	return n;
}

void
mem_name_del(struct mem_place *at)
{
	struct mem_node *n = mem_name_take(at);

	if (S_ISDIR(n->mode) || n->nlink == 0)
		node_free(n);
}

void
mem_node_attr(const struct mem_node *n, struct be_attr *out)
{
	char ver[24];
	int len = snprintf(ver, sizeof(ver), "%" PRIu64, n->ver);

	memset(out, 0, sizeof(*out));
	out->mode = n->mode;
	out->uid = n->uid;
	out->gid = n->gid;
	out->nlink = n->nlink;
	out->size = n->size;
	out->blocks = (n->size + 511) / 512;
	out->ino = n->ino;
	out->rdev = n->rdev;
	out->atime = n->atime;
	out->mtime = n->mtime;
	out->ctime = n->ctime;
	be_ver_set(&out->ver, ver, len);
	out->aver = n->aver;
}

const struct mem_done *
mem_done_find(struct mem_tree *t, const struct be_opid *opid)
{
	if (!opid || !opid->s[0])
		return NULL;
	for (unsigned i = 0; i < MEM_DONE_MAX; i++)
		if (strcmp(t->done[i].opid.s, opid->s) == 0)
			return &t->done[i];
	return NULL;
}

void
mem_done_add(struct mem_tree *t, const struct be_opid *opid,
	     const struct be_attr *attr)
{
	struct mem_done *d = &t->done[t->done_next];

	if (!opid || !opid->s[0])
		return;
	t->done_next = (t->done_next + 1) % MEM_DONE_MAX;
	memset(d, 0, sizeof(*d));
	d->opid = *opid;
	if (attr)
		d->attr = *attr;
}
