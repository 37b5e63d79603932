/* SPDX-License-Identifier: MIT */
/* A small HTTP server on loopback that answers from a table and remembers what
 * it was asked: stands in for services that hand out keys. */
#ifndef TESTS_LIB_STANDIN_H
#define TESTS_LIB_STANDIN_H

struct standin;

struct standin *standin_new(void); /* NULL: libmicrohttpd is not there */
void standin_free(struct standin *s);
const char *standin_url(const struct standin *s); /* http://127.0.0.1:PORT */

/* Answers method + path (exactly, without the query) from now on; replaces an
 * earlier answer.  status 0: never answers while the server lives. */
void standin_answer(struct standin *s, const char *method, const char *path,
		    unsigned status, const char *body);
/* 401 unless the header has this value. */
void standin_demand(struct standin *s, const char *method, const char *path,
		    const char *header, const char *value);
void standin_clear(struct standin *s); /* no answers (404), nothing seen */

/* How often it was asked; path NULL: anything at all. */
unsigned standin_count(struct standin *s, const char *method, const char *path);
/* Of the last request: its body, and a header; "" = none.  Valid until the
 * next call of the same function. */
const char *standin_body(struct standin *s);
const char *standin_header(struct standin *s, const char *name);

#endif
