/* SPDX-License-Identifier: MIT */
/*
 * Calls on the store run as their caller (rule 10): the store's own checks,
 * owners of new files, quotas and the NFS server's idea of who we are come out
 * as if the program worked there itself.
 *
 * A thread has a file system identity of its own.  The library's setgroups()
 * changes all threads, so the system calls are made directly.  When the
 * fsuid goes from 0 to another, the kernel takes CAP_DAC_OVERRIDE, CAP_CHOWN,
 * CAP_FOWNER and their like out of the effective set and gives them back on
 * the way home; CAP_SETUID and CAP_SETGID stay, so that there is a way home.
 * Not as root: all calls are made as who we are.
 */
#include <config.h>

#include "backends/file-priv.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xalloc.h"

static int
thread_setgroups(size_t n, const gid_t *groups)
{
	return syscall(SYS_setgroups, n, groups);
}

void
file_id_init(struct file *f)
{
	int n = getgroups(0, NULL);

	f->uid = geteuid();
	f->gid = getegid();
	f->groups = xcalloc(n > 0 ? n : 1, sizeof(*f->groups));
	f->ngroups = getgroups(n > 0 ? n : 0, f->groups);
	if (f->ngroups < 0)
		f->ngroups = 0;
	/* Setting what is set already shows whether we may. */
	f->privileged =
		f->uid == 0 && thread_setgroups(f->ngroups, f->groups) == 0;
}

void
file_id_end(struct file_id *id)
{
	struct file *f = id->f;

	if (!f)
		return;
	id->f = NULL;
	setfsuid(f->uid);
	setfsgid(f->gid);
	/* Failing here would leave a stranger's rights to the next call. */
	if (setfsuid(-1) != (int)f->uid || setfsgid(-1) != (int)f->gid ||
	    thread_setgroups(f->ngroups, f->groups)) {
		log_error("file", "can't come back to uid %u, gid %u",
			  (unsigned)f->uid, (unsigned)f->gid);
		abort();
	}
}

void
file_id_set(struct file *f, uid_t uid, gid_t gid)
{
	if (!f->privileged)
		return;
	setfsgid(gid);
	setfsuid(uid);
}

int
file_id_begin(struct file *f, struct be_ctx *ctx, struct file_id *id)
{
	if (!f->privileged)
		return 0;
	if (ctx->uid == f->uid && ctx->gid == f->gid && ctx->ngroups == 0)
		return 0;
	if (thread_setgroups(ctx->ngroups, ctx->groups))
		return -errno;
	id->f = f;
	setfsgid(ctx->gid);
	setfsuid(ctx->uid);
	/* They tell nothing but who one was before. */
	if (setfsuid(-1) != (int)ctx->uid || setfsgid(-1) != (int)ctx->gid) {
		file_id_end(id);
		return -EPERM;
	}
	return 0;
}
