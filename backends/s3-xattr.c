/* SPDX-License-Identifier: MIT */
/*
 * Extended attributes as s3fs keeps them: one metadata header, URL-encoded
 * JSON {"name":"base64", …}.  What can't be understood counts as none.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

static json_t *
load(const struct s3_head *h)
{
	const char *text = h ? s3_fields_get(&h->keep, S3_META_XATTR) : NULL;
	_cleanup_free_ char *s = text ? xstrdup(text) : NULL;
	json_t *j = NULL;

	if (s && s3_uri_decode(s))
		j = json_loads(s, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j)) {
		json_decref(j);
		j = json_object();
	}
	return j;
}

/* The header's value, "" for none. */
static char *
dump(json_t *j)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char *s;

	if (json_object_size(j) == 0)
		return xstrdup("");
	s = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
	s3_uri_encode(&b, s, strlen(s), false);
	free(s);
	return buf_steal(&b);
}

static bool
decode(const char *s, void **value, size_t *len)
{
	size_t n = strlen(s);
	unsigned char *p;
	int got;

	if (n % 4)
		return false;
	p = xmalloc(n + 1);
	got = EVP_DecodeBlock(p, (const unsigned char *)s, n);
	if (got < 0) {
		free(p);
		return false;
	}
	if (n && s[n - 1] == '=')
		got--;
	if (n > 1 && s[n - 2] == '=')
		got--;
	*value = p;
	*len = got;
	return true;
}

static int
stat_there(struct s3 *s, struct be_ctx *ctx, const char *path,
	   struct s3_stat *st)
{
	int ret = s3_stat(s, ctx, path, *path ? BE_HINT_FILE : BE_HINT_DIR, st);

	if (ret == 0 && st->what == S3_NONE)
		ret = be_fail(ctx, -ENOENT, false, "no object s3://%s/%s%s",
			      s->bucket, s->prefix, path);
	return ret;
}

int
s3_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    const char *name, void **value, size_t *len)
{
	_cleanup_stat_ struct s3_stat st = { 0 };
	const char *text;
	json_t *j;
	int ret = stat_there(to_s3(be), ctx, path, &st);

	if (ret < 0)
		return ret;
	j = load(st.head);
	text = json_string_value(json_object_get(j, name));
	if (!text || !decode(text, value, len))
		ret = be_fail(ctx, -ENODATA, false, "no such attribute");
	json_decref(j);
	return ret;
}

int
s3_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	     char **names, size_t *len)
{
	_cleanup_stat_ struct s3_stat st = { 0 };
	_cleanup_buf_ struct buf b = BUF_INIT;
	const char *name;
	json_t *j, *v;
	int ret = stat_there(to_s3(be), ctx, path, &st);

	if (ret < 0)
		return ret;
	j = load(st.head);
	json_object_foreach (j, name, v)
		if (json_is_string(v) && *name && strlen(name) < 256)
			buf_add(&b, name, strlen(name) + 1);
	json_decref(j);
	buf_str(&b);
	*len = b.len;
	*names = buf_steal(&b);
	return 0;
}

/* NULL and a code when it may not be. */
static char *
changed(struct be_ctx *ctx, const struct s3_head *h, const char *name,
	const void *value, size_t len, int flags, int *ret)
{
	json_t *j = load(h);
	bool there = json_object_get(j, name) != NULL;
	char *text = NULL;

	*ret = 0;
	if ((flags & XATTR_CREATE) && there)
		*ret = be_fail(ctx, -EEXIST, false, "it has that attribute");
	else if (((flags & XATTR_REPLACE) || !value) && !there)
		*ret = be_fail(ctx, -ENODATA, false, "no such attribute");
	else if (len > 65536)
		*ret = be_fail(ctx, -E2BIG, false, "the value is over 64 KiB");
	else if (len > S3_META_MAX)
		*ret = be_fail(ctx, -ENOSPC, false,
			       "S3 has 2 KB for all attributes of an object");
	if (*ret == 0 && !value) {
		json_object_del(j, name);
	} else if (*ret == 0) {
		unsigned char b64[S3_META_MAX * 4 / 3 + 8];

		EVP_EncodeBlock(b64, value, len);
		if (json_object_set_new(j, name, json_string((char *)b64)) < 0)
			*ret = be_fail(ctx, -EILSEQ, false,
				       "the attribute's name is not UTF-8");
	}
	if (*ret == 0)
		text = dump(j);
	json_decref(j);
	return text;
}

int
s3_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
	    const char *name, const void *value, size_t len, int flags,
	    const struct be_opid *opid, struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	_cleanup_stat_ struct s3_stat st = { 0 };
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_free_ char *text = NULL;
	struct be_cond same = { .pre = BE_MATCH };
	struct be_attr a;
	int ret;

	if (strncmp(name, "user.", 5) != 0)
		return be_fail(ctx, -ENOTSUP, false,
			       "only user.* attributes are kept");
	ret = stat_there(s, ctx, path, &st);
	if (ret < 0)
		return ret;
	s3_stat_attr(s, &st, &a);
	if (st.head && s3_head_has_op(st.head, opid)) {
		*out = a;
		return 0;
	}
	text = changed(ctx, st.head, name, value, len, flags, &ret);
	if (!text)
		return ret;
	if (!st.head) {
		/* A directory without a marker gets one. */
		const struct be_cond absent = { .pre = BE_ABSENT };
		struct be_opid id;

		be_opid_new(&id);
		a.mtime = a.ctime = a.atime = clock_wall();
		ret = s3_put_marker(s, ctx, path, &absent, &id, &a, NULL,
				    &st.head);
		if (ret < 0)
			return ret;
	}
	a.ctime = clock_wall();
	be_ver_set(&same.ver, st.head->etag, strlen(st.head->etag));
	ret = s3_copy_object(s, ctx, st.key, st.head, st.key, &same, opid, &a,
			     text, &now);
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, st.key, out);
	if (st.what == S3_DIR)
		out->ver.len = 0;
	return 0;
}
