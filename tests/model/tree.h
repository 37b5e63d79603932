/* SPDX-License-Identifier: MIT */
/*
 * What a share must be: a tree of names and files, in the plainest way.  A
 * file lives as long as a name or an open handle has it.
 */
#ifndef TESTS_MODEL_TREE_H
#define TESTS_MODEL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

struct mfile {
	unsigned names; /* how many lead to it */
	unsigned refs;	/* names and handles */
	mode_t mode;
	char *data; /* of a file; a symlink's target, with its NUL */
	size_t size;
	bool has_mtime; /* was set, and nothing written since */
	struct timespec mtime;
	char *tag; /* the attribute user.tag; NULL = none */
};

struct mname {
	char *path;
	struct mfile *f;
};

struct tree {
	struct mname *v; /* sorted by path; the root is not in it */
	size_t n, cap;
};

struct mfile *mfile_new(mode_t mode);
struct mfile *mfile_copy(const struct mfile *f); /* no names, no handles */
struct mfile *mfile_ref(struct mfile *f);
void mfile_put(struct mfile *f);
void mfile_write(struct mfile *f, size_t off, const char *p, size_t len);
void mfile_truncate(struct mfile *f, size_t size);

void tree_release(struct tree *t);
struct mfile *tree_get(const struct tree *t, const char *path);
const char *tree_path(const struct tree *t, const struct mfile *f);
bool tree_is_dir(const struct tree *t, const char *path); /* "" is */
size_t tree_children(const struct tree *t, const char *dir);
void tree_add(struct tree *t, const char *path, struct mfile *f);
void tree_del(struct tree *t, const char *path);
/* With all below; what was at `to` goes, or with exchange comes to from. */
void tree_move(struct tree *t, const char *from, const char *to, bool exchange);

#endif
