/* SPDX-License-Identifier: MIT */
/* See session.h. */
#include <config.h>

#include "fs/session.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"
#include "fs/abi.h"
#include "fs/passthrough.h"

#define THREADS_MIN 4
#define THREADS_MAX 8
#define WRITE_MAX (1u << 20)
#define INIT_MAX 1024
#define LEAVE_SIGNAL SIGUSR1
#define LEAVE_LOOK_MS 5

enum init_state {
	INIT_WANTED,  /* the kernel will send it */
	INIT_REPLAY,  /* the next read returns the saved one */
	INIT_SWALLOW, /* the next reply to it is not for the kernel */
	INIT_SENT,    /* read from the kernel, to be answered */
	INIT_DONE,
};

struct session {
	struct fs *fs;
	struct fuse_session *se;
	struct fuse_lowlevel_ops ops; /* fs_ops, and init of our own */
	int fd;			      /* closed by libfuse */
	int end_fd;
	/* Until INIT is done there is one thread; then these only stand. */
	enum init_state state;
	unsigned char init[INIT_MAX];
	size_t init_len;
	uint64_t init_unique;
	bool replayed;
	int init_rc;
	pthread_t threads[THREADS_MAX];
	unsigned nthreads;
	atomic_uint running;
	/* Requests are kept in the table: the kernel can't send them again. */
	bool keep;
	atomic_bool told_full;
	atomic_bool replaying; /* left is not empty */
	pthread_mutex_t replay_lock;
	uint32_t left[256]; /* places of requests of a worker ago */
	unsigned nleft;
	atomic_uint numbered;
	atomic_bool leaving;
	/* By thread: since when it has its request; 0 = it waits for one. */
	atomic_llong busy[THREADS_MAX];
};

/* libfuse has the number too, and tells nobody. */
static _Thread_local uint64_t current;
static _Thread_local bool current_resent;
static _Thread_local atomic_llong *mine; /* in session.busy */

uint64_t
session_request(bool *resent)
{
	*resent = current_resent;
	return current;
}

/* --- what libfuse reads and writes through -------------------------------- */

/*
 * This kernel does not send requests again: they are read into the table, from
 * where a next worker has them.
 */
static ssize_t
read_kept(struct session *s, int fd, void *buf, size_t len)
{
	struct table *t = s->fs->table;
	bool resent;
	void *p;
	uint32_t slot = table_req_begin(t, &p);
	ssize_t n;
	int e;

	if (!slot) {
		if (!atomic_exchange(&s->told_full, true))
			log_warn("fuse", "hundreds of requests are under way: "
					 "more of them would not outlive this "
					 "worker");
		return read(fd, buf, len);
	}
	n = read(fd, p, len < TABLE_REQ_ROOM ? len : TABLE_REQ_ROOM);
	e = errno;
	if (n > 0)
		memcpy(buf, p, n);
	table_req_read(t, slot, n > 0 && abi_has_answer(p, n) ?
					abi_unique(p, n, &resent) : 0);
	FAULT_POINT("replay.read");
	errno = e;
	return n;
}

/* The next request that a worker ago left; 0: none. */
static ssize_t
read_left(struct session *s, void *buf, size_t len)
{
	const void *p;
	ssize_t n = 0;
	size_t size;
	bool answered;

	if (!atomic_load(&s->replaying))
		return 0;
	pthread_mutex_lock(&s->replay_lock);
	while (n == 0 && s->nleft) {
		uint32_t slot = s->left[--s->nleft];

		if (table_req_next(s->fs->table, slot - 1, &p, &size,
				   &answered) != slot || size > len)
			continue;
		memcpy(buf, p, size);
		n = size;
	}
	if (!s->nleft)
		atomic_store(&s->replaying, false);
	pthread_mutex_unlock(&s->replay_lock);
	return n;
}

/* Before a thread serves: answers that may have got lost go out, requests are
 * put in line. */
static void
collect_left(struct session *s)
{
	uint32_t slot = 0;
	const void *p;
	size_t n;
	bool answered;

	while ((slot = table_req_next(s->fs->table, slot, &p, &n, &answered))) {
		if (!answered) {
			s->left[s->nleft++] = slot;
			continue;
		}
		if (write(s->fd, p, n) < 0) {
			/* the kernel had it */
		}
		table_req_drop(s->fs->table, slot);
	}
	atomic_store(&s->replaying, s->nleft != 0);
	log_info("fuse", "%u requests are taken over", s->nleft);
}

/*
 * A request that the kernel can't copy because this thread is being killed, and
 * would have to fault a page in, ends with EIO for the program.  So the buffer,
 * which is the thread's own for ever, has its pages before the first read.
 */
static void
populate(void *buf, size_t len)
{
	static _Thread_local void *ready;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = (uintptr_t)buf & ~(page - 1);
	uintptr_t to = ((uintptr_t)buf + len + page - 1) & ~(page - 1);

	if (ready == buf)
		return;
	ready = buf;
	/* Linux 5.14; before that it is as it was. */
	if (madvise((void *)from, to - from, MADV_POPULATE_WRITE) < 0)
		log_debug("fuse", "populate a buffer: %m");
}

/* session_leave() ends the wait with a signal, and nothing else. */
static ssize_t
read_request(struct session *s, int fd, void *buf, size_t len)
{
	sigset_t set;
	ssize_t n;
	int e;

	populate(buf, len);
	sigemptyset(&set);
	sigaddset(&set, LEAVE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	if (atomic_load(&s->leaving)) {
		n = -1;
		errno = EINTR;
	} else if (s->keep) {
		n = read_kept(s, fd, buf, len);
	} else {
		n = read(fd, buf, len);
	}
	e = errno;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	errno = e;
	return n;
}

static ssize_t
io_read(int fd, void *buf, size_t len, void *userdata)
{
	struct session *s = ((struct fs *)userdata)->session;
	ssize_t n;

	if (s->state == INIT_REPLAY) {
		memcpy(buf, s->init, s->init_len);
		s->state = INIT_SWALLOW;
		return s->init_len;
	}
	n = read_left(s, buf, len);
	if (n > 0) {
		current = abi_unique(buf, n, &current_resent);
		current_resent = true;
		return n;
	}
	n = read_request(s, fd, buf, len);
	if (n > 0)
		current = abi_unique(buf, n, &current_resent);
	if (n > 0 && s->state == INIT_WANTED) {
		if (!abi_is_init(buf, n, &s->init_unique) || n > INIT_MAX) {
			errno = EPROTO;
			return -1;
		}
		memcpy(s->init, buf, n);
		s->init_len = n;
		s->state = INIT_SENT;
	}
	return n;
}

/* libfuse does not know all that is asked for (3.14: hardly any of it). */
static ssize_t
answer_init(struct session *s, int fd, struct iovec *iov, int count)
{
	char reply[256];
	size_t n;

	n = abi_gather(iov, count, reply, sizeof(reply));
	if (!n)
		return writev(fd, iov, count);
	abi_want_offered(reply, n, s->init, s->init_len);
	if (passthrough_on(s->fs->passthrough))
		abi_want_passthrough(reply, n);
	return write(fd, reply, n);
}

static ssize_t
write_kept(struct session *s, int fd, struct iovec *iov, int count)
{
	uint32_t slot = table_req_answer(s->fs->table,
					 abi_reply_unique(iov, count), iov,
					 count);
	ssize_t n;
	int e;

	FAULT_POINT("replay.answering");
	n = passthrough_writev(fd, iov, count);
	e = errno;
	FAULT_POINT("replay.answered");
	if (slot)
		table_req_drop(s->fs->table, slot);
	errno = e;
	return n;
}

static ssize_t
io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *s = ((struct fs *)userdata)->session;
	ssize_t n;

	if (s->state == INIT_DONE && s->keep)
		return write_kept(s, fd, iov, count);
	if (s->state == INIT_DONE)
		return passthrough_writev(fd, iov, count);
	if (abi_reply_unique(iov, count) != s->init_unique)
		return writev(fd, iov, count);
	if (s->state == INIT_SWALLOW) {
		n = 0;
		for (int i = 0; i < count; i++)
			n += iov[i].iov_len;
		s->state = INIT_DONE;
		return n;
	}
	n = answer_init(s, fd, iov, count);
	if (n < 0) {
		s->init_rc = -errno;
		return n;
	}
	/* Only a request that was answered is one to replay. */
	s->init_rc = table_init_set(s->fs->table, s->init, s->init_len);
	s->state = INIT_DONE;
	return n;
}

static const struct fuse_custom_io session_io = {
	.read = io_read,
	.writev = io_writev,
};

static void
want(struct fuse_conn_info *conn, unsigned cap, bool on)
{
	if (on)
		conn->want |= conn->capable & cap;
	else
		conn->want &= ~cap;
}

/* Must choose the same for the same INIT: a later worker's choice is not told
 * to the kernel. */
static void
op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	fs->passthrough = passthrough_new(fs, fs->session->fd,
					  fs->session->init,
					  fs->session->init_len);
	if (fs->session->replayed)
		passthrough_restore(fs);
	want(conn, FUSE_CAP_ASYNC_READ, true);
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	want(conn, FUSE_CAP_READDIRPLUS, true);
	want(conn, FUSE_CAP_READDIRPLUS_AUTO, true);
	want(conn, FUSE_CAP_ASYNC_DIO, true);
	/* Kept by the kernel, for this node. */
	want(conn, FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS, false);
	/* After a failed write the kernel may skip FLUSH. */
	want(conn, FUSE_CAP_WRITEBACK_CACHE, false);
	want(conn,
	     FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
		     FUSE_CAP_SPLICE_MOVE,
	     false);
	/* The kernel clears setuid and setgid by SETATTR. */
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	want(conn, FUSE_CAP_EXPORT_SUPPORT, false);
	want(conn, FUSE_CAP_POSIX_ACL, false);
#if ABI_LIBFUSE_PASSTHROUGH
	want(conn, FUSE_CAP_PASSTHROUGH | FUSE_CAP_HANDLE_KILLPRIV_V2,
	     passthrough_on(fs->passthrough));
	/* The cache may lie on a plain file system; a stack is refused. */
	conn->max_backing_stack_depth = 0;
#endif
	conn->max_write = WRITE_MAX;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	if (fs_ops.init)
		fs_ops.init(userdata, conn);
	fs->session->init_rc = 0;
}

/* --- life ----------------------------------------------------------------- */

int
session_new(struct fs *fs, int fd, struct session **out, struct err *err)
{
	char *argv[] = { (char *)(uintptr_t) "sharedfs", NULL };
	struct fuse_args args = { .argc = 1, .argv = argv };
	struct session *s = xcalloc(1, sizeof(*s));
	int r;

	s->fs = fs;
	s->fd = fd;
	pthread_mutex_init(&s->replay_lock, NULL);
	s->ops = fs_ops;
	s->ops.init = op_init;
	s->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->init_rc = -EIO;
	s->init_len = table_init_get(fs->table, s->init, sizeof(s->init));
	if (s->init_len) {
		s->state = INIT_REPLAY;
		s->replayed = true;
		abi_is_init(s->init, s->init_len, &s->init_unique);
	}
	fs->session = s;
	s->se = fuse_session_new(&args, &s->ops, sizeof(s->ops), fs);
	fuse_opt_free_args(&args); /* libfuse made a copy of its own */
	if (!s->se || s->end_fd < 0) {
		close(fd);
		r = err_set(err, -EIO, "libfuse made no session");
		session_free(s);
		return r;
	}
	r = fuse_session_custom_io(s->se, &session_io, fd);
	if (r < 0) {
		close(fd);
		err_set(err, r, "libfuse: %s", strerror(-r));
		session_free(s);
		return r;
	}
	fs->se = s->se;
	*out = s;
	return 0;
}

/* One request; false: no more will come. */
static bool
serve_one(struct session *s, struct fuse_buf *buf)
{
	int r = fuse_session_receive_buf(s->se, buf);

	if (r == -EINTR || r == -EAGAIN)
		return true;
	if (r <= 0) {
		if (r < 0 && r != -ENODEV)
			log_error("fuse", "read a request: %s", strerror(-r));
		return false;
	}
	if (mine)
		atomic_store(mine, clock_mono_ns());
	fuse_session_process_buf(s->se, buf);
	if (mine)
		atomic_store(mine, 0);
	return true;
}

int
session_init(struct session *s, struct err *err)
{
	struct fuse_buf buf = { .mem = NULL };
	bool more = true;

	while (more && s->state != INIT_DONE)
		more = serve_one(s, &buf);
	free(buf.mem);
	s->keep = !abi_can_resend(s->init, s->init_len);
	if (s->state != INIT_DONE)
		return err_set(err, -ENODEV, "the kernel ended the mount");
	if (s->init_rc < 0)
		return err_set(err, s->init_rc, "answer INIT: %s",
			       strerror(-s->init_rc));
	return 0;
}

static void *
session_thread(void *arg)
{
	struct session *s = arg;
	struct fuse_buf buf = { .mem = NULL };
	uint64_t one = 1;

	pthread_setname_np(pthread_self(), "fuse");
	mine = &s->busy[atomic_fetch_add(&s->numbered, 1)];
	while (!fuse_session_exited(s->se) && !atomic_load(&s->leaving) &&
	       serve_one(s, &buf))
		;
	free(buf.mem);
	if (atomic_load(&s->leaving)) {
		atomic_fetch_sub(&s->running, 1);
		return NULL;
	}
	/* The others get ENODEV as well, or come here after their request. */
	fuse_session_exit(s->se);
	if (atomic_fetch_sub(&s->running, 1) == 1 &&
	    write(s->end_fd, &one, sizeof(one)) < 0) {
		/* an eventfd takes it */
	}
	return NULL;
}

static void
ask_again(struct session *s)
{
	int r;

	if (s->keep) {
		collect_left(s);
		return;
	}
	r = abi_resend(s->fd);
	if (r < 0)
		log_error("fuse", "ask for unanswered requests: %s",
			  strerror(-r));
}

int
session_start(struct session *s, struct err *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cores < 2 ? THREADS_MIN : 2 * (unsigned)cores;
	int rc = 0;

	if (n > THREADS_MAX)
		n = THREADS_MAX;
	if (s->replayed)
		ask_again(s);
	atomic_store(&s->running, n);
	while (s->nthreads < n && rc == 0) {
		rc = thread_start(&s->threads[s->nthreads], session_thread, s);
		if (rc == 0)
			s->nthreads++;
	}
	atomic_fetch_sub(&s->running, n - s->nthreads);
	if (s->nthreads == 0)
		return err_set(err, -rc, "start threads: %s", strerror(rc));
	return 0;
}

static void
wake(int sig)
{
	(void)sig; /* only that a read ends */
}

void
session_leave(struct session *s)
{
	struct sigaction sa = { .sa_handler = wake };

	sigaction(LEAVE_SIGNAL, &sa, NULL);
	atomic_store(&s->leaving, true);
	/* One may be about to wait: then the next signal finds it. */
	while (atomic_load(&s->running)) {
		for (unsigned i = 0; i < s->nthreads; i++)
			pthread_kill(s->threads[i], LEAVE_SIGNAL);
		poll(NULL, 0, LEAVE_LOOK_MS);
	}
}

bool
session_is_well(const struct session *s, int64_t limit_ns)
{
	int64_t now = clock_mono_ns();

	for (unsigned i = 0; i < THREADS_MAX; i++) {
		int64_t since = atomic_load(&s->busy[i]);

		if (since && now - since > limit_ns)
			return false;
	}
	return true;
}

int
session_fd(const struct session *s)
{
	return s->fd;
}

int
session_end_fd(const struct session *s)
{
	return s->end_fd;
}

bool
session_is_gone(const struct session *s)
{
	struct pollfd p = { .fd = s->fd };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLNVAL));
}

void
session_join(struct session *s)
{
	while (s->nthreads)
		pthread_join(s->threads[--s->nthreads], NULL);
}

void
session_free(struct session *s)
{
	if (!s)
		return;
	if (s->se)
		fuse_session_destroy(s->se);
	if (s->end_fd >= 0)
		close(s->end_fd);
	s->fs->se = NULL;
	s->fs->session = NULL;
	free(s);
}
