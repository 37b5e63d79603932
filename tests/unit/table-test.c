/* SPDX-License-Identifier: MIT */
/* fs/table.h: what the kernel holds survives a worker killed at any moment,
 * and a damaged table is refused, not followed. */
#include <config.h>

#include "tests/lib/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/table-priv.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

struct fixture {
	int fd;
	struct table *t;
};

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(table_create(&f->fd, NULL), 0);
	assert_int_equal(table_attach(f->fd, &f->t, NULL), 0);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	table_detach(f->t);
	close(f->fd);
	free(f);
	return 0;
}

static void
again(struct fixture *f)
{
	struct err err = ERR_INIT;

	table_detach(f->t);
	f->t = NULL;
	if (table_attach(f->fd, &f->t, &err) < 0)
		fail_msg("%s", err_words(&err));
}

/* It is refused; the test goes on with a new one. */
static void
is_damaged(struct fixture *f)
{
	table_detach(f->t);
	f->t = NULL;
	assert_int_equal(table_attach(f->fd, &f->t, NULL), -EINVAL);
	assert_int_equal(table_create(&f->fd, NULL), 0);
	assert_int_equal(table_attach(f->fd, &f->t, NULL), 0);
}

static void
is_path(struct table *t, uint64_t id, const char *want)
{
	char *p = table_path(t, id);

	if (!want)
		assert_null(p);
	else
		assert_string_equal(p, want);
	free(p);
}

static void
names_and_paths(void **state)
{
	struct fixture *f = *state;
	uint64_t a, b, c;
	char *p, *name = NULL;

	is_path(f->t, TABLE_ROOT, "");
	a = table_ref(f->t, TABLE_ROOT, "a", 11);
	b = table_ref(f->t, a, "bb", 0);
	c = table_ref(f->t, b, "ccc", 33);
	assert_true(a && b && c && a != b && b != c);
	is_path(f->t, c, "a/bb/ccc");
	assert_int_equal(table_ref(f->t, a, "bb", 99), b);
	assert_int_equal(table_ino(f->t, a), 11);
	assert_true(table_ino(f->t, b) != 0 && table_ino(f->t, b) != 99);
	p = table_child_path(f->t, TABLE_ROOT, "x");
	assert_string_equal(p, "x");
	free(p);
	p = table_child_path(f->t, b, "x");
	assert_string_equal(p, "a/bb/x");
	free(p);
	assert_int_equal(table_find(f->t, b, "ccc"), c);
	assert_int_equal(table_find_path(f->t, "a/bb/ccc"), c);
	assert_int_equal(table_find_path(f->t, ""), TABLE_ROOT);
	assert_int_equal(table_find_path(f->t, "a/no/ccc"), 0);
	assert_int_equal(table_parent(f->t, c, &name), b);
	assert_string_equal(name, "ccc");
	free(name);
	again(f);
	is_path(f->t, c, "a/bb/ccc");
	assert_int_equal(table_ino(f->t, c), 33);
	assert_int_equal(table_nodes(f->t), 4);
	/* Names no segment may have, parents that are none. */
	assert_int_equal(table_ref(f->t, a, "..", 0), 0);
	assert_int_equal(table_ref(f->t, a, "x/y", 0), 0);
	assert_int_equal(table_ref(f->t, 12345, "x", 0), 0);
	is_path(f->t, 12345, NULL);
}

static void
forget_counts_and_ids_are_never_used_again(void **state)
{
	struct fixture *f = *state;
	uint64_t a = table_ref(f->t, TABLE_ROOT, "a", 0);
	uint64_t b = table_ref(f->t, a, "b", 0);
	uint64_t b2;

	table_ref(f->t, a, "b", 0);
	table_forget(f->t, a, 1);
	/* a stands for b's path, though the kernel has forgotten it. */
	is_path(f->t, b, "a/b");
	assert_int_equal(table_find(f->t, TABLE_ROOT, "a"), 0);
	assert_int_equal(table_nodes(f->t), 3);
	table_forget(f->t, b, 1);
	is_path(f->t, b, "a/b");
	again(f);
	table_forget(f->t, b, 1);
	assert_int_equal(table_nodes(f->t), 1);
	is_path(f->t, b, NULL);
	a = table_ref(f->t, TABLE_ROOT, "a", 0);
	b2 = table_ref(f->t, a, "b", 0);
	assert_true(b2 != b);
	is_path(f->t, b, NULL);
	is_path(f->t, b2, "a/b");
	table_forget(f->t, TABLE_ROOT, 100);
	is_path(f->t, TABLE_ROOT, "");
	table_forget(f->t, b2, 1000); /* more than it has */
	is_path(f->t, b2, NULL);
}

static void
an_unlinked_node_lives_without_a_name(void **state)
{
	struct fixture *f = *state;
	uint64_t d = table_ref(f->t, TABLE_ROOT, "d", 0);
	uint64_t a = table_ref(f->t, d, "a", 7), a2;

	table_unlink(f->t, d, "a");
	is_path(f->t, a, NULL);
	assert_int_equal(table_ino(f->t, a), 7);
	assert_int_equal(table_parent(f->t, a, NULL), 0);
	a2 = table_ref(f->t, d, "a", 8);
	assert_true(a2 != a);
	again(f);
	is_path(f->t, a, NULL);
	assert_int_equal(table_ino(f->t, a), 7);
	is_path(f->t, a2, "d/a");
	table_forget(f->t, a, 1);
	assert_int_equal(table_ino(f->t, a), 0);
	/* Below a removed directory there are no paths. */
	table_unlink(f->t, TABLE_ROOT, "d");
	is_path(f->t, a2, NULL);
	assert_null(table_child_path(f->t, d, "x"));
}

static void
rename_moves_replaces_and_exchanges(void **state)
{
	struct fixture *f = *state;
	uint64_t d = table_ref(f->t, TABLE_ROOT, "d", 0);
	uint64_t a = table_ref(f->t, TABLE_ROOT, "a", 0);
	uint64_t b = table_ref(f->t, d, "b", 0);

	table_rename(f->t, TABLE_ROOT, "a", d, "b", 0, 0);
	is_path(f->t, a, "d/b");
	is_path(f->t, b, NULL);
	assert_int_equal(table_find(f->t, TABLE_ROOT, "a"), 0);
	table_rename(f->t, TABLE_ROOT, "d", TABLE_ROOT, "e", 0, 0);
	is_path(f->t, a, "e/b");
	b = table_ref(f->t, TABLE_ROOT, "b", 0);
	table_rename(f->t, TABLE_ROOT, "b", d, "b", RENAME_EXCHANGE, 0);
	is_path(f->t, a, "b");
	is_path(f->t, b, "e/b");
	again(f);
	is_path(f->t, a, "b");
	is_path(f->t, b, "e/b");
	/* Only one of the two is known. */
	table_rename(f->t, TABLE_ROOT, "nobody", TABLE_ROOT, "b", 0, 0);
	is_path(f->t, a, NULL);
	/* Onto itself; into itself (the kernel never asks for it). */
	table_rename(f->t, d, "b", d, "b", 0, 0);
	is_path(f->t, b, "e/b");
	table_rename(f->t, TABLE_ROOT, "e", d, "f", 0, 0);
	is_path(f->t, d, NULL);
}

/* As if killed between the two stores of an exchange. */
static void
a_half_done_move_is_completed(void **state)
{
	struct fixture *f = *state;
	uint64_t a = table_ref(f->t, TABLE_ROOT, "a", 0);
	uint64_t b = table_ref(f->t, TABLE_ROOT, "b", 0);
	struct header *h = f->t->h;
	uint32_t pa = f->t->nodes[(uint32_t)a].place;
	uint32_t pb = f->t->nodes[(uint32_t)b].place;

	h->moves[0] = (struct move){ (uint32_t)a, pb };
	h->moves[1] = (struct move){ (uint32_t)b, pa };
	h->moves_valid = 1;
	f->t->nodes[(uint32_t)a].place = pb;
	again(f);
	is_path(f->t, a, "b");
	is_path(f->t, b, "a");
	assert_int_equal(f->t->h->moves_valid, 0);
}

static void
count_handle(void *arg, uint64_t fh, const struct table_handle *h)
{
	*(uint64_t *)arg += h->node;
}

static void
handles(void **state)
{
	struct fixture *f = *state;
	struct table_handle h = { 5, TABLE_FILE, O_RDWR, 33, 44, 7, "" }, got;
	uint64_t fh = table_handle_add(f->t, &h), fh2, sum = 0;

	h.node = 6;
	fh2 = table_handle_add(f->t, &h);
	assert_true(fh && fh2 && fh != fh2);
	assert_int_equal(table_handle_set_stage(f->t, fh, "17"), 0);
	again(f);
	assert_int_equal(table_handle_get(f->t, fh, &got), 0);
	assert_int_equal(got.node, 5);
	assert_int_equal(got.flags, O_RDWR);
	assert_int_equal(got.uid, 33);
	assert_int_equal(got.gid, 44);
	assert_int_equal(got.backing, 7);
	assert_string_equal(got.stage, "17");
	assert_int_equal(table_handle_set_stage(f->t, fh, "18"), 0);
	assert_int_equal(table_handle_get(f->t, fh, &got), 0);
	assert_string_equal(got.stage, "18");
	table_handles(f->t, count_handle, &sum);
	assert_int_equal(sum, 11);
	table_handle_del(f->t, fh);
	assert_int_equal(table_handle_get(f->t, fh, &got), -EBADF);
	assert_true(table_handle_add(f->t, &h) != fh);
	assert_int_equal(table_handle_get(f->t, 0, &got), -EBADF);
	assert_int_equal(table_handle_get(f->t, UINT64_MAX, &got), -EBADF);
	again(f);
	assert_int_equal(table_handle_get(f->t, fh2, &got), 0);
}

static void
mutations_under_way(void **state)
{
	struct fixture *f = *state;
	struct table_op op = { .unique = 4, .type = 7, .opid = "x" }, got;
	struct table_handle h = { .node = 1, .kind = TABLE_DIR, .unique = 4 };
	unsigned did;
	uint64_t fh, fh2;
	uint32_t slot;

	assert_int_equal(table_op_find(f->t, 4, &got, &did), 0);
	slot = table_op_put(f->t, &op, 0);
	op.off = 9;
	slot = table_op_put(f->t, &op, slot);
	assert_int_not_equal(slot, 0);
	atomic_fetch_or(table_op_did(f->t, slot), TABLE_OP_MADE);
	again(f);
	assert_int_equal(table_op_find(f->t, 4, &got, &did), slot);
	assert_int_equal(did, TABLE_OP_MADE);
	assert_int_equal(got.off, 9);
	assert_string_equal(got.opid, "x");
	/* The names and the note that they are there come together. */
	table_ref(f->t, TABLE_ROOT, "a", 0);
	table_rename(f->t, TABLE_ROOT, "a", TABLE_ROOT, "b", 0, slot);
	table_op_find(f->t, 4, &got, &did);
	assert_int_equal(did, TABLE_OP_MADE | TABLE_OP_NAMED);
	table_op_drop(f->t, slot);
	assert_int_equal(table_op_find(f->t, 4, &got, &did), 0);
	/* Old ones make room, each once. */
	for (uint32_t i = 1; i < TABLE_OPS; i++)
		assert_int_not_equal(table_op_put(f->t, &op, 0), 0);
	assert_int_equal(table_op_put(f->t, &op, 0), 0);
	again(f);
	for (uint32_t i = 1; i < TABLE_OPS; i++)
		assert_int_not_equal(table_op_put(f->t, &op, 0), 0);
	assert_int_equal(table_op_put(f->t, &op, 0), 0);
	f->t->ops[3].op.ver_len = 255;
	is_damaged(f);
	fh = table_handle_add(f->t, &h);
	fh2 = table_handle_add(f->t, &h);
	assert_int_equal(table_handle_by(f->t, 4, fh2), fh);
	table_handle_del(f->t, fh);
	assert_int_equal(table_handle_by(f->t, 4, fh2), 0);
}

static void
requests_are_kept(void **state)
{
	struct fixture *f = *state;
	struct fuse_in_header in = { .len = sizeof(in), .unique = 6 };
	struct iovec iov = { (char *)(uintptr_t) "answer", 6 };
	const void *p;
	uint32_t a, b, c;
	bool answered;
	void *room;
	size_t n;

	a = table_req_begin(f->t, &room);
	memcpy(room, &in, sizeof(in));
	table_req_read(f->t, a, 6);
	/* Killed between the read and the note of it; killed before it. */
	b = table_req_begin(f->t, &room);
	in.unique = 8;
	memcpy(room, &in, sizeof(in));
	c = table_req_begin(f->t, &room);
	assert_true(a && b && c && a != b && b != c);
	assert_int_equal(table_req_answer(f->t, 6, &iov, 1), a);
	assert_int_equal(table_req_answer(f->t, 10, &iov, 1), 0);
	again(f);
	assert_int_equal(table_req_next(f->t, 0, &p, &n, &answered), a);
	assert_true(answered && n == 6 && memcmp(p, "answer", 6) == 0);
	assert_int_equal(table_req_next(f->t, a, &p, &n, &answered), b);
	assert_true(!answered && n == sizeof(in) && !memcmp(p, &in, n));
	assert_int_equal(table_req_next(f->t, b, &p, &n, &answered), 0);
	table_req_drop(f->t, a);
	assert_int_equal(table_req_next(f->t, 0, &p, &n, &answered), b);
	assert_int_equal(table_req_answer(f->t, 8, &iov, 1), b);
	table_req_drop(f->t, b);
	for (a = 1; a < TABLE_REQS; a++)
		assert_int_not_equal(table_req_begin(f->t, &room), 0);
	assert_int_equal(table_req_begin(f->t, &room), 0);
	for (a = 1; a < TABLE_REQS; a++)
		table_req_read(f->t, a, 0);
	assert_int_not_equal(table_req_begin(f->t, &room), 0);
	in.len = 5;
	memcpy(room, &in, sizeof(in));
	is_damaged(f);
}

static void
init_is_kept(void **state)
{
	struct fixture *f = *state;
	char got[64];

	assert_int_equal(table_init_get(f->t, got, sizeof(got)), 0);
	assert_int_equal(table_init_set(f->t, "hello", 5), 0);
	assert_int_equal(table_init_set(f->t, "other", 5), -EALREADY);
	again(f);
	assert_int_equal(table_init_get(f->t, got, sizeof(got)), 5);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(table_init_get(f->t, got, 4), 0);
	f->t->h->init[1] ^= 1;
	is_damaged(f);
}

static void
facts_are_kept(void **state)
{
	struct fixture *f = *state;
	char many[200];
	char *got;

	assert_null(table_facts(f->t));
	assert_int_equal(table_facts_set(f->t, "s3 1 first and longer"), 0);
	assert_int_equal(table_facts_set(f->t, "s3 1 second"), 0);
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	assert_int_equal(table_facts_set(f->t, many), -EINVAL);
	again(f);
	got = table_facts(f->t);
	assert_string_equal(got, "s3 1 second");
	free(got);
	f->t->h->facts[1] ^= 1;
	is_damaged(f);
}

static void
other_files_are_refused(void **state)
{
	struct fixture *f = *state;
	struct table *t = NULL;
	int fd = memfd_create("x", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(table_attach(fd, &t, NULL), -EINVAL);
	assert_int_equal(ftruncate(fd, f->t->size), 0);
	assert_int_equal(table_attach(fd, &t, NULL), -EINVAL);
	close(fd);
	f->t->h->version++;
	assert_int_equal(table_attach(f->fd, &t, NULL), -EPROTO);
	f->t->h->version--;
	f->t->h->names_off += 8;
	assert_int_equal(table_attach(f->fd, &t, NULL), -EINVAL);
	f->t->h->names_off -= 8;
	f->t->h->nodes_top = UINT32_MAX;
	assert_int_equal(table_attach(f->fd, &t, NULL), -EINVAL);
	f->t->h->nodes_top = 2;
	assert_null(t);
}

/* --- at random ------------------------------------------------------------ */

/* Keeps all ids it got in shared memory, so that the parent knows them too. */
#define SHARED_IDS 512
struct shared {
	_Atomic uint64_t id[SHARED_IDS];
	atomic_ulong steps;
};

static void
random_step(struct table *t, struct shared *s, unsigned *seed)
{
	unsigned i = rand_r(seed) % SHARED_IDS, j = rand_r(seed) % SHARED_IDS;
	uint64_t parent = s->id[j] ? s->id[j] : TABLE_ROOT, at, id;
	char name[280], *got = NULL;
	int len = rand_r(seed) % 8 ? 1 : rand_r(seed) % 254 + 1;

	memset(name, 'a' + rand_r(seed) % 6, len);
	name[len] = '\0';
	switch (rand_r(seed) % 8) {
	case 0:
	case 1:
	case 2:
		id = table_ref(t, parent, name, 0);
		if (id && !atomic_load(&s->id[i]))
			s->id[i] = id;
		break;
	case 3:
		if (s->id[i]) {
			table_forget(t, s->id[i], 1 + rand_r(seed) % 3);
			s->id[i] = 0;
		}
		break;
	case 4:
		table_unlink(t, parent, name);
		break;
	case 5:
	case 6:
		at = s->id[i] ? table_parent(t, s->id[i], &got) : 0;
		if (at)
			table_rename(t, at, got, parent, name,
				     rand_r(seed) % 3 ? 0 : RENAME_EXCHANGE, 0);
		free(got);
		break;
	default:
		free(table_path(t, parent));
		break;
	}
	atomic_fetch_add(&s->steps, 1);
}

static struct shared *
shared_new(void)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(s, MAP_FAILED);
	return s;
}

/* What must hold after any history: every id leads to a path that leads back,
 * or to none. */
static void
check_all(struct table *t, const struct shared *s)
{
	for (unsigned i = 0; i < SHARED_IDS; i++) {
		uint64_t id = s->id[i], back;
		char *p = id ? table_path(t, id) : NULL;

		if (!p)
			continue;
		back = table_find_path(t, p);
		assert_true(back == id || back == 0);
		free(p);
	}
}

static void
a_worker_killed_anywhere_leaves_a_good_table(void **state)
{
	struct fixture *f = *state;
	struct shared *s = shared_new();
	unsigned seed = time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned round = 0; round < 60; round++) {
		unsigned long before = s->steps;
		struct timespec wait = { 0, rand_r(&seed) % 4000000 };
		unsigned child_seed = rand_r(&seed);
		pid_t pid;

		table_detach(f->t);
		f->t = NULL;
		pid = fork();
		if (pid == 0) {
			struct table *t;

			if (table_attach(f->fd, &t, NULL) < 0)
				_exit(3);
			for (;;)
				random_step(t, s, &child_seed);
		}
		assert_true(pid > 0);
		/* Only a moment to be killed at, after it began to work. */
		while (s->steps == before) {
			assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
			sched_yield();
		}
		nanosleep(&wait, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		if (table_attach(f->fd, &f->t, NULL) < 0)
			fail_msg("round %u: refused", round);
		check_all(f->t, s);
	}
	munmap(s, sizeof(*s));
}

static void
damage_is_refused_or_harmless(void **state)
{
	struct fixture *f = *state;
	struct shared *s = shared_new();
	unsigned seed = time(NULL), refused = 0;
	size_t nodes_len, names_len;
	char *nodes, *names;

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 20000; i++)
		random_step(f->t, s, &seed);
	nodes_len = f->t->h->nodes_top * sizeof(struct node);
	names_len = (size_t)f->t->names_top * TABLE_GRANULE;
	nodes = malloc(nodes_len);
	names = malloc(names_len);
	memcpy(nodes, f->t->nodes, nodes_len);
	memcpy(names, f->t->names, names_len);
	for (unsigned round = 0; round < 400; round++) {
		struct table *t;
		size_t at = rand_r(&seed);

		if (round % 2)
			((char *)f->t->nodes)[at % nodes_len] ^=
				1 << rand_r(&seed) % 8;
		else
			f->t->names[at % names_len] ^= 1 << rand_r(&seed) % 8;
		if (table_attach(f->fd, &t, NULL) < 0) {
			refused++;
		} else {
			for (unsigned i = 0; i < SHARED_IDS; i++)
				free(table_path(t, s->id[i]));
			table_detach(t);
		}
		memcpy(f->t->nodes, nodes, nodes_len);
		memcpy(f->t->names, names, names_len);
	}
	assert_true(refused > 50);
	free(nodes);
	free(names);
	munmap(s, sizeof(*s));
}

static void
a_million_nodes_fit_in_100_mib(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	size_t own;
	uint64_t dir = 0;
	unsigned n = 1000000;

#ifdef SHAREDFS_SANITIZED
	n = 50000;
#endif
	for (unsigned i = 0; i < n; i++) {
		char name[40];

		snprintf(name, sizeof(name), "upload-%07u.jpg", i);
		if (i % 1000 == 0)
			dir = table_ref(f->t, TABLE_ROOT, name, 0);
		else
			assert_true(table_ref(f->t, dir, name, i) != 0);
	}
	assert_int_equal(table_nodes(f->t), n + 1);
	assert_int_equal(fstat(f->fd, &st), 0);
	own = f->t->nbuckets * sizeof(*f->t->buckets) +
	      f->t->children_cap * sizeof(uint32_t);
	print_message("%u nodes: %lld KiB shared, %zu KiB own\n", n,
		      (long long)st.st_blocks / 2, own / 1024);
	if (n == 1000000)
		assert_true(st.st_blocks * 512 + own < 105u << 20);
	again(f);
	assert_int_equal(table_nodes(f->t), n + 1);
}

/* --- threads -------------------------------------------------------------- */

struct racer {
	struct table *t;
	struct shared *s;
	unsigned seed;
};

static void *
racer_thread(void *arg)
{
	struct racer *r = arg;

	for (unsigned i = 0; i < 20000; i++)
		random_step(r->t, r->s, &r->seed);
	return NULL;
}

static void
threads_share_it(void **state)
{
	struct fixture *f = *state;
	struct shared *s = shared_new();
	struct racer r[4];
	pthread_t th[4];

	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct racer){ f->t, s, i };
		assert_int_equal(
			pthread_create(&th[i], NULL, racer_thread, &r[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(th[i], NULL);
	check_all(f->t, s);
	again(f);
	check_all(f->t, s);
	munmap(s, sizeof(*s));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(names_and_paths),
		T(forget_counts_and_ids_are_never_used_again),
		T(an_unlinked_node_lives_without_a_name),
		T(rename_moves_replaces_and_exchanges),
		T(a_half_done_move_is_completed),
		T(handles),
		T(mutations_under_way),
		T(requests_are_kept),
		T(init_is_kept),
		T(facts_are_kept),
		T(other_files_are_refused),
		T(a_worker_killed_anywhere_leaves_a_good_table),
		T(damage_is_refused_or_harmless),
		T(a_million_nodes_fit_in_100_mib),
		T(threads_share_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
