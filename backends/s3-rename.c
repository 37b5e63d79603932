/* SPDX-License-Identifier: MIT */
/*
 * Rename is copy, verify, delete.  At each moment the old name, the new, or
 * both exist; called again with the same operation id it goes on where it
 * stopped.
 *
 * A directory: its new marker first, then rounds of listing, copying what was
 * not copied yet, deleting what was (that key in that version), until a listing
 * shows nothing; its old marker last.
 */
#include <config.h>

#include "backends/s3-priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"
#include "common/xalloc.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif

#define TRIES 5 /* when others change the names meanwhile */
#define DELETE_MANY_MAX 1000

/* --- a file ---------------------------------------------------------------------- */

/*
 * Did the copy itself show that the source has that version?  Its reply names
 * the version that was read.  A long copy read it long ago.
 */
static bool
copy_shows_source(struct s3 *s, const struct s3_head *src,
		  const struct s3_head *copy)
{
	return strcmp(src->etag, copy->etag) == 0 && src->size <= s->part_size;
}

/* The source, if it still is what was copied.  sure: it was a moment ago. */
static int
delete_source(struct s3 *s, struct be_ctx *ctx, const char *path,
	      const struct s3_stat *from, const char *to_path, bool sure)
{
	_cleanup_free_ char *here = path_dir(path), *there = path_dir(to_path);
	/* In the same directory the new name keeps it. */
	int ret = strcmp(here, there) ? s3_keep_dir(s, ctx, path) : 0;

	if (ret == 0 && !sure && !s->facts.delete_match) {
		_cleanup_head_ struct s3_head *now = NULL;

		ret = s3_look(s, ctx, from->key, &now);
		if (ret == 0 && now && strcmp(now->etag, from->head->etag) != 0)
			ret = -ESTALE;
	}
	if (ret == 0)
		ret = s3_delete_key(s, ctx, from->key, from->head->etag);
	if (ret == -ESTALE) {
		/* Written by another node after our copy: that stays. */
		atomic_fetch_add(&s->conflicts, 1);
		log_warn("s3", "%s was written by another node while it was"
			       " renamed: it keeps its new content",
			 from->key);
		ret = 0;
	}
	return ret;
}

/* -EAGAIN: the names changed meanwhile, look again. */
static int
rename_file(struct s3 *s, struct be_ctx *ctx, const char *from_path,
	    const struct s3_stat *from, const char *to_path,
	    const struct s3_stat *to, bool noreplace,
	    const struct be_opid *opid, unsigned mask,
	    const struct be_attr *attr, struct be_attr *out)
{
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_free_ char *key = NULL;
	struct be_cond cond = { .pre = BE_ABSENT };
	struct be_attr a;
	bool sure = false;
	int ret;

	if (to->what == S3_DIR)
		return be_fail(ctx, noreplace ? -EEXIST : -EISDIR, false,
			       "%s is a directory", to_path);
	ret = s3_key_file(ctx, s->prefix, to_path, &key);
	if (ret < 0)
		return ret;
	if (to->head && s3_head_has_op(to->head, opid)) {
		now = s3_head_ref(to->head);
	} else {
		if (to->what == S3_FILE && noreplace)
			return be_fail(ctx, -EEXIST, false,
				       "%s is there already", to_path);
		if (to->what == S3_FILE) {
			cond.pre = BE_MATCH;
			be_ver_set(&cond.ver, to->head->etag,
				   strlen(to->head->etag));
		}
		s3_meta_attr(&s->meta, from->head, from->key, &a);
		s3_attr_apply(&a, mask, attr);
		ret = s3_copy_object(s, ctx, from->key, from->head, key, &cond,
				     opid, &a, NULL, &now);
		if (ret == -ESTALE || (ret == -EEXIST && !noreplace))
			return -EAGAIN;
		if (ret < 0)
			return ret;
		sure = copy_shows_source(s, from->head, now);
		if (to->what == S3_NONE)
			s3_heads_plain(s, key, now);
	}
	ret = delete_source(s, ctx, from_path, from, to_path, sure);
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, key, out);
	return 0;
}

/* --- many keys ---------------------------------------------------------------------- */

/* What was copied: key and version. */
struct moved {
	char *key, *etag;
	UT_hash_handle hh;
};

struct move {
	struct s3 *s;
	const char *from, *to; /* prefixes, with '/' */
	struct moved *moved;
	uint64_t progress;
};

static void
moved_free(struct moved *all)
{
	struct moved *m, *next;

	HASH_ITER (hh, all, m, next) {
		HASH_DEL(all, m);
		free(m->key);
		free(m->etag);
		free(m);
	}
}

static void
moved_add(struct move *mv, const struct s3_entry *e)
{
	struct moved *m;

	HASH_FIND_STR(mv->moved, e->key, m);
	if (m) {
		free(m->etag);
	} else {
		m = xcalloc(1, sizeof(*m));
		m->key = xstrdup(e->key);
		HASH_ADD_KEYPTR(hh, mv->moved, m->key, strlen(m->key), m);
	}
	m->etag = xstrdup(e->etag);
	mv->progress++;
}

static bool
was_moved(struct move *mv, const struct s3_entry *e)
{
	struct moved *m;

	HASH_FIND_STR(mv->moved, e->key, m);
	return m && strcmp(m->etag, e->etag) == 0;
}

/* Over 5 GB, with its headers sent again. */
static int
copy_large(struct move *mv, struct be_ctx *ctx, const struct s3_entry *e,
	   const char *to)
{
	_cleanup_head_ struct s3_head *src = NULL, *now = NULL;
	int ret = s3_look(mv->s, ctx, e->key, &src);

	if (ret < 0 || !src || strcmp(src->etag, e->etag) != 0)
		return ret;
	ret = s3_multipart_copy(mv->s, ctx, e->key, src, to, NULL, &src->keep,
				&now);
	if (ret == 0)
		moved_add(mv, e);
	return ret == -ESTALE ? 0 : ret;
}

/* Is the copy of that version?  Only then may the source go. */
static int
copy_result(struct move *mv, struct be_ctx *ctx, struct s3_req *q,
	    const struct s3_entry *e)
{
	_cleanup_head_ struct s3_head *h = NULL;
	_cleanup_free_ char *etag = NULL;
	int ret;

	/* Gone or changed since the listing: the next one shows. */
	if (q->e.code == -ENOENT || q->e.class == S3_CLASS_COND)
		return 0;
	if (q->e.code)
		return s3_req_fail(mv->s, ctx, q);
	ret = s3_xml_text(q->reply.body.s, q->reply.body.len,
			  "CopyObjectResult", "ETag", &etag);
	if (ret < 0 || !etag)
		return be_fail(ctx, -EIO, true, "copy to %s: broken reply",
			       q->key);
	s3_etag_bare(etag);
	if (strcmp(etag, e->etag) != 0) {
		if (!mv->s->facts.copy_source && s3_etag_is_md5(e->etag))
			return 0;
		ret = s3_look(mv->s, ctx, q->key, &h);
		if (ret < 0)
			return ret;
		if (!h || h->size != e->size)
			return 0;
	}
	moved_add(mv, e);
	return 0;
}

static void
copy_req(struct move *mv, struct s3_req *q, const struct s3_entry *e,
	 const char *to)
{
	_cleanup_free_ char *source = s3_copy_source(mv->s, e->key);
	_cleanup_free_ char *quoted = xasprintf("\"%s\"", e->etag);

	s3_req_init(q, S3_COPY, "PUT", to);
	s3_req_head(q, "x-amz-copy-source", source);
	s3_req_head(q, "x-amz-metadata-directive", "COPY");
	if (mv->s->facts.copy_source)
		s3_req_head(q, "x-amz-copy-source-if-match", quoted);
	s3_new_object_headers(mv->s, q);
}

static int
copy_all(struct move *mv, struct be_ctx *ctx, const struct s3_entries *l)
{
	unsigned wave = mv->s->parallel;
	_cleanup_free_ struct s3_req *q = xcalloc(wave, sizeof(*q));
	_cleanup_free_ struct s3_req **v = xcalloc(wave, sizeof(struct s3_req *));
	_cleanup_free_ size_t *at = xcalloc(wave, sizeof(*at));
	size_t next = 0;
	int ret = 0;

	while (ret == 0 && next < l->n) {
		size_t n = 0;

		for (; next < l->n && n < wave && ret == 0; next++) {
			const struct s3_entry *e = &l->v[next];
			_cleanup_free_ char *to = NULL;

			if (strcmp(e->key, mv->from) == 0 || was_moved(mv, e))
				continue;
			to = xasprintf("%s%s", mv->to,
				       e->key + strlen(mv->from));
			if (e->size > S3_COPY_MAX) {
				ret = copy_large(mv, ctx, e, to);
				continue;
			}
			copy_req(mv, &q[n], e, to);
			v[n] = &q[n];
			at[n++] = next;
		}
		if (ret == 0 && n)
			ret = s3_run(mv->s, ctx, v, n);
		for (size_t i = 0; i < n; i++) {
			if (ret == 0)
				ret = copy_result(mv, ctx, &q[i], &l->v[at[i]]);
			s3_req_release(&q[i]);
		}
	}
	return ret;
}

/* --- deleting ------------------------------------------------------------------------- */

/* Can an XML document name it? */
static bool
xml_can_say(const char *key)
{
	for (; *key; key++)
		if ((unsigned char)*key < 0x20)
			return false;
	return true;
}

static void
xml_add(struct buf *b, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '&':
			buf_addstr(b, "&amp;");
			break;
		case '<':
			buf_addstr(b, "&lt;");
			break;
		case '>':
			buf_addstr(b, "&gt;");
			break;
		case '"':
			buf_addstr(b, "&quot;");
			break;
		case '\'':
			buf_addstr(b, "&apos;");
			break;
		default:
			buf_addch(b, *s);
		}
}

static int
deleted_fn(void *arg, const char *path, const char *text)
{
	char **code = arg;

	if (strcmp(path, "Error/Code") == 0 && !*code &&
	    strcmp(text, "NoSuchKey") != 0)
		*code = xstrdup(text);
	return 0;
}

static int
delete_many(struct move *mv, struct be_ctx *ctx, const struct s3_entry **v,
	    size_t n)
{
	_cleanup_req_ struct s3_req q = { 0 };
	_cleanup_digest_ struct s3_digest d = { 0 };
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_free_ char *code = NULL;
	int ret;

	buf_addstr(&b, "<Delete><Quiet>true</Quiet>");
	for (size_t i = 0; i < n; i++) {
		buf_addstr(&b, "<Object><Key>");
		xml_add(&b, v[i]->key);
		buf_addstr(&b, "</Key></Object>");
	}
	buf_addstr(&b, "</Delete>");
	s3_digest_init(&d, mv->s->crc, S3_WANT_MD5, S3_SUM_MD5);
	s3_digest_add(&d, b.s, b.len);
	s3_digest_final(&d);
	s3_req_init(&q, S3_DELETE_MANY, "POST", NULL);
	s3_req_query(&q, "delete", "");
	s3_req_head(&q, "content-md5", d.md5_b64);
	q.body = b.s;
	q.body_len = b.len;
	q.body_max = S3_XML_MAX;
	ret = s3_run1(mv->s, ctx, &q);
	if (ret < 0)
		return ret;
	ret = s3_xml_parse(q.reply.body.s, q.reply.body.len, "DeleteResult",
			   deleted_fn, &code);
	if (ret < 0)
		return be_fail(ctx, -EIO, true, "delete below %s: broken reply",
			       mv->from);
	if (code) {
		const struct s3_errno *e = s3_errno_code(code);

		return be_fail(ctx, e ? -e->err : -EIO,
			       e && e->class == S3_CLASS_LATER,
			       "delete below %s: %s", mv->from, code);
	}
	for (size_t i = 0; i < n; i++)
		s3_heads_drop(mv->s, v[i]->key);
	mv->progress += n;
	return 0;
}

static int
delete_each(struct move *mv, struct be_ctx *ctx, const struct s3_entry **e,
	    size_t total)
{
	unsigned wave = mv->s->parallel;
	_cleanup_free_ struct s3_req *q = xcalloc(wave, sizeof(*q));
	_cleanup_free_ struct s3_req **v = xcalloc(wave, sizeof(struct s3_req *));
	int ret = 0;

	for (size_t next = 0; ret == 0 && next < total;) {
		size_t n = 0;

		for (; next < total && n < wave; next++, n++) {
			s3_req_init(&q[n], S3_DELETE, "DELETE", e[next]->key);
			if (mv->s->facts.delete_match) {
				_cleanup_free_ char *tag =
					s3_etag_put(mv->s, e[next]->etag);

				s3_req_head(&q[n], "if-match", tag);
			}
			v[n] = &q[n];
		}
		ret = s3_run(mv->s, ctx, v, n);
		for (size_t i = 0; i < n; i++) {
			/* Another version: it is copied in the next round. */
			if (ret == 0 && q[i].e.code &&
			    q[i].e.code != -ENOENT &&
			    q[i].e.class != S3_CLASS_COND)
				ret = s3_req_fail(mv->s, ctx, &q[i]);
			if (q[i].e.code == 0)
				mv->progress++;
			s3_heads_drop(mv->s, q[i].key);
			s3_req_release(&q[i]);
		}
	}
	return ret;
}

/*
 * What the listing shows in the version that was copied.  The listing is
 * younger than the copy unless DELETE itself compares.
 */
static int
delete_moved(struct move *mv, struct be_ctx *ctx, const struct s3_entries *l)
{
	_cleanup_free_ const struct s3_entry **one =
		xcalloc(l->n + 1, sizeof(struct s3_entry *));
	_cleanup_free_ const struct s3_entry **many =
		xcalloc(l->n + 1, sizeof(struct s3_entry *));
	size_t none = 0, nmany = 0;
	int ret = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct s3_entry *e = &l->v[i];

		if (strcmp(e->key, mv->from) == 0 || !was_moved(mv, e))
			continue;
		if (mv->s->facts.delete_match || !xml_can_say(e->key))
			one[none++] = e;
		else
			many[nmany++] = e;
	}
	for (size_t i = 0; ret == 0 && i < nmany; i += DELETE_MANY_MAX)
		ret = delete_many(mv, ctx, many + i,
				  nmany - i < DELETE_MANY_MAX ? nmany - i :
								DELETE_MANY_MAX);
	return ret < 0 ? ret : delete_each(mv, ctx, one, none);
}

/* --- a directory ------------------------------------------------------------------------- */

static int
too_long(struct move *mv, struct be_ctx *ctx, const struct s3_entries *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (strlen(l->v[i].key) - strlen(mv->from) + strlen(mv->to) >
		    S3_KEY_MAX)
			return be_fail(ctx, -ENAMETOOLONG, false,
				       "s3://%s/%s would get a key over %d"
				       " bytes",
				       mv->s->bucket, l->v[i].key, S3_KEY_MAX);
	return 0;
}

static int
move_rounds(struct move *mv, struct be_ctx *ctx)
{
	int ret = 0;

	for (unsigned round = 0; ret == 0; round++) {
		struct s3_entries l = { 0 };
		uint64_t before = mv->progress;
		bool empty;

		ret = s3_list_keys(mv->s, ctx, mv->from, 0, &l);
		if (ret < 0)
			return ret;
		empty = l.n == 0 || (l.n == 1 && strcmp(l.v[0].key, mv->from) == 0);
		if (!empty && round == 0)
			ret = too_long(mv, ctx, &l);
		if (!empty && ret == 0 && !mv->s->facts.delete_match)
			ret = delete_moved(mv, ctx, &l);
		if (!empty && ret == 0)
			ret = copy_all(mv, ctx, &l);
		if (!empty && ret == 0 && mv->s->facts.delete_match)
			ret = delete_moved(mv, ctx, &l);
		s3_entries_release(&l);
		if (empty)
			return ret;
		if (ret == 0 && mv->progress == before)
			ret = be_fail(ctx, -EIO, true,
				      "%s changes all the time", mv->from);
	}
	return ret;
}

static int
rename_dir(struct s3 *s, struct be_ctx *ctx, const char *from_path,
	   const struct s3_stat *from, const char *to_path,
	   const struct s3_stat *to, bool noreplace, const struct be_opid *opid,
	   struct be_attr *out)
{
	_cleanup_head_ struct s3_head *now = NULL;
	_cleanup_free_ char *below = s3_key_below(s->prefix, from_path);
	_cleanup_free_ char *marker = NULL;
	bool ours = to->head && s3_head_has_op(to->head, opid);
	struct be_cond cond = { .pre = BE_ABSENT };
	struct move mv = { .s = s, .from = below };
	struct be_attr a;
	int ret;

	if (to->what == S3_FILE)
		return be_fail(ctx, noreplace ? -EEXIST : -ENOTDIR, false,
			       "%s is a file", to_path);
	if (to->what == S3_DIR && !ours && noreplace)
		return be_fail(ctx, -EEXIST, false, "%s is there already",
			       to_path);
	if (to->what == S3_DIR && !ours && to->children)
		return be_fail(ctx, -ENOTEMPTY, false, "%s is not empty",
			       to_path);
	ret = s3_key_marker(ctx, s->prefix, to_path, &marker);
	if (ret < 0)
		return ret;
	mv.to = marker;
	if (ours) {
		now = s3_head_ref(to->head);
	} else {
		if (to->what == S3_DIR)
			cond.pre = BE_ANY;
		s3_stat_attr(s, from, &a);
		ret = s3_put_marker(s, ctx, to_path, &cond, opid, &a,
				    from->head, &now);
		if (ret < 0)
			return ret;
	}
	ret = move_rounds(&mv, ctx);
	moved_free(mv.moved);
	/* What was seen there before is of the past. */
	s3_heads_drop_below(s, mv.to);
	if (ret == 0)
		ret = s3_keep_dir(s, ctx, from_path);
	if (ret == 0)
		ret = s3_delete_key(s, ctx, below, NULL);
	/* Another tool's marker has no slash. */
	if (ret == 0 && from->head && strcmp(from->key, below) != 0)
		ret = s3_delete_key(s, ctx, from->key, from->head->etag);
	if (ret < 0)
		return ret;
	s3_meta_attr(&s->meta, now, marker, out);
	out->ver.len = 0;
	return 0;
}

/* --- both ------------------------------------------------------------------------------------ */

/*
 * What the kernel's lookups just asked, and what was just written here, need no
 * second question, if the copy names the source's version or shows it.  Whether
 * the new name is free is asked again when its absence is what the caller wants
 * (RENAME_NOREPLACE), unless the copy asks for it.
 */
static int
look_at_both(struct s3 *s, struct be_ctx *ctx, const char *from,
	     struct s3_stat *sf, const char *to, struct s3_stat *st,
	     bool noreplace, bool again)
{
	bool have_from = !again && s3_stat_recall(s, from, sf);
	bool have_to = !again && s3_stat_recall(s, to, st);
	int ret;

	if (have_from && (sf->what != S3_FILE ||
			  !(s->facts.copy_source ||
			    (s3_etag_is_md5(sf->head->etag) &&
			     !sf->head->opaque)))) {
		s3_stat_release(sf);
		have_from = false;
	}
	if (have_to && noreplace &&
	    !(st->what == S3_NONE && s->facts.copy_absent)) {
		/* Most likely it still is what it was. */
		enum be_hint hint = st->what == S3_NONE ? BE_HINT_NEW :
							  BE_HINT_NONE;

		s3_stat_release(st);
		ret = s3_stat(s, ctx, to, hint, st);
		if (ret < 0)
			return ret;
	}
	if (have_from && have_to)
		return 0;
	if (have_from)
		return s3_stat_file(s, ctx, to, st);
	if (have_to)
		return s3_stat_file(s, ctx, from, sf);
	return s3_stat2(s, ctx, from, sf, to, st);
}

static int
rename_once(struct s3 *s, struct be_ctx *ctx, const char *from, const char *to,
	    bool noreplace, bool again, const struct be_opid *opid,
	    unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	_cleanup_stat_ struct s3_stat sf = { 0 }, st = { 0 };
	int ret = look_at_both(s, ctx, from, &sf, to, &st, noreplace, again);

	if (ret < 0)
		return ret;
	if (sf.what == S3_FILE)
		return rename_file(s, ctx, from, &sf, to, &st, noreplace, opid,
				   mask, attr, out);
	if (sf.what == S3_DIR)
		return rename_dir(s, ctx, from, &sf, to, &st, noreplace, opid,
				  out);
	/* Finished before, and its reply was lost? */
	if (!st.head || !s3_head_has_op(st.head, opid))
		return be_fail(ctx, -ENOENT, false, "no object s3://%s/%s%s",
			       s->bucket, s->prefix, from);
	s3_stat_attr(s, &st, out);
	return 0;
}

int
s3_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	  const char *to, unsigned flags, const struct be_opid *opid,
	  unsigned mask, const struct be_attr *attr, struct be_attr *out)
{
	struct s3 *s = to_s3(be);
	int ret = -EAGAIN;

	if (flags & ~RENAME_NOREPLACE)
		return be_fail(ctx, -EINVAL, false, "s3 can't exchange names");
	if (!*from || !*to)
		return be_fail(ctx, -EBUSY, false, "the root can't be renamed");
	if (strcmp(from, to) == 0)
		return flags ? be_fail(ctx, -EEXIST, false,
				       "%s is there already", to) :
			       s3_getattr(be, ctx, from, BE_HINT_NONE, out);
	if (path_within(to, from))
		return be_fail(ctx, -EINVAL, false, "%s is inside %s", to, from);
	if (path_within(from, to))
		return be_fail(ctx, flags ? -EEXIST : -ENOTEMPTY, false,
			       "%s holds %s", to, from);
	for (int i = 0; i < TRIES && ret == -EAGAIN; i++)
		ret = rename_once(s, ctx, from, to, flags != 0,
				  i > 0 || ctx->attempt > 0, opid, mask, attr,
				  out);
	if (ret == -EAGAIN)
		ret = be_fail(ctx, -EIO, true,
			      "%s or %s changes all the time", from, to);
	return ret;
}
