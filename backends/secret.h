/* SPDX-License-Identifier: MIT */
/*
 * Memory that had keys in it is wiped before it is given back: our own
 * strings, and everything that the libraries which read or send them (libcurl,
 * jansson, expat) have allocated.
 */
#ifndef BACKENDS_SECRET_H
#define BACKENDS_SECRET_H

#include <stddef.h>

/* From now on curl and jansson wipe what they free.  Before their first use;
 * any thread; the second time nothing happens. */
void secret_start(void);

/* Of memory of malloc(3); NULL is fine. */
void secret_free(void *p);
void *secret_realloc(void *p, size_t n); /* leaves no old bytes behind */

/* One string of all up to a NULL, and no copy of it anywhere (as the printf
 * family leaves).  For secret_free(). */
char *secret_concat(const char *s, ...)
	__attribute__((sentinel, returns_nonnull));

static inline void
secret_freep(char **s)
{
	secret_free(*s);
}
#define _cleanup_secret_ __attribute__((cleanup(secret_freep)))

#endif
