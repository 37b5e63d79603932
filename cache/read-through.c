/* SPDX-License-Identifier: MIT */
/* Reading a content whose private file can't hold, or can't give, the bytes: the
 * disk is full or broken.  What only this node has comes from the file all the
 * same, the rest from the store. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define TRIES 5

bool
content_no_fill(struct content *k)
{
	bool no_fill;

	pthread_mutex_lock(&k->lock);
	no_fill = k->no_fill;
	pthread_mutex_unlock(&k->lock);
	return no_fill;
}

static void
keep_ours_locked(struct content *k, const struct rangeset *ours, uint64_t off,
		 uint64_t end)
{
	for (size_t i = 0; i < ours->n; i++) {
		uint64_t from = ours->v[i].off;
		uint64_t to = from + ours->v[i].len;

		from = from > off ? from : off;
		to = to < end ? to : end;
		if (from < to)
			rangeset_add(&k->present, from, to - from);
	}
}

bool
content_unreadable(struct content *k, uint64_t off, uint64_t len, int error)
{
	bool elsewhere;

	store_private_fault(k->c->store, false, error);
	pthread_mutex_lock(&k->lock);
	/* What the kernel has may have been changed by it. */
	elsewhere = !k->exposed && k->in_store && off < k->clean_end;
	if (elsewhere) {
		rangeset_del(&k->present, off, len);
		keep_ours_locked(k, &k->dirty, off, off + len);
		keep_ours_locked(k, &k->sending, off, off + len);
	}
	pthread_mutex_unlock(&k->lock);
	return elsewhere;
}

/* A piece of what is read, at its beginning. */
struct piece {
	uint64_t len;
	int fd; /* where it is; -1: a hole, or in the store */
	bool in_store;
	uint64_t base_gen;
	struct be_ver ver;
	char *path;
};

static void
look(struct content *k, uint64_t off, uint64_t len, struct piece *p)
{
	uint64_t end = off + len;
	struct range gap;

	pthread_mutex_lock(&k->lock);
	*p = (struct piece){
		.len = len,
		.fd = k->fd,
		.base_gen = k->base_gen,
		.ver = k->base,
		.path = xstrdup(k->path),
	};
	if (end > k->clean_end)
		end = k->clean_end;
	if (off >= end) {
		; /* ours, or zeros */
	} else if (k->fd < 0) {
		p->in_store = true;
		p->len = end - off;
	} else if (rangeset_gap(&k->present, off, end - off, &gap)) {
		p->in_store = gap.off == off;
		p->len = p->in_store ? gap.len : gap.off - off;
	}
	pthread_mutex_unlock(&k->lock);
}

static int
read_piece(struct content *k, struct cache_ctx *ctx, uint64_t off, char *to,
	   const struct piece *p)
{
	struct be_sink_mem mem = { .p = to, .base = off, .cap = p->len };
	struct be_sink sink = be_sink_to_mem(&mem);
	struct range r = { off, p->len };
	size_t got = 0;
	int ret = 0;

	if (p->in_store)
		return content_base_read(k, ctx, p->path, &p->ver, r, &sink);
	if (p->fd >= 0)
		ret = read_all(p->fd, to, p->len, off, &got);
	if (ret == 0)
		memset(to + got, 0, p->len - got);
	return ret;
}

/* A commit may have put another version in the place of the one we asked for. */
static bool
has_moved(struct content *k, const struct piece *p)
{
	bool moved;

	pthread_mutex_lock(&k->lock);
	moved = k->base_gen != p->base_gen || !be_ver_equal(&k->base, &p->ver);
	pthread_mutex_unlock(&k->lock);
	return moved;
}

int
content_read_through(struct content *k, struct cache_ctx *ctx, uint64_t off,
		     void *p, size_t len, size_t *got)
{
	uint64_t done = 0, gen = 0;
	int tries = 0, ret = 0;

	while (done < len && ret == 0) {
		struct piece piece;
		bool again;

		look(k, off + done, len - done, &piece);
		if (done == 0)
			gen = piece.base_gen;
		ret = read_piece(k, ctx, off + done, (char *)p + done, &piece);
		/* One reply, one version (C1). */
		again = piece.base_gen != gen ||
			(ret == -ESTALE && has_moved(k, &piece)) ||
			(ret < 0 && !piece.in_store &&
			 content_unreadable(k, off + done, piece.len, ret));
		done += piece.len;
		free(piece.path);
		if (again && ++tries < TRIES) {
			done = 0;
			ret = 0;
		} else if (again && ret == 0) {
			ret = -ESTALE;
		}
	}
	if (ret == 0)
		*got = len;
	return ret;
}
