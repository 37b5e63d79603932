/* SPDX-License-Identifier: MIT */
/*
 * Many uploaders at once, until told to stop or for a number of operations:
 *
 *   uploaders DIR OTHER COUNT STOP SUMS SEED [OPERATIONS]
 *
 * Each of COUNT threads has a directory DIR/uN and does there what upload
 * scripts do: temporary name, chmod and rename; exclusive create; rewrite;
 * append; remove; make and remove a directory.  It reads back what it has
 * written, there or in OTHER, the same directory on another node.  They end when
 * the file STOP exists, or after OPERATIONS operations together.  SUMS gets the
 * SHA-256 of every file as the last close() or rename() acknowledged it, as
 * lines of sha256sum(1); no other file may be there.  The first error of each
 * thread is printed; exit status 1.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define FILES 5
/* Every so many uploaders one has files of several parts. */
#define LARGE_EVERY 64
#define LARGE_FIRST 8
#define LARGE_MAX (12u << 20)
#define SMALL_MAX (60u << 10)
#define UPLOADERS_MAX 1000

struct file {
	bool there;
	char *bytes; /* what it must be */
	size_t size;
};

struct uploader {
	unsigned number, seed;
	size_t max;
	pthread_t thread;
	char dir[200], other[200];
	struct file file[FILES];
	bool failed;
};

static const char *stop;
static atomic_uint failures;
static atomic_ulong done;
static unsigned long wanted; /* 0 = until STOP is there */

static unsigned
pick(struct uploader *u, size_t n)
{
	return (unsigned)rand_r(&u->seed) % n;
}

/* Always false. */
static bool
bad(struct uploader *u, const char *what, const char *path)
{
	fprintf(stderr, "uploader %u: %s %s: %s\n", u->number, what, path,
		strerror(errno));
	u->failed = true;
	atomic_fetch_add(&failures, 1);
	return false;
}

static void
path_of(const struct uploader *u, unsigned i, char path[300])
{
	snprintf(path, 300, "%s/file-%u", u->dir, i);
}

/* New bytes behind the first keep ones. */
static void
new_bytes(struct uploader *u, struct file *f, size_t keep)
{
	/* Most are small, as uploads are, and a few empty. */
	size_t more = pick(u, 20) ? pick(u, pick(u, 4) ? u->max / 8 : u->max) :
				    0;
	uint32_t x = (uint32_t)rand_r(&u->seed) | 1;

	f->size = keep + more;
	f->bytes = xrealloc(f->bytes, f->size + 1, 1);
	for (size_t i = keep; i < f->size; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		f->bytes[i] = (char)x;
	}
}

/* Writes what is behind the first keep bytes, and closes. */
static bool
put(struct uploader *u, const struct file *f, const char *path, int flags,
    size_t keep)
{
	size_t piece = pick(u, 2) ? 4096 : 1u << 17, at = keep;
	int fd = open(path, flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return bad(u, "open", path);
	while (at < f->size) {
		size_t n = f->size - at < piece ? f->size - at : piece;
		ssize_t w = write(fd, f->bytes + at, n);

		if (w != (ssize_t)n) {
			bad(u, "write", path);
			close(fd);
			return false;
		}
		at += n;
	}
	return close(fd) == 0 || bad(u, "close", path);
}

static bool
upload(struct uploader *u, unsigned i)
{
	struct file *f = &u->file[i];
	char path[300], tmp[300];

	path_of(u, i, path);
	snprintf(tmp, sizeof(tmp), "%s/.upload-%u", u->dir, i);
	new_bytes(u, f, 0);
	if (!put(u, f, tmp, O_EXCL, 0))
		return false;
	if (chmod(tmp, 0644) < 0)
		return bad(u, "chmod", tmp);
	if (rename(tmp, path) < 0)
		return bad(u, "rename", tmp);
	f->there = true;
	return true;
}

static bool
rewrite(struct uploader *u, unsigned i)
{
	struct file *f = &u->file[i];
	char path[300];

	path_of(u, i, path);
	new_bytes(u, f, 0);
	if (!put(u, f, path, f->there ? O_TRUNC : O_EXCL, 0))
		return false;
	f->there = true;
	return true;
}

static bool
append(struct uploader *u, unsigned i)
{
	struct file *f = &u->file[i];
	size_t keep = f->there ? f->size : 0;
	char path[300];

	if (keep > 4 * u->max)
		return rewrite(u, i);
	path_of(u, i, path);
	new_bytes(u, f, keep);
	f->there = true;
	return put(u, f, path, O_APPEND, keep);
}

static bool
read_back(struct uploader *u, unsigned i)
{
	const struct file *f = &u->file[i];
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *got = NULL;
	size_t n = 0;
	ssize_t r;
	char path[300];

	snprintf(path, sizeof(path), "%s/file-%u",
		 pick(u, 2) ? u->dir : u->other, i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return (errno == ENOENT && !f->there) || bad(u, "read", path);
	got = xmalloc(f->size + 1);
	while ((r = read(fd, got + n, f->size + 1 - n)) > 0)
		n += r;
	if (r < 0)
		return bad(u, "read", path);
	errno = EBADMSG;
	if (!f->there || n != f->size || memcmp(got, f->bytes, n) != 0)
		return bad(u, "other bytes in", path);
	return true;
}

static bool
drop(struct uploader *u, unsigned i)
{
	struct file *f = &u->file[i];
	char path[300];

	path_of(u, i, path);
	if (!f->there)
		return true;
	f->there = false;
	return unlink(path) == 0 || bad(u, "unlink", path);
}

static bool
directory(struct uploader *u)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/dir", u->dir);
	if (mkdir(path, 0755) < 0)
		return bad(u, "mkdir", path);
	return rmdir(path) == 0 || bad(u, "rmdir", path);
}

static bool
one(struct uploader *u)
{
	unsigned what = pick(u, 100), i = pick(u, FILES);

	if (what < 40)
		return upload(u, i);
	if (what < 55)
		return rewrite(u, i);
	if (what < 65)
		return append(u, i);
	if (what < 90)
		return read_back(u, i);
	return what < 97 ? drop(u, i) : directory(u);
}

static void *
run(void *arg)
{
	struct uploader *u = arg;

	if (mkdir(u->dir, 0755) < 0) {
		bad(u, "mkdir", u->dir);
		return NULL;
	}
	while (wanted ? atomic_load(&done) < wanted : access(stop, F_OK) != 0) {
		if (!one(u))
			break;
		atomic_fetch_add(&done, 1);
	}
	return NULL;
}

static void
print_sums(FILE *out, const struct uploader *u)
{
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *f = &u->file[i];
		unsigned char sum[EVP_MAX_MD_SIZE];
		unsigned len = 0;

		if (!f->there)
			continue;
		if (!EVP_Digest(f->size ? f->bytes : "", f->size, sum, &len,
				EVP_sha256(), NULL))
			abort();
		for (unsigned k = 0; k < len; k++)
			fprintf(out, "%02x", sum[k]);
		fprintf(out, "  u%u/file-%u\n", u->number, i);
	}
}

int
main(int argc, char **argv)
{
	unsigned n = argc >= 7 ? strtoul(argv[3], NULL, 10) : 0;
	struct uploader *all;
	FILE *out;

	if (n == 0 || n > UPLOADERS_MAX || strlen(argv[1]) > 150 ||
	    strlen(argv[2]) > 150) {
		fprintf(stderr, "usage: uploaders DIR OTHER COUNT STOP SUMS "
				"SEED [OPERATIONS]\n");
		return 2;
	}
	stop = argv[4];
	wanted = argc > 7 ? strtoul(argv[7], NULL, 10) : 0;
	all = xcalloc(n, sizeof(*all));
	for (unsigned i = 0; i < n; i++) {
		struct uploader *u = &all[i];

		u->number = i;
		u->seed = strtoul(argv[6], NULL, 10) * UPLOADERS_MAX + i;
		u->max = i % LARGE_EVERY == LARGE_FIRST ? LARGE_MAX : SMALL_MAX;
		snprintf(u->dir, sizeof(u->dir), "%s/u%u", argv[1], i);
		snprintf(u->other, sizeof(u->other), "%s/u%u", argv[2], i);
		if (pthread_create(&u->thread, NULL, run, u))
			abort();
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(all[i].thread, NULL);
	out = fopen(argv[5], "w");
	if (!out) {
		perror(argv[5]);
		return 1;
	}
	for (unsigned i = 0; i < n; i++) {
		print_sums(out, &all[i]);
		for (unsigned k = 0; k < FILES; k++)
			free(all[i].file[k].bytes);
	}
	if (fclose(out) != 0) {
		perror(argv[5]);
		return 1;
	}
	free(all);
	printf("%lu operations of %u uploaders\n", atomic_load(&done), n);
	return atomic_load(&failures) != 0;
}
