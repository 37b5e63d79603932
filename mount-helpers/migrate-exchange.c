/* SPDX-License-Identifier: MIT */
/*
 * Two directories change places in one step, though the share is mounted on
 * one of them: at no moment is DIR anything but the old tree or the share.
 *
 * renameat2(2) refuses to move what it sees a mount on.  But a mount belongs to
 * the directory, not to its name; so a child does it from a mount namespace in
 * which the two are bare, and in all others the mount goes along.
 */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/guard.h"

static void
uncover(const char *dir)
{
	while (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		;
}

static void
tell(int s, int code)
{
	if (write(s, &code, sizeof(code)) != sizeof(code))
		_exit(1); /* nobody is there any more */
}

/* In a fork of a program with threads: system calls only.  If the parent is
 * gone before it says so, nothing is exchanged. */
static void
child(int s, const char *dir, const char *other)
{
	char go;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		tell(s, errno);
		_exit(1);
	}
	uncover(dir);
	uncover(other);
	tell(s, 0);
	if (read(s, &go, 1) != 1)
		_exit(1);
	/* The bare directory may be guarded; so it couldn't be moved. */
	guard_clear(go == 'o' ? other : dir);
	tell(s, renameat2(AT_FDCWD, dir, AT_FDCWD, other, RENAME_EXCHANGE) < 0 ?
			errno :
			0);
	_exit(0);
}

static int
answer(struct mig_exchange *x)
{
	int code;
	ssize_t n;

	do
		n = read(x->s, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == sizeof(code) ? -code : -EPIPE;
}

int
mig_exchange_begin(struct mig_exchange *x, const char *dir, const char *other,
		   struct err *err)
{
	int s[2], r;

	x->s = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return err_set(err, -errno, "socketpair: %s", strerror(errno));
	x->child = fork();
	if (x->child == 0) {
		close(s[0]);
		child(s[1], dir, other);
	}
	r = x->child < 0 ? -errno : 0;
	close(s[1]);
	x->s = s[0];
	if (r == 0)
		r = answer(x);
	if (r < 0) {
		mig_exchange_end(x);
		return err_set(err, r, "a mount namespace for the exchange: %s",
			       strerror(-r));
	}
	return 0;
}

int
mig_exchange_go(struct mig_exchange *x, bool other_is_bare)
{
	if (send(x->s, other_is_bare ? "o" : "d", 1, MSG_NOSIGNAL) != 1)
		return -EPIPE;
	return answer(x);
}

void
mig_exchange_end(struct mig_exchange *x)
{
	if (x->s < 0)
		return;
	close(x->s);
	x->s = -1;
	while (x->child > 0 && waitpid(x->child, NULL, 0) < 0 && errno == EINTR)
		;
}
