/* SPDX-License-Identifier: MIT */
/* See table.h and table-priv.h: making, checking and mapping the table, the
 * INIT request and handles.  Nodes are in table-node.c. */
#include <config.h>

#include "fs/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/xalloc.h"
#include "fs/table-priv.h"

#define HEADER_ROOM 131072u

void
stack_push(struct stack *s, uint32_t v)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->v = xrealloc(s->v, s->cap, sizeof(*s->v));
	}
	s->v[s->n++] = v;
}

bool
stack_pop(struct stack *s, uint32_t *v)
{
	if (!s->n)
		return false;
	*v = s->v[--s->n];
	return true;
}

static void
header_fill(struct header *h)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, TABLE_MAGIC, sizeof(TABLE_MAGIC));
	h->version = TABLE_VERSION;
	h->nodes_off = HEADER_ROOM;
	h->names_off = h->nodes_off + TABLE_NODES * sizeof(struct node);
	h->handles_off =
		h->names_off + (uint64_t)TABLE_GRANULES * TABLE_GRANULE;
	h->ops_off = h->handles_off + TABLE_HANDLES * sizeof(struct hrec);
	h->reqs_off = (h->ops_off + TABLE_OPS * sizeof(struct oprec) +
		       TABLE_REQ_KEEP - 1) / TABLE_REQ_KEEP * TABLE_REQ_KEEP;
	h->size = h->reqs_off + (uint64_t)TABLE_REQS * TABLE_REQ_ROOM;
	h->sum = XXH3_64bits(h, offsetof(struct header, sum));
}

int
table_create(int *out, struct err *err)
{
	_cleanup_close_ int fd = -1;
	struct header h;
	struct node root = { .used = 1, .nlookup = 1, .ino = TABLE_ROOT };

	_Static_assert(sizeof(struct header) <= HEADER_ROOM, "header fits");
	header_fill(&h);
	h.nodes_top = TABLE_ROOT + 1;
	h.handles_top = 1;
	h.ops_top = 1;
	fd = memfd_create("sharedfs-table", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_set(err, -errno, "shared memory: %s",
			       strerror(errno));
	/* Holes cost nothing; the seals keep anyone from shrinking the file
	 * below a mapping. */
	if (ftruncate(fd, h.size) < 0 ||
	    pwrite(fd, &root, sizeof(root),
		   h.nodes_off + TABLE_ROOT * sizeof(root)) != sizeof(root) ||
	    pwrite(fd, &h, sizeof(h), 0) != sizeof(h) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return err_set(err, -errno, "shared memory: %s",
			       strerror(errno));
	*out = steal_fd(&fd);
	return 0;
}

static int
header_check(const struct header *h, off_t size, struct err *err)
{
	struct header want;

	header_fill(&want);
	if (memcmp(h->magic, want.magic, sizeof(h->magic)) != 0)
		return err_set(err, -EINVAL, "not a table");
	if (h->version != want.version)
		return err_set(err, -EPROTO, "the mount's table has version %u, and "
			       "this program wants %u",
			       h->version, want.version);
	if (h->sum != XXH3_64bits(h, offsetof(struct header, sum)) ||
	    memcmp(h, &want, offsetof(struct header, sum)) != 0 ||
	    (uint64_t)size != want.size)
		return err_set(err, -EINVAL, "the table's header is damaged");
	if (h->nodes_top <= TABLE_ROOT || h->nodes_top > TABLE_NODES ||
	    h->handles_top < 1 || h->handles_top > TABLE_HANDLES ||
	    h->ops_top < 1 || h->ops_top > TABLE_OPS ||
	    h->moves_op >= TABLE_OPS || h->init_len > TABLE_INIT_MAX ||
	    h->facts_len > TABLE_FACTS_MAX)
		return err_set(err, -EINVAL, "the table's sizes are damaged");
	if (h->init_len && h->init_sum != XXH3_64bits(h->init, h->init_len))
		return err_set(err, -EINVAL, "the table's INIT is damaged");
	if (h->facts_len && h->facts_sum != XXH3_64bits(h->facts, h->facts_len))
		return err_set(err, -EINVAL, "the table's facts are damaged");
	return 0;
}

int
table_check(int fd, struct err *err)
{
	struct header h;
	struct stat st;

	if (fstat(fd, &st) < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h))
		return err_set(err, -EINVAL, "no table was given");
	return header_check(&h, st.st_size, err);
}

static int
handles_attach(struct table *t, struct err *err)
{
	/* Backwards, so that the lowest number is on top of the stack. */
	for (uint32_t i = t->h->handles_top; i-- > 1;) {
		const struct hrec *r = &t->hrecs[i];

		if (!r->used) {
			stack_push(&t->free_hrecs, i);
			continue;
		}
		if (r->used != 1 || r->which > 1 ||
		    (r->kind != TABLE_FILE && r->kind != TABLE_DIR) ||
		    !memchr(r->stage[r->which], 0, sizeof(r->stage[0])))
			return err_set(err, -EINVAL, "handle %u is damaged", i);
	}
	return 0;
}

int
table_attach(int fd, struct table **out, struct err *err)
{
	struct header want;
	struct table *t;
	struct stat st;
	int r;

	header_fill(&want);
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "table: %s", strerror(errno));
	if ((uint64_t)st.st_size != want.size)
		return err_set(err, -EINVAL, "not a table: wrong size");
	t = xcalloc(1, sizeof(*t));
	t->fd = fd;
	t->size = want.size;
	t->base = mmap(NULL, t->size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (t->base == MAP_FAILED) {
		r = err_set(err, -errno, "map the table: %s", strerror(errno));
		free(t);
		return r;
	}
	madvise(t->base, t->size, MADV_DONTDUMP);
	t->h = (struct header *)(void *)t->base;
	pthread_rwlock_init(&t->lock, NULL);
	pthread_mutex_init(&t->req_lock, NULL);
	r = header_check(t->h, st.st_size, err);
	if (r == 0) {
		t->nodes = (struct node *)(void *)(t->base + t->h->nodes_off);
		t->names = t->base + t->h->names_off;
		t->hrecs = (struct hrec *)(void *)(t->base + t->h->handles_off);
		t->ops = (struct oprec *)(void *)(t->base + t->h->ops_off);
		r = table_nodes_attach(t, err);
	}
	if (r == 0)
		r = handles_attach(t, err);
	if (r == 0)
		r = table_ops_attach(t, err);
	if (r == 0)
		r = table_reqs_attach(t, err);
	if (r < 0) {
		table_detach(t);
		return r;
	}
	*out = t;
	return 0;
}

void
table_detach(struct table *t)
{
	if (!t)
		return;
	munmap(t->base, t->size);
	pthread_rwlock_destroy(&t->lock);
	pthread_mutex_destroy(&t->req_lock);
	for (int i = 0; i < NAME_CLASSES; i++)
		free(t->free_names[i].v);
	free(t->free_slots.v);
	free(t->free_hrecs.v);
	free(t->free_ops.v);
	free(t->old_ops.v);
	free(t->children);
	free(t->buckets);
	free(t);
}

int
table_fd(const struct table *t)
{
	return t->fd;
}

bool
table_taken_over(const struct table *t)
{
	return atomic_load(&t->h->taken_over) == 1;
}

void
table_set_taken_over(struct table *t)
{
	atomic_store(&t->h->taken_over, 1);
}

int
table_init_set(struct table *t, const void *p, size_t n)
{
	if (n == 0 || n > TABLE_INIT_MAX)
		return -EINVAL;
	if (t->h->init_len)
		return -EALREADY;
	memcpy(t->h->init, p, n);
	t->h->init_sum = XXH3_64bits(p, n);
	atomic_store(&t->h->init_len, n);
	return 0;
}

size_t
table_init_get(struct table *t, void *p, size_t cap)
{
	size_t n = atomic_load(&t->h->init_len);

	if (n > cap)
		return 0;
	memcpy(p, t->h->init, n);
	return n;
}

int
table_facts_set(struct table *t, const char *facts)
{
	size_t n = strlen(facts);

	if (n == 0 || n > TABLE_FACTS_MAX)
		return -EINVAL;
	/* A worker that is killed here leaves none. */
	atomic_store(&t->h->facts_len, 0);
	memcpy(t->h->facts, facts, n);
	t->h->facts_sum = XXH3_64bits(facts, n);
	atomic_store(&t->h->facts_len, n);
	return 0;
}

char *
table_facts(const struct table *t)
{
	size_t n = atomic_load(&t->h->facts_len);

	return n ? xstrndup(t->h->facts, n) : NULL;
}

/* --- handles -------------------------------------------------------------- */

static struct hrec *
hrec_locked(struct table *t, uint64_t fh)
{
	uint32_t slot = (uint32_t)fh;
	struct hrec *r = &t->hrecs[slot];

	if (slot == 0 || slot >= t->h->handles_top || !r->used ||
	    r->gen != fh >> 32)
		return NULL;
	return r;
}

static void
stage_put(char *to, const char *stage)
{
	const size_t cap = sizeof(((struct hrec *)0)->stage[0]);
	size_t len = strnlen(stage, cap - 1);

	memcpy(to, stage, len);
	memset(to + len, 0, cap - len);
}

uint64_t
table_handle_add(struct table *t, const struct table_handle *h)
{
	uint64_t fh = 0;
	uint32_t slot;
	struct hrec *r;

	pthread_rwlock_wrlock(&t->lock);
	if (!stack_pop(&t->free_hrecs, &slot)) {
		slot = t->h->handles_top;
		if (slot == TABLE_HANDLES)
			goto out;
		atomic_store(&t->h->handles_top, slot + 1);
	}
	r = &t->hrecs[slot];
	r->gen++;
	r->node = h->node;
	r->kind = h->kind;
	r->flags = h->flags;
	r->uid = h->uid;
	r->gid = h->gid;
	r->backing = h->backing;
	r->unique = h->unique;
	r->had_len = h->had_len;
	memcpy(r->had, h->had, sizeof(r->had));
	r->which = 0;
	stage_put(r->stage[0], h->stage);
	fh = table_id(slot, r->gen);
	FAULT_POINT("table.handle-filled");
	atomic_store_explicit(&r->used, 1, memory_order_release);
	FAULT_POINT("table.handle-made");
out:
	pthread_rwlock_unlock(&t->lock);
	return fh;
}

static void
hrec_read(const struct hrec *r, struct table_handle *out)
{
	out->node = r->node;
	out->kind = r->kind;
	out->flags = r->flags;
	out->uid = r->uid;
	out->gid = r->gid;
	out->backing = r->backing;
	out->unique = r->unique;
	out->had_len = r->had_len;
	memcpy(out->had, r->had, sizeof(out->had));
	memcpy(out->stage, r->stage[r->which], sizeof(out->stage));
}

int
table_handle_get(struct table *t, uint64_t fh, struct table_handle *out)
{
	struct hrec *r;

	pthread_rwlock_rdlock(&t->lock);
	r = hrec_locked(t, fh);
	if (r)
		hrec_read(r, out);
	pthread_rwlock_unlock(&t->lock);
	return r ? 0 : -EBADF;
}

int
table_handle_set_stage(struct table *t, uint64_t fh, const char *stage)
{
	struct hrec *r;

	if (strlen(stage) >= sizeof(r->stage[0]))
		return -EINVAL;
	pthread_rwlock_wrlock(&t->lock);
	r = hrec_locked(t, fh);
	if (r) {
		stage_put(r->stage[!r->which], stage);
		atomic_store_explicit(&r->which, !r->which,
				      memory_order_release);
	}
	pthread_rwlock_unlock(&t->lock);
	return r ? 0 : -EBADF;
}

void
table_handle_del(struct table *t, uint64_t fh)
{
	struct hrec *r;

	pthread_rwlock_wrlock(&t->lock);
	r = hrec_locked(t, fh);
	if (r) {
		atomic_store_explicit(&r->used, 0, memory_order_release);
		FAULT_POINT("table.handle-gone");
		stack_push(&t->free_hrecs, (uint32_t)fh);
	}
	pthread_rwlock_unlock(&t->lock);
}

void
table_handle_done(struct table *t, uint64_t fh)
{
	struct hrec *r = &t->hrecs[(uint32_t)fh];

	pthread_rwlock_wrlock(&t->lock);
	if ((uint32_t)fh < t->h->handles_top && !r->used && r->gen == fh >> 32)
		r->backing = 0;
	pthread_rwlock_unlock(&t->lock);
}

void
table_lost_backings(struct table *t, void (*fn)(void *arg, int32_t id),
		    void *arg)
{
	uint32_t top = t->h->handles_top;

	for (uint32_t i = 1; i < top; i++) {
		int32_t id = 0;

		pthread_rwlock_wrlock(&t->lock);
		if (!t->hrecs[i].used) {
			id = t->hrecs[i].backing;
			t->hrecs[i].backing = 0;
		}
		pthread_rwlock_unlock(&t->lock);
		if (id > 0)
			fn(arg, id);
	}
}

uint64_t
table_handle_by(struct table *t, uint64_t unique, uint64_t but)
{
	uint64_t fh = 0;

	pthread_rwlock_rdlock(&t->lock);
	for (uint32_t i = 1; i < t->h->handles_top && !fh; i++) {
		const struct hrec *r = &t->hrecs[i];

		if (r->used && r->unique == unique &&
		    table_id(i, r->gen) != but)
			fh = table_id(i, r->gen);
	}
	pthread_rwlock_unlock(&t->lock);
	return fh;
}

void
table_handles(struct table *t,
	      void (*fn)(void *arg, uint64_t fh, const struct table_handle *h),
	      void *arg)
{
	uint32_t top = t->h->handles_top;

	for (uint32_t i = 1; i < top; i++) {
		struct table_handle h;
		uint64_t fh = 0;

		pthread_rwlock_rdlock(&t->lock);
		if (t->hrecs[i].used) {
			fh = table_id(i, t->hrecs[i].gen);
			hrec_read(&t->hrecs[i], &h);
		}
		pthread_rwlock_unlock(&t->lock);
		if (fh)
			fn(arg, fh, &h);
	}
}
