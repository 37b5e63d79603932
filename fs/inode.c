/* SPDX-License-Identifier: MIT */
/* The open handles of a node. */
#include <config.h>

#include "fs/inode.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include <xxhash.h>

#include "common/xalloc.h"
#include "fs/handle.h"

struct inode {
	uint64_t node;
	struct handle_list open;
	UT_hash_handle hh;
};

/* The lock protects all that hangs below.  A handle in a list holds a
 * reference of its owner, so that one more may be taken. */
struct inodes {
	pthread_mutex_t lock;
	struct inode *by_node;
};

struct inodes *
inodes_new(void)
{
	struct inodes *ins = xcalloc(1, sizeof(*ins));

	pthread_mutex_init(&ins->lock, NULL);
	return ins;
}

void
inodes_free(struct inodes *ins)
{
	if (!ins)
		return;
	pthread_mutex_destroy(&ins->lock);
	free(ins);
}

static struct inode *
inode_find_locked(struct inodes *ins, uint64_t node)
{
	struct inode *in;

	HASH_FIND(hh, ins->by_node, &node, sizeof(node), in);
	return in;
}

void
inodes_add(struct inodes *ins, struct handle *h)
{
	struct inode *in;

	pthread_mutex_lock(&ins->lock);
	in = inode_find_locked(ins, h->node);
	if (!in) {
		in = xcalloc(1, sizeof(*in));
		in->node = h->node;
		TAILQ_INIT(&in->open);
		HASH_ADD(hh, ins->by_node, node, sizeof(in->node), in);
	}
	TAILQ_INSERT_HEAD(&in->open, h, of_node);
	pthread_mutex_unlock(&ins->lock);
}

void
inodes_del(struct inodes *ins, struct handle *h)
{
	struct inode *in;

	pthread_mutex_lock(&ins->lock);
	in = inode_find_locked(ins, h->node);
	TAILQ_REMOVE(&in->open, h, of_node);
	if (TAILQ_EMPTY(&in->open)) {
		HASH_DEL(ins->by_node, in);
		free(in);
	}
	pthread_mutex_unlock(&ins->lock);
}

struct handle *
inodes_handle(struct inodes *ins, uint64_t node)
{
	struct handle *h, *best = NULL;
	struct inode *in;

	pthread_mutex_lock(&ins->lock);
	in = inode_find_locked(ins, node);
	if (in) {
		TAILQ_FOREACH (h, &in->open, of_node) {
			best = h;
			if ((h->flags & O_ACCMODE) != O_RDONLY)
				break;
		}
	}
	if (best)
		handle_ref(best);
	pthread_mutex_unlock(&ins->lock);
	return best;
}

uint64_t
inode_number(const char *path, uint64_t ino)
{
	if (ino != 0)
		return ino;
	if (path[0] == '\0')
		return TABLE_ROOT;
	/* Never 0, and not the root's. */
	return XXH3_64bits(path, strlen(path)) | 2;
}
