/* SPDX-License-Identifier: MIT */
/* A growing byte string, always followed by a NUL that is not counted. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stddef.h>

struct buf {
	char *s; /* never NULL after the first call; owned */
	size_t len;
	size_t cap;
};

#define BUF_INIT                                                               \
	{                                                                      \
		NULL, 0, 0                                                     \
	}

void buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addstr(struct buf *b, const char *s);
void buf_addch(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
const char *buf_str(struct buf *b); /* "" when empty; valid until changed */
char *buf_steal(struct buf *b);     /* caller frees; b is empty again */
void buf_reset(struct buf *b);      /* length 0, memory kept */
void buf_release(struct buf *b);

static inline void
buf_releasep(struct buf *b)
{
	buf_release(b);
}
#define _cleanup_buf_ __attribute__((cleanup(buf_releasep)))

#endif
