/* SPDX-License-Identifier: MIT */
/* See control.h.  One thread accepts; each connection has one of its own. */
#include <config.h>

#include "fs/control-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/thread.h"
#include "common/xalloc.h"
#include "fs/link.h"
#include "fs/passthrough.h"
#include "fs/places.h"
#include "fs/reload.h"

#define REQUEST_MAX 16384
#define REQUEST_WAIT 5 /* seconds to send a request or take an answer */

struct control {
	struct control_info info;
	int listen_fd;
	int stop_fd; /* eventfd */
	atomic_int supervisor; /* pid */
	pthread_t thread;
	int64_t started;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t change;
	bool ready;    /* fs->cache is there */
	bool ended;    /* the mount is gone */
	bool finished; /* the result is known; the cache goes away */
	char *last;    /* the result, as a line of JSON */
	unsigned using;	      /* threads that use the cache */
	unsigned connections; /* threads */
};

struct connection {
	struct control *c;
	int fd;
};

/* --- the cache, as long as it is there ------------------------------------ */

bool
control_cache_begin(struct control *c)
{
	bool ok;

	pthread_mutex_lock(&c->lock);
	ok = c->ready && !c->finished;
	if (ok)
		c->using++;
	pthread_mutex_unlock(&c->lock);
	return ok;
}

void
control_cache_end(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	c->using--;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
}

/* --- answers -------------------------------------------------------------- */

static void
set_number(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static void
add_count(void *arg, const char *name, uint64_t v)
{
	set_number(arg, name, v);
}

static const char *
health_word(enum be_health h)
{
	switch (h) {
	case BE_UP:
		return "up";
	case BE_DEGRADED:
		return "degraded";
	case BE_DOWN:
		break;
	}
	return "down";
}

static void
add_given_up(void *arg, const char *name, const char *path)
{
	json_t *p = json_string(path);

	/* A name that is no UTF-8 can't be in JSON. */
	json_object_set_new(arg, name, p ? p : json_string("(not UTF-8)"));
}

static void
add_cache_state(struct control *c, json_t *o)
{
	struct fs *fs = c->info.fs;
	struct backend *be = cache_backend(fs->cache);
	json_t *requests = json_object(), *store = json_object();
	json_t *errors = json_object(), *given_up = json_object();
	_cleanup_free_ char *cache_dir = NULL;
	struct cache_stats st;

	memset(&st, 0, sizeof(st));
	cache_stats_get(fs->cache, &st);
	cache_dir = places_cache_dir(fs->opt, NULL);
	if (cache_dir)
		json_object_set_new(o, "cache_dir", json_string(cache_dir));
	json_object_set_new(o, "instance", json_string(*c->info.instance));
	json_object_set_new(o, "backend",
			    json_string(health_word(wrap_retry_health(be))));
	set_number(o, "pending_files", st.pending_files);
	set_number(o, "pending_bytes", st.pending_bytes);
	set_number(o, "pending_attrs", st.pending_attrs);
	set_number(o, "cache_bytes", st.bytes);
	set_number(o, "hits", st.hits);
	set_number(o, "misses", st.misses);
	set_number(o, "evictions", st.evictions);
	set_number(o, "conflicts", st.conflicts);
	set_number(o, "open_files", st.open_files);
	set_number(errors, "failed_files", st.failed_files);
	set_number(errors, "kept_files", st.kept_files);
	set_number(errors, "disk", st.disk_errors);
	cache_given_up(fs->cache, add_given_up, given_up);
	json_object_set_new(errors, "given_up", given_up);
	json_object_set_new(o, "errors", errors);
	fs_ops_stats(fs, add_count, requests);
	json_object_set_new(o, "requests", requests);
	be_stats(be, add_count, store);
	json_object_set_new(o, "store", store);
}

/* The same fields while the store has not answered yet. */
static void
add_waiting_state(json_t *o)
{
	static const char *const zero[] = { "pending_files", "pending_bytes",
					    "pending_attrs",
					    "cache_bytes", "hits",
					    "misses", "evictions",
					    "conflicts", "open_files" };

	json_object_set_new(o, "backend", json_string("down"));
	for (size_t i = 0; i < sizeof(zero) / sizeof(*zero); i++)
		set_number(o, zero[i], 0);
	json_object_set_new(o, "errors", json_object());
	json_object_set_new(o, "requests", json_object());
	json_object_set_new(o, "store", json_object());
}

static void
add_option(void *o, const char *name, const char *value)
{
	if (value)
		json_object_set_new(o, name, json_string(value));
}

static json_t *
status(struct control *c)
{
	const struct control_info *i = &c->info;
	json_t *o = json_object(), *options = json_object();

	json_object_set_new(o, "source", json_string(i->source));
	json_object_set_new(o, "mountpoint", json_string(i->dir));
	json_object_set_new(o, "version", json_string(PACKAGE_VERSION));
	set_number(o, "supervisor_pid", atomic_load(&c->supervisor));
	set_number(o, "worker_pid", getpid());
	set_number(o, "worker_restarts", i->worker);
	if (i->last_end)
		json_object_set_new(o, "last_worker",
				    json_string(i->last_end));
	json_object_set_new(o, "crash_loop", json_boolean(i->crash_loop));
	set_number(o, "uptime_s",
		   (clock_mono_ns() - c->started) / NSEC_PER_SEC);
	json_object_set_new(o, "passthrough",
			    json_string(passthrough_why(
				    i->fs->passthrough)));
	set_number(o, "nodes", table_nodes(i->fs->table));
	reload_each_option(i->fs->reload, add_option, options);
	json_object_set_new(o, "options", options);
	if (control_cache_begin(c)) {
		add_cache_state(c, o);
		control_cache_end(c);
	} else {
		add_waiting_state(o);
	}
	return o;
}

static void
add_pending(void *arg, const char *path, uint64_t bytes)
{
	json_t *p = json_pack("{s:s%, s:I}", "path", path, strlen(path),
			      "bytes", (json_int_t)bytes);

	/* A name that is no UTF-8 can't be in JSON. */
	if (!p)
		p = json_pack("{s:s, s:I}", "path", "(not UTF-8)", "bytes",
			      (json_int_t)bytes);
	json_array_append_new(arg, p);
}

static json_t *
pending(struct control *c)
{
	json_t *list = json_array();

	if (control_cache_begin(c)) {
		cache_pending(c->info.fs->cache, add_pending, list);
		control_cache_end(c);
	}
	return list;
}

static json_t *
result(struct control *c, const char *left)
{
	json_t *o = json_object();

	json_object_set_new(o, "ok", json_boolean(!left));
	if (left)
		json_object_set_new(o, "error", json_string(left));
	if (left)
		json_object_set_new(o, "left", pending(c));
	return o;
}

static json_t *
drain(struct control *c)
{
	_cleanup_err_ struct err err = ERR_INIT;
	int r = 0;

	if (control_cache_begin(c)) {
		r = control_drain(c->info.fs, &err);
		control_cache_end(c);
	}
	return result(c, r < 0 ? err_words(&err) : NULL);
}

/* "a\nb" as a list. */
static json_t *
lines(struct buf *b)
{
	json_t *list = json_array();
	const char *s = buf_str(b);

	while (*s) {
		size_t n = strcspn(s, "\n");

		json_array_append_new(list, json_stringn(s, n));
		s += n + (s[n] == '\n');
	}
	return list;
}

static int
reload_given(struct control *c, json_t *given, bool dry,
	     struct reload_result *res, struct err *err)
{
	struct options named;
	const char *name;
	json_t *v;
	int r = options_init_from(&named, NULL, NULL, err);

	if (r < 0)
		return r;
	json_object_foreach (given, name, v) {
		r = options_add(&named, name, json_string_value(v), err);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = reload_named(c->info.fs->reload, &named, dry, res, err);
	options_release(&named);
	return r;
}

static json_t *
reload(struct control *c, json_t *req)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct reload_result res = { BUF_INIT, BUF_INIT };
	json_t *given = json_object_get(req, "options"), *o = json_object();
	int r;

	if (given)
		r = reload_given(c, given,
				 json_is_true(json_object_get(req, "dry")),
				 &res, &err);
	else
		r = reload_config(c->info.fs->reload, &res, &err);
	json_object_set_new(o, "ok", json_boolean(r == 0));
	if (r < 0)
		json_object_set_new(o, "error", json_string(err_words(&err)));
	json_object_set_new(o, "changed", lines(&res.changed));
	json_object_set_new(o, "left", lines(&res.left));
	reload_result_release(&res);
	return o;
}

static json_t *
discard(struct control *c, json_t *req)
{
	const char *name = json_string_value(json_object_get(req, "name"));
	int r = -ENOENT;

	if (name && control_cache_begin(c)) {
		r = cache_discard(c->info.fs->cache, name);
		control_cache_end(c);
	}
	return result(c, r == 0	     ? NULL :
			 r == -EBUSY ? "it is not given up: a program has it "
				       "open" :
				       "nothing of that name is kept");
}

/* The supervisor writes why not, or nothing, and closes the pipe. */
static json_t *
upgrade(struct control *c)
{
	char words[1024];
	size_t have = 0;
	int p[2];
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0)
		return result(c, strerror(errno));
	if (link_send(c->info.link, LINK_UPGRADE, NULL, p[1], -1) < 0) {
		close(p[0]);
		close(p[1]);
		return result(c, "the supervisor has gone");
	}
	close(p[1]);
	while (have < sizeof(words) - 1 &&
	       (n = read(p[0], words + have, sizeof(words) - 1 - have)) != 0) {
		if (n > 0)
			have += n;
		else if (errno != EINTR)
			break;
	}
	close(p[0]);
	words[have] = '\0';
	return json_pack("{s:b, s:s}", "ok", have == 0, "error", words);
}

/* --- one connection ------------------------------------------------------- */

static char *
as_line(json_t *o)
{
	char *s = json_dumps(o, JSON_COMPACT);
	struct buf b = BUF_INIT;

	json_decref(o);
	buf_addstr(&b, s ? s : "{\"error\":\"unprintable\"}");
	free(s);
	buf_addch(&b, '\n');
	return buf_steal(&b);
}

static int
send_line(int fd, const char *s)
{
	size_t at = 0, len = strlen(s);

	while (at < len) {
		ssize_t n = send(fd, s + at, len - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			at += n;
	}
	return 0;
}

int
control_send(int fd, json_t *o)
{
	_cleanup_free_ char *line = as_line(o);

	return send_line(fd, line);
}

bool
control_read(int fd, char *line, size_t cap)
{
	size_t have = 0;

	while (have < cap - 1) {
		ssize_t n = recv(fd, line + have, cap - 1 - have, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += n;
		line[have] = '\0';
		if (strchr(line, '\n'))
			return true;
	}
	return false;
}

bool
control_has_ended(struct control *c)
{
	bool ended;

	pthread_mutex_lock(&c->lock);
	ended = c->ended;
	pthread_mutex_unlock(&c->lock);
	return ended;
}

static void
wait_for_end(struct control *c, int fd)
{
	pthread_mutex_lock(&c->lock);
	while (!c->ended)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
	if (control_send(fd, json_pack("{s:b}", "ended", 1)) < 0)
		return;
	pthread_mutex_lock(&c->lock);
	while (!c->finished)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
	send_line(fd, c->last); /* does not change any more */
}

static void
answer(struct control *c, int fd, const char *line)
{
	json_t *req = json_loads(line, 0, NULL);
	const char *cmd = json_string_value(json_object_get(req, "cmd"));

	if (!cmd) {
		control_send(fd, json_pack("{s:s}", "error", "no command"));
	} else if (strcmp(cmd, "status") == 0) {
		control_send(fd, status(c));
	} else if (strcmp(cmd, "pending") == 0) {
		control_send(fd, json_pack("{s:o}", "pending", pending(c)));
	} else if (strcmp(cmd, "drain") == 0) {
		control_send(fd, drain(c));
	} else if (strcmp(cmd, "discard") == 0) {
		control_send(fd, discard(c, req));
	} else if (strcmp(cmd, "freeze") == 0) {
		control_freeze(c, c->info.fs, fd);
	} else if (strcmp(cmd, "wait") == 0) {
		wait_for_end(c, fd);
	} else if (strcmp(cmd, "reload") == 0) {
		control_send(fd, reload(c, req));
	} else if (strcmp(cmd, "upgrade") == 0) {
		control_send(fd, upgrade(c));
	} else if (strcmp(cmd, "stop") == 0) {
		int r = link_send(c->info.link, LINK_STOP, NULL, -1, -1);

		control_send(fd, result(c, r < 0 ? "the supervisor has gone" :
						NULL));
	} else {
		control_send(fd, json_pack("{s:s}", "error", "unknown command"));
	}
	json_decref(req);
}

static bool
is_allowed(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 &&
	       (who.uid == 0 || who.uid == geteuid());
}

static void *
connection_thread(void *arg)
{
	struct connection *x = arg;
	struct control *c = x->c;
	struct timeval limit = { .tv_sec = REQUEST_WAIT };
	char line[REQUEST_MAX];

	setsockopt(x->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(x->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!is_allowed(x->fd))
		log_warn("control", "a stranger was turned away");
	else if (control_read(x->fd, line, sizeof(line)))
		answer(c, x->fd, line);
	close(x->fd);
	free(x);
	pthread_mutex_lock(&c->lock);
	c->connections--;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void
start_connection(struct control *c, int fd)
{
	struct connection *x = xcalloc(1, sizeof(*x));

	x->c = c;
	x->fd = fd;
	pthread_mutex_lock(&c->lock);
	c->connections++;
	pthread_mutex_unlock(&c->lock);
	if (thread_start(NULL, connection_thread, x) != 0)
		connection_thread(x);
}

static void *
accept_thread(void *arg)
{
	struct control *c = arg;
	struct pollfd p[2] = { { .fd = c->listen_fd, .events = POLLIN },
			       { .fd = c->stop_fd, .events = POLLIN } };

	pthread_setname_np(pthread_self(), "control");
	for (;;) {
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		if (!p[0].revents)
			continue;
		/* The next worker listens on the same socket. */
		fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			start_connection(c, fd);
		else if (errno == EMFILE || errno == ENFILE)
			poll(NULL, 0, 100);
	}
	return NULL;
}

/* --- life ----------------------------------------------------------------- */

struct control *
control_new(int listen_fd, const struct control_info *info)
{
	struct control *c = xcalloc(1, sizeof(*c));
	int rc;

	c->info = *info;
	atomic_init(&c->supervisor, info->supervisor);
	c->listen_fd = listen_fd;
	c->started = clock_mono_ns();
	fcntl(listen_fd, F_SETFL, O_NONBLOCK);
	c->stop_fd = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->change, NULL);
	rc = thread_start(&c->thread, accept_thread, c);
	if (rc != 0) {
		log_error("control", "start a thread: %s", strerror(rc));
		close(c->stop_fd);
		free(c);
		return NULL;
	}
	return c;
}

void
control_adopted(struct control *c, pid_t supervisor)
{
	if (c)
		atomic_store(&c->supervisor, supervisor);
}

void
control_ready(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	c->ready = true;
	pthread_mutex_unlock(&c->lock);
}

void
control_ended(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
}

void
control_finish(struct control *c, const char *left)
{
	char *last = as_line(result(c, left));
	uint64_t one = 1;

	if (write(c->stop_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes it */
	pthread_join(c->thread, NULL);
	pthread_mutex_lock(&c->lock);
	c->last = last;
	c->finished = true;
	pthread_cond_broadcast(&c->change);
	while (c->using || c->connections)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void
control_free(struct control *c)
{
	if (!c)
		return;
	close(c->listen_fd);
	close(c->stop_fd);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->change);
	free(c->last);
	free(c);
}

int
control_drain(struct fs *fs, struct err *err)
{
	struct cache_ctx ctx = {
		.be = { .uid = geteuid(),
			.gid = getegid(),
			.deadline_ns = clock_mono_ns() +
				       fs->drain_timeout,
			.cancel = &fs->stopping,
			.err = err },
	};

	return cache_drain(fs->cache, &ctx);
}
