/* SPDX-License-Identifier: MIT */
/* unlink and rmdir; a directory stays when its last child leaves. */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

int
s3_delete_key(struct s3 *s, struct be_ctx *ctx, const char *key,
	      const char *etag)
{
	_cleanup_req_ struct s3_req q = { 0 };
	struct s3_req *v = &q;
	int ret;

	s3_req_init(&q, S3_DELETE, "DELETE", key);
	if (etag && s->facts.delete_match) {
		_cleanup_free_ char *quoted = s3_etag_put(s, etag);

		s3_req_head(&q, "if-match", quoted);
	}
	ret = s3_run(s, ctx, &v, 1);
	if (ret < 0)
		return ret;
	s3_heads_drop(s, key);
	if (q.e.code == -ENOENT)
		return 0;
	if (q.e.class == S3_CLASS_COND)
		return be_fail(ctx, -ESTALE, false,
			       "s3://%s/%s has another version now", s->bucket,
			       key);
	return q.e.code ? s3_req_fail(s, ctx, &q) : 0;
}

/*
 * Also when other children are seen: they may be leaving at the same time, by
 * another node's hand.
 */
int
s3_keep_dir(struct s3 *s, struct be_ctx *ctx, const char *path)
{
	const struct be_cond absent = { .pre = BE_ABSENT };
	_cleanup_head_ struct s3_head *h = NULL;
	_cleanup_free_ char *dir = path_dir(path), *marker = NULL;
	struct be_attr a;
	struct be_opid id;
	int ret;

	if (!*dir)
		return 0;
	ret = s3_key_marker(ctx, s->prefix, dir, &marker);
	if (ret < 0 || s3_heads_recent(s, marker, S3_RECENT_THERE, NULL))
		return ret;
	ret = s3_look(s, ctx, marker, &h);
	if (ret < 0 || h)
		return ret;
	s3_meta_implicit(&s->meta, marker, &a);
	a.mtime = a.ctime = a.atime = clock_wall();
	be_opid_new(&id);
	ret = s3_put_marker(s, ctx, dir, &absent, &id, &a, NULL, &h);
	return ret == -EEXIST ? 0 : ret;
}

/* A file that was seen or written here a moment ago is not looked at again. */
static int
unlink_look(struct s3 *s, struct be_ctx *ctx, const char *path,
	    const struct be_cond *cond, struct s3_stat *st)
{
	if (ctx->attempt == 0 && s3_stat_recall(s, path, st)) {
		if (st->what == S3_FILE &&
		    (cond->pre == BE_ANY ||
		     (cond->pre == BE_MATCH &&
		      strlen(st->head->etag) == cond->ver.len &&
		      memcmp(st->head->etag, cond->ver.b, cond->ver.len) == 0)))
			return 0;
		s3_stat_release(st);
	}
	return s3_stat_file(s, ctx, path, st);
}

int
s3_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	  const struct be_cond *cond, const struct be_opid *opid)
{
	struct s3 *s = to_s3(be);
	_cleanup_stat_ struct s3_stat st = { 0 };
	_cleanup_free_ char *etag = NULL;
	int ret;

	if (!*path)
		return be_fail(ctx, -EISDIR, false, "the root is a directory");
	ret = unlink_look(s, ctx, path, cond, &st);
	if (ret < 0)
		return ret;
	if (st.what == S3_NONE)
		return ctx->attempt ? 0 :
				      be_fail(ctx, -ENOENT, false,
					      "no object s3://%s/%s%s",
					      s->bucket, s->prefix, path);
	if (st.what == S3_DIR)
		return be_fail(ctx, -EISDIR, false, "%s is a directory", path);
	if (cond->pre == BE_ABSENT)
		return s3_cond_error(ctx, cond, st.key);
	if (cond->pre == BE_MATCH) {
		etag = s3_ver_etag(&cond->ver);
		if (strcmp(etag, st.head->etag) != 0) {
			atomic_fetch_add(&s->conflicts, 1);
			return s3_cond_error(ctx, cond, st.key);
		}
	}
	ret = s3_keep_dir(s, ctx, path);
	if (ret < 0)
		return ret;
	return s3_delete_key(s, ctx, st.key, etag);
}

/* The listing tells the marker and the children; only where it shows nothing
 * may there be another tool's object without the slash. */
static int
rmdir_look(struct s3 *s, struct be_ctx *ctx, const char *path,
	   struct s3_stat *st)
{
	_cleanup_free_ char *below = s3_key_below(s->prefix, path);
	_cleanup_free_ char *marker = NULL;
	struct s3_entries l = { 0 };
	int ret = s3_key_marker(ctx, s->prefix, path, &marker);

	if (ret == 0)
		ret = s3_list_keys(s, ctx, below, 2, &l);
	if (ret < 0 && ret != -ENOENT) /* (some servers: nothing is there) */
		return ret;
	for (size_t i = 0; i < l.n; i++) {
		if (strcmp(l.v[i].key, marker) != 0)
			st->children = true;
	}
	if (l.n) {
		st->what = S3_DIR;
		st->key = steal_ptr(&marker);
	}
	s3_entries_release(&l);
	return st->what == S3_DIR ? 0 :
				    s3_stat(s, ctx, path, BE_HINT_NONE, st);
}

int
s3_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	 const struct be_opid *opid)
{
	struct s3 *s = to_s3(be);
	_cleanup_stat_ struct s3_stat st = { 0 };
	int ret;

	if (!*path)
		return be_fail(ctx, -EBUSY, false, "the root can't be removed");
	ret = rmdir_look(s, ctx, path, &st);
	if (ret < 0)
		return ret;
	if (st.what == S3_NONE)
		return ctx->attempt ? 0 :
				      be_fail(ctx, -ENOENT, false,
					      "no directory s3://%s/%s%s/",
					      s->bucket, s->prefix, path);
	if (st.what == S3_FILE)
		return be_fail(ctx, -ENOTDIR, false, "%s is a file", path);
	if (st.children)
		return be_fail(ctx, -ENOTEMPTY, false, "%s is not empty", path);
	ret = s3_keep_dir(s, ctx, path);
	if (ret < 0)
		return ret;
	/* "dir/", or another tool's "dir". */
	return s3_delete_key(s, ctx, st.key, st.head ? st.head->etag : NULL);
}
