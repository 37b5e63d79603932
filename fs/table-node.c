/* SPDX-License-Identifier: MIT */
/* Nodes of the table: ids, names, lookup counts.  See table.h, table-priv.h. */
#include <config.h>

#include "fs/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fault.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "fs/table-priv.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

/* --- name records --------------------------------------------------------- */

static unsigned
name_granules(size_t len)
{
	return (NAME_HEAD + len + TABLE_GRANULE - 1) / TABLE_GRANULE;
}

/* 0: the window is full. */
static uint32_t
name_new_locked(struct table *t, uint64_t parent, const char *s, size_t len)
{
	unsigned need = name_granules(len);
	uint32_t place = 0;
	struct name *n;

	if (!stack_pop(&t->free_names[need], &place)) {
		if (t->names_top + need <= TABLE_GRANULES) {
			place = t->names_top;
			t->names_top += need;
		}
	}
	/* A larger hole: what is over goes back. */
	for (unsigned g = need + 1; !place && g < NAME_CLASSES; g++) {
		if (stack_pop(&t->free_names[g], &place))
			stack_push(&t->free_names[g - need], place + need);
	}
	if (!place)
		return 0;
	n = (struct name *)(void *)(t->names + (size_t)place * TABLE_GRANULE);
	n->parent = parent;
	n->hash = index_hash(parent, s, len);
	n->len = len;
	memcpy((char *)n + NAME_HEAD, s, len);
	return place;
}

static void
name_drop_locked(struct table *t, uint32_t place)
{
	const struct name *n = table_name_at(t, place);

	stack_push(&t->free_names[name_granules(n->len)], place);
}

static const char *
name_s(const struct name *n)
{
	return (const char *)n + NAME_HEAD;
}

/* --- node records --------------------------------------------------------- */

static struct node *
node_locked(const struct table *t, uint64_t id)
{
	uint32_t slot = (uint32_t)id;
	struct node *n = &t->nodes[slot];

	if (slot == 0 || slot >= t->h->nodes_top || !n->used ||
	    n->gen != id >> 32)
		return NULL;
	return n;
}

static uint32_t
slot_of(const struct table *t, const struct node *n)
{
	return (uint32_t)(n - t->nodes);
}

static uint32_t *
children_of(struct table *t, uint32_t slot)
{
	if (slot >= t->children_cap) {
		size_t cap = t->children_cap ? t->children_cap : 1024;

		while (cap <= slot)
			cap *= 2;
		t->children = xrealloc(t->children, cap, sizeof(uint32_t));
		memset(t->children + t->children_cap, 0,
		       (cap - t->children_cap) * sizeof(uint32_t));
		t->children_cap = cap;
	}
	return &t->children[slot];
}

/* Nobody needs it any more?  Then it goes, and its parents that only stood for
 * its path. */
static void
node_reap_locked(struct table *t, uint32_t slot)
{
	while (slot != TABLE_ROOT) {
		struct node *n = &t->nodes[slot];
		uint32_t place = n->place, up = 0;

		if (n->nlookup || *children_of(t, slot))
			return;
		atomic_store_explicit(&n->used, 0, memory_order_release);
		FAULT_POINT("table.node-gone");
		if (place) {
			const struct name *name = table_name_at(t, place);

			index_del(t, slot, name->hash);
			up = (uint32_t)name->parent;
			--*children_of(t, up);
			name_drop_locked(t, place);
		}
		stack_push(&t->free_slots, slot);
		t->nnodes--;
		if (!up)
			return;
		slot = up;
	}
}

/* The worker's part of a change of place; the record is changed already. */
static void
place_left_locked(struct table *t, uint32_t slot, uint32_t place)
{
	const struct name *name = table_name_at(t, place);
	uint32_t up = (uint32_t)name->parent;

	index_del(t, slot, name->hash);
	--*children_of(t, up);
	name_drop_locked(t, place);
	node_reap_locked(t, up);
}

static void
place_taken_locked(struct table *t, uint32_t slot, uint32_t place)
{
	const struct name *name = table_name_at(t, place);

	index_add(t, slot, name->hash);
	++*children_of(t, (uint32_t)name->parent);
}

static struct node *
child_locked(const struct table *t, uint64_t parent, const char *name)
{
	size_t len = strlen(name);
	uint32_t slot = index_find(t, parent, name, len,
				   index_hash(parent, name, len));

	return slot ? &t->nodes[slot] : NULL;
}

static uint64_t
node_new_locked(struct table *t, uint64_t parent, const char *name,
		uint64_t ino)
{
	uint32_t slot, place;
	struct node *n;

	place = name_new_locked(t, parent, name, strlen(name));
	if (!place)
		return 0;
	if (!stack_pop(&t->free_slots, &slot)) {
		slot = t->h->nodes_top;
		if (slot == TABLE_NODES) {
			name_drop_locked(t, place);
			return 0;
		}
		atomic_store(&t->h->nodes_top, slot + 1);
	}
	n = &t->nodes[slot];
	n->gen++;
	n->stale = 0;
	n->ino = ino ? ino : table_id(slot, n->gen);
	atomic_store_explicit(&n->nlookup, 1, memory_order_relaxed);
	atomic_store_explicit(&n->place, place, memory_order_relaxed);
	FAULT_POINT("table.node-filled");
	atomic_store_explicit(&n->used, 1, memory_order_release);
	FAULT_POINT("table.node-made");
	place_taken_locked(t, slot, place);
	t->nnodes++;
	return table_id(slot, n->gen);
}

uint64_t
table_ref(struct table *t, uint64_t parent, const char *name, uint64_t ino)
{
	struct node *n;
	uint64_t id = 0;

	/* Mostly it is there, and readers don't hinder each other. */
	pthread_rwlock_rdlock(&t->lock);
	n = child_locked(t, parent, name);
	if (n) {
		atomic_fetch_add(&n->nlookup, 1);
		id = table_id(slot_of(t, n), n->gen);
	}
	pthread_rwlock_unlock(&t->lock);
	if (n)
		return id;

	pthread_rwlock_wrlock(&t->lock);
	n = child_locked(t, parent, name);
	if (n) {
		atomic_fetch_add(&n->nlookup, 1);
		id = table_id(slot_of(t, n), n->gen);
	} else if (node_locked(t, parent) &&
		   path_name_ok(name, strlen(name))) {
		id = node_new_locked(t, parent, name, ino);
	}
	pthread_rwlock_unlock(&t->lock);
	return id;
}

void
table_forget(struct table *t, uint64_t id, uint64_t nlookup)
{
	struct node *n;

	if (id == TABLE_ROOT)
		return;
	pthread_rwlock_wrlock(&t->lock);
	n = node_locked(t, id);
	if (n) {
		uint64_t have = n->nlookup;

		/* More than it has: a worker died between its count and its
		 * reply, or the kernel is wrong.  Neither may underflow. */
		atomic_store(&n->nlookup, nlookup < have ? have - nlookup : 0);
		FAULT_POINT("table.node-forgotten");
		node_reap_locked(t, slot_of(t, n));
	}
	pthread_rwlock_unlock(&t->lock);
}

/* NULL unless every step up to the root has a name. */
static char *
path_locked(const struct table *t, uint64_t id, const char *last)
{
	size_t last_len = last ? strlen(last) : 0, len = last_len, depth = 0;
	char *path, *p;

	for (uint64_t at = id; at != TABLE_ROOT; depth++) {
		const struct node *n = node_locked(t, at);
		const struct name *name;

		if (!n || !n->place || depth == TABLE_DEPTH)
			return NULL;
		name = table_name_at(t, n->place);
		len += name->len + (len > 0);
		at = name->parent;
	}
	path = xmalloc(len + 1);
	p = path + len;
	*p = '\0';
	if (last) {
		p -= last_len;
		memcpy(p, last, last_len);
	}
	for (uint64_t at = id; at != TABLE_ROOT;) {
		const struct name *name =
			table_name_at(t, node_locked(t, at)->place);

		if (*p)
			*--p = '/';
		p -= name->len;
		memcpy(p, name_s(name), name->len);
		at = name->parent;
	}
	assert(p == path);
	return path;
}

char *
table_path(struct table *t, uint64_t id)
{
	char *path;

	pthread_rwlock_rdlock(&t->lock);
	path = path_locked(t, id, NULL);
	pthread_rwlock_unlock(&t->lock);
	return path;
}

char *
table_child_path(struct table *t, uint64_t parent, const char *name)
{
	char *path;

	pthread_rwlock_rdlock(&t->lock);
	path = path_locked(t, parent, name);
	pthread_rwlock_unlock(&t->lock);
	return path;
}

uint64_t
table_ino(struct table *t, uint64_t id)
{
	const struct node *n;
	uint64_t ino;

	pthread_rwlock_rdlock(&t->lock);
	n = node_locked(t, id);
	ino = n ? n->ino : 0;
	pthread_rwlock_unlock(&t->lock);
	return ino;
}

static uint64_t
find_locked(const struct table *t, uint64_t parent, const char *name)
{
	const struct node *n = child_locked(t, parent, name);

	return n ? table_id(slot_of(t, n), n->gen) : 0;
}

uint64_t
table_find(struct table *t, uint64_t parent, const char *name)
{
	uint64_t id;

	pthread_rwlock_rdlock(&t->lock);
	id = find_locked(t, parent, name);
	if (id && !node_locked(t, id)->nlookup)
		id = 0;
	pthread_rwlock_unlock(&t->lock);
	return id;
}

uint64_t
table_find_path(struct table *t, const char *path)
{
	uint64_t id = TABLE_ROOT;

	pthread_rwlock_rdlock(&t->lock);
	while (*path && id) {
		size_t len = strcspn(path, "/");
		uint32_t slot = index_find(t, id, path, len,
					   index_hash(id, path, len));

		id = slot ? table_id(slot, t->nodes[slot].gen) : 0;
		path += len;
		if (*path == '/')
			path++;
	}
	if (id && !node_locked(t, id)->nlookup)
		id = 0;
	pthread_rwlock_unlock(&t->lock);
	return id;
}

uint64_t
table_parent(struct table *t, uint64_t id, char **out)
{
	const struct node *n;
	uint64_t parent = 0;

	pthread_rwlock_rdlock(&t->lock);
	n = node_locked(t, id);
	if (n && n->place) {
		const struct name *name = table_name_at(t, n->place);

		parent = name->parent;
		if (out)
			*out = xstrndup(name_s(name), name->len);
	}
	pthread_rwlock_unlock(&t->lock);
	return parent;
}

static void
name_gone_locked(struct table *t, struct node *n)
{
	uint32_t place = n->place;

	atomic_store_explicit(&n->place, 0, memory_order_release);
	FAULT_POINT("table.name-gone");
	place_left_locked(t, slot_of(t, n), place);
	node_reap_locked(t, slot_of(t, n));
}

void
table_unlink(struct table *t, uint64_t parent, const char *name)
{
	struct node *n;

	pthread_rwlock_wrlock(&t->lock);
	n = child_locked(t, parent, name);
	if (n)
		name_gone_locked(t, n);
	pthread_rwlock_unlock(&t->lock);
}

void
table_stale(struct table *t, uint64_t id)
{
	struct node *n;

	pthread_rwlock_wrlock(&t->lock);
	n = node_locked(t, id);
	if (n && n->place) {
		n->stale = 1;
		name_gone_locked(t, n);
	}
	pthread_rwlock_unlock(&t->lock);
}

bool
table_is_stale(struct table *t, uint64_t id)
{
	const struct node *n;
	bool stale;

	pthread_rwlock_rdlock(&t->lock);
	n = node_locked(t, id);
	stale = n && n->stale;
	pthread_rwlock_unlock(&t->lock);
	return stale;
}

/* Both places at once, also for a worker that comes after a kill. */
static void
moves_apply(struct table *t)
{
	for (int i = 0; i < 2; i++) {
		const struct move *m = &t->h->moves[i];

		if (m->slot)
			atomic_store_explicit(&t->nodes[m->slot].place,
					      m->place, memory_order_release);
		FAULT_POINT("table.moving");
	}
	if (t->h->moves_op)
		atomic_fetch_or(table_op_did(t, t->h->moves_op),
				TABLE_OP_NAMED);
	FAULT_POINT("table.moved");
	atomic_store_explicit(&t->h->moves_valid, 0, memory_order_release);
}

static bool
is_within_locked(const struct table *t, uint64_t id, uint64_t dir)
{
	for (unsigned depth = 0; id != TABLE_ROOT; depth++) {
		const struct node *n = node_locked(t, id);

		if (id == dir)
			return true;
		if (!n || !n->place || depth == TABLE_DEPTH)
			return false;
		id = table_name_at(t, n->place)->parent;
	}
	return dir == TABLE_ROOT;
}

/* slot gets (parent, name), or no name at all if that can't be written. */
static struct move
move_to_locked(struct table *t, struct node *n, uint64_t parent,
	       const char *name)
{
	struct move m = { slot_of(t, n), 0 };
	uint64_t id = table_id(m.slot, n->gen);

	if (node_locked(t, parent) && !is_within_locked(t, parent, id) &&
	    path_name_ok(name, strlen(name)))
		m.place = name_new_locked(t, parent, name, strlen(name));
	return m;
}

void
table_rename(struct table *t, uint64_t parent, const char *name,
	     uint64_t newparent, const char *newname, unsigned flags,
	     uint32_t op)
{
	struct node *from, *to;
	uint32_t old[2] = { 0, 0 };
	struct move m[2] = { { 0, 0 }, { 0, 0 } };

	pthread_rwlock_wrlock(&t->lock);
	from = child_locked(t, parent, name);
	to = child_locked(t, newparent, newname);
	if (from == to)
		goto out;
	if (from) {
		old[0] = from->place;
		m[0] = move_to_locked(t, from, newparent, newname);
	}
	if (to) {
		old[1] = to->place;
		if (flags & RENAME_EXCHANGE)
			m[1] = move_to_locked(t, to, parent, name);
		else
			m[1].slot = slot_of(t, to);
	}
	memcpy(t->h->moves, m, sizeof(m));
	t->h->moves_op = op;
	FAULT_POINT("table.moves-filled");
	atomic_store_explicit(&t->h->moves_valid, 1, memory_order_release);
	FAULT_POINT("table.moves-valid");
	moves_apply(t);
	for (int i = 0; i < 2; i++) {
		if (m[i].place)
			place_taken_locked(t, m[i].slot, m[i].place);
	}
	for (int i = 0; i < 2; i++) {
		if (m[i].slot)
			place_left_locked(t, m[i].slot, old[i]);
	}
	for (int i = 0; i < 2; i++) {
		if (m[i].slot && t->nodes[m[i].slot].used)
			node_reap_locked(t, m[i].slot);
	}
out:
	pthread_rwlock_unlock(&t->lock);
}

size_t
table_nodes(struct table *t)
{
	size_t n;

	pthread_rwlock_rdlock(&t->lock);
	n = t->nnodes;
	pthread_rwlock_unlock(&t->lock);
	return n;
}

/* --- taking over ---------------------------------------------------------- */

static int
damaged(struct err *err, uint32_t slot, const char *what)
{
	return err_set(err, -EINVAL, "node %u is damaged: %s", slot, what);
}

static int
moves_check(struct table *t, struct err *err)
{
	if (!t->h->moves_valid)
		return 0;
	for (int i = 0; i < 2; i++) {
		const struct move *m = &t->h->moves[i];

		if (m->slot >= t->h->nodes_top || m->slot == TABLE_ROOT ||
		    m->place >= TABLE_GRANULES)
			return damaged(err, m->slot, "its move");
	}
	moves_apply(t);
	return 0;
}

/* Granules that a name record uses, a bit each; grown as needed. */
struct bitmap {
	unsigned char *v;
	size_t cap;
};

static bool
bitmap_take(struct bitmap *b, uint32_t from, unsigned n)
{
	size_t need = ((size_t)from + n) / 8 + 1;

	if (need > b->cap) {
		size_t cap = 2 * need;

		b->v = xrealloc(b->v, cap, 1);
		memset(b->v + b->cap, 0, cap - b->cap);
		b->cap = cap;
	}
	for (uint32_t i = from; i < from + n; i++) {
		if (b->v[i / 8] & (1u << (i % 8)))
			return false;
		b->v[i / 8] |= 1u << (i % 8);
	}
	return true;
}

static int
node_check(struct table *t, uint32_t slot, struct bitmap *names,
	   struct err *err)
{
	const struct node *n = &t->nodes[slot];
	const struct name *name;
	unsigned granules;

	if (n->used != 1)
		return damaged(err, slot, "its state");
	if (!n->place)
		return 0;
	if (n->place > TABLE_GRANULES - NAME_CLASSES)
		return damaged(err, slot, "its place");
	name = table_name_at(t, n->place);
	if (name->len == 0 || name->len > PATH_SEGMENT_MAX ||
	    !path_name_ok(name_s(name), name->len) ||
	    name->hash != index_hash(name->parent, name_s(name), name->len))
		return damaged(err, slot, "its name");
	if (!node_locked(t, name->parent) || (uint32_t)name->parent == slot)
		return damaged(err, slot, "its parent");
	granules = name_granules(name->len);
	if (!bitmap_take(names, n->place, granules))
		return damaged(err, slot, "two names in one place");
	if (n->place + granules > t->names_top)
		t->names_top = n->place + granules;
	if (index_find(t, name->parent, name_s(name), name->len, name->hash))
		return damaged(err, slot, "two nodes of one name");
	place_taken_locked(t, slot, n->place);
	return 0;
}

static void
collect_holes(struct table *t, const struct bitmap *names)
{
	uint32_t run = 0;

	for (uint32_t i = 1; i <= t->names_top; i++) {
		if (i < t->names_top && !(names->v[i / 8] & (1u << (i % 8)))) {
			run++;
			continue;
		}
		for (uint32_t at = i - run; run;) {
			uint32_t g = run < NAME_CLASSES - 1 ? run :
							      NAME_CLASSES - 1;

			stack_push(&t->free_names[g], at);
			at += g;
			run -= g;
		}
	}
}

int
table_nodes_attach(struct table *t, struct err *err)
{
	struct bitmap names = { NULL, 0 };
	uint32_t top = t->h->nodes_top;
	int r;

	t->names_top = 1;
	r = moves_check(t, err);
	if (r == 0 && (t->nodes[TABLE_ROOT].used != 1 ||
		       t->nodes[TABLE_ROOT].gen || t->nodes[TABLE_ROOT].place))
		r = damaged(err, TABLE_ROOT, "the root");
	t->nnodes = 1;
	/* Downwards, so that the lowest number is used first again. */
	for (uint32_t slot = top - 1; r == 0 && slot > TABLE_ROOT; slot--) {
		if (!t->nodes[slot].used) {
			stack_push(&t->free_slots, slot);
			continue;
		}
		t->nnodes++;
		r = node_check(t, slot, &names, err);
	}
	if (r == 0 && names.v)
		collect_holes(t, &names);
	/* What a kill left between its last use and its end. */
	for (uint32_t slot = 2; r == 0 && slot < top; slot++) {
		if (t->nodes[slot].used)
			node_reap_locked(t, slot);
	}
	free(names.v);
	return r;
}
