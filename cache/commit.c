/* SPDX-License-Identifier: MIT */
/*
 * How staged bytes get into the store: one commit at a time for a file, with
 * a condition and an operation id (rules 1, 2, 6).  When another node was
 * faster: rebase.c.
 */
#include <config.h>

#include "cache/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/log.h"
#include "common/xalloc.h"

static void
take_origin_locked(struct content *k, struct sending *s)
{
	const struct origin_of *of =
		k->apart ? NULL : origin_find_locked(k, &s->commit);

	free(s->from.path);
	s->from.path = NULL;
	if (of) {
		s->from = *of;
		s->from.path = xstrdup(of->path);
	}
}

/* Of a file that is apart nobody but us has cut the end off. */
static uint64_t
size_locked(const struct content *k)
{
	bool longer = k->apart && !k->truncated && k->in_store &&
		      k->clean_end == k->base_size &&
		      k->base_size > k->attr.size;

	return longer ? k->base_size : k->attr.size;
}

static void
take_locked(struct content *k, struct sending *s)
{
	/* What an earlier attempt took and could not send comes along. */
	rangeset_add_all(&k->sending, &k->dirty);
	rangeset_clear(&k->dirty);
	k->attr_sending |= k->attr_dirty;
	k->attr_dirty = 0;
	s->mask = k->attr_sending;
	s->gen = k->gen;
	s->attr = k->attr;
	k->commit_size = k->commit_end = size_locked(k);
	/* A truncate since then made some of it moot. */
	rangeset_del(&k->sending, k->attr.size, UINT64_MAX / 2);
	rangeset_copy(&s->dirty, &k->sending);

	s->commit.fd = k->fd;
	s->commit.size = s->attr.size = k->commit_size;
	s->commit.whole = k->truncated || !k->in_store ||
			  !be_ver_known(&k->base);
	if (s->commit.whole) {
		rangeset_clear(&s->dirty);
		rangeset_add(&s->dirty, 0, k->attr.size);
		memset(&s->commit.base, 0, sizeof(s->commit.base));
		s->commit.base_size = 0;
	} else {
		s->commit.base = k->base;
		s->commit.base_size = k->base_size;
	}
	s->commit.dirty = s->dirty.v;
	s->commit.ndirty = s->dirty.n;
	s->commit.append = k->append_only && !s->commit.whole;
	s->commit.cond.pre = !k->in_store ? BE_ABSENT :
			     be_ver_known(&k->base) ? BE_MATCH :
						      BE_ANY;
	s->commit.cond.ver = k->base;
	s->commit.attr = &s->attr;
	s->commit.mask = s->mask | BE_SET_MTIME_SOFT;
	s->commit.ahead = NULL;
	if (!k->apart && early_fits_locked(k)) {
		rangeset_copy(&s->left, &k->early_left);
		s->commit.ahead = k->early;
		s->commit.left = s->left.v;
		s->commit.nleft = s->left.n;
	}
	s->apart = k->apart && !s->commit.whole;
	s->clean_end = k->clean_end;
	take_origin_locked(k, s);
}

/* Not sent: it is dirty again. */
static void
give_back_locked(struct content *k, unsigned mask)
{
	rangeset_add_all(&k->dirty, &k->sending);
	rangeset_del(&k->dirty, k->attr.size, UINT64_MAX / 2);
	rangeset_clear(&k->sending);
	k->attr_dirty |= mask | k->attr_sending;
	k->attr_sending = 0;
	k->commit_size = 0;
}

static void
sent_locked(struct content *k, const struct sending *s,
	    const struct be_attr *out)
{
	rangeset_clear(&k->sending);
	k->attr_sending = 0;
	k->in_store = true;
	k->reserved = false;
	k->truncated = false;
	k->append_at = s->commit.size; /* what came since follows that */
	k->failed = k->closed = false;
	k->base = out->ver;
	k->base_size = s->commit.size;
	k->clean_end = k->commit_end;
	k->commit_size = 0;
	k->apart = k->apart && !s->commit.whole;
	k->racy = k->apart || (out->flags & BE_ATTR_RACY);
	k->since = (struct timespec){ 0 };
	expose_sent_locked(k);
	if (k->gen == s->gen && !k->attr_dirty) {
		uint64_t size = k->attr.size;

		k->attr = *out;
		if (k->apart)
			k->attr.size = size;
	} else {
		/* written meanwhile: its own size and times are newer */
		k->attr.ver = out->ver;
		k->attr.ino = out->ino;
		k->attr.nlink = out->nlink;
	}
	if (k->exposed_rw) {
		/* the kernel may write on, unseen */
		content_journal_locked(k, JOURNAL_OPEN, NULL, 0, NULL);
	} else if (!content_unsent_locked(k)) {
		content_settled_locked(k);
	}
}

static void
sent_base_locked(struct content *k, const struct be_attr *out)
{
	uint64_t end = out->size < k->attr.size ? out->size : k->attr.size;

	give_back_locked(k, BE_SET_MTIME_SOFT);
	/* Beyond clean_end all bytes are ours, and holes are zeros. */
	if (end > k->clean_end) {
		rangeset_add(&k->dirty, k->clean_end, end - k->clean_end);
		rangeset_add(&k->present, k->clean_end, end - k->clean_end);
	}
	k->in_store = true;
	k->base = out->ver;
	k->base_size = out->size;
	k->attr.ino = out->ino;
}

static int
copy_range(int from, int to, const struct range *r)
{
	size_t step = r->len < (1u << 20) ? r->len : (1u << 20);
	_cleanup_free_ char *p = xmalloc(step);

	for (uint64_t done = 0; done < r->len;) {
		size_t n = r->len - done < step ? r->len - done : step, got;
		int ret = read_all(from, p, n, r->off + done, &got);

		if (ret == 0 && got < n)
			ret = -ENODATA; /* cut meanwhile */
		if (ret == 0)
			ret = io_write_all(to, p, n, r->off + done);
		if (ret < 0)
			return ret;
		done += n;
	}
	return 0;
}

/* Everything commit() will read from the staging file. */
static int
fetch_needed(struct content *k, struct cache_ctx *ctx,
	     const struct be_commit *commit)
{
	struct rangeset need = RANGESET_INIT;
	int ret = be_need(k->c->be, commit, &need);

	for (size_t i = 0; i < need.n && ret == 0; i++)
		ret = content_fetch(k, ctx, need.v[i].off, need.v[i].len);
	rangeset_release(&need);
	return ret;
}

/* What is sent of a file that is apart: the base's bytes, and over them the
 * dirty ones, in a file of its own.  Only what commit() is going to read. */
static int
join_apart(struct content *k, struct cache_ctx *ctx, struct sending *s)
{
	struct rangeset need = RANGESET_INIT;
	struct be_commit *c = &s->commit;
	_cleanup_free_ char *name = NULL;
	struct be_sink sink;
	int ret;

	if (s->joined < 0) {
		ret = store_private_new(k->c->store, &s->joined, &name);
		if (ret < 0)
			return err_set(ctx->be.err, ret,
				       "the cache disk can't take a new file");
		store_private_drop(k->c->store, name);
	}
	if (ftruncate(s->joined, 0) < 0 || ftruncate(s->joined, c->size) < 0)
		return -errno;
	sink = be_sink_to_fd(&s->joined);
	ret = be_need(k->c->be, c, &need);
	rangeset_del(&need, s->clean_end, UINT64_MAX / 2);
	for (size_t i = 0; i < need.n && ret == 0; i++)
		ret = content_base_read(k, ctx, c->path, &c->base, need.v[i],
					&sink);
	rangeset_release(&need);
	for (size_t i = 0; i < c->ndirty && ret == 0; i++)
		ret = copy_range(k->fd, s->joined, &c->dirty[i]);
	c->fd = s->joined;
	return ret;
}

/* The store copies what it has.  1: it can't, or no longer has it: then the
 * bytes are sent. */
static int
copy_origin(struct content *k, struct cache_ctx *ctx, const struct sending *s,
	    struct be_attr *out)
{
	const struct be_commit *c = &s->commit;
	int ret;

	if (!s->from.path || ctx->be.attempt > 0)
		return 1;
	ret = be_copy(k->c->be, &ctx->be, s->from.path, &s->from.ver, c->path,
		      &c->cond, &c->opid, c->attr, out);
	if (ret == 0 || ret == -EINTR || ret == -ETIMEDOUT ||
	    ctx->be.transient)
		return ret;
	log_debug("cache", "\"%s\" is sent, not copied from \"%s\": %s",
		  c->path, s->from.path,
		  ctx->be.err ? err_words(ctx->be.err) : strerror(-ret));
	if (ctx->be.err)
		err_release(ctx->be.err);
	return 1;
}

/* -ESTALE: the base is gone, or the condition does not hold. */
static int
transfer(struct content *k, struct cache_ctx *ctx, struct sending *s,
	 bool resumed, struct be_attr *out)
{
	int ret = copy_origin(k, ctx, s, out);

	s->unknown = false;
	if (ret > 0) {
		ret = s->apart ? join_apart(k, ctx, s) :
				 fetch_needed(k, ctx, &s->commit);
		/* The base is gone.  If it was the earlier attempt that
		 * replaced it, nobody else did (rule 2). */
		s->commit.look = ret == -ESTALE && resumed;
		if (ret < 0 && !s->commit.look)
			return ret;
		ret = be_commit(k->c->be, &ctx->be, &s->commit, out);
	}
	s->unknown = ctx->be.transient || ret == -EIO || ret == -EINTR ||
		     ret == -ETIMEDOUT;
	return ret;
}

static int
check_gone_locked(struct content *k, struct cache_ctx *ctx)
{
	if (!content_gone_locked(k))
		return 0;
	return err_set(ctx->be.err, -EIO,
		       "the cache disk could not be written to, and not all of"
		       " these bytes are still in memory");
}

/* One attempt with the key held.  1: the condition did not hold, and the
 * content was rebased. */
static int
attempt(struct content *k, struct cache_ctx *ctx, const char *path,
	struct sending *s)
{
	struct be_attr out;
	bool resumed = false;
	int ret;

	pthread_mutex_lock(&k->lock);
	if (!content_unsent_locked(k)) {
		pthread_mutex_unlock(&k->lock);
		return 0; /* unlinked while we waited for the key */
	}
	if (k->lost) {
		pthread_mutex_unlock(&k->lock);
		return err_set(ctx->be.err, -EIO,
			       "the worker was killed while it joined these"
			       " bytes with another node's; they are kept");
	}
	if (k->unlinked) {
		pthread_mutex_unlock(&k->lock);
		return err_set(ctx->be.err, -ESTALE,
			       "removed here under the name it was opened by;"
			       " its other names can't be told from here");
	}
	ret = k->fd < 0 ? content_stage_locked(k, ctx) :
			  check_gone_locked(k, ctx);
	if (ret == 0) {
		take_locked(k, s);
		s->commit.path = path;
		ctx->be.attempt = 0;
		if (k->resume.s[0]) {
			/* A killed worker, or an attempt whose answer was
			 * lost, may have sent it: B5. */
			s->commit.opid = k->resume;
			k->resume.s[0] = '\0';
			ctx->be.attempt = 1;
			resumed = true;
		} else if (s->commit.ahead) {
			s->commit.opid = k->early_op;
		} else {
			be_opid_new(&s->commit.opid);
		}
		content_journal_locked(k, JOURNAL_SENDING, &s->commit, 0, NULL);
	}
	pthread_mutex_unlock(&k->lock);
	if (ret < 0)
		return ret;
	FAULT_POINT("commit.saved");
	ret = transfer(k, ctx, s, resumed, &out);
	FAULT_POINT("commit.answered");
	pthread_mutex_lock(&k->lock);
	early_drop_locked(k);
	if (ret == 0)
		ret = check_gone_locked(k, ctx); /* while it was read */
	pthread_mutex_unlock(&k->lock);
	if (ret == 0 && resumed) {
		/* One of the two did it.  What was sent first may be less
		 * than what is here now: it is only the base. */
		pthread_mutex_lock(&k->lock);
		sent_base_locked(k, &out);
		pthread_mutex_unlock(&k->lock);
		return 1;
	}
	if (ret == 0) {
		/* In this order: a stat in between shows what is still pending
		 * here, or what was sent; never what was there before. */
		delay_drop(k->c, path); /* it rode along */
		attr_set_own(k->c, path, &out);
		pthread_mutex_lock(&k->lock);
		sent_locked(k, s, &out);
		pthread_mutex_unlock(&k->lock);
		return 0;
	}
	if (ret == -ENODATA) {
		/* Cut while it was sent: what it is now is sent instead. */
		pthread_mutex_lock(&k->lock);
		give_back_locked(k, s->mask);
		pthread_mutex_unlock(&k->lock);
		return 1;
	}
	if (resumed && (ret == -EEXIST || ret == -ESTALE)) {
		int there = commit_has_come_through(k, ctx, path, s);

		if (there)
			return there;
	}
	if (ret == -ESTALE && resumed && k->c->be->caps.random_write &&
	    !k->abandoned) {
		ret = commit_go_on_in_place(k, ctx, path);
		return ret == 0 ? 1 : ret;
	}
	if (ret == -EEXIST || ret == -ESTALE ||
	    (ret == -ENOENT && s->commit.cond.pre == BE_MATCH)) {
		ret = commit_conflict(k, ctx, path, ret);
		return ret == 0 ? 1 : ret;
	}
	return attr_doubt(k->c, ctx, path, ret);
}

/* The path under its key; a rename may have changed it while we waited. */
static int
lock_path(struct content *k, struct cache_ctx *ctx, struct key *key,
	  char **path)
{
	for (;;) {
		char *p;
		bool same;
		int ret;

		pthread_mutex_lock(&k->lock);
		p = xstrdup(k->path);
		pthread_mutex_unlock(&k->lock);
		ret = key_lock(&k->c->keys, key, p, false, &ctx->be);
		if (ret < 0) {
			free(p);
			return ret;
		}
		pthread_mutex_lock(&k->lock);
		same = strcmp(p, k->path) == 0;
		pthread_mutex_unlock(&k->lock);
		if (same) {
			*path = p;
			return 0;
		}
		key_unlock(&k->c->keys, key);
		free(p);
	}
}

static int
send(struct content *k, struct cache_ctx *ctx)
{
	struct sending s = { .dirty = RANGESET_INIT, .left = RANGESET_INIT,
			     .joined = -1 };
	_cleanup_free_ char *path = NULL;
	struct key key;
	int ret = lock_path(k, ctx, &key, &path);

	if (ret < 0)
		return ret;
	ret = 1;
	for (int i = 0; ret == 1 && i < CONFLICT_TRIES; i++)
		ret = attempt(k, ctx, path, &s);
	if (ret == 1)
		ret = err_set(ctx->be.err, -ESTALE,
			      "other nodes keep changing it");
	key_unlock(&k->c->keys, &key);
	if (ret < 0) {
		pthread_mutex_lock(&k->lock);
		give_back_locked(k, s.mask);
		/* A lost reply is not a lost race (rule 2). */
		if (s.unknown)
			k->resume = s.commit.opid;
		k->failed = true;
		content_journal_locked(k, JOURNAL_FAILED, NULL, ret,
				       ctx->be.err ? err_words(ctx->be.err) :
						     NULL);
		pthread_mutex_unlock(&k->lock);
		err_prefix(ctx->be.err, "send \"%s\"", path);
	}
	rangeset_release(&s.dirty);
	rangeset_release(&s.left);
	free(s.from.path);
	if (s.joined >= 0)
		close(s.joined);
	return ret;
}

int
content_commit(struct content *k, struct cache_ctx *ctx)
{
	struct cache_ctx opener = *ctx;
	int ret = 0;

	pthread_mutex_lock(&k->lock);
	if (content_unsent_locked(k))
		ret = must_not_block(ctx);
	while (ret == 0 && content_unsent_locked(k) && k->committing)
		ret = content_wait_locked(k, ctx);
	if (ret < 0 || !content_unsent_locked(k)) {
		pthread_mutex_unlock(&k->lock);
		return ret;
	}
	k->committing = true;
	k->committer = pthread_self();
	opener.be.uid = k->uid;
	opener.be.gid = k->gid;
	opener.be.groups = k->groups;
	opener.be.ngroups = k->ngroups;
	pthread_mutex_unlock(&k->lock);

	early_unwatch(k);
	/* Noted before anything is read: what is gone comes back as other
	 * bytes. */
	pthread_mutex_lock(&k->lock);
	expose_refresh_locked(k);
	content_gone_locked(k);
	pthread_mutex_unlock(&k->lock);
	ret = expose_scan(k);
	if (ret == 0)
		ret = send(k, &opener);
	ctx->be.transient = opener.be.transient;

	pthread_mutex_lock(&k->lock);
	k->committing = false;
	pthread_cond_broadcast(&k->cond);
	pthread_mutex_unlock(&k->lock);
	return ret;
}
