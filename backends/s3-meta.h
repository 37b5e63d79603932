/* SPDX-License-Identifier: MIT */
/*
 * What an object's headers say: attributes in both families of keys (s3fs's
 * and AWS's), and everything that must be sent again when the object is
 * replaced.  Nonsense in them is ignored, never an error.
 */
#ifndef BACKENDS_S3_META_H
#define BACKENDS_S3_META_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backends/backend.h"
#include "backends/s3-http.h"

#define S3_META "x-amz-meta-"
#define S3_META_OP S3_META "sharedfs-op"
#define S3_META_INO S3_META "sharedfs-ino"
#define S3_META_XATTR S3_META "xattr"
#define S3_META_MAX 2048 /* bytes of names and values */
#define S3_DIR_TYPE "application/x-directory"

struct s3_fields {
	struct s3_field *v; /* names in lower case */
	size_t n, cap;
};
void s3_fields_add(struct s3_fields *f, const char *name, const char *value);
void s3_fields_addf(struct s3_fields *f, const char *name, const char *fmt,
		    ...) __attribute__((format(printf, 3, 4)));
const char *s3_fields_get(const struct s3_fields *f, const char *name);
void s3_fields_release(struct s3_fields *f);

/* One version of one object, as its headers tell; immutable, counted. */
struct s3_head {
	atomic_uint refs;
	char *etag; /* without quotes; "" = not told */
	uint64_t size;
	time_t modified; /* Last-Modified; 0 = not told */
	time_t date;	 /* the server's clock then; 0 = not told */
	bool opaque;	 /* encrypted: the ETag is no MD5 */
	struct s3_fields keep; /* to be sent again; all metadata */
};
struct s3_head *s3_head_new(const char *etag, uint64_t size, time_t modified,
			    time_t date);
/* From a HEAD or GET; NULL when the reply lacks what it must have. */
struct s3_head *s3_head_from(const struct s3_reply *r);
struct s3_head *s3_head_ref(struct s3_head *h);
void s3_head_put(struct s3_head *h); /* NULL is fine */
static inline void
s3_head_putp(struct s3_head **h)
{
	s3_head_put(*h);
}
#define _cleanup_head_ __attribute__((cleanup(s3_head_putp)))
bool s3_head_has_op(const struct s3_head *h, const struct be_opid *id);
/* "Date" and the like; 0 = can't be read. */
time_t s3_http_date(const char *s);
/* 32 hex digits, so perhaps an MD5. */
bool s3_etag_is_md5(const char *etag);

enum s3_posix { S3_POSIX_BOTH, S3_POSIX_S3FS, S3_POSIX_AWS, S3_POSIX_NONE };
struct s3_meta_config {
	uid_t uid; /* of objects that don't say */
	gid_t gid;
	mode_t umask;
	enum s3_posix posix;
};

/* key: a trailing '/' makes it a directory, and it is the ino of objects that
 * have none. */
void s3_meta_attr(const struct s3_meta_config *c, const struct s3_head *h,
		  const char *key, struct be_attr *out);
/* A directory without a marker. */
void s3_meta_implicit(const struct s3_meta_config *c, const char *key,
		      struct be_attr *out);
uint64_t s3_meta_aver(const char *etag, time_t modified, time_t date);
uint64_t s3_meta_ino_new(void);
uint64_t s3_meta_ino_of_key(const char *key);
/*
 * The headers of an object with these attributes.  old: what it replaces (its
 * other headers are kept), or NULL.  new_data: the bytes differ from old's, so
 * what describes them goes.  xattr: NULL = old's, "" = none, else the value.
 * a->ino is used if not 0; times whose tv_nsec is UTIME_OMIT are left out, and
 * Last-Modified stands for them.  -ENOSPC: over 2 KB.
 */
int s3_meta_put(const struct s3_meta_config *c, const struct be_attr *a,
		const struct s3_head *old, bool new_data, const char *xattr,
		const struct be_opid *op, struct s3_fields *out);
const char *s3_content_type(const char *path); /* by extension */

#endif
