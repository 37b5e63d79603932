/* SPDX-License-Identifier: MIT */
/*
 * What mounts that never came back left in the cache directory: partly fetched
 * content is dropped, bytes that were not sent stay until somebody recovers or
 * discards them (kept.h).
 */
#include <config.h>

#include "cache/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache/journal-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

/* A daemon that is just being started again has its lock in a moment. */
#define DEAD_AGE 600 /* seconds without a change */

static DIR *
open_dir(int at, const char *name)
{
	int fd = openat(at, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

/* It was unlinked while it was open; nothing has it open now. */
static bool
is_nobodys(int journal, const char *file)
{
	_cleanup_json_ json_t *j = journal_load(journal, file);
	struct journal_rec r = { 0 };
	bool nobodys = j && journal_decode(j, &r) &&
		       r.state == JOURNAL_UNLINKED && !r.links;

	journal_rec_release(&r);
	return nobodys;
}

static bool
has_record(int journal, const char *name)
{
	char file[64];

	if (snprintf(file, sizeof(file), "%s.j", name) >= (int)sizeof(file))
		return true; /* none of ours: left alone */
	if (faccessat(journal, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return errno != ENOENT;
	return !is_nobodys(journal, file);
}

/* The number of files that stay. */
static unsigned
sweep_one(int mounts, const char *name)
{
	_cleanup_closedir_ DIR *mine = open_dir(mounts, name);
	_cleanup_closedir_ DIR *files = NULL, *journal = NULL;
	_cleanup_close_ int lock = -1;
	struct dirent *e;
	unsigned kept = 0;
	struct stat st;
	bool old;

	if (!mine)
		return 0;
	lock = openat(dirfd(mine), "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
		return 0;
	files = open_dir(dirfd(mine), "files");
	journal = open_dir(dirfd(mine), "journal");
	if (!files || !journal || fstat(dirfd(files), &st) < 0)
		return 0;
	old = clock_wall().tv_sec - st.st_mtim.tv_sec > DEAD_AGE;
	while ((e = readdir(files))) {
		if (e->d_name[0] == '.')
			continue;
		if (has_record(dirfd(journal), e->d_name))
			kept++;
		else if (old)
			unlinkat(dirfd(files), e->d_name, 0);
	}
	return kept;
}

unsigned
store_sweep_dead(struct store *s)
{
	_cleanup_closedir_ DIR *d = open_dir(s->fd[DIR_ROOT], "mounts");
	struct dirent *e;
	unsigned kept = 0;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] != '.' && strcmp(e->d_name, s->instance) != 0)
			kept += sweep_one(dirfd(d), e->d_name);
	}
	return kept;
}
