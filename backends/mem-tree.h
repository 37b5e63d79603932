/* SPDX-License-Identifier: MIT */
/*
 * The tree behind mem.c: nodes, names, and the memory of operations done.
 * All functions want tree->lock held, but for mem_tree_new/ref/put.
 */
#ifndef BACKENDS_MEM_TREE_H
#define BACKENDS_MEM_TREE_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include <uthash.h>

#include "backends/backend.h"

struct mem_xattr {
	struct mem_xattr *next;
	char *name;
	void *value;
	size_t len;
};

/* A file, directory, symlink, …; freed when its last name goes. */
struct mem_node {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	dev_t rdev;
	uint32_t nlink; /* names; of a directory 2 + subdirectories */
	uint64_t ino;
	struct timespec atime, mtime, ctime;
	uint64_t ver;  /* of the data, from tree->counter */
	uint64_t aver; /* of the attributes */
	char *data;    /* of a file, or a symlink's target with its NUL */
	uint64_t size;
	struct mem_xattr *xattrs;
	struct mem_name *names; /* of a directory; uthash by name */
};

struct mem_name {
	char *name;
	struct mem_node *node;
	UT_hash_handle hh;
};

/* B5: an operation that was done, and what it answered. */
struct mem_done {
	struct be_opid opid;
	struct be_attr attr;
};
#define MEM_DONE_MAX 1024

struct mem_tree {
	pthread_mutex_t lock; /* all below, and all nodes */
	unsigned refs;
	char *id;
	struct mem_node *root;
	uint64_t counter; /* versions and inode numbers: never used twice */
	struct mem_done done[MEM_DONE_MAX]; /* a ring */
	unsigned done_next;
};

struct mem_tree *mem_tree_new(void);
struct mem_tree *mem_tree_ref(struct mem_tree *t);
void mem_tree_put(struct mem_tree *t);

/* Where a path leads: dir is NULL for the root, name NULL where nothing is.
 * 0, -ENOENT or -ENOTDIR for the directories on the way. */
struct mem_place {
	struct mem_tree *tree;
	struct mem_node *dir;
	const char *base; /* points into the path */
	struct mem_name *name;
	struct mem_node *node; /* name's, or the root */
};
int mem_find(struct mem_tree *t, const char *path, struct mem_place *out);

struct mem_node *mem_node_new(struct mem_tree *t, const struct be_attr *attr);
struct mem_xattr **mem_xattr_find(struct mem_node *n, const char *name);
/* A new name; adds to nlink unless it is a directory. */
void mem_name_add(struct mem_place *at, struct mem_node *n);
/* The name goes, and with del() the node with its last name. */
struct mem_node *mem_name_take(struct mem_place *at);
void mem_name_del(struct mem_place *at);

void mem_node_attr(const struct mem_node *n, struct be_attr *out);

const struct mem_done *mem_done_find(struct mem_tree *t,
				     const struct be_opid *opid);
void mem_done_add(struct mem_tree *t, const struct be_opid *opid,
		  const struct be_attr *attr);

#endif
