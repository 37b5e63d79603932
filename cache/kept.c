/* SPDX-License-Identifier: MIT */
/* See kept.h. */
#include <config.h>

#include "cache/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cache/journal-priv.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/io.h"
#include "common/path.h"
#include "common/xalloc.h"

#define COPY_STEP (1u << 20)

/* --- instances ------------------------------------------------------------ */

struct instance {
	const char *cache_dir, *name;
	int journal, files, lock; /* -1: not there */
	bool live;
	const json_t *given_up;
};

static void
instance_close(struct instance *i)
{
	if (i->journal >= 0)
		close(i->journal);
	if (i->files >= 0)
		close(i->files);
	if (i->lock >= 0)
		close(i->lock); /* and unlocks */
}
#define _cleanup_instance_ __attribute__((cleanup(instance_close)))

static int
open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Locks it as long as it is open, unless a daemon has. */
static int
instance_open(int mounts, const char *cache_dir, const char *name,
	      struct instance *i, struct err *err)
{
	_cleanup_close_ int fd = open_dir(mounts, name);

	*i = (struct instance){ cache_dir, name, -1, -1, -1, false, NULL };
	if (fd < 0)
		return err_set(err, -errno, "%s: mount %s: %s", cache_dir, name,
			       strerror(errno));
	i->journal = open_dir(fd, "journal");
	i->files = open_dir(fd, "files");
	i->lock = openat(fd, "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (i->journal < 0 || i->files < 0)
		return err_set(err, -errno, "%s: mount %s: %s", cache_dir, name,
			       strerror(errno));
	i->live = i->lock >= 0 && flock(i->lock, LOCK_EX | LOCK_NB) < 0;
	return 0;
}

static int
open_mounts(const char *cache_dir, int *out, struct err *err)
{
	_cleanup_free_ char *path = xasprintf("%s/v1/mounts", cache_dir);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(err, errno == ENOENT ? -EINVAL : -errno,
			       "%s is no cache directory of sharedfs (%s: %s)",
			       cache_dir, path, strerror(errno));
	*out = fd;
	return 0;
}

/* --- one file --------------------------------------------------------------- */

struct replay {
	struct rangeset dirty;
	uint64_t size, base_size;
};

static void
add_change(void *arg, const struct journal_change *ch)
{
	struct replay *r = arg;

	journal_replay(ch, r->base_size, &r->dirty, &r->size);
}

/* Its path, if the daemon that is there says that it will not send it. */
static const char *
given_up(const struct instance *i, const char *name)
{
	return i->live ? json_string_value(json_object_get(i->given_up, name)) :
			 NULL;
}

static void
tell(const struct instance *i, const char *name, kept_fn *fn, void *arg)
{
	_cleanup_free_ char *path = xasprintf("%s/v1/mounts/%s/files/%s",
					      i->cache_dir, i->name, name);
	struct kept k = { .instance = i->name, .name = name, .file = path,
			  .live = i->live, .path = given_up(i, name) };
	struct replay replay = { .dirty = RANGESET_INIT };
	_cleanup_json_ json_t *j = NULL;
	struct journal_rec rec = { 0 };
	char file[48];
	struct stat st;

	journal_file(name, ".j", file);
	j = journal_load(i->journal, file);
	if (j && journal_is_about(j, name) && journal_decode(j, &rec))
		k.rec = &rec;
	k.failed = k.path || (k.rec && rec.state == JOURNAL_FAILED);
	if (k.rec)
		k.path = rec.path;
	/* The daemon that has it may still send it by itself. */
	if ((i->live && !k.failed) ||
	    fstatat(i->files, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(st.st_mode) || (!k.rec && st.st_size == 0))
		goto out;
	/* It was for handles only, and there are none. */
	if (k.rec && rec.state == JOURNAL_UNLINKED && !rec.links)
		goto out;
	/* The kernel has not written to it since it was sent. */
	if (!k.failed && k.rec && rec.exposed && rec.sent.tv_sec &&
	    timespec_equal(st.st_ctim, rec.sent))
		goto out;
	k.size = (uint64_t)st.st_size;
	if (k.rec) {
		replay.size = rec.size;
		replay.base_size = rec.base_size;
		for (size_t n = 0; n < rec.ndirty; n++)
			rangeset_add(&replay.dirty, rec.dirty[n].off,
				     rec.dirty[n].len);
		journal_file(name, ".r", file);
		journal_log_load(i->journal, file, add_change, &replay);
		journal_widen(&rec, &st, &replay.dirty, &replay.size);
		if (!rec.exposed)
			k.size = replay.size;
		/* Which bytes the kernel wrote nobody knows; and a whole file
		 * is more than its dirty bytes. */
		if (rec.exposed || rec.whole) {
			rangeset_clear(&replay.dirty);
			rangeset_add(&replay.dirty, 0, k.size);
		}
	} else {
		rangeset_add(&replay.dirty, 0, k.size);
	}
	k.bytes = rangeset_bytes(&replay.dirty);
	k.dirty = replay.dirty.v;
	k.ndirty = replay.dirty.n;
	fn(arg, &k);
out:
	rangeset_release(&replay.dirty);
	journal_rec_release(&rec);
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_record(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return n > 2 && strcmp(e->d_name + n - 2, ".j") == 0;
}

static void
scan_instance(const struct instance *i, kept_fn *fn, void *arg)
{
	struct dirent **v = NULL;
	int n = scandirat(i->journal, ".", &v, is_record, by_name);

	for (int e = 0; e < n; e++) {
		v[e]->d_name[strlen(v[e]->d_name) - 2] = '\0';
		if (path_name_ok(v[e]->d_name, strlen(v[e]->d_name)))
			tell(i, v[e]->d_name, fn, arg);
		free(v[e]);
	}
	free(v);
}

static int
is_visible(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

int
kept_scan(const char *cache_dir, const json_t *given_up, kept_fn *fn, void *arg,
	  struct err *err)
{
	_cleanup_close_ int mounts = -1;
	struct dirent **v = NULL;
	int n, ret = open_mounts(cache_dir, &mounts, err);

	if (ret < 0)
		return ret;
	n = scandirat(mounts, ".", &v, is_visible, by_name);
	if (n < 0)
		return err_set(err, -errno, "%s: %s", cache_dir,
			       strerror(errno));
	for (int e = 0; e < n; e++) {
		_cleanup_instance_ struct instance i;

		if (instance_open(mounts, cache_dir, v[e]->d_name, &i, NULL) < 0)
			continue;
		i.given_up = given_up;
		scan_instance(&i, fn, arg);
	}
	for (int e = 0; e < n; e++)
		free(v[e]);
	free(v);
	return 0;
}

/* --- what the user wants of it ------------------------------------------------ */

static int
copy_range(int from, int to, const struct range *r, char *p, struct err *err)
{
	for (uint64_t done = 0; done < r->len;) {
		size_t n = r->len - done < COPY_STEP ? r->len - done : COPY_STEP;
		ssize_t got = pread(from, p, n, (off_t)(r->off + done));
		int ret;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, -errno, "read: %s", strerror(errno));
		if (got == 0)
			return 0; /* shorter than its record says */
		ret = io_write_all(to, p, (size_t)got, r->off + done);
		if (ret < 0)
			return err_set(err, ret, "write: %s", strerror(-ret));
		done += (uint64_t)got;
	}
	return 0;
}

int
kept_save(const struct kept *k, const char *target, struct err *err)
{
	_cleanup_free_ char *p = xmalloc(COPY_STEP);
	_cleanup_close_ int from = -1, to = -1;
	const struct journal_rec *r = k->rec;
	int ret = 0;

	from = open(k->file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (from < 0)
		return err_set(err, -errno, "%s: %s", k->file, strerror(errno));
	to = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return err_set(err, -errno, "%s: %s", target, strerror(errno));
	for (size_t i = 0; i < k->ndirty && ret == 0; i++)
		ret = copy_range(from, to, &k->dirty[i], p, err);
	/* Holes at the end count too. */
	if (ret == 0 && ftruncate(to, (off_t)k->size) < 0)
		ret = err_set(err, -errno, "%s: %s", target, strerror(errno));
	if (ret == 0 && r) {
		struct timespec t[2] = { r->atime, r->mtime };

		/* As far as we may; setuid and setgid are not for copies. */
		if (fchown(to, r->owner, r->group) == 0 || geteuid() != 0)
			fchmod(to, r->mode & 0777);
		futimens(to, t);
	}
	if (ret == 0 && fsync(to) < 0)
		ret = err_set(err, -errno, "%s: %s", target, strerror(errno));
	if (ret < 0)
		unlink(target);
	return ret;
}

int
kept_drop(const char *cache_dir, const char *instance, const char *name,
	  struct err *err)
{
	_cleanup_close_ int mounts = -1;
	_cleanup_instance_ struct instance i = { .journal = -1, .files = -1,
						 .lock = -1 };
	char file[48];
	int ret = open_mounts(cache_dir, &mounts, err);

	if (ret == 0)
		ret = instance_open(mounts, cache_dir, instance, &i, err);
	if (ret < 0)
		return ret;
	if (i.live)
		return err_set(err, -EBUSY, "a mount uses it: name the mount "
					    "instead of the cache directory");
	if (unlinkat(i.files, name, 0) < 0)
		return err_set(err, -errno, "%s: %s", name, strerror(errno));
	journal_file(name, ".j", file);
	unlinkat(i.journal, file, 0);
	journal_file(name, ".r", file);
	unlinkat(i.journal, file, 0);
	return 0;
}
