/* SPDX-License-Identifier: MIT */
/* The life of a content: in the table of its path, held by handles and lists,
 * published as clean when nobody can change it.  The state diagram is in
 * cache.h. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"

struct content *
content_new(struct cache *c, const char *path)
{
	struct content *k = xcalloc(1, sizeof(*k));

	k->c = c;
	k->refs = 1;
	k->fd = k->log_fd = k->record.fd = -1;
	k->path = xstrdup(path);
	pthread_mutex_init(&k->lock, NULL);
	cond_init_mono(&k->cond);
	LIST_INIT(&k->flights);
	return k;
}

void
content_unlist_locked(struct content *k)
{
	struct cache *c = k->c;

	if (!k->list)
		return;
	TAILQ_REMOVE(k->list, k, link);
	c->nidle -= k->list == &c->idle;
	k->list = NULL;
	k->refs--; /* never the last: the caller has one */
}

void
content_list_locked(struct content *k, struct content_list *list)
{
	content_unlist_locked(k);
	TAILQ_INSERT_TAIL(list, k, link);
	k->c->nidle += list == &k->c->idle;
	k->list = list;
	k->refs++;
}

static void
content_free(struct content *k)
{
	early_unwatch(k);
	early_drop_locked(k); /* nobody else has it */
	if (k->clean)
		store_close(k->clean);
	if (k->fd >= 0 && !k->private_name)
		atomic_fetch_sub(&k->c->memory_bytes, k->attr.size);
	if (k->private_name) {
		store_private_drop(k->c->store, k->private_name);
		if (k->journaled)
			journal_drop(k->c->store, k->private_name,
				     k->log_fd >= 0 || k->old_log);
		free(k->private_name);
	}
	if (k->fd >= 0)
		close(k->fd);
	if (k->log_fd >= 0)
		close(k->log_fd);
	journal_close(&k->record);
	expose_free(k);
	origin_drop_locked(k);
	rangeset_release(&k->present);
	rangeset_release(&k->dirty);
	rangeset_release(&k->sending);
	rangeset_release(&k->early_left);
	pthread_cond_destroy(&k->cond);
	pthread_mutex_destroy(&k->lock);
	free(k->groups);
	free(k->path);
	free(k);
}

static void
stray_end_locked(struct content *k)
{
	if (k->is_stray)
		TAILQ_REMOVE(&k->c->strays, k, stray);
	k->is_stray = false;
}

void
content_get_locked(struct content *k)
{
	k->refs++;
}

void
content_put(struct content *k)
{
	struct cache *c = k->c;
	bool last;

	cache_lock(c);
	last = --k->refs == 0;
	if (last) {
		content_detach_locked(k);
		stray_end_locked(k);
	}
	cache_unlock(c);
	if (last)
		content_free(k);
}

struct content *
content_find(struct cache *c, const char *path)
{
	struct content *k;

	cache_lock(c);
	HASH_FIND_STR(c->contents, path, k);
	if (k)
		content_get_locked(k);
	cache_unlock(c);
	return k;
}

void
content_insert_locked(struct content *k)
{
	struct content *old;

	HASH_FIND_STR(k->c->contents, k->path, old);
	if (old)
		content_detach_locked(old);
	HASH_ADD_KEYPTR(hh, k->c->contents, k->path, strlen(k->path), k);
	stray_end_locked(k);
	k->current = true;
}

void
content_detach_locked(struct content *k)
{
	if (!k->current)
		return;
	HASH_DEL(k->c->contents, k);
	k->current = false;
	if (k->handles) {
		TAILQ_INSERT_TAIL(&k->c->strays, k, stray);
		k->is_stray = true;
	}
}

bool
content_unsent_locked(const struct content *k)
{
	return (!k->unlinked || k->other_names) &&
	       (k->dirty.n || k->sending.n || k->attr_dirty ||
		k->attr_sending || !k->in_store || expose_changed_locked(k));
}

bool
content_unsent(struct content *k)
{
	bool unsent;

	pthread_mutex_lock(&k->lock);
	unsent = content_unsent_locked(k);
	pthread_mutex_unlock(&k->lock);
	return unsent;
}

void
content_attr(struct content *k, struct be_attr *out)
{
	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	*out = k->attr;
	if (content_unsent_locked(k))
		out->blocks = (out->size + 511) / 512;
	if (k->unlinked)
		out->nlink = 0;
	if (k->orphan_ino)
		out->ino = k->orphan_ino;
	pthread_mutex_unlock(&k->lock);
}

struct be_ver
content_base(struct content *k)
{
	struct be_ver v = { 0 };

	pthread_mutex_lock(&k->lock);
	if (!k->racy && !k->unkept)
		v = k->base;
	pthread_mutex_unlock(&k->lock);
	return v;
}

void
content_rename_locked(struct content *k, const char *path)
{
	bool current = k->current;

	content_detach_locked(k);
	pthread_mutex_lock(&k->lock);
	if (!k->committing)
		early_drop_locked(k); /* it goes to the old name */
	free(k->path);
	k->path = xstrdup(path);
	/* (Or has the kernel the file, and will write to it.) */
	if (content_unsent_locked(k) || k->exposed_rw)
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	pthread_mutex_unlock(&k->lock);
	if (current)
		content_insert_locked(k);
}

static bool
has_handles(struct content *k)
{
	bool has;

	cache_lock(k->c);
	has = k->handles != 0;
	cache_unlock(k->c);
	return has;
}

/* A private file that has all, and a record of it: a next daemon finds it by the
 * node.  What a commit has written down must not be lost by that. */
void
content_keep_locked(struct content *k)
{
	if (k->fd < 0 || !k->private_name || !k->node ||
	    !content_local_locked(k, 0, UINT64_MAX / 2))
		return;
	k->kept = true;
	if (!k->committing && !k->failed && !k->resume.s[0])
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
}

void
content_keep(struct content *k, struct cache_ctx *ctx)
{
	struct store_file *clean = NULL;
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	if (k->fd < 0 && k->clean && !k->clean_bad && k->attr.size)
		clean = k->clean;
	pthread_mutex_unlock(&k->lock);
	/* Before it is private: then nobody verifies it any more. */
	if (clean && store_verify(clean) < 0)
		return;
	pthread_mutex_lock(&k->lock);
	if (k->fd < 0) {
		ret = content_stage_locked(k, ctx);
		/* Another mount has it open too; a copy of a large one is not
		 * worth the time. */
		if (ret == 0 && !content_local_locked(k, 0, UINT64_MAX / 2) &&
		    k->attr.size > k->c->cfg.whole_max)
			ret = -EFBIG;
	}
	pthread_mutex_unlock(&k->lock);
	if (ret == 0 && content_complete(k, ctx) == 0) {
		pthread_mutex_lock(&k->lock);
		content_keep_locked(k);
		pthread_mutex_unlock(&k->lock);
	}
}

int
content_prepare_unlink(struct content *k, struct cache_ctx *ctx)
{
	int ret;

	if (!has_handles(k))
		return 0;
	ret = content_complete(k, ctx);
	if (ret == 0)
		content_keep(k, ctx);
	FAULT_POINT("unlink.kept");
	return ret;
}

/*
 * A directory gives the number of a removed file to the next one that is made.
 * Programs that lock a file by name tell by it whether what they have open is
 * still what the name means.
 */
static void
unlinked_locked(struct content *k)
{
	const struct timespec now = clock_wall();

	k->unlinked = true;
	if (k->c->be->caps.random_write && !k->other_names)
		k->orphan_ino = XXH3_64bits_withSeed(&now, sizeof(now),
						     k->attr.ino) | 1;
	content_settled_locked(k);
}

void
content_unlinked(struct content *k)
{
	cache_lock(k->c);
	content_detach_locked(k);
	cache_unlock(k->c);
	pthread_mutex_lock(&k->lock);
	if (!k->committing)
		early_drop_locked(k);
	k->other_names = k->in_store && k->attr.nlink > 1;
	unlinked_locked(k);
	pthread_mutex_unlock(&k->lock);
	FAULT_POINT("unlink.done");
}

void
content_strays_unlinked(struct cache *c, const char *path)
{
	struct content *k;

	cache_lock(c);
	TAILQ_FOREACH(k, &c->strays, stray)
	{
		pthread_mutex_lock(&k->lock);
		if (strcmp(k->path, path) == 0 && !k->unlinked) {
			content_keep_locked(k);
			unlinked_locked(k);
		}
		pthread_mutex_unlock(&k->lock);
	}
	cache_unlock(c);
}

void
content_failed(struct content *k)
{
	struct cache *c = k->c;

	cache_lock(c);
	content_detach_locked(k);
	content_list_locked(k, &c->failed);
	pthread_mutex_lock(&k->lock);
	k->abandoned = true;
	pthread_mutex_unlock(&k->lock);
	cache_unlock(c);
	atomic_fetch_add(&c->failed_files, 1);
	log_error("cache",
		  "\"%s\": %llu bytes are not in the store; kept on this node",
		  k->path, (unsigned long long)k->attr.size);
}

void
cache_set_node(struct cfile *cf, uint64_t node)
{
	struct content *k = cf->k;

	cache_lock(k->c);
	pthread_mutex_lock(&k->lock);
	k->node = node;
	pthread_mutex_unlock(&k->lock);
	cache_unlock(k->c);
}

void
content_touch_locked(struct content *k)
{
	k->attr.mtime = k->attr.ctime = clock_wall();
}

/* Is it one whole version that may stay?  content.lock. */
static bool
publishable_locked(struct content *k)
{
	return k->fd >= 0 && k->private_name && !content_unsent_locked(k) &&
	       !k->exposed_rw && !k->apart &&
	       !k->unlinked && !k->racy && !k->unkept && be_ver_known(&k->base) &&
	       k->attr.size == k->base_size && k->clean_end == k->base_size &&
	       rangeset_has(&k->present, 0, k->base_size);
}

bool
content_publish_begin_locked(struct content *k)
{
	k->publishing = publishable_locked(k);
	if (!k->publishing && k->journaled && !k->exposed_rw && !k->unlinked &&
	    !content_unsent_locked(k))
		content_settled_locked(k);
	return k->publishing;
}

void
content_publish(struct content *k)
{
	struct cache *c = k->c;
	struct journal_at record;
	char *path, *name;
	struct be_ver ver;
	uint64_t size;
	bool journaled, has_log;
	int fd;

	/* While `publishing` is set nobody opens it: the bytes are still. */
	pthread_mutex_lock(&k->lock);
	path = xstrdup(k->path);
	name = steal_ptr(&k->private_name);
	journaled = k->journaled;
	has_log = k->log_fd >= 0 || k->old_log;
	k->journaled = false;
	record = k->record;
	k->record.fd = -1;
	fd = k->fd;
	ver = k->base;
	size = k->base_size;
	pthread_mutex_unlock(&k->lock);
	/* First: a next worker would take the file's new ctime for that of
	 * bytes that the kernel wrote since. */
	FAULT_POINT("publish.begun");
	if (journaled)
		journal_drop(c->store, name, has_log);
	journal_close(&record);
	FAULT_POINT("publish.dropped");
	if (store_publish(c->store, name, fd, path, &ver, size))
		log_debug("cache", "\"%s\" kept as clean", path);
	free(name);
	free(path);
	cache_lock(c);
	content_detach_locked(k);
	pthread_mutex_lock(&k->lock);
	k->fd = -1;
	k->staged = false;
	/* An open() may have found it just before, and go on with it: nothing
	 * is here any more. */
	rangeset_clear(&k->present);
	k->publishing = false;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	cache_unlock(c);
	close(fd);
}
