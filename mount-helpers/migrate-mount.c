/* SPDX-License-Identifier: MIT */
/* See migrate-mount.h. */
#include <config.h>

#include "mount-helpers/migrate-mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/client.h"

#define STATUS_MS 10000
#define HOLD_MS 10000 /* the watchman's patience */

/* --- running sharedfs ------------------------------------------------------ */

/* Beside ourselves (the build tree), else where PATH has it. */
static char *
find_sharedfs(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			_cleanup_free_ char *path = NULL;

			*slash = '\0';
			path = xasprintf("%s/sharedfs", self);
			if (access(path, X_OK) == 0)
				return steal_ptr(&path);
			free(path);
			path = xasprintf("%s/../bin/sharedfs", self);
			if (access(path, X_OK) == 0)
				return steal_ptr(&path);
		}
	}
	return xstrdup("sharedfs");
}

static int
run(char **argv, const char *what, struct err *err)
{
	_cleanup_free_ char *program = find_sharedfs();
	posix_spawnattr_t attr;
	sigset_t none;
	int r, status;
	mode_t mask;
	pid_t pid;

	argv[0] = program;
	/* The daemon must not inherit that we block signals, nor our umask. */
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	mask = umask(022);
	r = posix_spawnp(&pid, program, NULL, &attr, argv, environ);
	umask(mask);
	posix_spawnattr_destroy(&attr);
	if (r != 0)
		return err_set(err, -r, "cannot run %s: %s", program,
			       strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(err, -errno, "%s: %s", what,
				       strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, -EIO, "%s failed; its words are above", what);
}

struct args {
	char **v;
	size_t n;
};

static void
add_arg(struct args *a, char *arg)
{
	a->v = xrealloc(a->v, a->n + 2, sizeof(*a->v));
	a->v[a->n++] = arg;
	a->v[a->n] = NULL;
}

static void
add_option(void *arg, const char *name, const char *value)
{
	if (value)
		add_arg(arg, xasprintf("--%s=%s", name, value));
}

int
mig_mount_start(struct mig *m, const char *at, struct err *err)
{
	struct args a = { 0 };
	int r;

	add_arg(&a, NULL);
	add_arg(&a, xstrdup("mount"));
	options_each_set(&m->a->opt, add_option, &a);
	if (strcmp(at, m->dir) != 0)
		add_arg(&a, xasprintf("--moves-to=%s", m->dir));
	add_arg(&a, xstrdup("--"));
	add_arg(&a, xstrdup(m->a->source));
	add_arg(&a, xstrdup(at));
	r = run(a.v, "sharedfs mount", err);
	for (size_t i = 1; i < a.n; i++)
		free(a.v[i]);
	free(a.v);
	return r;
}

int
mig_mount_stop(const char *at, struct err *err)
{
	char *argv[] = { NULL, (char *)"umount", (char *)"--", (char *)at,
			 NULL };

	return run(argv, "sharedfs umount", err);
}

int
mig_mount_worker(const char *dir, pid_t *pid, struct err *err)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	json_t *status = NULL;
	int r = mountinfo_at(dir, &e);

	if (r != 1 || strncmp(e.type, "fuse.sharedfs", 13) != 0)
		return err_set(err, -ENOENT, "no share is mounted on %s", dir);
	r = client_ask(&e, "status", STATUS_MS, &status, err);
	if (r < 0)
		return r;
	*pid = json_integer_value(json_object_get(status, "worker_pid"));
	json_decref(status);
	return *pid > 1 ? 0 : err_set(err, -ESRCH, "%s has no worker", dir);
}

/* --- holding --------------------------------------------------------------- */

int
mig_hold_begin(struct mig_hold *h, pid_t worker)
{
	struct pollfd p;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	h->worker = worker;
	h->watchman = fork();
	if (h->watchman < 0) {
		int r = -errno;

		close(ends[0]);
		close(ends[1]);
		return r;
	}
	if (h->watchman == 0) {
		/* Only calls that a signal handler may make. */
		close(ends[1]);
		p = (struct pollfd){ .fd = ends[0] };
		poll(&p, 1, HOLD_MS);
		kill(worker, SIGCONT);
		_exit(0);
	}
	close(ends[0]);
	h->pipe = ends[1];
	if (kill(worker, SIGSTOP) < 0) {
		int r = -errno;

		mig_hold_end(h);
		return r;
	}
	return 0;
}

void
mig_hold_end(struct mig_hold *h)
{
	if (h->watchman <= 0)
		return;
	kill(h->worker, SIGCONT);
	close(h->pipe);
	while (waitpid(h->watchman, NULL, 0) < 0 && errno == EINTR)
		;
	h->watchman = 0;
}

/* --- what changes, and when nothing does ----------------------------------- */

void
mig_changes_release(struct mig_changes *c)
{
	while (c->n)
		free(c->v[--c->n].path);
	free(c->v);
	*c = (struct mig_changes){ 0 };
}

static void
add_changes(struct mig_changes *c, const json_t *paths, bool tree)
{
	size_t n = json_array_size(paths);

	if (n == 0)
		return;
	c->v = xrealloc(c->v, c->n + n, sizeof(*c->v));
	for (size_t i = 0; i < n; i++)
		c->v[c->n++] = (struct mig_change){
			.path = xstrdup(json_string_value(
				json_array_get(paths, i))),
			.tree = tree,
		};
}

static void
read_changes(const json_t *o, struct mig_changes *c)
{
	*c = (struct mig_changes){
		.lost = json_is_true(json_object_get(o, "lost")),
	};
	add_changes(c, json_object_get(o, "changed"), false);
	add_changes(c, json_object_get(o, "trees"), true);
}

int
mig_watch_begin(struct mig_watch *w, const char *dir, struct err *err)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	json_t *req, *o = NULL;
	int r;

	if (mountinfo_at(dir, &e) != 1)
		return err_set(err, -ENOENT, "no share is mounted on %s", dir);
	req = json_pack("{s:s}", "cmd", "freeze");
	r = ask_begin(&e, req, &w->a, err);
	json_decref(req);
	if (r < 0) {
		w->a.fd = -1;
		return r;
	}
	r = ask_more(&w->a, STATUS_MS, &o, err);
	if (r == 0 && !json_is_true(json_object_get(o, "ok")))
		r = err_set(err, -EAGAIN, "%s",
			    json_string_value(json_object_get(o, "error")));
	json_decref(o);
	if (r < 0)
		mig_watch_end(w);
	return r;
}

/* Says line, which it takes over, and reads the answer. */
static int
talk(struct mig_watch *w, json_t *line, int wait_ms, json_t **out,
     struct err *err)
{
	int r = ask_say(&w->a, line, err);

	json_decref(line);
	return r < 0 ? r : ask_more(&w->a, wait_ms, out, err);
}

int
mig_watch_take(struct mig_watch *w, struct mig_changes *c, struct err *err)
{
	json_t *o = NULL;
	int r = talk(w, json_object(), STATUS_MS, &o, err);

	if (r == 0)
		read_changes(o, c);
	json_decref(o);
	return r;
}

int
mig_watch_freeze(struct mig_watch *w, int wait_ms, struct mig_changes *c,
		 struct err *err)
{
	json_t *o = NULL;
	/* It sends what is unsent, too. */
	int r = talk(w, json_pack("{s:i}", "wait_ms", wait_ms),
		     wait_ms + STATUS_MS, &o, err);

	if (r == 0 && json_is_true(json_object_get(o, "ok")))
		read_changes(o, c);
	else if (r == 0)
		r = err_set(err, -EBUSY, "%s",
			    json_string_value(json_object_get(o, "error")));
	json_decref(o);
	return r;
}

bool
mig_watch_holds(const struct mig_watch *w)
{
	struct pollfd p = { .fd = w->a.fd, .events = POLLIN };

	/* It says nothing until it is told to go on, or ends. */
	return poll(&p, 1, 0) == 0;
}

void
mig_watch_thaw(struct mig_watch *w, bool moved)
{
	json_t *o = NULL;

	if (w->a.fd < 0)
		return;
	if (talk(w, json_pack("{s:b}", "moved", moved), STATUS_MS, &o, NULL) <
	    0)
		mig_watch_end(w);
	json_decref(o);
}

void
mig_watch_end(struct mig_watch *w)
{
	if (w->a.fd >= 0)
		ask_end(&w->a);
	w->a.fd = -1;
}

/* --- fstab ----------------------------------------------------------------- */

static void
add_field(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (strchr(" \t\n\\#", *s))
			buf_addf(b, "\\%03o", (unsigned char)*s);
		else
			buf_addch(b, *s);
	}
}

static void
add_fstab_option(void *arg, const char *name, const char *value)
{
	_cleanup_buf_ struct buf v = BUF_INIT;

	if (!value || strcmp(name, "log_level") == 0)
		return;
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			buf_addch(&v, '\\');
		buf_addch(&v, *value);
	}
	buf_addf(arg, ",%s=", name);
	add_field(arg, buf_str(&v));
}

char *
mig_fstab_line(struct mig *m)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	add_field(&b, m->a->source);
	buf_addch(&b, ' ');
	add_field(&b, m->dir);
	buf_addstr(&b, " sharedfs _netdev,nofail,x-systemd.before=docker.service");
	options_each_set(&m->a->opt, add_fstab_option, &b);
	buf_addstr(&b, " 0 0");
	return buf_steal(&b);
}

/* Has the text a line for this directory? */
static bool
has_line(const char *text, const char *dir)
{
	_cleanup_buf_ struct buf field = BUF_INIT;
	_cleanup_free_ char *copy = xstrdup(text);
	char *save = NULL;

	add_field(&field, dir);
	for (char *l = strtok_r(copy, "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		char *word = NULL;
		char *w = strtok_r(l, " \t", &word);

		if (!w || *w == '#')
			continue;
		w = strtok_r(NULL, " \t", &word);
		if (w && strcmp(w, buf_str(&field)) == 0)
			return true;
	}
	return false;
}

int
mig_fstab_add(struct mig *m, const char *line, struct err *err)
{
	const char *file = getenv("LIBMOUNT_FSTAB"); /* as mount(8) reads it */
	_cleanup_buf_ struct buf text = BUF_INIT;
	_cleanup_free_ char *temp = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	struct stat st = { .st_mode = 0644 };
	char buf[4096];
	size_t n;

	if (!file)
		file = "/etc/fstab";
	f = fopen(file, "re");
	if (!f && errno != ENOENT)
		return err_set(err, -errno, "%s: %s", file, strerror(errno));
	while (f && (n = fread(buf, 1, sizeof(buf), f)) > 0)
		buf_add(&text, buf, n);
	if (f) {
		fstat(fileno(f), &st);
		fclose(f);
		f = NULL;
	}
	if (has_line(buf_str(&text), m->dir))
		return err_set(err, -EEXIST,
			       "%s has a line for %s already; it is left as it "
			       "is",
			       file, m->dir);
	if (text.len && text.s[text.len - 1] != '\n')
		buf_addch(&text, '\n');
	buf_addf(&text, "%s\n", line);
	temp = xasprintf("%s.sharedfs-new", file);
	f = fopen(temp, "we");
	if (!f || fwrite(text.s, 1, text.len, f) != text.len ||
	    fchmod(fileno(f), st.st_mode & 07777) < 0 || fflush(f) != 0 ||
	    fsync(fileno(f)) < 0 || rename(temp, file) < 0) {
		int code = -errno;

		unlink(temp);
		return err_set(err, code, "%s: %s", file, strerror(-code));
	}
	return 0;
}
