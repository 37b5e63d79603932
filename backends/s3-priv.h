/* SPDX-License-Identifier: MIT */
/* What the files of the S3 store share; nobody else includes it. */
#ifndef BACKENDS_S3_PRIV_H
#define BACKENDS_S3_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "backends/backend.h"
#include "backends/credentials.h"
#include "backends/s3-digest.h"
#include "backends/s3-error.h"
#include "backends/s3-http.h"
#include "backends/s3-key.h"
#include "backends/s3-meta.h"
#include "backends/s3-sign.h"
#include "backends/s3-xml.h"
#include "common/xalloc.h"

#define S3_COPY_MAX (UINT64_C(5) << 30) /* CopyObject's largest source */
#define S3_PUT_MAX (UINT64_C(5) << 30)
#define S3_PART_MIN (UINT64_C(5) << 20)
#define S3_PARTS_MAX 10000
/* Ceph's gateway compares the source of a copy under this name alone. */
#define S3_COPY_CEPH "x-amz-copy-if-match"

/* What the probe found out; written before the first other call. */
struct s3_facts {
	bool readonly;	   /* our key may not write */
	bool put_absent;   /* PUT If-None-Match: * */
	bool put_match;	   /* PUT If-Match */
	bool match_bare;   /* … only with an ETag without quotes */
	bool done_cond;	   /* the same on CompleteMultipartUpload */
	bool copy_absent;  /* CopyObject If-None-Match: * */
	bool copy_source;  /* x-amz-copy-source-if-match */
	bool copy_ceph;	   /* … as Ceph names it, and not for parts */
	bool delete_match; /* DELETE If-Match */
	bool etag_md5;	   /* the ETag of a PUT is its MD5 */
	bool payload;	   /* x-amz-content-sha256 is verified */
	enum s3_sum sum;   /* sent with each upload */
};

struct s3_heads;
struct s3_senders;

struct s3 {
	struct backend be; /* first */
	struct s3_http *http;
	struct s3_senders *senders;
	struct cred_chain *creds;
	struct s3_sign_cache sign;
	struct s3_crc *crc;
	char *bucket;
	char *prefix; /* "" or "…/" */
	bool https;
	bool path_style;
	char *host; /* authority of the endpoint; NULL: AWS, by region */
	char *base; /* "" or "/…", the endpoint's path */
	pthread_mutex_t lock; /* region */
	char *region;
	atomic_llong skew; /* seconds that the server's clock is ahead */
	struct s3_meta_config meta;
	uint64_t part_size;
	unsigned parallel;
	enum s3_sum want_sum; /* S3_SUM_AUTO: as probed */
	char *storage_class, *sse, *sse_key, *acl;
	bool requester_pays;
	_Atomic int64_t moment_ns; /* actimeo: how old a look may be that saves one */
	struct s3_facts facts;
	struct s3_heads *heads;
	atomic_ullong hidden, conflicts, corrections;
};

static inline struct s3 *
to_s3(struct backend *be)
{
	return (struct s3 *)be;
}

/* --- s3-req.c: one request, signed, corrected, understood -------------------- */

struct s3_req {
	enum s3_kind kind;
	const char *method;
	char *key; /* NULL: the bucket itself */
	struct s3_fields query, head;
	/* Body: memory (not owned) or a range of fd.  payload is its SHA-256 in
	 * hex; "" = of memory it is computed, of a file left unsigned. */
	const void *body;
	int fd;
	uint64_t fd_off, body_len;
	char payload[65];
	size_t body_max;
	bool large; /* a GET of so much that it is not asked twice */
	int (*on_body)(void *arg, const struct s3_reply *r, const void *p,
		       size_t n);
	void *arg;
	struct s3_reply reply; /* out */
	struct s3_error e;     /* out */
	/* how it was sent */
	char *to_host; /* a redirect's host */
};
void s3_req_init(struct s3_req *q, enum s3_kind kind, const char *method,
		 const char *key);
void s3_req_release(struct s3_req *q);
static inline void
s3_req_query(struct s3_req *q, const char *name, const char *value)
{
	s3_fields_add(&q->query, name, value);
}
static inline void
s3_req_head(struct s3_req *q, const char *name, const char *value)
{
	s3_fields_add(&q->head, name, value);
}
#define _cleanup_req_ __attribute__((cleanup(s3_req_release)))

/* 0: each has its answer or error in e.  Else the call must end. */
int s3_run(struct s3 *s, struct be_ctx *ctx, struct s3_req **v, size_t n);
/* One; e as result, with words. */
int s3_run1(struct s3 *s, struct be_ctx *ctx, struct s3_req *q);
int s3_req_fail(struct s3 *s, struct be_ctx *ctx, const struct s3_req *q);
time_t s3_req_date(const struct s3_req *q); /* the server's; 0 = not told */
char *s3_copy_source(struct s3 *s, const char *key);

/* --- s3-head.c: looking, and remembering what was seen ------------------------- */

struct s3_heads *s3_heads_new(void);
void s3_heads_free(struct s3_heads *hs);
/* What the key's object was when last seen, if it had that ETag; else NULL. */
struct s3_head *s3_heads_get(struct s3 *s, const char *key, const char *etag);
void s3_heads_set(struct s3 *s, const char *key, struct s3_head *h);
/* The same, and there is no directory of that name.  h NULL: nor an object. */
void s3_heads_plain(struct s3 *s, const char *key, struct s3_head *h);
void s3_heads_drop(struct s3 *s, const char *key);
void s3_heads_drop_below(struct s3 *s, const char *prefix);
enum s3_recent {
	S3_RECENT_HEAD,	  /* its headers, a moment ago */
	S3_RECENT_THERE,  /* it was there a while ago */
	S3_RECENT_PLAIN,  /* so was it, and no directory */
	S3_RECENT_ABSENT, /* a moment ago nothing was there at all */
};
/* out may be NULL. */
bool s3_heads_recent(struct s3 *s, const char *key, enum s3_recent what,
		     struct s3_head **out);

/* HEAD.  *out NULL: it is not there (returns 0). */
int s3_look(struct s3 *s, struct be_ctx *ctx, const char *key,
	    struct s3_head **out);
/* From the memory when the version is known, else HEAD; -ESTALE: another or no
 * version is there. */
int s3_look_version(struct s3 *s, struct be_ctx *ctx, const char *key,
		    const char *etag, struct s3_head **out);

/* What is at a path. */
struct s3_stat {
	enum { S3_NONE, S3_FILE, S3_DIR } what;
	char *key;	       /* of the file, or the marker */
	struct s3_head *head;  /* NULL: implicit directory, or root */
	bool children;	       /* a directory that has some (if asked) */
};
void s3_stat_release(struct s3_stat *st);
#define _cleanup_stat_ __attribute__((cleanup(s3_stat_release)))
int s3_stat(struct s3 *s, struct be_ctx *ctx, const char *path,
	    enum be_hint hint, struct s3_stat *out);
/* What was seen or written here a moment ago: a file, or nothing at all.
 * false: it must be looked at. */
bool s3_stat_recall(struct s3 *s, const char *path, struct s3_stat *out);
/* For what is about to be changed and probably is a file. */
/* Is there a directory of that name?  Asked beside another request. */
struct s3_beside {
	struct s3_req q;
	char *prefix, *marker;
};
int s3_beside_req(struct s3 *s, struct be_ctx *ctx, const char *path,
		  struct s3_beside *b);
/* 1: there is.  After s3_run() of b->q. */
int s3_beside_answer(struct s3 *s, struct be_ctx *ctx, struct s3_beside *b);
void s3_beside_release(struct s3_beside *b);
#define _cleanup_beside_ __attribute__((cleanup(s3_beside_release)))
int s3_stat_file(struct s3 *s, struct be_ctx *ctx, const char *path,
		 struct s3_stat *out);
/* The same for two at once. */
int s3_stat2(struct s3 *s, struct be_ctx *ctx, const char *a, struct s3_stat *sa,
	     const char *b, struct s3_stat *sb);
void s3_stat_attr(struct s3 *s, const struct s3_stat *st, struct be_attr *out);

/* --- s3-put.c ------------------------------------------------------------------- */

/* Quoted, or bare if the server wants it so for PUT. */
char *s3_etag_put(struct s3 *s, const char *etag);
static inline char *
s3_ver_etag(const struct be_ver *v)
{
	return xstrndup(v->b, v->len);
}
struct s3_put {
	const char *key;
	struct be_cond cond;
	const struct be_opid *opid;
	const void *body; /* or fd */
	int fd;
	uint64_t size;
	const struct be_attr *attr;
	const struct s3_head *old; /* whose other headers are kept, or NULL */
	const char *type;	   /* content type if old has none */
	bool shut; /* out: not ours; the object is another's */
};
/* The object with a body in one request.  *out: what it is now. */
int s3_put_object(struct s3 *s, struct be_ctx *ctx, const struct s3_put *p,
		  struct s3_head **out);
/* A condition failed or the effect is unclear: is the object there ours?
 * 1: yes, *out is it.  0: no. */
int s3_ours(struct s3 *s, struct be_ctx *ctx, const char *key,
	    const struct be_opid *id, struct s3_head **out);
int s3_cond_error(struct be_ctx *ctx, const struct be_cond *cond,
		  const char *key);
/* Looks where the store does not honour the condition. */
int s3_cond_look(struct s3 *s, struct be_ctx *ctx, const char *key,
		 const struct be_cond *cond, const struct be_opid *id,
		 struct s3_head **ours);
/* The checksum of the body, as facts.sum wants it sent. */
void s3_sum_add(struct s3_req *q, const struct s3_digest *d);
void s3_new_object_headers(struct s3 *s, struct s3_req *q);

/* --- s3-multipart.c --------------------------------------------------------------- */

int s3_multipart_commit(struct s3 *s, struct be_ctx *ctx, const char *key,
			const struct be_commit *c, const struct s3_head *old,
			struct s3_head **out);
void s3_multipart_need(struct s3 *s, const struct be_commit *c,
		       struct rangeset *need);
/* Server-side copy of an object over 5 GB, or one whose destination no other
 * request would compare. */
int s3_multipart_copy(struct s3 *s, struct be_ctx *ctx, const char *from,
		      const struct s3_head *src, const char *to,
		      const struct be_cond *cond, const struct s3_fields *head,
		      struct s3_head **out);

/* --- s3-ahead.c ------------------------------------------------------------------- */

int s3_ahead(struct backend *be, const struct be_commit *c,
	     struct be_ahead **out);
/* Can this commit go on with what has left? */
bool s3_ahead_usable(struct s3 *s, const char *key, const struct be_commit *c);
/* *out: of an attempt that had completed it, or NULL.  1: it can't after all,
 * nothing was done. */
int s3_ahead_commit(struct s3 *s, struct be_ctx *ctx, const char *key,
		    const struct be_commit *c, struct s3_head **out);

/* --- s3-copy.c ---------------------------------------------------------------------- */

/*
 * from's version src -> to, with these attributes.  xattr as s3_meta_put.
 * cond: of the destination.  -ESTALE: the source changed (or BE_MATCH failed),
 * -EEXIST.
 */
int s3_copy_object(struct s3 *s, struct be_ctx *ctx, const char *from,
		   const struct s3_head *src, const char *to,
		   const struct be_cond *cond, const struct be_opid *opid,
		   const struct be_attr *attr, const char *xattr,
		   struct s3_head **out);
void s3_attr_apply(struct be_attr *to, unsigned mask,
		   const struct be_attr *from);

/* --- s3-list.c -------------------------------------------------------------------------- */

struct s3_entry {
	char *key;
	char *etag;
	uint64_t size;
	struct timespec modified;
};
struct s3_entries {
	struct s3_entry *v;
	size_t n, cap;
};
void s3_entries_release(struct s3_entries *l);
/* The first `max` keys with the prefix (0: all), no delimiter. */
int s3_list_keys(struct s3 *s, struct be_ctx *ctx, const char *prefix,
		 unsigned max, struct s3_entries *out);
void s3_list_req(struct s3_req *q, const char *prefix, bool delimiter,
		 unsigned max, const char *token);

/* --- s3-remove.c --------------------------------------------------------------------------- */

/* Before a child leaves: its directory gets a marker if it has none. */
int s3_keep_dir(struct s3 *s, struct be_ctx *ctx, const char *path);
int s3_put_marker(struct s3 *s, struct be_ctx *ctx, const char *path,
		  const struct be_cond *cond, const struct be_opid *opid,
		  const struct be_attr *attr, const struct s3_head *old,
		  struct s3_head **out);
/* etag NULL: whatever is there. */
int s3_delete_key(struct s3 *s, struct be_ctx *ctx, const char *key,
		  const char *etag);

/* --- the operations ------------------------------------------------------------------------ */

int s3_probe(struct backend *be, struct be_ctx *ctx);
char *s3_facts(struct backend *be);
int s3_trust(struct backend *be, const char *facts);
/* From now on; before the first other call. */
void s3_know(struct s3 *s, const struct s3_facts *f);
int s3_getattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       enum be_hint hint, struct be_attr *out);
int s3_give_up(struct backend *be, struct be_ctx *ctx, const char *key,
	       const char *id);
int s3_old_uploads(struct backend *be, struct be_ctx *ctx, int64_t age_s,
		   bool give_up, uint64_t *n);
void s3_believe_absent(struct backend *be, const char *path);
int s3_list(struct backend *be, struct be_ctx *ctx, const char *path,
	    struct be_cursor **cur, be_list_fn *fn, void *arg);
int s3_fetch(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_ver *have, uint64_t max,
	     const struct be_sink *sink, struct be_attr *out, uint64_t *got);
int s3_read(struct backend *be, struct be_ctx *ctx, const char *path,
	    const struct be_ver *ver, uint64_t off, uint64_t len,
	    const struct be_sink *sink, uint64_t *got);
int s3_readlink(struct backend *be, struct be_ctx *ctx, const char *path,
		char **target);
int s3_need(struct backend *be, const struct be_commit *c,
	    struct rangeset *need);
int s3_commit(struct backend *be, struct be_ctx *ctx, const struct be_commit *c,
	      struct be_attr *out);
int s3_create(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_attr *attr, const struct be_opid *opid,
	      struct be_attr *out);
int s3_mkdir(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_attr *attr, const struct be_opid *opid,
	     struct be_attr *out);
int s3_symlink(struct backend *be, struct be_ctx *ctx, const char *path,
	       const char *target, const struct be_attr *attr,
	       const struct be_opid *opid, struct be_attr *out);
int s3_setattr(struct backend *be, struct be_ctx *ctx, const char *path,
	       const struct be_cond *cond, const struct be_opid *opid,
	       unsigned mask, const struct be_attr *attr, struct be_attr *out);
int s3_copy(struct backend *be, struct be_ctx *ctx, const char *from,
	    const struct be_ver *from_ver, const char *to,
	    const struct be_cond *cond, const struct be_opid *opid,
	    const struct be_attr *attr, struct be_attr *out);
int s3_rename(struct backend *be, struct be_ctx *ctx, const char *from,
	      const char *to, unsigned flags, const struct be_opid *opid,
	      unsigned mask, const struct be_attr *attr, struct be_attr *out);
int s3_unlink(struct backend *be, struct be_ctx *ctx, const char *path,
	      const struct be_cond *cond, const struct be_opid *opid);
int s3_rmdir(struct backend *be, struct be_ctx *ctx, const char *path,
	     const struct be_opid *opid);
int s3_getxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		const char *name, void **value, size_t *len);
int s3_listxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		 char **names, size_t *len);
int s3_setxattr(struct backend *be, struct be_ctx *ctx, const char *path,
		const char *name, const void *value, size_t len, int flags,
		const struct be_opid *opid, struct be_attr *out);

#endif
