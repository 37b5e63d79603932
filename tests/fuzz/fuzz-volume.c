/* SPDX-License-Identifier: MIT */
/*
 * The volume plugin's state, and what dockerd asks of it.
 *
 *   's' and a document: the state file as it is found
 *   else lines "C {…}" (create), "U" (use), "F" (free), "R" (remove), each with
 *   the JSON object of a request, on an empty state
 *
 * What is accepted leads nowhere but into the share, and a next plugin reads
 * the same of it.
 */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "mount-helpers/volume-set.h"

#define VOLUMES_MAX 64

struct seen {
	struct volumes *v;
	char names[VOLUMES_MAX][256];
	size_t n, users;
};

static void
see(void *arg, const char *name)
{
	struct seen *s = arg;
	const char *subdir = volumes_subdir(s->v, name, NULL);
	const char *other = volumes_overlap(s->v, name);

	FUZZ_CHECK(path_name_ok(name, strlen(name)));
	FUZZ_CHECK(subdir && *subdir && path_ok(subdir));
	FUZZ_CHECK(volumes_created(s->v, name));
	FUZZ_CHECK(!other || strcmp(other, name) != 0);
	s->users += volumes_users(s->v, name);
	if (s->n < VOLUMES_MAX)
		snprintf(s->names[s->n++], 256, "%s", name);
}

static void
look(struct volumes *v, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	s->v = v;
	volumes_each(v, see, s);
	FUZZ_CHECK(s->users == volumes_all_users(v));
}

static void
write_file(const char *path, const char *p, size_t n)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC |
						    O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
}

/* The file says the same to the next one. */
static void
reread(const char *path, struct volumes *v)
{
	struct volumes *again = NULL;
	struct seen a, b;

	FUZZ_CHECK(volumes_open(path, &again, NULL) == 0);
	look(v, &a);
	look(again, &b);
	FUZZ_CHECK(a.n == b.n && a.users == b.users);
	for (size_t i = 0; i < b.n; i++) {
		const char *was = volumes_subdir(v, b.names[i], NULL);

		FUZZ_CHECK(was && strcmp(was, volumes_subdir(again, b.names[i],
							     NULL)) == 0);
		FUZZ_CHECK(volumes_purge(v, b.names[i]) ==
			   volumes_purge(again, b.names[i]));
		FUZZ_CHECK(volumes_users(v, b.names[i]) ==
			   volumes_users(again, b.names[i]));
	}
	volumes_free(again);
}

static void
state(const char *path, const char *text, size_t size)
{
	struct volumes *v = NULL;
	struct seen s;

	write_file(path, text, size);
	if (volumes_open(path, &v, NULL) < 0)
		return;
	look(v, &s);
	for (size_t i = 0; i < s.n; i++) {
		FUZZ_CHECK(volumes_use(v, s.names[i], "id", NULL) == 0);
		reread(path, v);
		FUZZ_CHECK(volumes_check_remove(v, s.names[i], NULL) ==
			   -EBUSY);
	}
	volumes_free(v);
}

static const char *
text(json_t *req, const char *name)
{
	const char *s = json_string_value(json_object_get(req, name));

	return s ? s : "";
}

static int
ask(struct volumes *v, char what, json_t *req)
{
	const char *name = text(req, "Name");

	switch (what) {
	case 'C':
		return volumes_create(v, name, json_object_get(req, "Opts"),
				      NULL);
	case 'U':
		return volumes_use(v, name, text(req, "ID"), NULL);
	case 'F':
		return volumes_unuse(v, name, text(req, "ID"), NULL);
	default:
		return volumes_check_remove(v, name, NULL) == 0 ?
			       volumes_remove(v, name, NULL) : -EBUSY;
	}
}

static void
requests(const char *path, char *lines)
{
	struct volumes *v = NULL;
	char *line, *save = NULL;
	struct seen s;

	unlink(path);
	FUZZ_CHECK(volumes_open(path, &v, NULL) == 0);
	for (line = strtok_r(lines, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		json_t *req = *line ? json_loads(line + 1, 0, NULL) : NULL;
		int r = json_is_object(req) ? ask(v, *line, req) : -EINVAL;

		FUZZ_CHECK(r != -EIO);
		if (r == 0 && access(path, F_OK) == 0)
			reread(path, v);
		look(v, &s);
		json_decref(req);
	}
	volumes_free(v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *s = NULL;
	char path[64];

	if (!size--)
		return 0;
	s = fuzz_string(data + 1, size);
	/* In memory, since each change is synced. */
	snprintf(path, sizeof(path), "%s/sharedfs-fuzz-volume.%d",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
		 (int)getpid());
	if (data[0] == 's')
		state(path, s, size);
	else
		requests(path, s);
	unlink(path);
	return 0;
}
