/* SPDX-License-Identifier: MIT */
/*
 * The table of nodes and handles: a script of changes, with a new worker in
 * between, finds the same names again; a table with damaged bytes is refused
 * or can be worked with, but never followed out of its bounds.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "fs/table-priv.h"

#define IDS 16
#define OPS 200

struct script {
	int fd;
	struct table *t;
	uint64_t ids[IDS]; /* of nodes; 0 = none yet */
	uint64_t fhs[IDS];
	bool damaged;
};

static const char *const names[] = {
	"a", "b", "c", "a much longer name than the others have here", "d",
};

static const char *
name_of(uint8_t n)
{
	return names[n % (sizeof(names) / sizeof(names[0]))];
}

static void
handle_seen(void *arg, uint64_t fh, const struct table_handle *h)
{
	FUZZ_CHECK(memchr(h->stage, 0, sizeof(h->stage)));
	++*(unsigned *)arg;
}

/* Calls everything that reads. */
static void
look(const struct script *s)
{
	unsigned nhandles = 0;
	char init[TABLE_INIT_MAX];

	for (int i = 0; i < IDS; i++) {
		_cleanup_free_ char *path = table_path(s->t, s->ids[i]);
		_cleanup_free_ char *name = NULL;
		struct table_handle h;
		uint64_t parent = table_parent(s->t, s->ids[i], &name);
		uint64_t found;

		if (path) {
			FUZZ_CHECK(path_ok(path));
			/* 0: forgotten, but with children. */
			found = table_find_path(s->t, path);
			FUZZ_CHECK(s->damaged || !found || found == s->ids[i]);
		}
		if (parent && name)
			table_find(s->t, parent, name);
		table_ino(s->t, s->ids[i]);
		table_handle_get(s->t, s->fhs[i], &h);
	}
	table_handles(s->t, handle_seen, &nhandles);
	table_init_get(s->t, init, sizeof(init));
	free(table_facts(s->t));
	FUZZ_CHECK(s->damaged || table_nodes(s->t) >= 1);
}

/* A next worker.  false: it refuses the table. */
static bool
next_worker(struct script *s)
{
	char *before[IDS], *after;
	size_t nodes = table_nodes(s->t);

	for (int i = 0; i < IDS; i++)
		before[i] = table_path(s->t, s->ids[i]);
	table_detach(s->t);
	s->t = NULL;
	if (table_attach(s->fd, &s->t, NULL) < 0)
		FUZZ_CHECK(s->damaged);
	for (int i = 0; i < IDS; i++) {
		if (s->t && !s->damaged) {
			after = table_path(s->t, s->ids[i]);
			FUZZ_CHECK(!before[i] == !after);
			FUZZ_CHECK(!after || strcmp(before[i], after) == 0);
			free(after);
		}
		free(before[i]);
	}
	if (!s->t)
		return false;
	FUZZ_CHECK(s->damaged || table_nodes(s->t) == nodes);
	look(s);
	return true;
}

static bool
damage(struct script *s, uint8_t where, uint8_t at, uint8_t off, uint8_t value)
{
	struct header h;
	uint64_t pos;

	FUZZ_CHECK(pread(s->fd, &h, sizeof(h), 0) == sizeof(h));
	switch (where % 4) {
	case 0:
		pos = (at % 4 ? offsetof(struct header, nodes_top) : 0) +
		      off % 64;
		break;
	case 1:
		pos = h.nodes_off + at % IDS * sizeof(struct node) +
		      off % sizeof(struct node);
		break;
	case 2:
		pos = h.names_off + at * TABLE_GRANULE + off;
		break;
	default:
		pos = h.handles_off + at % IDS * sizeof(struct hrec) +
		      off % sizeof(struct hrec);
	}
	s->damaged = true;
	FUZZ_CHECK(pwrite(s->fd, &value, 1, pos) == 1);
	/* A table that claims millions of nodes takes its time, rightly. */
	FUZZ_CHECK(pread(s->fd, &h, sizeof(h), 0) == sizeof(h));
	if (h.nodes_top > 4096 && h.nodes_top <= TABLE_NODES)
		return false;
	return h.handles_top <= 4096 || h.handles_top > TABLE_HANDLES;
}

static bool
step(struct script *s, const uint8_t *p)
{
	uint64_t node = s->ids[p[1] % IDS];
	struct table_handle h = {
		.node = node,
		.kind = p[2] % 2 ? TABLE_FILE : TABLE_DIR,
	};

	if (!node)
		node = TABLE_ROOT;
	switch (p[0] % 9) {
	case 0:
	case 1:
		s->ids[p[3] % IDS] =
			table_ref(s->t, node, name_of(p[2]), p[3] % 3);
		return true;
	case 2:
		if (node != TABLE_ROOT)
			table_forget(s->t, node, p[2] % 2 + 1);
		return true;
	case 3:
		table_unlink(s->t, node, name_of(p[2]));
		return true;
	case 4: {
		uint64_t to = s->ids[p[3] % IDS];
		_cleanup_free_ char *from = table_child_path(s->t, node,
							     name_of(p[2]));
		_cleanup_free_ char *dir = NULL, *target = NULL;

		if (!to)
			to = TABLE_ROOT;
		dir = table_path(s->t, to);
		target = table_child_path(s->t, to, name_of(p[3] >> 4));
		/* A rename into itself or over what holds it fails before. */
		if (from && dir && target && !path_within(dir, from) &&
		    !path_within(from, target))
			table_rename(s->t, node, name_of(p[2]), to,
				     name_of(p[3] >> 4), 0, 0);
		return true;
	}
	case 5:
		s->fhs[p[3] % IDS] = table_handle_add(s->t, &h);
		return true;
	case 6:
		if (p[2] % 2)
			table_handle_del(s->t, s->fhs[p[3] % IDS]);
		else
			table_handle_set_stage(s->t, s->fhs[p[3] % IDS],
					       name_of(p[2]));
		return true;
	case 7:
		return next_worker(s);
	default:
		return damage(s, p[1], p[2], p[3], p[4]) && next_worker(s);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { .fd = -1 };

	FUZZ_CHECK(table_create(&s.fd, NULL) == 0);
	FUZZ_CHECK(table_attach(s.fd, &s.t, NULL) == 0);
	for (size_t i = 0; i + 5 <= size && i < 5 * OPS; i += 5)
		if (!step(&s, data + i))
			break;
	if (s.t)
		look(&s);
	table_detach(s.t);
	close(s.fd);
	return 0;
}
