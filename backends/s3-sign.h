/* SPDX-License-Identifier: MIT */
/*
 * Signature Version 4 as S3 wants it: the path is encoded once and never
 * normalised.  What is signed is exactly what is sent, so the caller hands in
 * finished strings.
 */
#ifndef BACKENDS_S3_SIGN_H
#define BACKENDS_S3_SIGN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "common/buf.h"

#define S3_EMPTY_SHA256                                                        \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define S3_UNSIGNED "UNSIGNED-PAYLOAD"

/* A header of a request; the name is in lower case. */
struct s3_hdr {
	const char *name;
	const char *value;
};

/* The derived key of one (day, region, service, credential). */
struct s3_sign_cache {
	pthread_mutex_t lock; /* all below */
	unsigned char id[32]; /* digest of what the key was derived from */
	unsigned char key[32];
	bool valid;
};
void s3_sign_cache_init(struct s3_sign_cache *c);
void s3_sign_cache_release(struct s3_sign_cache *c); /* wipes */

struct s3_sign_req {
	const char *method;
	const char *path;  /* encoded, begins with '/' */
	const char *query; /* encoded, sorted, "a=b&c="; "" = none */
	const struct s3_hdr *hdrs; /* all that are signed, host too; any order */
	size_t nhdrs;
	const char *payload_hash;
	const char *region, *service;
	const char *access_key, *secret_key;
	time_t now; /* the same as in x-amz-date */
};
/* The value of the authorization header; the caller frees.  cache may be
 * NULL. */
char *s3_sign(struct s3_sign_cache *cache, const struct s3_sign_req *r);

/* "20130524T000000Z" */
void s3_sign_date(time_t t, char out[17]);
/* Every byte but A-Za-z0-9-._~ becomes %XX; '/' stays if asked. */
void s3_uri_encode(struct buf *b, const char *s, size_t n, bool keep_slash);
void s3_sha256_hex(const void *p, size_t n, char out[65]);
void s3_hex(const unsigned char *p, size_t n, char *out); /* 2n+1 bytes */

#endif
