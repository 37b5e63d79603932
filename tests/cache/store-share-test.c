/* SPDX-License-Identifier: MIT */
/*
 * Limits of the store, several daemons in one directory (rule 21), and what a
 * daemon leaves that was killed at any system call.
 */
#include <config.h>

#include "cache/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/journal.h"
#include "cache/store-record.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/cache/store-box.h"
#include "tests/lib/unit.h"

#define SMALL 16384u

static struct store_file *
get(struct store *s, const char *path)
{
	struct be_ver v = box_ver("v");

	return store_open(s, path, &v);
}

static bool
has(struct store *s, const char *path)
{
	struct store_file *f = get(s, path);

	store_close(f);
	return f != NULL;
}

static bool
put(struct store *s, const char *path, const void *p, size_t n)
{
	struct be_ver v = box_ver("v");

	return store_put(s, path, &v, p, n);
}

static void
clean_path(struct box *b, const char *path, char *out, size_t cap)
{
	struct be_ver v = box_ver("v");
	struct record_key k = { "test-store", path, &v };
	char h[RECORD_NAME_LEN + 1];

	record_name(&k, h);
	snprintf(out, cap, "%s/v1/clean/%.2s/%s", b->dir, h, h);
}

/* Last used this long ago. */
static void
set_age(struct box *b, const char *path, time_t seconds)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT } };
	char file[512];

	clock_gettime(CLOCK_REALTIME, &t[1]);
	t[1].tv_sec -= seconds;
	clean_path(b, path, file, sizeof(file));
	assert_int_equal(utimensat(AT_FDCWD, file, t, 0), 0);
}

/* --- limits -------------------------------------------------------------- */

static void
reopen(struct box *b, uint64_t size_max, uint64_t free_min)
{
	store_free(b->s);
	b->s = box_store(b->dir, "one", size_max, free_min);
}

static void
test_size_bound(void **state)
{
	_cleanup_free_ char *p = box_bytes(SMALL, 1);
	struct box *b = *state;
	struct store_stats st;
	unsigned kept = 0;

	for (int i = 0; i < 100; i++) {
		char path[16];

		snprintf(path, sizeof(path), "%d", i);
		assert_true(put(b->s, path, p, SMALL));
		/* 99 was used last. */
		set_age(b, path, 1000000 - 1000 * i);
	}
	assert_true(has(b->s, "3")); /* which marks it as used */
	reopen(b, 64 * SMALL, 0);
	store_reclaim(b->s);
	store_stats_get(b->s, &st);
	/* At the low watermark, not far below it. */
	assert_true(st.bytes <= 64 * SMALL * 9 / 10);
	assert_true(st.bytes > 64 * SMALL * 7 / 10);
	assert_int_equal(st.evictions, 100 - st.files);
	assert_true(has(b->s, "3"));
	for (int i = 0; i < 100; i++) {
		char path[16];

		snprintf(path, sizeof(path), "%d", i);
		if (has(b->s, path))
			kept++;
		else
			/* The least recently used went first. */
			assert_true(i != 3 && i < 100 - (int)st.files + 1);
	}
	assert_int_equal(kept, st.files);
	/* Nothing over the watermark: nothing to do. */
	store_reclaim(b->s);
	store_stats_get(b->s, &st);
	assert_int_equal(st.files, kept);
}

static unsigned
count_clean(struct box *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 256; i++) {
		_cleanup_closedir_ DIR *d = NULL;
		struct dirent *e;
		char dir[256];

		snprintf(dir, sizeof(dir), "%s/v1/clean/%02x", b->dir, i);
		d = opendir(dir);
		assert_non_null(d);
		while ((e = readdir(d)))
			n += e->d_name[0] != '.';
	}
	return n;
}

/* Puts never run away from the sweep, and never fail the caller. */
static void
test_puts_are_bounded(void **state)
{
	_cleanup_free_ char *p = box_bytes(SMALL, 1);
	struct box *b = *state;

	reopen(b, 64 * SMALL, 0);
	for (int i = 0; i < 2000; i++) {
		char path[16];

		snprintf(path, sizeof(path), "%d", i);
		put(b->s, path, p, SMALL);
		if (i % 50 == 0)
			assert_true(count_clean(b) <= 64 * 12 / 10);
	}
	/* One that would push out all others is not kept. */
	free(steal_ptr(&p));
	p = box_bytes(65 * SMALL, 2);
	assert_false(put(b->s, "large", p, 65 * SMALL));
}

struct feeder {
	struct store *s;
	atomic_uint n;
	atomic_bool stop;
};

static void *
feed(void *arg)
{
	struct feeder *f = arg;

	while (!atomic_load(&f->stop)) {
		char path[24];

		snprintf(path, sizeof(path), "fed%u", atomic_load(&f->n));
		put(f->s, path, "x", 1);
		atomic_fetch_add(&f->n, 1);
	}
	return NULL;
}

/* What comes while a sweep counts is not counted twice: puts would be refused
 * for bytes that are not there. */
static void
test_counted_once(void **state)
{
	unsigned many = box_under_valgrind() ? 200 : 3000, before, during = 0;
	struct box *b = *state;
	struct feeder f = { .s = b->s };
	struct store_stats st;
	uint64_t sum;
	pthread_t t;

	for (unsigned i = 0; i < many; i++) {
		char path[24];

		snprintf(path, sizeof(path), "old%u", i);
		assert_true(put(b->s, path, "x", 1));
	}
	assert_int_equal(pthread_create(&t, NULL, feed, &f), 0);
	for (int i = 0; i < 1000 && during < 64; i++) {
		before = atomic_load(&f.n);
		store_reclaim(b->s);
		during = atomic_load(&f.n) - before;
	}
	atomic_store(&f.stop, true);
	pthread_join(t, NULL);
	store_stats_get(b->s, &st);
	sum = st.bytes;
	store_reclaim(b->s);
	store_stats_get(b->s, &st);
	/* Only what came to a bucket while it was read may be in doubt. */
	if (during >= 64)
		assert_true(sum <= st.bytes + 4096 * (during / 8));
}

static void
test_open_stays(void **state)
{
	_cleanup_free_ char *p = box_bytes(SMALL, 1), *q = xmalloc(SMALL);
	struct box *b = *state;
	struct store *two;
	struct store_file *f;
	size_t got;

	assert_true(put(b->s, "mine", p, SMALL));
	assert_true(put(b->s, "free", p, SMALL));
	f = get(b->s, "mine");
	assert_non_null(f);
	set_age(b, "mine", 5000);
	set_age(b, "free", 4000);
	/* Another daemon, with no room at all. */
	two = box_store(b->dir, "two", 1, 0);
	store_reclaim(two);
	assert_false(has(two, "free"));
	assert_true(has(two, "mine"));
	store_reclaim(two);
	assert_int_equal(store_read(f, 0, q, SMALL, &got), 0);
	assert_memory_equal(p, q, SMALL);
	store_close(f);
	set_age(b, "mine", 5000);
	store_reclaim(two);
	assert_false(has(two, "mine"));
	/* Nor does the first one, which had it open a moment ago. */
	assert_false(has(b->s, "mine"));
	store_free(two);
}

/* Private files are nobody's to drop, and published ones stay while open. */
static void
test_private_stays(void **state)
{
	_cleanup_free_ char *name = NULL, *pub = NULL;
	struct box *b = *state;
	struct be_ver v = box_ver("v");
	int fd, fd2, again;

	assert_int_equal(store_private_new(b->s, &fd, &name), 0);
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(store_private_new(b->s, &fd2, &pub), 0);
	assert_int_equal(ftruncate(fd2, 100000), 0);
	assert_int_equal(pwrite(fd2, "x", 1, 5), 1);
	assert_true(store_publish(b->s, pub, fd2, "pub", &v, 100000));
	{
		struct store *two = box_store(b->dir, "two", 1, 0);

		store_reclaim(two);
		assert_true(has(two, "pub"));
		close(fd2);
		store_reclaim(two);
		assert_false(has(two, "pub"));
		store_free(two);
	}
	assert_int_equal(store_private_open(b->s, name, &again), 0);
	close(again);
	close(fd);
}

/* Clean content keeps out of the last free_min bytes; writers do not. */
/* What the kernel reads stays, also while its mount has no worker (P6.7). */
static void
test_kernel_file_stays(void **state)
{
	_cleanup_free_ char *p = box_bytes(SMALL, 1);
	struct box *b = *state;
	struct store *two;
	struct store_file *f;
	int kernel;

	assert_true(put(b->s, "a", p, SMALL));
	f = get(b->s, "a");
	assert_non_null(f);
	kernel = dup(store_kernel_fd(f)); /* as the kernel has it */
	assert_true(kernel >= 0);
	store_close(f);
	store_free(b->s); /* the worker is gone */
	b->s = NULL;
	two = box_store(b->dir, "two", 1, 0);
	set_age(b, "a", 5000);
	store_reclaim(two);
	assert_true(has(two, "a"));
	close(kernel);
	set_age(b, "a", 5000);
	store_reclaim(two);
	assert_false(has(two, "a"));
	store_free(two);
}

static void
test_free_bound(void **state)
{
	struct box *b = *state;
	_cleanup_free_ char *name = NULL;
	struct statvfs sv;
	uint64_t avail;
	int fd;

	assert_true(put(b->s, "a", "x", 1));
	assert_int_equal(statvfs(b->dir, &sv), 0);
	avail = (uint64_t)sv.f_bavail * sv.f_frsize;
	set_age(b, "a", 5000);
	reopen(b, 0, avail + (UINT64_C(1) << 30));
	/* (This wakes the thread that makes room.) */
	assert_false(put(b->s, "b", "x", 1));
	store_reclaim(b->s);
	assert_false(has(b->s, "a"));
	if (avail > (uint64_t)sv.f_blocks * sv.f_frsize / 10) {
		assert_int_equal(store_private_room(b->s, 100), 0);
		assert_int_equal(store_private_new(b->s, &fd, &name), 0);
		close(fd);
	}
	assert_int_equal(store_private_room(b->s, avail), -ENOSPC);
}

/* --- several processes --------------------------------------------------- */

/* In a child: no cmocka, which would jump into the parent's stack. */
#define NEED(x)                                                               \
	do {                                                                  \
		if (!(x)) {                                                   \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,    \
				#x);                                          \
			_exit(1);                                             \
		}                                                             \
	} while (0)

#define KEYS 60

static size_t
key_size(unsigned key)
{
	return key % 7 == 0 ? STORE_BLOCK + key * 1000 : key * 531;
}

/* Every fifth has its record in a file. */
static void
key_path(unsigned key, char *out, size_t cap)
{
	snprintf(out, cap, key % 5 ? "%d" : "%02000d", (int)key);
}

static void
need_right(struct store *s, unsigned key, bool must)
{
	size_t n = key_size(key), got;
	_cleanup_free_ char *want = box_bytes(n, key), *p = xmalloc(n + 1);
	struct store_file *f;
	char path[2100];

	key_path(key, path, sizeof(path));
	f = get(s, path);
	NEED(f || !must);
	if (!f)
		return;
	NEED(store_file_size(f) == n);
	NEED(store_read(f, 0, p, n + 1, &got) == 0);
	NEED(got == n && memcmp(p, want, n) == 0);
	store_close(f);
}

static void
put_key(struct store *s, unsigned key)
{
	size_t n = key_size(key);
	_cleanup_free_ char *p = box_bytes(n, key);
	char path[2100];

	key_path(key, path, sizeof(path));
	put(s, path, p, n);
}

static void
publish_key(struct store *s, unsigned key)
{
	size_t n = key_size(key);
	_cleanup_free_ char *p = box_bytes(n, key), *name = NULL;
	struct be_ver v = box_ver("v");
	char path[2100];
	int fd;

	NEED(store_private_new(s, &fd, &name) == 0);
	NEED(pwrite(fd, p, n, 0) == (ssize_t)n);
	key_path(key, path, sizeof(path));
	store_publish(s, name, fd, path, &v, n);
	close(fd);
}

static void
forget_key(struct store *s, unsigned key)
{
	struct be_ver v = box_ver("v");
	char path[2100];

	key_path(key, path, sizeof(path));
	store_forget(s, path, &v);
}

static void
churn(const char *dir, const char *instance, unsigned seed)
{
	struct store *s = box_store(dir, instance, 1 << 20, 0);

	for (unsigned i = 0; i < 1500; i++) {
		unsigned key;

		seed = seed * 1103515245u + 12345u;
		key = (seed >> 8) % KEYS;
		switch ((seed >> 20) % 8) {
		case 0:
		case 1:
			put_key(s, key);
			break;
		case 2:
			publish_key(s, key);
			break;
		case 3:
			forget_key(s, key);
			break;
		case 4:
			if (i % 10 == 0)
				store_reclaim(s);
			break;
		default:
			need_right(s, key, false);
		}
	}
	store_free(s);
}

static void
test_processes(void **state)
{
	struct box *b = *state;
	struct store_stats st;
	pid_t pid[3];

	store_free(b->s);
	b->s = NULL;
	for (unsigned i = 0; i < 3; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0) {
			char name[8];

			snprintf(name, sizeof(name), "p%u", i);
			churn(b->dir, name, 1000 + i);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 3; i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	b->s = box_store(b->dir, "one", 1 << 20, 0);
	store_reclaim(b->s);
	store_stats_get(b->s, &st);
	assert_true(st.bytes <= 1 << 20);
	for (unsigned k = 0; k < KEYS; k++)
		need_right(b->s, k, false);
	store_stats_get(b->s, &st);
	/* Nothing that they left was damaged. */
	assert_int_equal(st.bad_blocks, 0);
}

/* --- killed anywhere ----------------------------------------------------- */

static void
op_put(struct store *s)
{
	put_key(s, 3);
}

static void
op_put_rec_file(struct store *s)
{
	put_key(s, 5);
}

static void
op_publish(struct store *s)
{
	publish_key(s, 14);
}

static void
op_publish_over(struct store *s)
{
	put_key(s, 35);
	publish_key(s, 35);
}

static void
op_forget(struct store *s)
{
	put_key(s, 10);
	forget_key(s, 10);
}

static void
op_rekey(struct store *s)
{
	struct be_ver v = box_ver("v"), w = box_ver("w");
	char path[2100];

	for (unsigned key = 20; key < 22; key++) {
		put_key(s, key);
		key_path(key, path, sizeof(path));
		store_rekey(s, path, &v, path, &w);
	}
}

/* Records of growing and shrinking length over and after each other. */
static void
op_journal(struct store *s)
{
	struct journal_rec r = { .path = (char *)"f", .state = JOURNAL_FAILED,
				 .error = -EIO };
	char words[600];

	for (unsigned i = 0; i < 3; i++) {
		_cleanup_free_ char *name = NULL;
		int fd;

		NEED(store_private_new(s, &fd, &name) == 0);
		close(fd);
		for (unsigned k = 0; k < 3; k++) {
			r.size = (k * 250 + i * 90) % 500;
			memset(words, 'w', sizeof(words));
			words[r.size] = '\0';
			r.words = words;
			NEED(journal_put(s, name, &r, NULL) == 0);
		}
		if (i < 2)
			journal_drop(s, name, true);
	}
}

static void
whole_record(void *arg, const char *name, struct journal_rec *r)
{
	assert_int_equal(strlen(r->words), r->size);
	journal_drop(arg, name, true);
}

static bool
keep_none(void *arg, const char *name)
{
	return false;
}

/* Runs op in a child that dies before its nth system call; false: it ended
 * before that.  -1: no tracing here. */
static int
killed_at(struct box *b, void (*op)(struct store *), unsigned n)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *s;

		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		s = box_store(b->dir, "one", 0, 0);
		raise(SIGSTOP);
		op(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 77);
		return -1;
	}
	assert_true(WIFSTOPPED(status));
	/* Two stops a call; both are moments to die at. */
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return 0;
		}
		assert_true(WIFSTOPPED(status));
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return 1;
}

/* Old enough to be known as left behind. */
static void
age_buckets(struct box *b)
{
	struct timespec t[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };

	for (unsigned i = 0; i < 256; i++) {
		_cleanup_closedir_ DIR *d = NULL;
		struct dirent *e;
		char dir[256];

		snprintf(dir, sizeof(dir), "%s/v1/clean/%02x", b->dir, i);
		d = opendir(dir);
		assert_non_null(d);
		while ((e = readdir(d)))
			if (e->d_name[0] != '.')
				utimensat(dirfd(d), e->d_name, t, 0);
	}
}

/* Temporary files and records without content. */
static unsigned
count_litter(struct box *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 256; i++) {
		_cleanup_closedir_ DIR *d = NULL;
		struct dirent *e;
		char dir[256];

		snprintf(dir, sizeof(dir), "%s/v1/clean/%02x", b->dir, i);
		d = opendir(dir);
		assert_non_null(d);
		while ((e = readdir(d))) {
			char name[RECORD_NAME_LEN + 1];

			if (e->d_name[0] == '.')
				continue;
			snprintf(name, sizeof(name), "%.32s", e->d_name);
			if (e->d_name[0] == 't' ||
			    faccessat(dirfd(d), name, F_OK, 0) < 0)
				n++;
		}
	}
	return n;
}

static void
test_killed_anywhere(void **state)
{
	static void (*const ops[])(struct store *) = {
		op_put,		 op_put_rec_file, op_publish,
		op_publish_over, op_forget,	  op_rekey,
		op_journal,
	};
	struct box *b = *state;
	unsigned litter = 0;

	if (box_under_valgrind()) {
		print_message("valgrind's own system calls are too many\n");
		skip();
	}
	store_free(b->s);
	b->s = NULL;
	for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
		int r = 1;

		for (unsigned n = 1; r > 0; n++) {
			struct store_stats st;

			r = killed_at(b, ops[o], n);
			if (r < 0) {
				print_message("ptrace is not allowed\n");
				skip();
			}
			litter += count_litter(b);
			b->s = box_store(b->dir, "one", 0, 0);
			for (unsigned k = 0; k < KEYS; k++)
				need_right(b->s, k, false);
			store_stats_get(b->s, &st);
			assert_int_equal(st.bad_blocks, 0);
			/* The old record or the new one, never half of one. */
			assert_int_equal(journal_scan(b->s, whole_record, b->s),
					 0);
			store_private_sweep(b->s, keep_none, NULL);
			/* And it can all be done again. */
			if (n % 8 == 1) {
				ops[o](b->s);
				for (unsigned k = 0; k < KEYS; k++)
					need_right(b->s, k, false);
			}
			age_buckets(b);
			store_reclaim(b->s);
			assert_int_equal(count_litter(b), 0);
			for (unsigned k = 0; k < KEYS; k++)
				forget_key(b->s, k);
			store_free(b->s);
			b->s = NULL;
			assert_true(n < 2000);
		}
	}
	/* Else this test would have looked at nothing. */
	assert_true(litter > 0);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, box_setup, box_teardown)
	const struct CMUnitTest tests[] = {
		T(test_size_bound),    T(test_puts_are_bounded),
		T(test_counted_once),
		T(test_open_stays),    T(test_kernel_file_stays),
		T(test_private_stays), T(test_free_bound),    T(test_processes),
		T(test_killed_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
