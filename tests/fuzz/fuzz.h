/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is one file tests/fuzz/fuzz-NAME.c with this one function; its
 * seeds are the files of tests/fuzz/corpus/NAME.  `make check` runs each with
 * driver.c, `make fuzz` with libFuzzer (clang).
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must always hold: also in builds without assert(). */
#define FUZZ_CHECK(x)                                                          \
	do {                                                                   \
		if (!(x)) {                                                    \
			fprintf(stderr, "%s:%d: does not hold: %s\n",          \
				__FILE__, __LINE__, #x);                       \
			abort();                                               \
		}                                                              \
	} while (0)

/* The input as a string of its own, so that a sanitizer sees its end; the
 * caller frees. */
static inline char *
fuzz_string(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	FUZZ_CHECK(s);
	if (size)
		memcpy(s, data, size);
	s[size] = '\0';
	return s;
}

#endif
