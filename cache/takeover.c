/* SPDX-License-Identifier: MIT */
/* The staged bytes of a daemon that was killed, found again by the next one
 * (journal.h): what handles still write goes on, the rest is kept. */
#include <config.h>

#include "cache/cache-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

/* A file whose record is to say that it is given up. */
struct orphan {
	struct orphan *next;
	char *name;
	struct journal_rec rec;
};

struct takeover {
	struct cache *c;
	struct orphan *orphans;
	enum cache_wanted (*wanted)(void *arg, const char *path, uint64_t node);
	void *arg;
};

/* Also what a record speaks of that can't be read. */
static bool
is_kept(void *arg, const char *name)
{
	struct cache *c = arg;

	return journal_has(c->store, name);
}

static void
replay(void *arg, const struct journal_change *ch)
{
	struct content *k = arg;

	journal_replay(ch, k->base_size, &k->dirty, &k->attr.size);
	k->clean_end = ch->clean_end;
}

/* Everything is in the store. */
static bool
is_clean(const struct journal_rec *r)
{
	return r->state == JOURNAL_OPEN && r->cond.pre == BE_MATCH &&
	       !r->whole && !r->exposed && !r->ndirty && !r->mask &&
	       r->size == r->base_size;
}

/* Only dirty bytes of the file are believed, if it was not said that all are
 * there; clean ones are fetched anew. */
static struct content *
restore(struct cache *c, const char *name, const struct journal_rec *r, int fd)
{
	struct content *k = content_new(c, r->path);
	struct stat st;

	k->fd = fd;
	k->private_name = xstrdup(name);
	k->staged = true;
	k->node = r->node;
	k->unlinked = r->state == JOURNAL_UNLINKED;
	k->other_names = r->links;
	k->in_store = r->cond.pre != BE_ABSENT;
	k->truncated = r->whole && k->in_store;
	k->base = r->cond.pre == BE_MATCH ? r->cond.ver : r->base;
	k->base_size = r->base_size;
	k->clean_end = r->whole ? 0 :
		       r->base_size < r->size ? r->base_size : r->size;
	k->uid = r->uid;
	k->gid = r->gid;
	k->ngroups = r->ngroups;
	k->groups = r->ngroups ?
			    xmemdup(r->groups, r->ngroups * sizeof(gid_t)) :
			    NULL;
	k->attr.mode = r->mode;
	k->attr.uid = r->owner;
	k->attr.gid = r->group;
	k->attr.nlink = 1;
	k->attr.ino = r->ino;
	k->attr.size = r->size;
	k->attr.atime = r->atime;
	k->attr.mtime = k->attr.ctime = r->mtime;
	k->attr_dirty = r->mask | BE_SET_MTIME_SOFT;
	k->since = r->since;
	if (r->state == JOURNAL_SENDING)
		k->resume = r->opid;
	for (size_t i = 0; i < r->ndirty; i++)
		rangeset_add(&k->dirty, r->dirty[i].off, r->dirty[i].len);
	journal_log_read(c->store, name, replay, k);
	k->journaled = k->old_log = true;
	rangeset_copy(&k->present, &k->dirty);
	if (r->complete) {
		k->kept = true;
		rangeset_add(&k->present, 0, k->attr.size);
		if (is_clean(r) && !k->dirty.n && k->attr.size == r->size)
			k->attr_dirty = 0;
	}
	if (r->exposed && fstat(fd, &st) == 0) {
		/* Which bytes the kernel wrote nobody knows: all are sent. */
		k->attr.size = st.st_size;
		k->exposed = k->exposed_rw = k->mappable = true;
		/* An explicit time came behind the last write. */
		k->seen_mtim = r->mask & BE_SET_MTIME ? st.st_mtim :
							k->attr.mtime;
		rangeset_clear(&k->dirty);
		if (r->sent.tv_sec && timespec_equal(st.st_ctim, r->sent)) {
			/* … but it wrote nothing since all was sent. */
			k->attr_dirty = 0;
			k->stamp = st;
			k->stamp_ok = true;
		} else {
			k->truncated = k->in_store;
			k->clean_end = 0;
		}
		rangeset_add(&k->present, 0, INT64_MAX / 2);
	} else if (ftruncate(fd, k->attr.size) < 0) {
		log_warn("cache", "truncate of a staging file: %m");
	}
	return k;
}

static bool
private_stat(struct cache *c, const char *name, struct stat *st)
{
	_cleanup_close_ int fd = -1;

	return store_private_open(c->store, name, &fd) == 0 &&
	       fstat(fd, st) == 0;
}

static void
has_bytes(void *arg, const struct journal_change *ch)
{
	bool *any = arg;

	*any = *any || ch->len;
}

/* A file that was made or cut by a call that was not answered, and there is no
 * byte of it: its maker asks again.  (After a loss of power what told of its
 * bytes may be missing, and the bytes not.) */
static bool
was_not_answered(const struct takeover *t, const char *name,
		 const struct journal_rec *r)
{
	bool any = (r->state != JOURNAL_OPEN && r->state != JOURNAL_SENDING) ||
		   r->ndirty;
	struct stat st;

	journal_log_read(t->c->store, name, has_bytes, &any);
	if (any || !t->wanted)
		return false;
	if (private_stat(t->c, name, &st) && st.st_size == 0)
		return true;
	/* What is left of it the store has. */
	return journal_this_boot(r) && r->cond.pre == BE_MATCH && !r->whole &&
	       !r->exposed && !(r->mask & ~(unsigned)BE_SET_MTIME_SOFT);
}

/* The kernel has not written to it since its close() sent it. */
static bool
was_sent(struct cache *c, const char *name, const struct journal_rec *r)
{
	struct stat st;

	return r->exposed && r->sent.tv_sec && private_stat(c, name, &st) &&
	       timespec_equal(st.st_ctim, r->sent);
}

/* It was for its handles, and there is none. */
static bool
only_kept(struct cache *c, const char *name, const struct journal_rec *r)
{
	if (r->state == JOURNAL_UNLINKED)
		return !r->links;
	return r->complete && is_clean(r) && !journal_has_log(c->store, name);
}

/* Nobody will close it any more: kept for the user. */
static void
give_up(struct takeover *t, const char *name, struct journal_rec *r)
{
	bool failed = r->state == JOURNAL_FAILED;
	struct orphan *o;

	if (!failed && !r->words)
		r->words = xstrdup(
			!journal_this_boot(r) ?
				"the host went down before they were sent; what "
				"was written last may be missing" :
			r->state == JOURNAL_SENDING ?
				"the daemon ended while they were sent; whether "
				"the store has them is not known" :
				"the daemon ended before they were sent");
	atomic_fetch_add(&t->c->failed_files, 1);
	log_warn("cache", "\"%s\": bytes that an earlier daemon could not send "
		 "are kept (%s); sharedfs recover lists them", r->path,
		 r->words ? r->words : "");
	if (failed)
		return;
	r->state = JOURNAL_FAILED;
	if (!r->error)
		r->error = -EIO;
	o = xcalloc(1, sizeof(*o));
	o->name = xstrdup(name);
	o->rec = *r;
	memset(r, 0, sizeof(*r));
	o->next = t->orphans;
	t->orphans = o;
}

/* Some program still has it mapped: a lease is refused. */
static bool
is_mapped(struct cache *c, const char *name)
{
	_cleanup_close_ int fd = -1, ro = -1;

	if (store_private_open(c->store, name, &fd) < 0)
		return false;
	ro = expose_dup(fd, O_RDONLY);
	if (ro < 0)
		return true;
	close(fd);
	fd = -1;
	return fcntl(ro, F_SETLEASE, F_RDLCK) < 0;
}

/* Its condition, and its bytes, are known to be those that were to be sent. */
static bool
is_sendable(const struct journal_rec *r)
{
	return (r->state == JOURNAL_OPEN || r->state == JOURNAL_SENDING) &&
	       journal_this_boot(r);
}

static bool
is_current_locked(struct cache *c, const char *path)
{
	struct content *k;

	HASH_FIND_STR(c->contents, path, k);
	return k != NULL;
}

static void
take_one(void *arg, const char *name, struct journal_rec *r)
{
	struct takeover *t = arg;
	struct cache *c = t->c;
	enum cache_wanted wanted = t->wanted ? t->wanted(t->arg, r->path,
							 r->node) :
					       CACHE_UNWANTED;
	struct content *k;
	int fd;

	bool open = wanted == CACHE_WANTED || wanted == CACHE_NAMELESS;

	if (!open && only_kept(c, name, r)) {
		journal_drop(c->store, name, true);
		return;
	}
	if (!open && (was_not_answered(t, name, r) ||
		      (was_sent(c, name, r) &&
		       (wanted == CACHE_UNWANTED || !is_mapped(c, name))))) {
		journal_drop(c->store, name, true);
		return;
	}
	if (r->state == JOURNAL_FAILED ||
	    !(open || (wanted == CACHE_CLOSED && is_sendable(r))) ||
	    store_private_open(c->store, name, &fd) < 0) {
		give_up(t, name, r);
		return;
	}
	k = restore(c, name, r, fd);
	k->closed = !open;
	k->lost = r->state == JOURNAL_JOINING; /* its close() must fail */
	cache_lock(c);
	if (wanted == CACHE_NAMELESS || k->unlinked) {
		TAILQ_INSERT_TAIL(&c->strays, k, stray);
		k->is_stray = true;
	} else if (open || !is_current_locked(c, k->path)) {
		content_insert_locked(k);
	}
	content_list_locked(k, &c->orphans);
	cache_unlock(c);
	log_info("cache", "\"%s\": %llu bytes taken over", k->path,
		 (unsigned long long)k->attr.size);
	content_put(k);
}

static bool
is_of(struct content *k, const char *name)
{
	bool same;

	pthread_mutex_lock(&k->lock);
	same = k->private_name && strcmp(k->private_name, name) == 0;
	pthread_mutex_unlock(&k->lock);
	return same;
}

void
cache_given_up(struct cache *c,
	       void (*fn)(void *arg, const char *name, const char *path),
	       void *arg)
{
	struct content *k;

	cache_lock(c);
	TAILQ_FOREACH(k, &c->failed, link)
	{
		pthread_mutex_lock(&k->lock);
		if (k->private_name)
			fn(arg, k->private_name, k->path);
		pthread_mutex_unlock(&k->lock);
	}
	cache_unlock(c);
}

int
cache_discard(struct cache *c, const char *name)
{
	struct content *k, *found = NULL;
	bool used = false, sent;

	cache_lock(c);
	for (k = c->contents; k; k = k->hh.next)
		used |= is_of(k, name);
	TAILQ_FOREACH(k, &c->strays, stray)
		used |= is_of(k, name);
	TAILQ_FOREACH(k, &c->failed, link)
		found = is_of(k, name) ? k : found;
	if (found)
		content_get_locked(found);
	if (found)
		content_unlist_locked(found);
	cache_unlock(c);
	if (found) {
		/* A drain may have it in its hands; it is not sent again. */
		pthread_mutex_lock(&found->lock);
		found->unlinked = true;
		found->other_names = false;
		sent = found->in_store && !found->failed;
		pthread_mutex_unlock(&found->lock);
		log_warn("cache", "\"%s\": discarded%s", found->path,
			 sent ? "; it was sent meanwhile" : "");
		content_put(found);
	} else if (used || !journal_has(c->store, name)) {
		return used ? -EBUSY : -ENOENT;
	} else {
		store_private_drop(c->store, name);
		journal_drop(c->store, name, true);
	}
	atomic_fetch_sub(&c->failed_files, 1);
	return 0;
}

void
cache_takeover(struct cache *c,
	       enum cache_wanted (*wanted)(void *arg, const char *path,
					   uint64_t node),
	       void *arg)
{
	struct takeover t = { .c = c, .wanted = wanted, .arg = arg };
	struct content *k;
	struct orphan *o;
	unsigned elsewhere;

	delay_restore(c);
	uploads_restore(c);
	journal_scan(c->store, take_one, &t);
	/* Not while the journal is being read. */
	TAILQ_FOREACH(k, &c->orphans, link)
	{
		pthread_mutex_lock(&k->lock);
		content_journal_locked(k, k->lost ? JOURNAL_JOINING :
						    JOURNAL_OPEN,
				       NULL, 0, NULL);
		pthread_mutex_unlock(&k->lock);
	}
	while ((o = t.orphans)) {
		t.orphans = o->next;
		journal_fold(c->store, o->name, &o->rec);
		journal_rec_release(&o->rec);
		free(o->name);
		free(o);
	}
	store_private_sweep(c->store, is_kept, c);
	elsewhere = store_sweep_dead(c->store);
	atomic_store(&c->kept_files, elsewhere);
	if (elsewhere)
		log_warn("cache", "%u files that earlier mounts could not send "
			 "are kept in the cache directory; sharedfs recover "
			 "lists them", elsewhere);
}

void
takeover_send_closed(struct cache *c)
{
	struct content *k, *next;

	cache_lock(c);
	for (k = TAILQ_FIRST(&c->orphans); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->closed)
			expose_watch_locked(k);
	}
	cache_unlock(c);
}

int
cache_open_again(struct cache *c, struct cache_ctx *ctx, uint64_t node,
		 const struct cfile *other, int flags, struct cfile **out)
{
	struct content *k = other ? other->k : NULL, *i;

	cache_lock(c);
	/* Nobody writes to what was opened for its reader alone. */
	if (k && !k->current && !k->is_stray && (flags & O_ACCMODE) != O_RDONLY)
		k = NULL;
	if (!k) {
		TAILQ_FOREACH(i, &c->orphans, link)
			k = i->node == node ? i : k;
		TAILQ_FOREACH(i, &c->strays, stray)
			k = i->node == node ? i : k;
	}
	if (k)
		content_get_locked(k);
	cache_unlock(c);
	if (!k)
		return -ENOENT;
	*out = cfile_new(k, ctx, flags);
	return 0;
}
