/* SPDX-License-Identifier: MIT */
/*
 * Replies of S3, by expat, with limits: depth, length of a text, no DTD (so no
 * entities of the sender's).  What is truncated or malformed is -EPROTO.
 */
#ifndef BACKENDS_S3_XML_H
#define BACKENDS_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/*
 * Called at the end of each element: its path below the root ("Contents/Key";
 * the root itself is ""), and its text if it has no children.  Nonzero stops.
 */
typedef int s3_xml_fn(void *arg, const char *path, const char *text);
/* root: the element that is expected; another is -EBADMSG. */
int s3_xml_parse(const char *p, size_t n, const char *root, s3_xml_fn *fn,
		 void *arg);

struct s3_xml_error {
	char *code, *message, *region, *endpoint;
};
/* -EPROTO, -EBADMSG: it is no <Error>. */
int s3_xml_error(const char *p, size_t n, struct s3_xml_error *out);
void s3_xml_error_release(struct s3_xml_error *e);

struct s3_xml_entry {
	const char *key; /* decoded; may hold any byte but NUL */
	bool prefix;	 /* a common prefix: only key is set */
	uint64_t size;
	const char *etag; /* without quotes */
	struct timespec modified;
};
typedef int s3_xml_entry_fn(void *arg, const struct s3_xml_entry *e);
struct s3_xml_list {
	bool truncated;
	char *next; /* continuation token; owned */
	uint64_t bad; /* entries that could not be understood */
};
/* A page of ListObjectsV2.  Returns what fn returned when nonzero. */
int s3_xml_list(const char *p, size_t n, s3_xml_entry_fn *fn, void *arg,
		struct s3_xml_list *out);
void s3_xml_list_release(struct s3_xml_list *l);

struct s3_xml_upload {
	const char *key; /* decoded, if it looks encoded */
	const char *id;
	struct timespec begun; /* 0 = not told */
};
typedef int s3_xml_upload_fn(void *arg, const struct s3_xml_upload *u);
struct s3_xml_uploads {
	bool truncated;
	char *next_key, *next_id; /* where the next page begins; owned */
};
/* A page of ListMultipartUploads.  Returns what fn returned when nonzero. */
int s3_xml_uploads(const char *p, size_t n, s3_xml_upload_fn *fn, void *arg,
		   struct s3_xml_uploads *out);
void s3_xml_uploads_release(struct s3_xml_uploads *l);

/* The text of one element ("UploadId"), NULL if it is not there; the caller
 * frees.  0 or as s3_xml_parse. */
int s3_xml_text(const char *p, size_t n, const char *root, const char *path,
		char **out);

/* "&quot;abc&quot;", "\"abc\"" or "abc": abc, in place. */
void s3_etag_bare(char *s);
bool s3_time_iso(const char *s, struct timespec *out); /* 2026-01-02T03:04:05.678Z */
/* %XX and + in place; false: a NUL or a broken escape. */
bool s3_uri_decode(char *s);

#endif
