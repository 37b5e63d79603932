/* SPDX-License-Identifier: MIT */
/*
 * Clean content is published: hashed, given its record and its name.  The
 * record is an attribute of the content's inode, so that both appear by one
 * rename; one that is too large for that is a file that is renamed first.
 */
#include <config.h>

#include "cache/store-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fault.h"
#include "common/io.h"
#include "common/xalloc.h"

/*
 * Where a new file for the name is written: in the name's own directory.  A
 * rename within one directory takes no lock of the whole disk, and inodes are
 * spread.  What a killed daemon leaves there, reclaim finds.
 */
static void
temp_prefix(const struct clean_name *n, char out[8])
{
	snprintf(out, 8, "%.2s/t", n->s);
}

/* Before the content is renamed to its name. */
static int
save_record(struct store *s, int fd, const struct clean_name *n,
	    const struct record_key *k, const struct record *rec)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_close_ int tmp = -1;
	char name[TEMP_NAME_MAX], prefix[8];
	int r;

	record_encode(k, rec, &b);
	if (b.len <= XATTR_REC_MAX && !atomic_load(&s->no_xattr)) {
		if (fsetxattr(fd, n->xattr, b.s, b.len, 0) == 0)
			return 0;
		if (errno == ENOTSUP)
			atomic_store(&s->no_xattr, true);
		else if (errno != ENOSPC && errno != E2BIG && errno != ERANGE)
			return -errno;
	}
	temp_prefix(n, prefix);
	r = store_temp(s, DIR_CLEAN, prefix, &tmp, name);
	if (r < 0)
		return r;
	r = io_write_all(tmp, b.s, b.len, 0);
	if (r == 0 && renameat(s->fd[DIR_CLEAN], name, s->fd[DIR_CLEAN],
			       n->rec) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(s->fd[DIR_CLEAN], name, 0);
	return r;
}

/* Would it push out everything else? */
static bool
too_large(struct store *s, uint64_t size)
{
	return s->size_max != 0 && size > s->size_max;
}

/* Gives the content its record and its name. */
static int
name_clean(struct store *s, int fd, enum store_dir from, const char *temp,
	   const struct clean_name *n, const struct record_key *k,
	   const struct record *rec)
{
	struct stat st;
	int r;

	FAULT_POINT("publish.written");
	r = save_record(s, fd, n, k, rec);
	if (r < 0)
		return r;
	FAULT_POINT("publish.recorded");
	if (renameat(s->fd[from], temp, s->fd[DIR_CLEAN], n->s) < 0)
		return -errno;
	FAULT_POINT("publish.named");
	/* We hashed these bytes a moment ago. */
	if (rec->nblocks > 8 && fstat(fd, &st) == 0) {
		struct verified *v;

		v = verified_get(s->verified, &st, rec->nblocks);
		for (uint64_t i = 0; i < rec->nblocks; i++)
			verified_add(v, i);
		verified_put(s->verified, v);
	}
	reclaim_added(s, n, rec->size);
	return 0;
}

/* What is left of a publish that failed; `gen` is of its beginning. */
static void
publish_failed(struct store *s, enum store_dir from, const char *temp,
	       int error, unsigned gen)
{
	unlinkat(s->fd[from], temp, 0);
	if (error == -ENOENT)
		store_heal(s, gen);
	else if (error != -ESTALE)
		store_failed(s, FAULT_WRITE, error, "publish");
}

static void
publish_worked(struct store *s)
{
	store_works(s, FAULT_WRITE);
	store_works(s, FAULT_FULL);
}

static int
hash_fd(int fd, uint64_t size, struct record *rec)
{
	_cleanup_free_ char *p = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size != size)
		return -ESTALE; /* still being written, after all */
	rec->size = size;
	rec->nblocks = record_blocks(size);
	if (rec->nblocks == 0)
		return 0;
	rec->sums = xcalloc((size_t)rec->nblocks, sizeof(*rec->sums));
	p = xmalloc(STORE_BLOCK);
	for (uint64_t b = 0; b < rec->nblocks; b++) {
		uint64_t left = size - b * STORE_BLOCK;
		size_t n = left < STORE_BLOCK ? (size_t)left : STORE_BLOCK;
		int r;

		r = store_read_all(fd, p, n, b * STORE_BLOCK);
		if (r < 0)
			return r;
		rec->sums[b] = record_sum(p, n);
	}
	return 0;
}

bool
store_publish(struct store *s, const char *name, int fd, const char *path,
	      const struct be_ver *ver, uint64_t size)
{
	unsigned gen = atomic_load(&s->generation);
	struct record_key k = store_key(s, path, ver);
	struct record rec = { 0 };
	struct clean_name n;
	int r;

	if (!be_ver_known(ver) || too_large(s, size)) {
		store_private_drop(s, name);
		return false;
	}
	r = hash_fd(fd, size, &rec);
	if (r == 0) {
		/* The caller may go on using it: not to be evicted so long. */
		flock(fd, LOCK_SH | LOCK_NB);
		store_clean_name(&k, &n);
		r = name_clean(s, fd, DIR_FILES, name, &n, &k, &rec);
	}
	record_release(&rec);
	if (r < 0)
		publish_failed(s, DIR_FILES, name, r, gen);
	else
		publish_worked(s);
	return r == 0;
}

/* Clean content stays out of the last free_min bytes of the disk. */
static bool
clean_room(struct store *s, uint64_t bytes)
{
	uint64_t need = s->free_min + bytes;

	if (store_free_bytes(s, need) < need) {
		reclaim_kick(s);
		return false;
	}
	store_free_spent(s, bytes);
	/* The sweep is behind: stop feeding it. */
	return s->size_max == 0 ||
	       atomic_load(&s->bytes) + bytes <=
		       s->size_max + s->size_max / 10;
}

bool
store_put(struct store *s, const char *path, const struct be_ver *ver,
	  const void *p, size_t len)
{
	unsigned gen = atomic_load(&s->generation);
	struct record_key k = store_key(s, path, ver);
	struct record rec = { .size = len, .nblocks = record_blocks(len) };
	_cleanup_close_ int fd = -1;
	char name[TEMP_NAME_MAX], prefix[8];
	struct clean_name n;
	int r;

	if (!be_ver_known(ver) || too_large(s, len) || !clean_room(s, len))
		return false;
	store_clean_name(&k, &n);
	temp_prefix(&n, prefix);
	r = store_temp(s, DIR_CLEAN, prefix, &fd, name);
	if (r < 0) {
		store_failed(s, FAULT_WRITE, r, "new file");
		return false;
	}
	if (rec.nblocks)
		rec.sums = xcalloc((size_t)rec.nblocks, sizeof(*rec.sums));
	for (uint64_t b = 0; b < rec.nblocks; b++) {
		size_t at = (size_t)b * STORE_BLOCK;

		rec.sums[b] = record_sum((const char *)p + at,
					 len - at < STORE_BLOCK ? len - at :
								  STORE_BLOCK);
	}
	r = io_write_all(fd, p, len, 0);
	if (r == 0)
		r = name_clean(s, fd, DIR_CLEAN, name, &n, &k, &rec);
	record_release(&rec);
	if (r < 0)
		publish_failed(s, DIR_CLEAN, name, r, gen);
	else
		publish_worked(s);
	return r == 0;
}

bool
store_rekey(struct store *s, const char *path, const struct be_ver *ver,
	    const char *new_path, const struct be_ver *new_ver)
{
	struct record_key k = store_key(s, path, ver);
	struct record_key nk = store_key(s, new_path, new_ver);
	struct clean_name n, nn;
	struct store_file *f;
	int r = -ENOENT;

	if (!be_ver_known(new_ver))
		return false;
	store_clean_name(&k, &n);
	store_clean_name(&nk, &nn);
	if (strcmp(n.s, nn.s) == 0)
		return true;
	f = store_open(s, path, ver);
	if (!f)
		return false;
	r = save_record(s, f->fd, &nn, &nk, &f->rec);
	FAULT_POINT("rekey.recorded");
	if (r == 0 && renameat(s->fd[DIR_CLEAN], n.s, s->fd[DIR_CLEAN], nn.s) <
			      0)
		r = -errno;
	FAULT_POINT("rekey.named");
	if (r == 0) {
		fremovexattr(f->fd, n.xattr);
		unlinkat(s->fd[DIR_CLEAN], n.rec, 0);
		store_carry_verified(f);
		reclaim_added(s, &nn, 0);
	} else {
		store_failed(s, FAULT_WRITE, r, "rename");
	}
	store_close(f);
	store_idle_drop(s, &n);
	return r == 0;
}

void
store_forget(struct store *s, const char *path, const struct be_ver *ver)
{
	struct record_key k = store_key(s, path, ver);
	struct clean_name n;

	store_clean_name(&k, &n);
	store_drop_clean(s, &n);
}
