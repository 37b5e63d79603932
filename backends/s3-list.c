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

/* All pages.  *date: the server's clock at the first. */
static int
list_pages(struct s3 *s, struct be_ctx *ctx, const char *prefix, bool delimiter,
	   unsigned max, s3_xml_entry_fn *fn, void *arg, time_t *date)
{
	_cleanup_free_ char *token = NULL;

	*date = 0;
	for (;;) {
		_cleanup_req_ struct s3_req q = { 0 };
		struct s3_xml_list page = { 0 };
		int ret;

		s3_req_init(&q, S3_LIST, "GET", NULL);
		s3_list_req(&q, prefix, delimiter, max, token);
		ret = s3_run1(s, ctx, &q);
		if (ret < 0)
			return ret;
		if (!*date)
			*date = s3_req_date(&q);
		ret = s3_xml_list(q.reply.body.s, q.reply.body.len, fn, arg,
				  &page);
		atomic_fetch_add(&s->hidden, page.bad);
		if (ret < 0)
			return be_fail(ctx, -EIO, true,
				       "list s3://%s/%s: the reply is cut short"
				       " or no XML",
				       s->bucket, prefix);
		if (max || !page.truncated) {
			s3_xml_list_release(&page);
			return 0;
		}
		/* A server that goes round in circles. */
		if (token && strcmp(token, page.next) == 0) {
			s3_xml_list_release(&page);
			return be_fail(ctx, -EIO, true,
				       "list s3://%s/%s: the same page again",
				       s->bucket, prefix);
		}
		free(token);
		token = page.next;
	}
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
	struct keys k = { prefix, out };
	time_t date;
	int ret = list_pages(s, ctx, prefix, false, max, keys_fn, &k, &date);

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
};

static int
dir_fn(void *arg, const struct s3_xml_entry *e)
{
	struct dir *d = arg;
	size_t n = strlen(d->below);
	_cleanup_free_ char *name = NULL;

	if (strncmp(e->key, d->below, n) != 0)
		return 0;
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

int
s3_list(struct backend *be, struct be_ctx *ctx, const char *path,
	be_list_fn *fn, void *arg)
{
	struct s3 *s = to_s3(be);
	_cleanup_free_ char *below = s3_key_below(s->prefix, path);
	struct dir d = { .s = s, .below = below, .root = !*path };
	_cleanup_free_ char *key = NULL;
	time_t date;
	int ret = s3_key_marker(ctx, s->prefix, path, &key);

	if (ret < 0)
		return ret;
	ret = list_pages(s, ctx, below, true, 0, dir_fn, &d, &date);
	if (ret == 0 && !d.exists && *path) {
		_cleanup_stat_ struct s3_stat st = { 0 };

		ret = s3_stat(s, ctx, path, BE_HINT_FILE, &st);
		if (ret == 0 && st.what == S3_NONE)
			ret = be_fail(ctx, -ENOENT, false,
				      "no directory s3://%s/%s", s->bucket,
				      below);
		else if (ret == 0 && st.what == S3_FILE)
			ret = be_fail(ctx, -ENOTDIR, false,
				      "s3://%s/%s is a file", s->bucket,
				      st.key);
	}
	if (ret == 0 && d.names.n > 1)
		qsort(d.names.v, d.names.n, sizeof(*d.names.v), name_cmp);
	for (size_t i = 0; ret == 0 && i < d.names.n; i++) {
		struct be_attr a;

		if (i && strcmp(d.names.v[i].key, d.names.v[i - 1].key) == 0)
			continue;
		entry_attr(s, below, &d.names.v[i], date, &a);
		ret = fn(arg, d.names.v[i].key, &a);
	}
	s3_entries_release(&d.names);
	return ret;
}
