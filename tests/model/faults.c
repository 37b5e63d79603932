/* SPDX-License-Identifier: MIT */
/*
 * The model test on a store of which every Nth call fails for good, before it
 * did anything or after.  What failed has happened or not: the whole store
 * must then look like the model before, after, or (of what takes several
 * steps) between.  The one that fits is gone on with, and the cache must tell
 * the same.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "tests/model/run.h"

/* The states that an operation may leave; the last is success. */
#define STATES 8
struct states {
	struct tree t[STATES];
	size_t n;
};

/* Files are shared with the copy; who changes one replaces it. */
static struct tree *
next_state(struct states *s)
{
	struct tree *t = &s->t[s->n++];

	memset(t, 0, sizeof(*t));
	for (size_t i = 0; i < t[-1].n; i++)
		tree_add(t, t[-1].v[i].path, t[-1].v[i].f);
	return t;
}

static struct mfile *
change(struct tree *t, const char *path)
{
	struct mfile *f = mfile_copy(tree_get(t, path));

	tree_del(t, path);
	tree_add(t, path, f);
	mfile_put(f);
	return f;
}

static struct mfile *
add_new(struct tree *t, const char *path, mode_t mode)
{
	struct mfile *f = mfile_new(mode);

	if (S_ISREG(mode))
		mfile_truncate(f, 0);
	tree_add(t, path, f);
	mfile_put(f);
	return f;
}

static void
faults_set(struct run *r, bool on)
{
	struct wrap_fault_config cfg = {0};

	if (on) {
		cfg.first = 1 + dice(r, r->faults);
		cfg.every = r->faults;
		cfg.err = -EIO;
		cfg.after = one_in(r, 2);
	}
	wrap_fault_set(r->fault, &cfg);
}

/* r->t is what may be; nothing else is. */
static void
settle(struct run *r, struct states *s, int ret)
{
	char why[400] = "";
	size_t i = s->n;

	if (ret < 0 && ret != -EIO)
		die(r, "failed with %s (%s)", strerror(-ret),
		    r->err.msg ? r->err.msg : "");
	if (ret == 0) {
		i = s->n - 1;
		if (one_in(r, 20) &&
		    !store_is(r, r->fault, &s->t[i], why, sizeof(why)))
			die(r, "it succeeded, but %s", why);
	} else {
		while (i-- > 0)
			if (store_is(r, r->fault, &s->t[i], why, sizeof(why)))
				break;
		if (i == SIZE_MAX)
			die(r, "it failed, and %s", why);
	}
	if (r->verbose && ret)
		fprintf(stderr, "  failed: state %zu of %zu\n", i, s->n);
	r->t = s->t[i];
	for (size_t j = 0; j < s->n; j++)
		if (j != i)
			tree_release(&s->t[j]);
	if (ret)
		check_all(r);
}

/* -EIO, or what the model says; the kernel goes no further on an error. */
static int
seek(struct run *r, const char *path)
{
	for (const char *p = path; *p;) {
		size_t n = (p - path) + strcspn(p, "/");
		_cleanup_free_ char *part = xstrndup(path, n);
		struct cache_life life;
		struct be_attr a;
		int ret = cache_lookup(r->c, fresh(r), part, &a, &life);
		bool there = tree_get(&r->t, part);

		if (ret == -EIO)
			return ret;
		if ((ret == 0) != there)
			die(r, "lookup \"%s\": %d", part, ret);
		if (!there || !path[n])
			break;
		p = path + n + 1;
	}
	return 0;
}

static int
write_and_close(struct run *r, struct states *s, struct cfile *cf,
		const char *path)
{
	int ret = 0, ret2;

	for (unsigned n = 1 + dice(r, 3); n && ret == 0; n--) {
		struct mfile *f = tree_get(&s->t[s->n - 1], path);
		size_t off = dice(r, f->size + 1000);
		size_t len = dice_size(r, 20000);
		_cleanup_free_ char *p = dice_bytes(r, len);

		if (s->n == STATES)
			break;
		ret = cache_write(cf, fresh(r), off, p, len, false);
		if (ret == 0)
			mfile_write(change(next_state(s), path), off, p, len);
	}
	if (ret == 0)
		ret = cache_flush(cf, fresh(r));
	/* The kernel's release tells nobody, and comes when the storm is over:
	 * what close() could not send is sent now, or kept and listed. */
	faults_set(r, false);
	ret2 = cache_flush(cf, fresh(r));
	cache_release(cf, fresh(r));
	return ret ? ret : ret2;
}

static int
do_write(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, ANYTHING);
	int flags = O_RDWR | (one_in(r, 3) ? O_TRUNC : 0), ret;
	struct mfile *f;
	struct cfile *cf;
	struct be_attr a;
	bool keep;

	if (!path)
		return 0;
	f = tree_get(&r->t, path);
	if (f && !S_ISREG(f->mode))
		return 0;
	if (!f && one_in(r, 3))
		flags |= O_EXCL;
	doing(r, "%s \"%s\" flags %o", f ? "rewrite" : "create", path, flags);
	ret = seek(r, path);
	if (ret)
		return ret;
	if (f) {
		if (flags & O_TRUNC)
			mfile_truncate(change(next_state(s), path), 0);
		ret = cache_open(r->c, fresh(r), path, flags, &cf, &keep);
	} else {
		add_new(next_state(s), path, S_IFREG | 0640);
		ret = cache_create(r->c, fresh(r), path, flags | O_CREAT, 0640,
				   &cf, &a);
		/* The lost reply of a create() that can't be told from
		 * another's (B5) is an EEXIST here. */
		if (ret == -EEXIST)
			ret = -EIO;
	}
	if (ret)
		return ret;
	return write_and_close(r, s, cf, path);
}

static int
do_read(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	_cleanup_free_ char *p = NULL;
	struct mfile *f;
	struct cfile *cf;
	size_t got = 0;
	bool keep;
	int ret;

	if (!path)
		return 0;
	f = tree_get(&r->t, path);
	if (!S_ISREG(f->mode))
		return 0;
	doing(r, "read \"%s\"", path);
	ret = seek(r, path);
	if (ret)
		return ret;
	ret = cache_open(r->c, fresh(r), path, O_RDONLY, &cf, &keep);
	if (ret)
		return ret;
	p = xmalloc(f->size + 1);
	ret = cache_read(cf, fresh(r), 0, p, f->size + 1, &got);
	if (ret == 0 && (got != f->size || memcmp(p, f->data, got) != 0))
		die(r, "wrong bytes");
	cache_release(cf, fresh(r));
	return ret;
}

static int
do_list(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	struct cache_listing *l;
	struct cache_dirent d;
	size_t n = 0;
	int ret;

	if (!path || !tree_is_dir(&r->t, path))
		return 0;
	doing(r, "list \"%s\"", path);
	ret = seek(r, path);
	if (ret == 0)
		ret = cache_list(r->c, fresh(r), path, &l);
	if (ret)
		return ret;
	while ((ret = cache_listing_get(l, fresh(r), n, &d)) == 0)
		n++;
	cache_listing_put(l);
	if (ret != -ENOENT)
		return ret;
	if (n != tree_children(&r->t, path))
		die(r, "%zu names, not %zu", n, tree_children(&r->t, path));
	return 0;
}

static int
do_mkdir(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, NOTHING);
	struct be_attr a;
	int ret;

	if (!path)
		return 0;
	doing(r, "mkdir \"%s\"", path);
	ret = seek(r, path);
	if (ret)
		return ret;
	add_new(next_state(s), path, S_IFDIR | 0750);
	return cache_mkdir(r->c, fresh(r), path, 0750, &a);
}

static int
do_remove(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	bool dir = path && tree_is_dir(&r->t, path);
	int ret;

	if (!path || (dir && tree_children(&r->t, path)))
		return 0;
	doing(r, "remove \"%s\"", path);
	ret = seek(r, path);
	if (ret)
		return ret;
	tree_del(next_state(s), path);
	return dir ? cache_rmdir(r->c, fresh(r), path)
		   : cache_unlink(r->c, fresh(r), path);
}

static int
do_rename(struct run *r, struct states *s)
{
	_cleanup_free_ char *from = dice_path(r, SOMETHING);
	_cleanup_free_ char *to = dice_path(r, ANYTHING);
	const struct mfile *there;
	int ret;

	if (!from || !to || path_within(to, from) || path_within(from, to))
		return 0;
	there = tree_get(&r->t, to);
	if (there && (tree_is_dir(&r->t, from) != tree_is_dir(&r->t, to) ||
		      tree_children(&r->t, to)))
		return 0;
	doing(r, "rename \"%s\" to \"%s\"", from, to);
	ret = seek(r, from);
	if (ret == 0)
		ret = seek(r, to);
	if (ret)
		return ret;
	tree_move(next_state(s), from, to, false);
	return cache_rename(r->c, fresh(r), from, to, 0);
}

static int
do_symlink(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, NOTHING);
	struct be_attr a;
	int ret;

	if (!path)
		return 0;
	doing(r, "symlink \"%s\"", path);
	ret = seek(r, path);
	if (ret)
		return ret;
	add_new(next_state(s), path, S_IFLNK | 0777);
	return cache_symlink(r->c, fresh(r), path, "target", &a);
}

static int
do_setattr(struct run *r, struct states *s)
{
	_cleanup_free_ char *path = dice_path(r, SOMETHING);
	struct be_attr set = {.mode = 0600 | dice(r, 0200)}, a;
	unsigned mask = one_in(r, 2) ? BE_SET_MODE : CACHE_SET_SIZE;
	struct mfile *f;
	int ret;

	if (!path)
		return 0;
	f = tree_get(&r->t, path);
	if (!S_ISREG(f->mode))
		return 0;
	set.mode |= S_IFREG;
	set.size = dice_size(r, 20000);
	doing(r, "setattr \"%s\" mask %x", path, mask);
	ret = seek(r, path);
	if (ret)
		return ret;
	f = change(next_state(s), path);
	if (mask == BE_SET_MODE)
		f->mode = set.mode;
	else
		mfile_truncate(f, set.size);
	return cache_setattr(r->c, fresh(r), path, NULL, mask, &set, &a);
}

void
faults_run(struct run *r)
{
	static int (*const all[])(struct run * r, struct states * s) = {
		do_write, do_write,  do_write,	do_read,    do_read,	do_list,
		do_mkdir, do_remove, do_rename, do_symlink, do_setattr,
	};
	unsigned failed = 0;

	for (r->op = 1; r->op <= r->ops; r->op++) {
		struct states s = {.n = 1};
		int ret;

		s.t[0] = r->t;
		faults_set(r, true);
		ret = all[dice(r, sizeof(all) / sizeof(all[0]))](r, &s);
		faults_set(r, false);
		failed += ret != 0;
		settle(r, &s, ret);
	}
	printf("%u of %u operations failed\n", failed, r->ops);
	if (r->ops > 100 && failed == 0)
		die(r, "no call failed: this is no test");
}
