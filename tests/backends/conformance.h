/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the conformance program share: one store, opened from the
 * URL on the command line; each test works in a directory of its own in it.
 */
#ifndef TESTS_BACKENDS_CONFORMANCE_H
#define TESTS_BACKENDS_CONFORMANCE_H

#include <stdbool.h>

#include "backends/backend.h"

#include "tests/lib/unit.h"

/* The store under test, and the context of a call with fresh words. */
struct backend *store(void);
const struct be_caps *caps(void);
struct be_ctx *ctx(void);	  /* of this thread; attempt 0 */
struct be_ctx *ctx_again(void);	  /* as wrap-retry's second attempt */
const char *words(void);	  /* of the last call on ctx() */
void words_release(void);	  /* at the end of a thread */
const struct be_opid *opid(void); /* a new one; good for 64 further calls */

/* A path in this test's directory; lives until its end. */
const char *P(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Succeeds, with the words if not. */
#define ok(call)                                                               \
	do {                                                                   \
		int ret_ = (call);                                             \
		if (ret_ < 0)                                                  \
			fail_msg("%s: %s (%s)", #call, strerror(-ret_),        \
				 words());                                     \
	} while (0)
/* Fails with this errno, and with words. */
#define refused(call, code)                                                    \
	do {                                                                   \
		int ret_ = (call);                                             \
		if (ret_ != -(code))                                           \
			fail_msg("%s: %d instead of %s (%s)", #call, ret_,     \
				 #code, words());                              \
		if (!*words())                                                 \
			fail_msg("%s: no words", #call);                       \
	} while (0)
/* The same, of a store whose directories are more than parts of a key.  One of
 * flat keys can tell only at the price of a request; there the cache, which
 * has looked first, sees to it. */
#define tree_refuses(call, code)                                               \
	do {                                                                   \
		if (caps()->atomic_rename)                                     \
			refused(call, code);                                   \
	} while (0)
#define skip_unless(cap)                                                       \
	do {                                                                   \
		if (!caps()->cap) {                                            \
			print_message("no " #cap " here\n");                   \
			skip();                                                \
		}                                                              \
	} while (0)

/* Attributes for something new, of this process. */
struct be_attr attr_of(mode_t mode);
struct be_attr stat_of(const char *path); /* must exist */
bool exists(const char *path);
/* The commit of `len` bytes at p as the whole content. */
int put_if(const char *path, const struct be_cond *cond,
	   const struct be_opid *id, const void *p, size_t len,
	   struct be_attr *out);
struct be_attr put(const char *path, const char *text);
/* The content is exactly this; read by fetch() and by read(). */
void holds(const char *path, const void *p, size_t len);
void holds_text(const char *path, const char *text);
int tmp_fd(void); /* an unlinked file for commits */

/* A pattern in which each offset of a seed is different. */
void pattern(char *p, size_t len, uint64_t off, unsigned seed);

/* Runs fn(arg, i) for i in [0, n) in `threads` threads. */
void parallel(unsigned threads, unsigned n, void (*fn)(void *arg, unsigned i),
	      void *arg);

/* The tests of each part. */
extern const struct CMUnitTest conf_names[], conf_data[], conf_cond[];
extern const size_t conf_names_n, conf_data_n, conf_cond_n;
int conf_setup(void **state);
int conf_teardown(void **state);
#define CONF_TEST(f)                                                           \
	{                                                                      \
#f, f, conf_setup, conf_teardown, NULL                         \
	}

#endif
