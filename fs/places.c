/* SPDX-License-Identifier: MIT */
/* See places.h. */
#include <config.h>

#include "fs/places.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"
#include "fs/kmount.h"

char *
places_run_dir(struct err *err)
{
	_cleanup_free_ char *dir = NULL;
	const char *base = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (geteuid() == 0)
		dir = xstrdup("/run/sharedfs");
	else if (base && base[0] == '/')
		dir = xasprintf("%s/sharedfs", base);
	else
		dir = xasprintf("/tmp/sharedfs-%u", (unsigned)geteuid());
	if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
		err_set(err, -errno, "make %s: %s", dir, strerror(errno));
		return NULL;
	}
	if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_uid != geteuid()) {
		err_set(err, -EACCES, "%s is not ours", dir);
		return NULL;
	}
	return steal_ptr(&dir);
}

char *
places_socket(const struct mount_entry *e, struct err *err)
{
	_cleanup_free_ char *dir = places_run_dir(err);

	if (!dir)
		return NULL;
	return xasprintf("%s/%u:%u.sock", dir, e->major, e->minor);
}

char *
places_cache_dir(const struct options *o, struct err *err)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (o->cache_dir)
		return xstrdup(o->cache_dir);
	if (geteuid() == 0)
		return xstrdup("/var/cache/sharedfs");
	if (base && base[0] == '/')
		return xasprintf("%s/sharedfs", base);
	if (home && home[0] == '/')
		return xasprintf("%s/.cache/sharedfs", home);
	err_set(err, -ENOENT, "no place for the cache: give cache_dir");
	return NULL;
}

static XXH64_hash_t
hash_of(const char *a, const char *b)
{
	return XXH3_64bits_withSeed(b, strlen(b), XXH3_64bits(a, strlen(a)));
}

char *
places_instance(const char *source, const char *dir)
{
	return xasprintf("%016llx", (unsigned long long)hash_of(source, dir));
}

static int
lock_file(const char *name, struct err *err)
{
	_cleanup_free_ char *run = places_run_dir(err), *path = NULL;
	_cleanup_close_ int fd = -1;

	if (!run)
		return -EACCES;
	path = xasprintf("%s/%s.lock", run, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(err, -errno, "open %s: %s", path,
			       strerror(errno));
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return err_set(err, -errno, "lock %s: %s", path,
				       strerror(errno));
	}
	return steal_fd(&fd);
}

int
places_lock_mount(const char *dir, struct err *err)
{
	_cleanup_free_ char *name = xasprintf(
		"%016llx", (unsigned long long)hash_of("", dir));

	return lock_file(name, err);
}

int
places_lock_sockets(struct err *err)
{
	return lock_file("sockets", err);
}

char *
places_canonical(const char *path)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_free_ char *copy = xstrdup(path), *dir = NULL, *full = NULL;
	const char *last;
	char *slash;
	size_t len = strlen(copy);

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	last = slash ? slash + 1 : copy;
	if (!slash) {
		dir = realpath(".", NULL);
	} else {
		*slash = '\0';
		dir = realpath(slash == copy ? "/" : copy, NULL);
	}
	if (!dir)
		return NULL;
	if (path_name_ok(last, strlen(last))) {
		full = xasprintf("%s/%s", strcmp(dir, "/") == 0 ? "" : dir,
				 last);
		if (mountinfo_at(full, &e) == 1)
			return steal_ptr(&full);
	}
	return realpath(path, NULL);
}

int
places_mount_of(const char *path, struct mount_entry *e)
{
	_cleanup_free_ char *at = places_canonical(path);
	int r;

	if (!at)
		return -errno;
	for (;;) {
		char *slash = strrchr(at, '/');

		r = mountinfo_at(at, e);
		if (r < 0)
			return r;
		if (r == 1) {
			if (strcmp(e->type, MOUNT_TYPE) == 0)
				return 1;
			mount_entry_release(e);
			return 0;
		}
		if (!slash || slash == at)
			return 0;
		*slash = '\0';
	}
}
