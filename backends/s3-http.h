/* SPDX-License-Identifier: MIT */
/*
 * Requests over libcurl.  A lane is a CURLM handle with its own connections;
 * lanes are a LIFO pool, so the warm connections are used first.  A call runs
 * its requests at the same time on one lane, in the calling thread.
 * Nothing is repeated, corrected or understood here: see s3-req.h.
 */
#ifndef BACKENDS_S3_HTTP_H
#define BACKENDS_S3_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backends/backend.h"
#include "common/buf.h"

#define S3_KINDS(X)                                                            \
	X(GET, "get")                                                          \
	X(HEAD, "head")                                                        \
	X(LIST, "list")                                                        \
	X(PUT, "put")                                                          \
	X(COPY, "copy")                                                        \
	X(DELETE, "delete")                                                    \
	X(DELETE_MANY, "delete_many")                                          \
	X(MP_CREATE, "multipart_create")                                       \
	X(PART, "part")                                                        \
	X(PART_COPY, "part_copy")                                              \
	X(MP_COMPLETE, "multipart_complete")                                   \
	X(MP_ABORT, "multipart_abort")                                         \
	X(MP_LIST, "multipart_list")

enum s3_kind {
#define X(id, name) S3_##id,
	S3_KINDS(X)
#undef X
	S3_NKINDS
};

/* Bodies of errors and of XML replies are bounded. */
#define S3_ERROR_MAX (64u * 1024)
#define S3_XML_MAX (16u * 1024 * 1024)

struct s3_field {
	char *name; /* lower case */
	char *value;
};

struct s3_reply {
	int status; /* 0: no complete answer */
	int curl;   /* CURLcode; < 0: given up by us */
	char *words; /* why there is none; owned */
	struct s3_field *h;
	size_t nh, hbytes;
	struct buf body; /* unless on_body took it */
	uint64_t got;	 /* bytes of the body */
	uint64_t sent;	 /* bytes of the request's body */
	int taker;	 /* what on_body failed with */
	int source;	 /* what reading the body failed with */
};
const char *s3_reply_get(const struct s3_reply *r, const char *name);
void s3_reply_release(struct s3_reply *r);
/* One line of the answer's head, as it came.  false: there are too many. */
bool s3_reply_line(struct s3_reply *r, const char *p, size_t n);
/* Is the body what stands there in the object? */
bool s3_reply_begins_at(const struct s3_reply *r, uint64_t off);
/* Size of the whole object; UINT64_MAX = not told. */
uint64_t s3_reply_total(const struct s3_reply *r);
/* Where a redirection leads, host or host:port; NULL: nowhere.  The caller
 * frees. */
char *s3_reply_other_host(const struct s3_reply *r);
bool s3_region_ok(const char *r); /* could it be a region's name? */

struct s3_xfer {
	enum s3_kind kind;
	const char *method;
	const char *url;
	const struct s3_field *h; /* as sent */
	size_t nh;
	/* the body: of memory, or of a file */
	const void *body;
	int fd;
	uint64_t fd_off;
	uint64_t body_len;
	size_t body_max; /* of the reply; 0 = S3_ERROR_MAX */
	bool hedge; /* a GET, HEAD or LIST of little: it may be asked twice */
	/* Takes the body of a 200 or 206; nonzero ends the transfer. */
	int (*on_body)(void *arg, const struct s3_reply *r, const void *p,
		       size_t n);
	void *arg;
	struct s3_reply reply;
};

struct s3_http_config {
	const char *ca_bundle;
	bool insecure;
	int64_t connect_timeout_ns;
	int64_t request_timeout_ns; /* without progress */
	bool hedge; /* s3-hedge.h */
};

struct s3_http;
int s3_http_new(const struct s3_http_config *cfg, struct s3_http **out,
		struct err *err);
/* For requests that begin later. */
void s3_http_set_timeouts(struct s3_http *h, const struct s3_http_config *cfg);
void s3_http_free(struct s3_http *h);
/*
 * Runs all, at most `parallel` at a time.  0: each has its reply (maybe none:
 * status 0).  -EINTR, -ETIMEDOUT: the call had to stop.
 */
int s3_http_run(struct s3_http *h, struct be_ctx *ctx, struct s3_xfer **x,
		size_t n, unsigned parallel);
void s3_http_stats(struct s3_http *h, be_stat_fn *fn, void *arg);
void s3_http_count_retry(struct s3_http *h);

#endif
