/* SPDX-License-Identifier: MIT */
/* See secret.h.  The libraries tell no sizes, but malloc(3) knows them. */
#include <config.h>

#include "backends/secret.h"

#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "common/xalloc.h"

void
secret_free(void *p)
{
	if (p)
		OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

/* realloc(3) may leave the old bytes behind. */
void *
secret_realloc(void *p, size_t n)
{
	size_t had = p ? malloc_usable_size(p) : 0;
	void *q = xmalloc(n);

	if (had)
		memcpy(q, p, had < n ? had : n);
	secret_free(p);
	return q;
}

static void
start(void)
{
	curl_global_init_mem(CURL_GLOBAL_DEFAULT, xmalloc, secret_free,
			     secret_realloc, xstrdup, xcalloc);
	json_set_alloc_funcs(xmalloc, secret_free);
}

void
secret_start(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, start);
}

char *
secret_concat(const char *s, ...)
{
	size_t n = strlen(s) + 1;
	const char *more;
	char *out, *end;
	va_list ap;

	va_start(ap, s);
	while ((more = va_arg(ap, const char *)))
		n += strlen(more);
	va_end(ap);
	end = out = xmalloc(n);
	va_start(ap, s);
	for (more = s; more; more = va_arg(ap, const char *)) {
		n = strlen(more);
		memcpy(end, more, n);
		end += n;
	}
	va_end(ap);
	*end = '\0';
	return out;
}
