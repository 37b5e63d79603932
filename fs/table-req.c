/* SPDX-License-Identifier: MIT */
/*
 * Requests in the table, for kernels that don't send them again: see table.h.
 *
 *   FREE -> READING -> READ -> ANSWERING -> FREE
 *
 * A request is read straight into its place, whose header is zero before: so
 * one that was read at the moment of a kill is told by its header.  A short
 * answer is kept until the kernel has it, since a change that was answered
 * must not be made again; long ones are those of questions, and a question may
 * be asked twice.
 */
#include <config.h>

#include "fs/table.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>

#include "fs/table-priv.h"

enum req_state { REQ_FREE, REQ_READING, REQ_READ, REQ_ANSWERING };

static char *
data_of(const struct table *t, uint32_t slot)
{
	return t->base + t->h->reqs_off + (size_t)slot * TABLE_REQ_ROOM;
}

/* A process that is being killed can't fault a page in, and a request that the
 * kernel can't copy for that ends with EIO for the program.  So a place has its
 * pages before it is read into. */
static void
populate(struct table *t, uint32_t slot)
{
	if (slot < TABLE_REQ_READY && t->req_ready[slot])
		return;
	madvise(data_of(t, slot), TABLE_REQ_ROOM, MADV_POPULATE_WRITE);
	if (slot < TABLE_REQ_READY)
		t->req_ready[slot] = true;
}

static void
shrink(struct table *t, uint32_t slot)
{
	if (slot >= TABLE_REQ_READY)
		madvise(data_of(t, slot) + TABLE_REQ_KEEP,
			TABLE_REQ_ROOM - TABLE_REQ_KEEP, MADV_REMOVE);
}

uint32_t
table_req_begin(struct table *t, void **p)
{
	uint32_t slot;

	pthread_mutex_lock(&t->req_lock);
	for (slot = 1; slot < TABLE_REQS; slot++) {
		if (t->h->reqs[slot].state == REQ_FREE)
			break;
	}
	if (slot < TABLE_REQS) {
		*p = data_of(t, slot);
		memset(*p, 0, sizeof(struct fuse_in_header));
		t->h->reqs[slot].unique = 0;
		atomic_store(&t->h->reqs[slot].state, REQ_READING);
	} else {
		slot = 0;
	}
	pthread_mutex_unlock(&t->req_lock);
	if (slot)
		populate(t, slot);
	return slot;
}

void
table_req_read(struct table *t, uint32_t slot, uint64_t unique)
{
	const struct fuse_in_header *h = (const void *)data_of(t, slot);
	struct reqrec *r = &t->h->reqs[slot];

	if (!unique || h->len <= TABLE_REQ_KEEP)
		shrink(t, slot);
	r->unique = unique;
	atomic_store(&r->state, unique ? REQ_READ : REQ_FREE);
}

static uint32_t
find_locked(const struct table *t, uint64_t unique)
{
	for (uint32_t slot = 1; slot < TABLE_REQS; slot++) {
		const struct reqrec *r = &t->h->reqs[slot];

		if (r->unique == unique && r->state >= REQ_READ)
			return slot;
	}
	return 0;
}

uint32_t
table_req_answer(struct table *t, uint64_t unique, const struct iovec *iov,
		 int count)
{
	struct reqrec *r;
	size_t n = 0;
	uint32_t slot;

	pthread_mutex_lock(&t->req_lock);
	slot = unique ? find_locked(t, unique) : 0;
	pthread_mutex_unlock(&t->req_lock);
	if (!slot)
		return 0;
	r = &t->h->reqs[slot];
	for (int i = 0; i < count; i++) {
		if (n + iov[i].iov_len > sizeof(r->answer))
			return slot;
		memcpy(r->answer + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	r->answer_len = n;
	atomic_store(&r->state, REQ_ANSWERING);
	return slot;
}

void
table_req_drop(struct table *t, uint32_t slot)
{
	const struct fuse_in_header *h = (const void *)data_of(t, slot);

	if (h->len > TABLE_REQ_KEEP)
		shrink(t, slot);
	atomic_store(&t->h->reqs[slot].state, REQ_FREE);
}

uint32_t
table_req_next(struct table *t, uint32_t after, const void **p, size_t *n,
	       bool *answered)
{
	for (uint32_t slot = after + 1; slot < TABLE_REQS; slot++) {
		struct reqrec *r = &t->h->reqs[slot];
		const struct fuse_in_header *h =
			(const void *)data_of(t, slot);

		switch (atomic_load(&r->state)) {
		case REQ_READING:
			/* Did anything come? */
			table_req_read(t, slot, h->unique);
			if (!h->unique)
				continue;
			break;
		case REQ_READ:
			break;
		case REQ_ANSWERING:
			*p = r->answer;
			*n = r->answer_len;
			*answered = true;
			return slot;
		default:
			continue;
		}
		*p = h;
		*n = h->len;
		*answered = false;
		return slot;
	}
	return 0;
}

int
table_reqs_attach(struct table *t, struct err *err)
{
	for (uint32_t slot = 1; slot < TABLE_REQS; slot++) {
		const struct reqrec *r = &t->h->reqs[slot];
		const struct fuse_in_header *h =
			(const void *)data_of(t, slot);

		if (r->state == REQ_FREE)
			continue;
		if (r->state > REQ_ANSWERING ||
		    r->answer_len > sizeof(r->answer) ||
		    (r->state == REQ_READ && r->unique != h->unique) ||
		    h->len > TABLE_REQ_ROOM ||
		    (h->unique && h->len < sizeof(*h)))
			return err_set(err, -EINVAL,
				       "the kept request %u is damaged", slot);
	}
	return 0;
}
