/* SPDX-License-Identifier: MIT */
/*
 * What this worker knows of a node beside its name: the open handles.  A node
 * without open handles has no state here.  (Node ids, names and lookup counts
 * are the table's, which outlives the worker.)
 */
#ifndef FS_INODE_H
#define FS_INODE_H

#include <stdbool.h>
#include <stdint.h>

struct handle;
struct inodes;

struct inodes *inodes_new(void);
void inodes_free(struct inodes *ins); /* no handle is in it */
void inodes_add(struct inodes *ins, struct handle *h);
void inodes_del(struct inodes *ins, struct handle *h);
/* An open file handle of the node with a reference (handle_put), or NULL; one
 * open for writing if there is any. */
struct handle *inodes_handle(struct inodes *ins, uint64_t node);

/* The inode number of a node that is new: the store's, or one made up from
 * the path, so that all nodes of a share show the same. */
uint64_t inode_number(const char *path, uint64_t ino);

#endif
