/* SPDX-License-Identifier: MIT */
/*
 * A server that speaks just enough S3 for a test to bend one answer: a thread,
 * a few objects in memory, and a hook that sees each request first.  It checks
 * no signature: what a real server does is tested on a real one.
 */
#ifndef TESTS_BACKENDS_S3_TOY_H
#define TESTS_BACKENDS_S3_TOY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

struct toy;

struct toy_req {
	const char *method;
	const char *key;   /* behind "/bucket/", as sent; "" = the bucket */
	const char *query; /* behind '?', "" = none */
	const char *text;  /* request line and headers, lower case names */
	const char *body;
	size_t len;
};

enum toy_do {
	TOY_NORMAL, /* the hook left it alone */
	TOY_REPLY,  /* the hook wrote the whole answer, then close */
	TOY_SWALLOW /* do it, but close without an answer */
};
/* Runs in the server's thread, one request at a time. */
typedef enum toy_do toy_hook(void *arg, const struct toy_req *r,
			     struct buf *answer);

struct toy *toy_new(void);
void toy_free(struct toy *t);
const char *toy_url(const struct toy *t);
/* NULL: none.  When it returns the hook before is not running any more. */
void toy_hook_set(struct toy *t, toy_hook *fn, void *arg);
/* The value of a header, "" = not there; copied into out. */
const char *toy_header(const struct toy_req *r, const char *name, char *out,
		       size_t max);

#endif
