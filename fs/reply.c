/* SPDX-License-Identifier: MIT */
/* The only caller of fuse_reply_*: once, with no lock held. */
#include <config.h>

#include "fs/reply.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "fs/passthrough.h"

#define BLOCK_SIZE (128 * 1024)

/* What programs ask for and live with; no line in the log. */
static bool
everyday(int err)
{
	switch (-err) {
	case ENOENT:
	case EEXIST:
	case ENOTEMPTY:
	case ENOTDIR:
	case EISDIR:
	case ENODATA:
	case EOPNOTSUPP:
	case ENOSYS:
	case ENOTTY:
	case EACCES:
	case EPERM:
	case EROFS:
	case EINTR:
	case EILSEQ:
	case EINVAL:
	case ELOOP:
	case ENAMETOOLONG:
	case ENXIO:
	case ERANGE:
	case EXDEV:
	case EMLINK:
	case EBUSY:
	case EFBIG:
	case ESTALE:
		return true;
	default:
		return false;
	}
}

void
reply_err(struct request *r, int err)
{
	_cleanup_free_ char *what = NULL;
	fuse_req_t req;

	if (!everyday(err) || log_enabled(LOG_LEVEL_DEBUG)) {
		what = request_describe(r);
		log_line(everyday(err) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
			 "fuse", "%s: %s%s%s (request %llu)", what,
			 strerror(-err), r->err.msg ? ": " : "",
			 r->err.msg ? r->err.msg : "",
			 (unsigned long long)r->ctx.be.op);
	}
	req = request_take(r);
	if (req)
		fuse_reply_err(req, -err);
}

void
reply_ok(struct request *r)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_err(req, 0);
}

void
reply_none(fuse_req_t req)
{
	fuse_reply_none(req);
}

void
reply_interrupted(fuse_req_t req)
{
	fuse_reply_err(req, EINTR);
}

void
stat_of(struct fs *fs, uint64_t node, const struct be_attr *a,
	struct stat *st)
{
	memset(st, 0, sizeof(*st));
	if (cache_backend(fs->cache)->caps.stable_ino)
		st->st_ino = a->ino;
	if (st->st_ino == 0)
		st->st_ino = table_ino(fs->table, node);
	if (st->st_ino == 0)
		st->st_ino = a->ino != 0 ? a->ino : node;
	st->st_mode = a->mode;
	st->st_nlink = a->nlink;
	st->st_uid = idmap_to_local(&fs->uids, a->uid);
	st->st_gid = idmap_to_local(&fs->gids, a->gid);
	st->st_rdev = a->rdev;
	st->st_size = (off_t)a->size;
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)a->blocks;
	if (st->st_blocks == 0 && S_ISREG(a->mode))
		st->st_blocks = (blkcnt_t)((a->size + 511) / 512);
	st->st_atim = a->atime;
	st->st_mtim = a->mtime;
	st->st_ctim = a->ctime;
}

static double
seconds(int64_t ns)
{
	return ns > 0 ? (double)ns / (double)NSEC_PER_SEC : 0;
}

/* The kernel knows each name of a file as a file of its own. */
static double
attr_seconds(const struct be_attr *a, int64_t life_ns)
{
	return be_attr_linked(a) ? 0 : seconds(life_ns);
}

void
entry_of(struct fs *fs, uint64_t node, const struct be_attr *a,
	 struct cache_life life, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = node;
	e->attr_timeout = attr_seconds(a, life.attr_ns);
	e->entry_timeout = seconds(life.entry_ns);
	stat_of(fs, node, a, &e->attr);
}

bool
reply_entry(struct request *r, uint64_t node, const struct be_attr *a,
	    struct cache_life life)
{
	struct fuse_entry_param e;
	fuse_req_t req;

	entry_of(r->fs, node, a, life, &e);
	req = request_take(r);
	return req && fuse_reply_entry(req, &e) == 0;
}

void
reply_no_entry(struct request *r, int64_t life_ns)
{
	struct fuse_entry_param e = { .entry_timeout = seconds(life_ns) };
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_entry(req, &e);
}

void
reply_attr(struct request *r, uint64_t node, const struct be_attr *a,
	   int64_t life_ns)
{
	struct stat st;
	fuse_req_t req;

	stat_of(r->fs, node, a, &st);
	req = request_take(r);
	if (req)
		fuse_reply_attr(req, &st, attr_seconds(a, life_ns));
}

void
reply_forget_attr(struct fs *fs, uint64_t node)
{
	fuse_lowlevel_notify_inval_inode(fs->se, node, -1, 0);
}

bool
reply_open(struct request *r, const struct fuse_file_info *fi,
	   int32_t backing)
{
	fuse_req_t req = request_take(r);
	struct fuse_file_info out = *fi;

	if (!req)
		return false;
	passthrough_reply_with(&out, backing);
	return fuse_reply_open(req, &out) == 0;
}

bool
reply_create(struct request *r, uint64_t node, const struct be_attr *a,
	     struct cache_life life, const struct fuse_file_info *fi,
	     int32_t backing)
{
	struct fuse_file_info out = *fi;
	struct fuse_entry_param e;
	fuse_req_t req;

	entry_of(r->fs, node, a, life, &e);
	req = request_take(r);
	if (!req)
		return false;
	passthrough_reply_with(&out, backing);
	return fuse_reply_create(req, &e, &out) == 0;
}

void
reply_buf(struct request *r, const void *p, size_t n)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_buf(req, p, n);
}

void
reply_write(struct request *r, size_t n)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_write(req, n);
}

void
reply_readlink(struct request *r, const char *target)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_readlink(req, target);
}

void
reply_statfs(struct request *r, const struct statvfs *st)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_statfs(req, st);
}

void
reply_lseek(struct request *r, uint64_t off)
{
	fuse_req_t req = request_take(r);

	if (req)
		fuse_reply_lseek(req, (off_t)off);
}

void
reply_xattr(struct request *r, const void *p, size_t n)
{
	fuse_req_t req;

	if (r->len != 0 && n > r->len) {
		reply_err(r, -ERANGE);
		return;
	}
	req = request_take(r);
	if (!req)
		return;
	if (r->len == 0)
		fuse_reply_xattr(req, n);
	else
		fuse_reply_buf(req, p, n);
}
