/* SPDX-License-Identifier: MIT */
/*
 * What the test proxy is told to do wrong.  One line makes one fault:
 *
 *   [match=CLASS] [path=PART] [not=PART] [n=COUNT|all] [skip=N] [every=N]
 *   KIND[=ARG]
 *
 * It hits the next COUNT (1) requests of that class (or match=method:PUT) whose
 * target contains PART (not=: does not), after letting N of them pass; with every=N only each
 * Nth of those.  KIND and ARG end the line; ARG may have blanks.
 */
#ifndef TESTS_LIB_PROXY_FAULT_H
#define TESTS_LIB_PROXY_FAULT_H

#include <stdint.h>
#include <sys/queue.h>

#include "common/err.h"

/* KIND(symbol, name, what it does) */
#define FAULT_KINDS(KIND)                                                      \
	KIND(RESET, "reset", "the request is not delivered; RST")              \
	KIND(STATUS, "status", "=CODE[ WORD]: answered here, not delivered")   \
	KIND(CANNED, "canned", "=FILE: a whole reply; not delivered")          \
	KIND(LATE, "late", "=MS: client is cut, the request arrives later")    \
	KIND(CUT_REQUEST, "cut-request", "=N: cut after N bytes of its body")  \
	KIND(CORRUPT_REQUEST, "corrupt-request", "=N: byte N is flipped")      \
	KIND(DROP, "drop", "delivered, the reply is swallowed, then cut")      \
	KIND(STALL, "stall", "=MS: the reply waits that long")                 \
	KIND(CUT, "cut", "=N: cut after N bytes of the reply's body")          \
	KIND(TRUNCATE, "truncate", "=N: N bytes less, Content-Length fits")    \
	KIND(CORRUPT, "corrupt", "=N: byte N of the reply's body is flipped")  \
	KIND(LENGTH, "length", "=N: Content-Length is N too large; then cut")  \
	KIND(HEADER, "header", "=NAME: VALUE: set in the reply")

enum fault_kind {
	FAULT_NONE,
#define KIND(symbol, name, help) FAULT_##symbol,
	FAULT_KINDS(KIND)
#undef KIND
};

struct fault {
	enum fault_kind kind;
	char *match; /* NULL = any */
	char *path;  /* NULL = any */
	char *not;   /* NULL = none */
	int64_t skip;
	int64_t every, seen; /* 0 = each */
	int64_t left; /* -1 = for ever */
	int64_t arg;
	char *text; /* ARG as it was given; NULL = none */
	STAILQ_ENTRY(fault) next;
};

struct faults {
	STAILQ_HEAD(, fault) list;
	unsigned hits;
};

void faults_init(struct faults *f);
void faults_clear(struct faults *f);
int faults_add(struct faults *f, const char *line, struct err *err);
/* The first fault that wants this request, NULL = none; it stays valid until
 * faults_clear, so callers copy what they keep. */
const struct fault *faults_match(struct faults *f, const char *class,
				 const char *method, const char *target);

#endif
