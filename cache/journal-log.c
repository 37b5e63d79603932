/* SPDX-License-Identifier: MIT */
/* What was written since a record: entries of one size, see journal.h. */
#include <config.h>

#include "cache/journal-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/store-priv.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

int
journal_log_open(struct store *s, const char *name, int *fd)
{
	char file[48];

	journal_file(name, ".r", file);
	*fd = openat(s->fd[DIR_JOURNAL], file,
		     O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0) {
		store_failed(s, FAULT_WRITE, -errno, "journal");
		return -EIO;
	}
	return 0;
}

int
journal_log_set(int fd, uint64_t n, const struct journal_change *ch)
{
	ssize_t w = pwrite(fd, ch, sizeof(*ch), (off_t)(n * sizeof(*ch)));

	return w == (ssize_t)sizeof(*ch) ? 0 : w < 0 ? -errno : -ENOSPC;
}

int
journal_log_reset(int fd)
{
	return ftruncate(fd, 0) < 0 ? -errno : 0;
}

bool
journal_has_log(struct store *s, const char *name)
{
	struct stat st;
	char file[48];

	journal_file(name, ".r", file);
	return fstatat(s->fd[DIR_JOURNAL], file, &st, AT_SYMLINK_NOFOLLOW) ==
		       0 &&
	       st.st_size > 0;
}

void
journal_replay(const struct journal_change *ch, uint64_t base_size,
	       struct rangeset *dirty, uint64_t *size)
{
	if (ch->size < *size)
		rangeset_del(dirty, ch->size, UINT64_MAX / 2);
	rangeset_add(dirty, ch->off, ch->len);
	/* Zeros over bytes that the store may have. */
	if (ch->size > *size && *size < base_size)
		rangeset_add(dirty, *size,
			     (ch->size < base_size ? ch->size : base_size) -
				     *size);
	*size = ch->size;
}

void
journal_log_load(int dir, const char *file,
		 void (*fn)(void *arg, const struct journal_change *ch),
		 void *arg)
{
	_cleanup_close_ int fd = -1;
	struct journal_change ch;

	fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	while (read(fd, &ch, sizeof(ch)) == (ssize_t)sizeof(ch)) {
		if (ch.size > INT64_MAX || ch.off > ch.size ||
		    ch.len > ch.size - ch.off || ch.clean_end > INT64_MAX)
			return; /* not ours */
		fn(arg, &ch);
	}
}

void
journal_log_read(struct store *s, const char *name,
		 void (*fn)(void *arg, const struct journal_change *ch),
		 void *arg)
{
	char file[48];

	journal_file(name, ".r", file);
	journal_log_load(s->fd[DIR_JOURNAL], file, fn, arg);
}

void
journal_widen(const struct journal_rec *r, const struct stat *st,
	      struct rangeset *dirty, uint64_t *size)
{
	uint64_t there = (uint64_t)st->st_size;

	if (there <= *size || journal_this_boot(r))
		return;
	rangeset_add(dirty, *size, there - *size);
	*size = there;
}

struct fold {
	struct rangeset dirty;
	struct journal_rec *r;
};

static void
fold_one(void *arg, const struct journal_change *ch)
{
	struct fold *f = arg;

	journal_replay(ch, f->r->base_size, &f->dirty, &f->r->size);
}

int
journal_fold(struct store *s, const char *name, struct journal_rec *r)
{
	struct fold f = { .dirty = RANGESET_INIT, .r = r };
	struct stat st;
	char file[48];
	int ret;

	for (size_t i = 0; i < r->ndirty; i++)
		rangeset_add(&f.dirty, r->dirty[i].off, r->dirty[i].len);
	journal_log_read(s, name, fold_one, &f);
	if (fstatat(s->fd[DIR_FILES], name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		journal_widen(r, &st, &f.dirty, &r->size);
	/* A record is sound by itself. */
	rangeset_del(&f.dirty, r->size, UINT64_MAX / 2);
	free(r->dirty);
	r->ndirty = f.dirty.n;
	r->dirty = f.dirty.n ? xmemdup(f.dirty.v,
				       f.dirty.n * sizeof(*f.dirty.v)) :
			       NULL;
	rangeset_release(&f.dirty);
	ret = journal_put(s, name, r, NULL);
	if (ret == 0) {
		journal_file(name, ".r", file);
		unlinkat(s->fd[DIR_JOURNAL], file, 0);
	}
	return ret;
}
