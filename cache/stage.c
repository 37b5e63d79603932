/* SPDX-License-Identifier: MIT */
/* Writing a content: a private file that may be written, what is dirty in it,
 * and the room on the disk. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/log.h"
#include "common/xalloc.h"

/* Without a usable disk a written file lives in memory, up to this in all. */
#define MEMORY_MAX (256u * 1024 * 1024)
/* How many bytes may be written between two looks at the free space. */
#define ROOM_STEP (4u * 1024 * 1024)

/* An fd for PARTIAL or STAGED content.  content.lock, no fd yet. */
int
content_backing_new_locked(struct content *k, bool for_write)
{
	struct cache *c = k->c;
	int ret = store_private_new(c->store, &k->fd, &k->private_name);

	/* The kernel has a clean file that turned out bad: no open may take
	 * this one for it. */
	if (k->exposed)
		k->exposed_other = true;
	if (ret == -ENOSPC)
		return ret;
	if (ret == 0)
		goto size;
	/* The disk can't be used: memory, if it is not too much (C5). */
	if (k->attr.size > MEMORY_MAX ||
	    (!for_write && k->attr.size > c->cfg.whole_max))
		return ret;
	k->fd = memfd_create("sharedfs", MFD_CLOEXEC);
	if (k->fd < 0)
		return -errno;
	atomic_fetch_add(&c->memory_bytes, k->attr.size);
size:
	/* Holes up to the end: a hole that is punched must be seen as one. */
	if (k->attr.size && ftruncate(k->fd, k->attr.size) < 0)
		log_warn("cache", "truncate of a new private file: %m");
	return 0;
}

int
content_backing_new(struct content *k, bool for_write)
{
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	if (k->fd < 0)
		ret = content_backing_new_locked(k, for_write);
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* The clean file itself becomes the staging file: nothing is copied, and the
 * kernel's readers of it see what is written. */
static bool
take_clean_locked(struct content *k)
{
	uint64_t size = k->attr.size;

	if (!k->clean || k->clean_bad)
		return false;
	/* (By an open() of a worker ago.) */
	k->exposed = k->exposed || store_kernel_has(k->clean);
	if (!k->exposed && size > k->c->cfg.whole_max &&
	    !store_is_verified(k->clean))
		return false;
	/* Unverified bytes must not be sent as if they were good. */
	if (store_verify(k->clean) < 0)
		goto other;
	k->private_name = store_private_name(k->c->store);
	rangeset_add(&k->present, 0, size);
	/* Before it goes: the kernel's readers must find it in a next worker. */
	if (k->exposed && k->node) {
		k->kept = true;
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	}
	if (store_take(k->clean, k->path, &k->base, k->private_name, &k->fd,
		       &k->sums, &k->nsums) == 0) {
		k->clean_bad = true; /* not clean any more */
		return true;
	}
	k->kept = false;
	content_settled_locked(k);
	rangeset_clear(&k->present);
	free(steal_ptr(&k->private_name));
other:
	k->exposed_other = k->exposed;
	return false;
}

int
content_stage_locked(struct content *k, struct cache_ctx *ctx)
{
	int ret;

	if (k->staged)
		return 0;
	if (k->fd < 0 && take_clean_locked(k)) {
		k->staged = true;
		return 0;
	}
	if (k->fd < 0) {
		ret = content_backing_new_locked(k, true);
		if (ret < 0)
			return err_set(ctx->be.err, ret == -ENOSPC ? ret : -EIO,
				       "the cache disk can't take a new file");
	}
	k->staged = true;
	return 0;
}

bool
content_gone_locked(struct content *k)
{
	if (k->fd < 0 || !k->private_name || k->gone)
		return k->gone;
	if (io_write_failed(k->fd))
		k->unkept = true;
	k->gone = k->unkept && io_in_memory(k->fd, 0, k->attr.size) != 1;
	return k->gone;
}

/* Bytes [from, to) are zeros from now on, and the store may have others. */
static void
grow_locked(struct content *k, uint64_t from, uint64_t to)
{
	uint64_t there = k->base_size > k->commit_size ? k->base_size :
							 k->commit_size;

	rangeset_add(&k->present, from, to - from);
	if (from < there)
		rangeset_add(&k->dirty, from, (to < there ? to : there) - from);
}

static int
truncate_locked(struct content *k, uint64_t size)
{
	uint64_t old = k->attr.size;

	if (ftruncate(k->fd, size) < 0)
		return -errno;
	content_journal_change_locked(k);
	if (size < old) {
		/* What the kernel writes there later is here too, unseen. */
		if (!k->exposed_rw)
			rangeset_del(&k->present, size, old - size);
		rangeset_del(&k->dirty, size, old - size);
		if (k->clean_end > size)
			k->clean_end = size;
		if (k->commit_end > size)
			k->commit_end = size;
	} else {
		grow_locked(k, old, size);
	}
	if (!k->private_name)
		atomic_fetch_add(&k->c->memory_bytes, size - old);
	k->attr.size = size;
	if (size < old)
		early_cut_locked(k);
	content_log_locked(k, 0, 0);
	k->append_only = false;
	k->gen++;
	content_touch_locked(k);
	/* There may be no dirty byte, but there is something to send. */
	k->attr_dirty |= BE_SET_MTIME_SOFT;
	return 0;
}

int
content_truncate(struct content *k, struct cache_ctx *ctx, uint64_t size)
{
	int ret;

	if (size > k->c->be->caps.file_max)
		return err_set(ctx->be.err, -EFBIG, "larger than the store takes");
	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	if (size == k->attr.size) {
		ret = 1;
	} else {
		ret = content_stage_locked(k, ctx);
		if (ret == 0)
			ret = truncate_locked(k, size);
		if (ret == 0)
			content_kill_priv_locked(k, ctx->be.uid);
	}
	pthread_mutex_unlock(&k->lock);
	return ret;
}

static int
room_locked(struct content *k, uint64_t end, size_t len)
{
	int ret;

	if (!k->private_name) {
		if (atomic_load(&k->c->memory_bytes) + len > MEMORY_MAX)
			return -ENOSPC;
		return 0;
	}
	if (k->room >= len) {
		k->room -= len;
		return 0;
	}
	ret = store_private_room(k->c->store, len + ROOM_STEP);
	if (ret == 0)
		k->room = ROOM_STEP;
	else
		ret = store_private_room(k->c->store, len);
	return ret;
}

/* A write by anybody but root takes setuid and setgid from a file; with
 * passthrough the kernel leaves that to us. */
void
content_kill_priv_locked(struct content *k, uid_t uid)
{
	mode_t mode = attr_without_priv(k->attr.mode);

	if (uid == 0 || mode == k->attr.mode)
		return;
	k->attr.mode = mode;
	k->attr_dirty |= BE_SET_MODE;
}

int
cache_write(struct cfile *cf, struct cache_ctx *ctx, uint64_t off,
	    const void *p, size_t len, bool append)
{
	struct content *k = cf->k;
	int ret;

	if (len == 0)
		return 0;
	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	if (append)
		off = k->attr.size;
	if (off + len > k->c->be->caps.file_max) {
		ret = err_set(ctx->be.err, -EFBIG, "larger than the store takes");
		goto out;
	}
	ret = content_stage_locked(k, ctx);
	if (ret == 0)
		ret = room_locked(k, off + len, len);
	if (ret == 0 && append && ctx->once) {
		ctx->once->off = off;
		ctx->once->len = len;
		ctx->once->save(ctx->once);
		FAULT_POINT("append.saved");
	}
	if (ret == 0)
		ret = io_write_all(k->fd, p, len, off);
	if (ret < 0)
		goto out;
	content_journal_change_locked(k);
	if (!append || k->exposed_rw)
		k->append_only = false;
	else if (!k->dirty.n && !k->sending.n && off == k->base_size) {
		k->append_only = true;
		k->append_at = off;
	}
	if (off > k->attr.size)
		grow_locked(k, k->attr.size, off);
	rangeset_add(&k->present, off, len);
	rangeset_add(&k->dirty, off, len);
	if (off + len > k->attr.size) {
		if (!k->private_name)
			atomic_fetch_add(&k->c->memory_bytes,
					 off + len - k->attr.size);
		k->attr.size = off + len;
	}
	content_log_locked(k, off, len);
	early_wrote_locked(k, off, len);
	FAULT_POINT("append.done");
	k->gen++;
	content_touch_locked(k);
	content_kill_priv_locked(k, ctx->be.uid);
out:
	pthread_mutex_unlock(&k->lock);
	if (ret == -ENOSPC)
		err_set(ctx->be.err, ret,
			"the cache disk is full: a file being written must fit");
	return ret;
}
