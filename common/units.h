/* SPDX-License-Identifier: MIT */
/*
 * Numbers as people write them: sizes "8M", durations "500ms", plain numbers.
 * All return 0, -EINVAL (no such number) or -ERANGE; *out is untouched then.
 */
#ifndef COMMON_UNITS_H
#define COMMON_UNITS_H

#include <stdint.h>

int units_uint(const char *s, uint64_t *out);
int units_octal(const char *s, uint64_t *out);
/* Bytes, or with K, M, G, T (powers of 1024; "KiB", "MB" … are the same). */
int units_size(const char *s, uint64_t *out);
/* Seconds, or with ms, s, m, h, d; "0.5" is half a second.  Nanoseconds. */
int units_duration(const char *s, int64_t *ns);

/* The shortest text that the parsers above read back to the same value; whole
 * seconds and bytes are plain numbers.  Caller frees. */
char *units_size_text(uint64_t bytes);	 /* "8M", "1000" */
char *units_duration_text(int64_t ns); /* "30", "500ms" */

#endif
