/* SPDX-License-Identifier: MIT */
/*
 * The load of bench/run: one workload, once, on one directory or file; prints
 * "name value" lines.  It uses plain system calls in plain threads, so that
 * the numbers are those of the file system.  See usage().
 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/xalloc.h"

#define THREADS_MAX 256
#define SAMPLES_MAX 200000 /* latencies kept by a thread */

/* What all threads of a run share; only done changes. */
struct run {
	const char *dir, *tag;
	size_t size;
	long count; /* operations, 0 = any */
	long files; /* that are used in turn */
	int64_t end_ns; /* when to stop, 0 = after count */
	bool rename;
	bool dirs; /* each thread has a directory of its own, DIR/N */
	atomic_long next;
	/* One operation; i counts from 0 over all threads. */
	void (*op)(struct run *r, int thread, long i, char *buf);
};

struct worker {
	struct run *r;
	int number;
	pthread_t thread;
	int64_t *ns;
	size_t n;
	long done;
};

static void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
usage(void)
{
	fputs("usage: load create DIR TAG SIZE WRITERS SECONDS COUNT [rename|dirs]\n"
	      "       load open DIR FILES SIZE SECONDS\n"
	      "       load once DIR TAG COUNT SIZE SECONDS\n"
	      "       load stat DIR FILES SECONDS\n"
	      "       load upload DIR SIZE PAUSE_MS (until SIGTERM)\n"
	      "       load list DIR\n"
	      "       load write FILE MIB BLOCK [append]\n"
	      "       load read FILE BLOCK SECONDS\n"
	      "       load random FILE BLOCK SECONDS\n",
	      stderr);
	exit(2);
}

/* Contents differ from file to file, as uploads do. */
static void
fill(char *buf, size_t n, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;

	for (size_t i = 0; i + 8 <= n; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(buf + i, &x, 8);
	}
}

static int
by_value(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void
print_latencies(int64_t *ns, size_t n)
{
	if (!n)
		return;
	qsort(ns, n, sizeof(*ns), by_value);
	printf("p50_us %.2f\n", (double)ns[n / 2] / 1e3);
	printf("p99_us %.2f\n", (double)ns[n - 1 - n / 100] / 1e3);
	printf("max_us %.2f\n", (double)ns[n - 1] / 1e3);
}

/* --- many small operations ------------------------------------------------ */

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct run *r = w->r;
	_cleanup_free_ char *buf = xmalloc(r->size + 1);
	int64_t begin = clock_mono_ns(), now;

	memset(buf, 'x', r->size);
	while (!r->end_ns || begin < r->end_ns) {
		long i = atomic_fetch_add(&r->next, 1);

		if (r->count && i >= r->count)
			break;
		r->op(r, w->number, i, buf);
		now = clock_mono_ns();
		w->ns[w->n++ % SAMPLES_MAX] = now - begin;
		w->done++;
		begin = now;
	}
	return NULL;
}

/* seconds 0: until count operations are done. */
static void
run_all(struct run *r, int threads, double seconds)
{
	_cleanup_free_ struct worker *w = xcalloc(threads, sizeof(*w));
	_cleanup_free_ int64_t *all = NULL;
	int64_t begin = clock_mono_ns(), took;
	size_t n = 0;
	long done = 0;

	if (seconds > 0)
		r->end_ns = begin + (int64_t)(seconds * 1e9);
	for (int i = 0; i < threads; i++) {
		w[i].r = r;
		w[i].number = i;
		w[i].ns = xcalloc(SAMPLES_MAX, sizeof(*w[i].ns));
		errno = pthread_create(&w[i].thread, NULL, work, &w[i]);
		if (errno)
			die("thread");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(w[i].thread, NULL);
	took = clock_mono_ns() - begin;
	all = xcalloc(threads, SAMPLES_MAX * sizeof(*all));
	for (int i = 0; i < threads; i++) {
		size_t kept = w[i].n < SAMPLES_MAX ? w[i].n : SAMPLES_MAX;

		memcpy(all + n, w[i].ns, kept * sizeof(*all));
		n += kept;
		done += w[i].done;
		free(w[i].ns);
	}
	printf("ops %ld\n", done);
	printf("rate %.3f\n", (double)done * 1e9 / (double)took);
	printf("us %.3f\n", (double)took / 1e3 * threads / (done ? done : 1));
	print_latencies(all, n);
}

static void
write_all_of(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0)
			die("write");
		p += w;
		n -= (size_t)w;
	}
}

static void
op_create(struct run *r, int thread, long i, char *buf)
{
	_cleanup_free_ char *dir = r->dirs ?
					   xasprintf("%s/%d", r->dir, thread) :
					   xstrdup(r->dir);
	_cleanup_free_ char *to = xasprintf("%s/%s-%ld", dir, r->tag, i);
	_cleanup_free_ char *tmp = xasprintf("%s/.%s-%ld.tmp", dir, r->tag, i);
	const char *name = r->rename ? tmp : to;
	int fd;

	fill(buf, r->size, (uint64_t)i + (uint64_t)clock_mono_ns());
	fd = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
	if (fd < 0)
		die(name);
	write_all_of(fd, buf, r->size);
	if (close(fd) < 0)
		die("close");
	if (r->rename && rename(tmp, to) < 0)
		die("rename");
}

static void
open_read_close(const char *name, char *buf, size_t size)
{
	int fd = open(name, O_RDONLY);

	if (fd < 0)
		die(name);
	if (read(fd, buf, size) < 0)
		die("read");
	close(fd);
}

static void
op_open(struct run *r, int thread, long i, char *buf)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/f-%ld", r->dir, i % r->files);
	open_read_close(name, buf, r->size);
}

static void
op_once(struct run *r, int thread, long i, char *buf)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/%s-%ld", r->dir, r->tag, i);
	open_read_close(name, buf, r->size);
}

static void
op_stat(struct run *r, int thread, long i, char *buf)
{
	char name[4096];
	struct stat st;

	snprintf(name, sizeof(name), "%s/f-%ld", r->dir, i % r->files);
	if (stat(name, &st) < 0)
		die(name);
}

/* --- a program that takes uploads ------------------------------------------ */

#define UPLOADS 500 /* names, used in turn */

static void
upload(const char *dir, long i, const char *buf, size_t size)
{
	_cleanup_free_ char *to = xasprintf("%s/%ld", dir, i % UPLOADS);
	_cleanup_free_ char *tmp = xasprintf("%s/%ld.tmp", dir, i % UPLOADS);
	int fd = open(tmp, O_CREAT | O_WRONLY | O_TRUNC, 0644);

	if (fd < 0)
		die(tmp);
	write_all_of(fd, buf, size);
	if (fsync(fd) < 0 || close(fd) < 0)
		die("fsync");
	if (rename(tmp, to) < 0)
		die("rename");
}

/* How long each takes, pauses apart. */
static void
uploads(const char *dir, size_t size, long pause_ms)
{
	_cleanup_free_ char *buf = xcalloc(1, size + 1);
	_cleanup_free_ int64_t *ns = xcalloc(SAMPLES_MAX, sizeof(*ns));
	const struct timespec pause =
		ns_timespec((int64_t)pause_ms * NSEC_PER_MSEC);
	sigset_t end;
	long n = 0;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	printf("ready 1\n");
	fflush(stdout);
	while (n < SAMPLES_MAX && sigtimedwait(&end, NULL, &pause) < 0) {
		int64_t begin;

		fill(buf, size, (uint64_t)n);
		begin = clock_mono_ns();
		upload(dir, n, buf, size);
		ns[n++] = clock_mono_ns() - begin;
	}
	printf("ops %ld\n", n);
	print_latencies(ns, (size_t)n);
}

/* --- a directory ---------------------------------------------------------- */

/* What `ls -l` asks. */
static void
list(const char *dir)
{
	int64_t begin = clock_mono_ns();
	_cleanup_closedir_ DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	long n = 0;

	if (!d)
		die(dir);
	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			die(e->d_name);
		n++;
	}
	printf("entries %ld\n", n);
	printf("seconds %.6f\n", (double)(clock_mono_ns() - begin) / 1e9);
}

/* --- one large file ------------------------------------------------------- */

static double
mb_per_s(uint64_t bytes, int64_t ns)
{
	return (double)bytes * 1e3 / (double)ns;
}

static void
write_file(const char *name, long mib, size_t block, bool append)
{
	/* Not one block again and again: a store may notice. */
	const size_t pool = 8u << 20;
	_cleanup_free_ char *buf = xmalloc(pool + block);
	uint64_t total = (uint64_t)mib << 20;
	int64_t begin, written, closed;
	int fd;

	fill(buf, pool + block, (uint64_t)clock_mono_ns());
	begin = clock_mono_ns();
	fd = open(name, append ? O_WRONLY | O_APPEND :
				 O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0)
		die(name);
	for (uint64_t off = 0; off < total; off += block)
		write_all_of(fd, buf + off % pool, block);
	written = clock_mono_ns();
	if (close(fd) < 0)
		die("close");
	closed = clock_mono_ns();
	printf("write_mb_s %.3f\n", mb_per_s(total, written - begin));
	printf("close_s %.6f\n", (double)(closed - written) / 1e9);
	printf("mb_s %.3f\n", mb_per_s(total, closed - begin));
	printf("seconds %.6f\n", (double)(closed - begin) / 1e9);
}

/* seconds 0: once from the beginning to the end. */
static void
read_file(const char *name, size_t block, double seconds, bool anywhere)
{
	_cleanup_close_ int fd = open(name, O_RDONLY);
	_cleanup_free_ char *buf = xmalloc(block);
	uint64_t total = 0, off = 0, x = 88172645463325252u, blocks;
	int64_t begin, now, end;
	struct stat st;
	long n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(name);
	blocks = (uint64_t)st.st_size / block;
	if (!blocks) {
		errno = EINVAL;
		die("the file is smaller than a block");
	}
	begin = now = clock_mono_ns();
	end = begin + (int64_t)(seconds * 1e9);
	for (;;) {
		ssize_t got;

		if (anywhere) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			off = x % blocks * block;
		}
		got = pread(fd, buf, block, (off_t)off);
		if (got < 0)
			die("read");
		total += (uint64_t)got;
		off += (uint64_t)got;
		n++;
		if (got == 0 || off >= (uint64_t)st.st_size) {
			if (seconds <= 0)
				break;
			off = 0;
		}
		/* The clock is not free. */
		if (seconds > 0 && n % 16 == 0 && clock_mono_ns() >= end)
			break;
	}
	now = clock_mono_ns();
	printf("mb_s %.3f\n", mb_per_s(total, now - begin));
	printf("us %.3f\n", (double)(now - begin) / 1e3 / (double)n);
	printf("seconds %.6f\n", (double)(now - begin) / 1e9);
}

static long
number(const char *s)
{
	char *end;
	long v = strtol(s, &end, 10);

	if (*end || v < 0)
		usage();
	return v;
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	struct run r = { .dir = argc > 2 ? argv[2] : "" };

	r.files = 1;
	if (!strcmp(what, "create") && (argc == 8 || argc == 9)) {
		long writers = number(argv[5]);

		if (writers < 1 || writers > THREADS_MAX)
			usage();
		r.op = op_create;
		r.tag = argv[3];
		r.size = number(argv[4]);
		r.count = number(argv[7]);
		r.rename = argc == 9 && !strcmp(argv[8], "rename");
		r.dirs = argc == 9 && !strcmp(argv[8], "dirs");
		run_all(&r, (int)writers, strtod(argv[6], NULL));
	} else if (!strcmp(what, "open") && argc == 6) {
		r.op = op_open;
		r.files = number(argv[3]);
		if (r.files < 1)
			usage();
		r.size = number(argv[4]);
		run_all(&r, 1, strtod(argv[5], NULL));
	} else if (!strcmp(what, "once") && argc == 7) {
		r.op = op_once;
		r.tag = argv[3];
		r.count = number(argv[4]);
		r.size = number(argv[5]);
		run_all(&r, 1, strtod(argv[6], NULL));
	} else if (!strcmp(what, "stat") && argc == 5) {
		r.op = op_stat;
		r.files = number(argv[3]);
		if (r.files < 1)
			usage();
		run_all(&r, 1, strtod(argv[4], NULL));
	} else if (!strcmp(what, "upload") && argc == 5) {
		uploads(r.dir, (size_t)number(argv[3]), number(argv[4]));
	} else if (!strcmp(what, "list") && argc == 3) {
		list(argv[2]);
	} else if (!strcmp(what, "write") && (argc == 5 || argc == 6)) {
		write_file(argv[2], number(argv[3]), number(argv[4]),
			   argc == 6);
	} else if ((!strcmp(what, "read") || !strcmp(what, "random")) &&
		   argc == 5) {
		read_file(argv[2], number(argv[3]), strtod(argv[4], NULL),
			  what[1] == 'a');
	} else {
		usage();
	}
	return 0;
}
