/* SPDX-License-Identifier: MIT */
/*
 * How the table lies in the memfd, and what the worker keeps beside it.
 *
 * The file has fixed windows, most of it holes:
 *
 *   header | nodes | names | handles | ops | requests
 *
 * A node record points to its name record (parent, name) by one 32-bit word,
 * so that giving it another place is one store.  Name records are never
 * changed, only made and dropped.  Everything else that is needed to work
 * (index by name, free lists, numbers of children) is in the worker's memory
 * and is made again from the records by table_attach().
 */
#ifndef FS_TABLE_PRIV_H
#define FS_TABLE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "fs/table.h"

#define TABLE_MAGIC "sharedfs table\n"
#define TABLE_VERSION 7
#define TABLE_NODES (UINT32_C(1) << 24)
#define TABLE_GRANULE 16u
#define TABLE_GRANULES (UINT32_C(1) << 27) /* 2 GiB of names */
#define TABLE_HANDLES (UINT32_C(1) << 20)
#define TABLE_OPS (UINT32_C(1) << 13)
#define TABLE_REQS 256u
#define TABLE_REQ_KEEP 4096u /* of each place stay in memory */
#define TABLE_REQ_READY 16u  /* places that stay there as a whole */
#define TABLE_INIT_MAX 1024u
#define TABLE_FACTS_MAX 128u
#define TABLE_DEPTH 4096u /* no path has more segments */

struct move {
	uint32_t slot;
	uint32_t place;
};

struct reqrec {
	_Atomic uint32_t state; /* enum req_state */
	uint32_t answer_len;
	_Atomic uint64_t unique;
	unsigned char answer[240];
};

struct header {
	/* Fixed once it is made; `sum` covers what stands before it. */
	char magic[16];
	uint32_t version;
	uint32_t pad;
	uint64_t nodes_off, names_off, handles_off, ops_off, reqs_off, size;
	uint64_t sum;
	/* How much of the windows was ever used. */
	_Atomic uint32_t nodes_top;
	_Atomic uint32_t handles_top;
	_Atomic uint32_t ops_top;
	_Atomic uint32_t taken_over; /* 1: see table_taken_over() */
	uint64_t op_seq; /* of the last record of a mutation */
	/* A change of two nodes' places that must not be seen by halves: it is
	 * complete when moves_valid is set, and done again by table_attach. */
	_Atomic uint32_t moves_valid;
	uint32_t moves_op; /* told with it; 0 = none */
	struct move moves[2];
	/* INIT: init_len is stored last. */
	_Atomic uint32_t init_len;
	uint32_t pad3;
	uint64_t init_sum;
	unsigned char init[TABLE_INIT_MAX];
	/* A line of text; facts_len is stored last. */
	_Atomic uint32_t facts_len;
	uint32_t pad4;
	uint64_t facts_sum;
	char facts[TABLE_FACTS_MAX];
	struct reqrec reqs[TABLE_REQS]; /* [0] is not used */
};

struct node {
	_Atomic uint32_t used; /* stored last when made, first when dropped */
	uint32_t gen;	       /* of the slot; ids are never used again */
	_Atomic uint32_t place; /* granule of the name; 0 = none */
	_Atomic uint32_t stale; /* 1: the name means another file now */
	_Atomic uint64_t nlookup;
	uint64_t ino;
};

struct name {
	uint64_t parent;
	uint32_t hash;
	uint16_t len;
	char s[2]; /* longer */
};
#define NAME_HEAD offsetof(struct name, s)

struct hrec {
	_Atomic uint32_t used;
	uint32_t gen;
	uint64_t node;
	uint32_t kind;
	int32_t flags;
	uint32_t uid, gid;
	_Atomic uint32_t which; /* stage[which] is the one in force */
	int32_t backing;
	char stage[2][64];
	uint64_t unique;
	uint8_t had_len;
	char had[95];
};

struct oprec {
	_Atomic uint32_t used;
	_Atomic uint32_t did; /* enum table_op_did */
	uint64_t seq; /* of two for one request the later holds */
	struct table_op op;
};

/* Stack of numbers that can be used again. */
struct stack {
	uint32_t *v;
	size_t n, cap;
};

struct index_bucket {
	uint32_t slot; /* 0 = empty */
	uint32_t hash;
};

#define NAME_CLASSES 18 /* ceil((14 + 255) / 16) = 17 granules at most */

struct table {
	int fd;
	char *base;
	size_t size;
	struct header *h;
	struct node *nodes;
	char *names;
	struct hrec *hrecs;
	struct oprec *ops;

	/* All below, and the records: written with the lock held for writing;
	 * nlookup also with it held for reading. */
	pthread_rwlock_t lock;
	struct index_bucket *buckets;
	size_t nbuckets; /* power of two */
	size_t nindexed;
	uint32_t *children; /* per slot: nodes whose name is in it */
	size_t children_cap;
	size_t nnodes;
	struct stack free_slots;
	struct stack free_hrecs;
	struct stack free_ops;
	struct stack old_ops; /* of a worker ago, the oldest on top: most were
			       * answered in the moment it died */
	uint64_t op_seq; /* the first of this worker */
	pthread_mutex_t req_lock; /* taking and finding a place */
	bool req_ready[TABLE_REQ_READY]; /* by place, its holder's: populated */
	struct stack free_names[NAME_CLASSES]; /* by granules */
	uint32_t names_top;		       /* first granule never used */
};

void stack_push(struct stack *s, uint32_t v);
bool stack_pop(struct stack *s, uint32_t *v);

static inline uint64_t
table_id(uint32_t slot, uint32_t gen)
{
	return (uint64_t)gen << 32 | slot;
}

static inline const struct name *
table_name_at(const struct table *t, uint32_t place)
{
	return (const struct name *)(const void *)(t->names +
						   (size_t)place *
							   TABLE_GRANULE);
}

/* table-node.c: makes the worker's part from the records. */
int table_nodes_attach(struct table *t, struct err *err);

/* table-op.c */
int table_ops_attach(struct table *t, struct err *err);

/* table-req.c */
int table_reqs_attach(struct table *t, struct err *err);

/* table-index.c: parent + name -> slot. */
uint32_t index_hash(uint64_t parent, const char *name, size_t len);
uint32_t index_find(const struct table *t, uint64_t parent, const char *name,
		    size_t len, uint32_t hash);
void index_add(struct table *t, uint32_t slot, uint32_t hash);
void index_del(struct table *t, uint32_t slot, uint32_t hash);

#endif
