/* SPDX-License-Identifier: MIT */
/* See err.h. */
#include <config.h>

#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

int
err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;
	char *msg;

	if (!e)
		return code;
	va_start(ap, fmt);
	msg = xvasprintf(fmt, ap);
	va_end(ap);
	free(e->msg);
	e->msg = msg;
	e->code = code;
	return code;
}

int
err_prefix(struct err *e, const char *fmt, ...)
{
	va_list ap;
	char *pre, *msg;

	if (!e)
		return 0;
	va_start(ap, fmt);
	pre = xvasprintf(fmt, ap);
	va_end(ap);
	msg = xasprintf("%s: %s", pre, err_words(e));
	free(pre);
	free(e->msg);
	e->msg = msg;
	return e->code;
}

const char *
err_words(const struct err *e)
{
	if (e->msg)
		return e->msg;
	return strerror(-e->code);
}

void
err_release(struct err *e)
{
	free(e->msg);
	e->msg = NULL;
	e->code = 0;
}
