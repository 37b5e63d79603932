/* SPDX-License-Identifier: MIT */
/*
 * Looking at what is in the bucket, and a small memory of what was seen last,
 * by key.  Asked by ETag it saves the HEAD before an object is replaced, and
 * tells the size behind a 304.  getattr is never answered from it (rule 12:
 * equal ETag does not mean equal attributes).  What was seen a moment ago saves
 * a mutation the question that the kernel's lookup just asked.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define HEADS_MAX 8192
/* Of what is below a name, a marker and a child say all. */
#define BELOW_MAX 2
/* Names that may begin with a new name, before it is asked for otherwise. */
#define ALIKE_MAX 16
/* Between a lookup that found nothing and the call that makes the name. */
#define ABSENT_NS NSEC_PER_SEC
/* That a name is a file with no directory beside it, or a directory has its
 * marker, changes only by the hand of somebody who breaks it on purpose. */
#define WHILE_NS (10 * NSEC_PER_SEC)

struct seen {
	char *key;
	struct s3_head *head; /* NULL: nothing was there */
	int64_t seen_ns;      /* when head was looked at or written */
	int64_t plain_ns;     /* when no directory of that name was there */
	TAILQ_ENTRY(seen) lru;
	UT_hash_handle hh;
};
TAILQ_HEAD(seen_list, seen);

struct s3_heads {
	pthread_mutex_t lock; /* all below */
	struct seen *by_key;
	struct seen_list lru; /* the oldest first */
	unsigned n;
};

struct s3_heads *
s3_heads_new(void)
{
	struct s3_heads *hs = xcalloc(1, sizeof(*hs));

	pthread_mutex_init(&hs->lock, NULL);
	TAILQ_INIT(&hs->lru);
	return hs;
}

static void
drop_locked(struct s3_heads *hs, struct seen *e)
{
	HASH_DEL(hs->by_key, e);
	TAILQ_REMOVE(&hs->lru, e, lru);
	hs->n--;
	s3_head_put(e->head);
	free(e->key);
	free(e);
}

void
s3_heads_free(struct s3_heads *hs)
{
	struct seen *e;

	if (!hs)
		return;
	while ((e = TAILQ_FIRST(&hs->lru)))
		drop_locked(hs, e);
	pthread_mutex_destroy(&hs->lock);
	free(hs);
}

struct s3_head *
s3_heads_get(struct s3 *s, const char *key, const char *etag)
{
	struct s3_head *h = NULL;
	struct seen *e;

	pthread_mutex_lock(&s->heads->lock);
	HASH_FIND_STR(s->heads->by_key, key, e);
	if (e && e->head && strcmp(e->head->etag, etag) == 0) {
		TAILQ_REMOVE(&s->heads->lru, e, lru);
		TAILQ_INSERT_TAIL(&s->heads->lru, e, lru);
		h = s3_head_ref(e->head);
	}
	pthread_mutex_unlock(&s->heads->lock);
	return h;
}

static struct seen *
entry_locked(struct s3_heads *hs, const char *key)
{
	struct seen *e;

	HASH_FIND_STR(hs->by_key, key, e);
	if (e) {
		TAILQ_REMOVE(&hs->lru, e, lru);
	} else {
		e = xcalloc(1, sizeof(*e));
		e->key = xstrdup(key);
		HASH_ADD_KEYPTR(hh, hs->by_key, e->key, strlen(e->key), e);
		hs->n++;
	}
	TAILQ_INSERT_TAIL(&hs->lru, e, lru);
	if (hs->n > HEADS_MAX)
		drop_locked(hs, TAILQ_FIRST(&hs->lru));
	return e;
}

void
s3_heads_set(struct s3 *s, const char *key, struct s3_head *h)
{
	struct seen *e;

	pthread_mutex_lock(&s->heads->lock);
	e = entry_locked(s->heads, key);
	s3_head_put(e->head);
	e->head = s3_head_ref(h);
	e->seen_ns = clock_mono_ns();
	pthread_mutex_unlock(&s->heads->lock);
}

void
s3_heads_plain(struct s3 *s, const char *key, struct s3_head *h)
{
	struct seen *e;

	pthread_mutex_lock(&s->heads->lock);
	e = entry_locked(s->heads, key);
	s3_head_put(e->head);
	e->head = s3_head_ref(h);
	e->seen_ns = e->plain_ns = clock_mono_ns();
	pthread_mutex_unlock(&s->heads->lock);
}

bool
s3_heads_recent(struct s3 *s, const char *key, enum s3_recent what,
		struct s3_head **out)
{
	int64_t moment = atomic_load(&s->moment_ns);
	int64_t absent = moment > ABSENT_NS ? moment : ABSENT_NS;
	int64_t a_while = moment > WHILE_NS ? moment : WHILE_NS;
	int64_t now = clock_mono_ns();
	bool yes = false;
	struct seen *e;

	pthread_mutex_lock(&s->heads->lock);
	HASH_FIND_STR(s->heads->by_key, key, e);
	if (e)
		switch (what) {
		case S3_RECENT_HEAD:
			yes = e->head && now - e->seen_ns < moment;
			break;
		case S3_RECENT_THERE:
			yes = e->head && now - e->seen_ns < a_while;
			break;
		case S3_RECENT_PLAIN:
			yes = e->head && e->plain_ns &&
			      now - e->plain_ns < a_while;
			break;
		case S3_RECENT_ABSENT:
			yes = !e->head && e->plain_ns &&
			      now - e->plain_ns < absent;
			break;
		}
	if (yes && out)
		*out = s3_head_ref(e->head);
	pthread_mutex_unlock(&s->heads->lock);
	return yes;
}

void
s3_heads_drop(struct s3 *s, const char *key)
{
	struct seen *e;

	pthread_mutex_lock(&s->heads->lock);
	HASH_FIND_STR(s->heads->by_key, key, e);
	if (e)
		drop_locked(s->heads, e);
	pthread_mutex_unlock(&s->heads->lock);
}

void
s3_heads_drop_below(struct s3 *s, const char *prefix)
{
	size_t n = strlen(prefix);
	struct seen *e, *next;

	pthread_mutex_lock(&s->heads->lock);
	HASH_ITER (hh, s->heads->by_key, e, next) {
		if (strncmp(e->key, prefix, n) == 0)
			drop_locked(s->heads, e);
	}
	pthread_mutex_unlock(&s->heads->lock);
}

/* --- HEAD ------------------------------------------------------------------------ */

/* The answer to a HEAD: *out NULL when nothing is there. */
static int
head_answer(struct s3 *s, struct be_ctx *ctx, struct s3_req *q,
	    struct s3_head **out)
{
	if (q->e.code == -ENOENT) {
		s3_heads_drop(s, q->key);
		*out = NULL;
		return 0;
	}
	if (q->e.code)
		return s3_req_fail(s, ctx, q);
	*out = s3_head_from(&q->reply);
	if (!*out)
		return be_fail(ctx, -EIO, true,
			       "HEAD s3://%s/%s: a reply without ETag or"
			       " Content-Length",
			       s->bucket, q->key);
	s3_heads_set(s, q->key, *out);
	return 0;
}

int
s3_look(struct s3 *s, struct be_ctx *ctx, const char *key, struct s3_head **out)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;
	int ret;

	s3_req_init(&q, S3_HEAD, "HEAD", key);
	ret = s3_run(s, ctx, &v, 1);
	return ret < 0 ? ret : head_answer(s, ctx, &q, out);
}

int
s3_look_version(struct s3 *s, struct be_ctx *ctx, const char *key,
		const char *etag, struct s3_head **out)
{
	int ret;

	*out = s3_heads_get(s, key, etag);
	if (*out)
		return 0;
	ret = s3_look(s, ctx, key, out);
	if (ret < 0)
		return ret;
	if (*out && strcmp((*out)->etag, etag) == 0)
		return 0;
	s3_head_put(*out);
	*out = NULL;
	return be_fail(ctx, -ESTALE, false, "s3://%s/%s has another version",
		       s->bucket, key);
}

/* --- what is at a path -------------------------------------------------------------- */

void
s3_stat_release(struct s3_stat *st)
{
	free(st->key);
	s3_head_put(st->head);
	memset(st, 0, sizeof(*st));
}

int
s3_beside_req(struct s3 *s, struct be_ctx *ctx, const char *path,
	      struct s3_beside *b)
{
	s3_req_init(&b->q, S3_LIST, "GET", NULL);
	b->prefix = s3_key_below(s->prefix, path);
	s3_list_req(&b->q, b->prefix, false, BELOW_MAX, NULL);
	return s3_key_marker(ctx, s->prefix, path, &b->marker);
}

void
s3_beside_release(struct s3_beside *b)
{
	s3_req_release(&b->q);
	free(b->prefix);
	free(b->marker);
}

/* The requests that tell about one path: the object, the marker, a child. */
struct question {
	struct s3_req file;
	struct s3_beside beside;
	bool ask_file, ask_below;
};

static int
question_init(struct s3 *s, struct be_ctx *ctx, struct question *qn,
	      const char *path)
{
	char *key = NULL;
	int ret;

	memset(qn, 0, sizeof(*qn));
	/* Released even if they were never asked. */
	s3_req_init(&qn->file, S3_HEAD, "HEAD", NULL);
	ret = s3_beside_req(s, ctx, path, &qn->beside);
	if (ret < 0)
		return ret;
	qn->ask_file = *path;
	qn->ask_below = true;
	if (qn->ask_file) {
		ret = s3_key_file(ctx, s->prefix, path, &key);
		if (ret < 0)
			return ret;
		qn->file.key = key;
	}
	return 0;
}

static void
question_release(struct question *qn)
{
	s3_req_release(&qn->file);
	s3_beside_release(&qn->beside);
}
#define _cleanup_question_ __attribute__((cleanup(question_release)))

struct below {
	const char *marker;
	bool marker_seen, child_seen;
};

static int
below_fn(void *arg, const struct s3_xml_entry *e)
{
	struct below *b = arg;

	if (strcmp(e->key, b->marker) == 0)
		b->marker_seen = true;
	else if (!s3_key_reserved(e->key, strlen(e->key)))
		b->child_seen = true;
	return 0;
}

/* What the LIST of `prefix` says. */
static int
below_answer(struct s3 *s, struct be_ctx *ctx, struct s3_req *q,
	     const char *prefix, struct below *b)
{
	struct s3_xml_list page = { 0 };
	int ret;

	/* Nothing with this prefix: some servers say 404. */
	if (q->e.code == -ENOENT)
		return 0;
	if (q->e.code)
		return s3_req_fail(s, ctx, q);
	ret = s3_xml_list(q->reply.body.s, q->reply.body.len, below_fn, b,
			  &page);
	s3_xml_list_release(&page);
	if (ret < 0)
		return be_fail(ctx, -EIO, true,
			       "list s3://%s/%s: the reply is cut short or no"
			       " XML",
			       s->bucket, prefix);
	return 0;
}

int
s3_beside_answer(struct s3 *s, struct be_ctx *ctx, struct s3_beside *b)
{
	struct below below = { .marker = b->marker };
	int ret = below_answer(s, ctx, &b->q, b->prefix, &below);

	return ret < 0 ? ret : below.marker_seen || below.child_seen;
}

/*
 * Directories win over files.  A marker costs one request more, for its
 * attributes; it is asked for only if it is there.
 */
static int
question_answer(struct s3 *s, struct be_ctx *ctx, struct question *qn,
		const char *path, struct s3_stat *out)
{
	struct below b = { .marker = qn->beside.marker };
	_cleanup_head_ struct s3_head *file = NULL, *marker = NULL;
	int ret;

	memset(out, 0, sizeof(*out));
	if (qn->ask_file) {
		ret = head_answer(s, ctx, &qn->file, &file);
		if (ret < 0)
			return ret;
	}
	if (qn->ask_below) {
		ret = below_answer(s, ctx, &qn->beside.q, qn->beside.prefix, &b);
		if (ret < 0)
			return ret;
	}
	if (b.marker_seen) {
		ret = s3_look(s, ctx, qn->beside.marker, &marker);
		if (ret < 0)
			return ret;
	}
	if (b.marker_seen || b.child_seen) {
		/* The object beside it can't be reached: it is no file that
		 * anybody saw. */
		if (file)
			s3_heads_drop(s, qn->file.key);
		out->what = S3_DIR;
		out->key = steal_ptr(&qn->beside.marker);
		out->head = steal_ptr(&marker);
		out->children = b.child_seen;
		return 0;
	}
	/* Only a full answer says that there is no directory. */
	if (qn->ask_file && qn->ask_below)
		s3_heads_plain(s, qn->file.key, file);
	if (file) {
		struct be_attr a;

		s3_meta_attr(&s->meta, file, qn->file.key, &a);
		out->what = S_ISDIR(a.mode) ? S3_DIR : S3_FILE;
		out->key = xstrdup(qn->file.key);
		out->head = steal_ptr(&file);
	}
	return 0;
}

/* What the keys that begin with a name say about it. */
struct alike {
	const char *file, *marker;
	bool file_seen, dir_seen;
};

static int
alike_fn(void *arg, const struct s3_xml_entry *e)
{
	struct alike *l = arg;

	if (strcmp(e->key, l->marker) == 0)
		l->dir_seen = true;
	else if (!e->prefix && strcmp(e->key, l->file) == 0)
		l->file_seen = true;
	return 0;
}

/*
 * Probably nothing is there: then one listing of what begins with the name says
 * so for file, marker and implicit directory at once.  1: it says so.  0: it
 * must be asked for otherwise.
 */
static int
ask_alike(struct s3 *s, struct be_ctx *ctx, const struct question *qn)
{
	struct alike l = { .file = qn->file.key, .marker = qn->beside.marker };
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_xml_list page = { 0 };
	struct s3_req *v = &q;
	bool all;
	int ret;

	s3_req_init(&q, S3_LIST, "GET", NULL);
	s3_list_req(&q, qn->file.key, true, ALIKE_MAX, NULL);
	ret = s3_run(s, ctx, &v, 1);
	if (ret < 0)
		return ret;
	if (q.e.code == -ENOENT)
		return 1;
	if (q.e.code)
		return s3_req_fail(s, ctx, &q);
	ret = s3_xml_list(q.reply.body.s, q.reply.body.len, alike_fn, &l, &page);
	all = !page.truncated;
	s3_xml_list_release(&page);
	if (ret < 0)
		return 0;
	return all && !l.file_seen && !l.dir_seen;
}

int
s3_stat(struct s3 *s, struct be_ctx *ctx, const char *path, enum be_hint hint,
	struct s3_stat *out)
{
	_cleanup_question_ struct question qn;
	struct s3_req *v[2];
	size_t n = 0;
	int ret = question_init(s, ctx, &qn, path);

	memset(out, 0, sizeof(*out));
	if (ret < 0)
		return ret;
	/* What is expected is asked for alone, the rest only if it is not
	 * there.  The root exists in any case. */
	if (!*path || hint == BE_HINT_DIR) {
		ret = s3_look(s, ctx, qn.beside.marker, &out->head);
		if (ret < 0)
			return ret;
		if (out->head || !*path) {
			out->what = S3_DIR;
			out->key = steal_ptr(&qn.beside.marker);
			return 0;
		}
	} else if (hint == BE_HINT_FILE) {
		struct be_attr a;

		ret = s3_look(s, ctx, qn.file.key, &out->head);
		if (ret < 0)
			return ret;
		if (out->head) {
			s3_meta_attr(&s->meta, out->head, qn.file.key, &a);
			out->what = S_ISDIR(a.mode) ? S3_DIR : S3_FILE;
			out->key = steal_ptr(&qn.file.key);
			return 0;
		}
		qn.ask_file = false;
	} else if (hint == BE_HINT_NEW) {
		ret = ask_alike(s, ctx, &qn);
		if (ret < 0)
			return ret;
		if (ret == 1) {
			s3_heads_plain(s, qn.file.key, NULL);
			return 0;
		}
	}
	if (qn.ask_file)
		v[n++] = &qn.file;
	v[n++] = &qn.beside.q;
	ret = s3_run(s, ctx, v, n);
	return ret < 0 ? ret : question_answer(s, ctx, &qn, path, out);
}

/* Seen as a plain file a while ago: is it still there is enough to ask. */
static void
question_shorten(struct s3 *s, struct question *qn)
{
	if (qn->ask_file &&
	    s3_heads_recent(s, qn->file.key, S3_RECENT_PLAIN, NULL))
		qn->ask_below = false;
}

/* It is not: now the other half is needed too. */
static int
question_rest(struct s3 *s, struct be_ctx *ctx, struct question *qn)
{
	struct s3_req *v = &qn->beside.q;

	if (qn->ask_below || qn->file.e.code != -ENOENT)
		return 0;
	qn->ask_below = true;
	return s3_run(s, ctx, &v, 1);
}

bool
s3_stat_recall(struct s3 *s, const char *path, struct s3_stat *st)
{
	_cleanup_free_ char *key = NULL;
	struct be_ctx ctx = { 0 };
	struct be_attr a;

	memset(st, 0, sizeof(*st));
	if (!*path || s3_key_file(&ctx, s->prefix, path, &key) < 0)
		return false;
	if (s3_heads_recent(s, key, S3_RECENT_ABSENT, NULL))
		return true;
	if (!s3_heads_recent(s, key, S3_RECENT_HEAD, &st->head))
		return false;
	s3_meta_attr(&s->meta, st->head, key, &a);
	if (S_ISDIR(a.mode)) {
		s3_stat_release(st);
		return false;
	}
	st->what = S3_FILE;
	st->key = steal_ptr(&key);
	return true;
}

int
s3_stat2(struct s3 *s, struct be_ctx *ctx, const char *a, struct s3_stat *sa,
	 const char *b, struct s3_stat *sb)
{
	_cleanup_question_ struct question qa = { 0 }, qb = { 0 };
	struct s3_req *v[4];
	size_t n = 0;
	int ret;

	memset(sa, 0, sizeof(*sa));
	memset(sb, 0, sizeof(*sb));
	ret = question_init(s, ctx, &qa, a);
	if (ret == 0)
		ret = question_init(s, ctx, &qb, b);
	if (ret < 0)
		return ret;
	question_shorten(s, &qa);
	question_shorten(s, &qb);
	if (qa.ask_file)
		v[n++] = &qa.file;
	if (qa.ask_below)
		v[n++] = &qa.beside.q;
	if (qb.ask_file)
		v[n++] = &qb.file;
	if (qb.ask_below)
		v[n++] = &qb.beside.q;
	ret = s3_run(s, ctx, v, n);
	if (ret == 0)
		ret = question_rest(s, ctx, &qa);
	if (ret == 0)
		ret = question_rest(s, ctx, &qb);
	if (ret == 0)
		ret = question_answer(s, ctx, &qa, a, sa);
	if (ret == 0)
		ret = question_answer(s, ctx, &qb, b, sb);
	return ret;
}

int
s3_stat_file(struct s3 *s, struct be_ctx *ctx, const char *path,
	     struct s3_stat *out)
{
	_cleanup_question_ struct question qn = { 0 };
	struct s3_req *v[2];
	size_t n = 0;
	int ret = question_init(s, ctx, &qn, path);

	memset(out, 0, sizeof(*out));
	if (ret < 0)
		return ret;
	question_shorten(s, &qn);
	v[n++] = &qn.file;
	if (qn.ask_below)
		v[n++] = &qn.beside.q;
	ret = s3_run(s, ctx, v, n);
	if (ret == 0)
		ret = question_rest(s, ctx, &qn);
	return ret < 0 ? ret : question_answer(s, ctx, &qn, path, out);
}

void
s3_stat_attr(struct s3 *s, const struct s3_stat *st, struct be_attr *out)
{
	if (st->head)
		s3_meta_attr(&s->meta, st->head, st->key, out);
	else
		s3_meta_implicit(&s->meta, st->key, out);
	/* Its marker's version says nothing about what is in it. */
	if (st->what == S3_DIR)
		out->ver.len = 0;
}

int
s3_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	   enum be_hint hint, struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	_cleanup_stat_ struct s3_stat st = { 0 };
	int ret = s3_stat(s, ctx, path, hint, &st);

	if (ret < 0)
		return ret;
	if (st.what == S3_NONE)
		return be_fail(ctx, -ENOENT, false, "no object s3://%s/%s%s",
			       s->bucket, s->prefix, path);
	s3_stat_attr(s, &st, out);
	return 0;
}

void
s3_believe_absent(struct backend *be, const char *path)
{
	struct s3 *s = to_s3(be);
	_cleanup_free_ char *key = NULL;
	struct be_ctx ctx = { 0 };

	if (*path && s3_key_file(&ctx, s->prefix, path, &key) == 0)
		s3_heads_plain(s, key, NULL);
}
