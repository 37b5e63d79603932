/* SPDX-License-Identifier: MIT */
/*
 * An error with words.  Functions return 0 or a negative errno; the words
 * travel in a struct err, each layer may prefix them, and they are printed
 * once, at the top.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

struct err {
	int code;  /* negative errno, 0 = none */
	char *msg; /* owned; NULL = none */
};

#define ERR_INIT                                                               \
	{                                                                      \
		0, NULL                                                        \
	}

/* Both take e == NULL (the words are dropped) and return the code, so that
 * `return err_set(e, -EINVAL, "...")` reads well.  err_set replaces. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "fmt: old words"; returns e->code. */
int err_prefix(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The words, or strerror() of the code; never NULL. */
const char *err_words(const struct err *e);
void err_release(struct err *e); /* e is empty again and can be used anew */

static inline void
err_releasep(struct err *e)
{
	err_release(e);
}
#define _cleanup_err_ __attribute__((cleanup(err_releasep)))

#endif
