/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 messages as the test proxy sees them: where they end, and what
 * kind of S3 request they are.  Bytes pass through unchanged. */
#ifndef TESTS_LIB_PROXY_HTTP_H
#define TESTS_LIB_PROXY_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

enum http_event {
	HTTP_MORE, /* all bytes taken, more are needed */
	HTTP_HEAD, /* h->head is complete */
	HTTP_BODY, /* the bytes taken are body, with chunk framing if any */
	HTTP_END,  /* end of a message; the next may follow */
	HTTP_BAD,  /* not HTTP */
};

struct http {
	bool reply;
	/* Set by the caller after HTTP_HEAD: no body whatever the head says
	 * (the answer to a HEAD request). */
	bool no_body;
	/* After HTTP_HEAD: */
	struct buf head; /* with the empty line */
	char method[16]; /* of a request */
	char *target;	 /* of a request: path and query */
	int status;	 /* of a reply */
	int64_t length;	 /* Content-Length, -1 if none */
	bool chunked;
	/* Body bytes before this HTTP_BODY. */
	uint64_t offset;

	int state;
	uint64_t left; /* of the body or chunk */
	size_t taken;  /* by the last HTTP_BODY */
	struct buf line;
};

void http_init(struct http *h, bool reply);
void http_release(struct http *h);

/* Takes some of the n bytes at p (*used) and says what they are.  Call again
 * until HTTP_MORE; with n = 0 too, for an end may need no bytes. */
enum http_event http_feed(struct http *h, const char *p, size_t n,
			  size_t *used);

/* The value of a header in head, trimmed; caller frees; NULL = absent. */
char *http_header(const struct buf *head, const char *name);
/* Replaces or adds a header; value NULL removes it. */
void http_set_header(struct buf *head, const char *name, const char *value);

/* GET, LIST, HEAD, PUT, COPY, CREATE, PART, PART_COPY, COMPLETE, ABORT,
 * DELETE, DELETE_MANY, else the method. */
const char *http_class(const struct http *h);

#endif
