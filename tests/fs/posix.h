/* SPDX-License-Identifier: MIT */
/*
 * The frame of the programs that hold a mount against the Linux manual:
 *
 *   posix-test DIR file|s3|local [TEST…]
 *
 * Each test runs in an empty directory of its own below DIR, which is its
 * working directory.  A failed check prints its line and the test goes on;
 * the exit status is 1 if any failed.
 */
#ifndef TESTS_FS_POSIX_H
#define TESTS_FS_POSIX_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct posix_test {
	const char *name;
	void (*fn)(void);
};
#define POSIX_TEST(f)                                                          \
	{                                                                      \
#f, f                                                                  \
	}

int posix_main(int argc, char **argv, const struct posix_test *tests,
	       size_t n);
bool on_s3(void); /* no hard links, no exchange */

void check_failed(const char *file, int line, const char *what, long got,
		  int err);

/* x is true. */
#define CHECK(x)                                                               \
	do {                                                                   \
		if (!(x))                                                      \
			check_failed(__FILE__, __LINE__, #x, 0, errno);        \
	} while (0)
/* x did not return -1; its value. */
#define OK(x)                                                                  \
	({                                                                     \
		errno = 0;                                                     \
		__typeof__(x) ok_ = (x);                                       \
		if (ok_ == (__typeof__(x))-1)                                  \
			check_failed(__FILE__, __LINE__, #x, -1, errno);       \
		ok_;                                                           \
	})
/* x returned -1 with this error. */
#define FAILS(x, e)                                                            \
	do {                                                                   \
		long fails_ = (errno = 0, (long)(x));                          \
		if (fails_ != -1 || errno != (e))                              \
			check_failed(__FILE__, __LINE__, #x " fails with " #e, \
				     fails_, errno);                           \
	} while (0)

/* A file with this text; the text of a file ("" if it can't be read; the
 * caller's to free). */
void put(const char *path, const char *text);
char *get(const char *path);
bool holds(const char *path, const char *text);
/* The size; -1. */
long size_of(const char *path);
mode_t mode_of(const char *path);
ino_t ino_of(const char *path);
/* fn in a child with these ids (and one supplementary group, 0 = none);
 * its failed checks count. */
void as_user(uid_t uid, gid_t gid, gid_t extra, void (*fn)(void));
/* fn(i) in n processes at once; true: all returned true. */
bool in_parallel(int n, bool (*fn)(int i));

#endif
