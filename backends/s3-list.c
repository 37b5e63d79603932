/* SPDX-License-Identifier: MIT */
/* ListObjectsV2: a directory, and all keys below a prefix. */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/xalloc.h"

void
s3_list_req(struct s3_req *q, const char *prefix, bool delimiter, unsigned max,
	    const char *token)
{
	char number[16];

	q->body_max = S3_XML_MAX;
	s3_req_query(q, "list-type", "2");
	/* XML can't carry every byte that a key may have. */
	s3_req_query(q, "encoding-type", "url");
	s3_req_query(q, "prefix", prefix);
	if (delimiter)
		s3_req_query(q, "delimiter", "/");
	if (max) {
		snprintf(number, sizeof(number), "%u", max);
		s3_req_query(q, "max-keys", number);
	}
	if (token)
		s3_req_query(q, "continuation-token", token);
}

/* A page from *token on (NULL: the first).  On 0 *token is that of the next, or
 * NULL: that was all.  *date: the server's clock. */
static int
list_page(struct s3 *s, struct be_ctx *ctx, const char *prefix, bool delimiter,
	  unsigned max, s3_xml_entry_fn *fn, void *arg, char **token,
	  time_t *date)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_xml_list page = { 0 };
	int ret;

	s3_req_init(&q, S3_LIST, "GET", NULL);
	s3_list_req(&q, prefix, delimiter, max, *token);
	ret = s3_run1(s, ctx, &q);
	if (ret < 0)
		return ret;
	*date = s3_req_date(&q);
	ret = s3_xml_list(q.reply.body.s, q.reply.body.len, fn, arg, &page);
	atomic_fetch_add(&s->hidden, page.bad);
	if (ret < 0) {
		s3_xml_list_release(&page);
		return be_fail(ctx, -EIO, true,
			       "list s3://%s/%s: the reply is cut short"
			       " or no XML",
			       s->bucket, prefix);
	}
	if (!page.truncated) {
		s3_xml_list_release(&page);
		free(*token);
		*token = NULL;
		return 0;
	}
	/* A server that goes round in circles. */
	if (*token && strcmp(*token, page.next) == 0) {
		s3_xml_list_release(&page);
		return be_fail(ctx, -EIO, true,
			       "list s3://%s/%s: the same page again",
			       s->bucket, prefix);
	}
	free(*token);
	*token = page.next;
	return 0;
}

/* --- all keys below --------------------------------------------------------------- */

void
s3_entries_release(struct s3_entries *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].key);
		free(l->v[i].etag);
	}
	free(l->v);
	memset(l, 0, sizeof(*l));
}

static void
entries_add(struct s3_entries *l, const char *key, const struct s3_xml_entry *e)
{
	struct s3_entry *n;

	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->v = xrealloc(l->v, l->cap, sizeof(*l->v));
	}
	n = &l->v[l->n++];
	n->key = xstrdup(key);
	n->etag = e->prefix ? NULL : xstrdup(e->etag);
	n->size = e->size;
	n->modified = e->modified;
}

static void
entries_copy(struct s3_entries *l, const struct s3_entry *e)
{
	const struct s3_xml_entry x = {
		.etag = e->etag,
		.size = e->size,
		.modified = e->modified,
		.prefix = !e->etag,
	};

	entries_add(l, e->key, &x);
}

struct keys {
	const char *prefix;
	struct s3_entries *out;
};

static int
keys_fn(void *arg, const struct s3_xml_entry *e)
{
	struct keys *k = arg;

	/* A server must not lead us outside. */
	if (!e->prefix && strncmp(e->key, k->prefix, strlen(k->prefix)) == 0)
		entries_add(k->out, e->key, e);
	return 0;
}

int
s3_list_keys(struct s3 *s, struct be_ctx *ctx, const char *prefix, unsigned max,
	     struct s3_entries *out)
{
	_cleanup_free_ char *token = NULL;
	struct keys k = { prefix, out };
	time_t date;
	int ret;

	do
		ret = list_page(s, ctx, prefix, false, max, keys_fn, &k, &token,
				&date);
	while (ret == 0 && token && !max);
	if (ret < 0)
		s3_entries_release(out);
	return ret;
}

/* --- a directory ---------------------------------------------------------------------- */

struct dir {
	struct s3 *s;
	const char *below;
	bool root;
	bool exists;
	struct s3_entries names; /* key: the bare name */
	char *last;		 /* the page's last key, below `below` */
};

static int
dir_fn(void *arg, const struct s3_xml_entry *e)
{
	struct dir *d = arg;
	size_t n = strlen(d->below);
	_cleanup_free_ char *name = NULL;

	if (strncmp(e->key, d->below, n) != 0)
		return 0;
	free(d->last);
	d->last = xstrdup(e->key + n);
	if (e->key[n] == '\0') {
		d->exists = true; /* the marker */
		return 0;
	}
	name = xstrdup(e->key + n);
	n = strlen(name);
	if (d->root && s3_key_reserved(name, n))
		return 0;
	d->exists = true;
	if (e->prefix && n && name[n - 1] == '/')
		name[--n] = '\0';
	if (!s3_key_name_ok(name, n)) {
		if (atomic_fetch_add(&d->s->hidden, 1) == 0)
			log_warn("s3",
				 "the bucket has keys that can't be file names"
				 " (such as \"a//b\" or \"..\"); they are hidden"
				 " and counted");
		return 0;
	}
	entries_add(&d->names, name, e);
	return 0;
}

/* By name; of equal ones the directory (no ETag) first. */
static int
name_cmp(const void *a, const void *b)
{
	const struct s3_entry *x = a, *y = b;
	int c = strcmp(x->key, y->key);

	return c ? c : !!x->etag - !!y->etag;
}

static void
entry_attr(struct s3 *s, const char *below, const struct s3_entry *e,
	   time_t date, struct be_attr *out)
{
	_cleanup_free_ char *key = NULL;
	_cleanup_head_ struct s3_head *h = NULL;

	if (!e->etag) {
		key = xasprintf("%s%s/", below, e->key);
		s3_meta_implicit(&s->meta, key, out);
		out->ino = 0; /* its marker may name one */
		out->flags = BE_ATTR_PARTIAL;
		return;
	}
	key = xasprintf("%s%s", below, e->key);
	h = s3_heads_get(s, key, e->etag);
	/* The same ETag and time, and it can't have changed within that
	 * second: all is known. */
	if (h && h->modified == e->modified.tv_sec &&
	    s3_meta_aver(h->etag, h->modified, h->date)) {
		s3_meta_attr(&s->meta, h, key, out);
		return;
	}
	memset(out, 0, sizeof(*out));
	out->mode = S_IFREG | (0666 & ~s->meta.umask);
	out->uid = s->meta.uid;
	out->gid = s->meta.gid;
	out->nlink = 1;
	out->size = e->size;
	out->blocks = (e->size + 511) / 512;
	out->mtime = out->ctime = out->atime = e->modified;
	be_ver_set(&out->ver, e->etag, strlen(e->etag));
	out->aver = s3_meta_aver(e->etag, e->modified.tv_sec, date);
	out->flags = BE_ATTR_PARTIAL;
}

/* Between two pages. */
struct cursor {
	struct be_cursor base;
	char *token;
	bool exists;
	struct s3_entries held; /* files of the pages before; see is_open() */
};

static void
cursor_free(struct be_cursor *base)
{
	struct cursor *cur = (struct cursor *)base;

	free(cur->token);
	s3_entries_release(&cur->held);
	free(cur);
}

/* Keys come in order, and "x/" may come pages after "x": a file is told when the
 * list has passed the place of the directory that would hide it. */
static bool
is_open(const struct s3_entry *e, const char *last)
{
	size_t n = strlen(e->key);
	int c = strncmp(e->key, last, n);

	return e->etag && (c ? c > 0 : (unsigned char)last[n] < '/');
}

static void
entries_move(struct s3_entries *to, struct s3_entry *e)
{
	if (to->n == to->cap) {
		to->cap = to->cap ? 2 * to->cap : 64;
		to->v = xrealloc(to->v, to->cap, sizeof(*to->v));
	}
	to->v[to->n++] = *e;
	memset(e, 0, sizeof(*e));
}

/* Tells what is certain; the rest goes to held, if there is more to come. */
static int
tell(struct dir *d, time_t date, struct s3_entries *held, be_list_fn *fn,
     void *arg)
{
	struct s3_entries *l = &d->names;
	int ret = 0;

	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), name_cmp);
	for (size_t i = 0; ret == 0 && i < l->n; i++) {
		struct be_attr a;

		if (i && strcmp(l->v[i].key, l->v[i - 1].key) == 0)
			continue;
		if (held && is_open(&l->v[i], d->last))
			continue;
		entry_attr(d->s, d->below, &l->v[i], date, &a);
		ret = fn(arg, l->v[i].key, &a);
	}
	for (size_t i = 0; held && ret == 0 && i < l->n; i++)
		if (is_open(&l->v[i], d->last))
			entries_move(held, &l->v[i]);
	return ret;
}

/* Nothing has this prefix: is there a file, or nothing at all? */
static int
no_directory(struct s3 *s, struct be_ctx *ctx, const char *path,
	     const char *below)
{
	_cleanup_stat_ struct s3_stat st = { 0 };
	int ret = s3_stat(s, ctx, path, BE_HINT_FILE, &st);

	if (ret == 0 && st.what == S3_NONE)
		ret = be_fail(ctx, -ENOENT, false, "no directory s3://%s/%s",
			      s->bucket, below);
	else if (ret == 0 && st.what == S3_FILE)
		ret = be_fail(ctx, -ENOTDIR, false, "s3://%s/%s is a file",
			      s->bucket, st.key);
	return ret;
}

int
s3_list(struct backend *be, struct be_ctx *ctx, const char *path,
	struct be_cursor **cur, be_list_fn *fn, void *arg)
{
	struct s3 *s = to_s3(be);
	_cleanup_free_ char *below = s3_key_below(s->prefix, path);
	struct cursor *from = (struct cursor *)*cur, *next;
	struct dir d = { .s = s, .below = below, .root = !*path };
	_cleanup_free_ char *key = NULL;
	time_t date;
	int ret = s3_key_marker(ctx, s->prefix, path, &key);

	if (ret < 0)
		return ret;
	next = xcalloc(1, sizeof(*next));
	next->base.free = cursor_free;
	if (from) {
		next->token = xstrdup(from->token);
		d.exists = from->exists;
		for (size_t i = 0; i < from->held.n; i++)
			entries_copy(&d.names, &from->held.v[i]);
	}
	ret = list_page(s, ctx, below, true, 0, dir_fn, &d, &next->token, &date);
	next->exists = d.exists;
	if (ret == 0 && !next->token && !d.exists && *path)
		ret = no_directory(s, ctx, path, below);
	if (ret == 0)
		ret = tell(&d, date, next->token && d.last ? &next->held : NULL,
			   fn, arg);
	free(d.last);
	s3_entries_release(&d.names);
	if (ret == 0) {
		be_cursor_free(*cur);
		*cur = NULL;
	}
	if (ret == 0 && next->token)
		*cur = &next->base;
	else
		cursor_free(&next->base);
	return ret;
}
