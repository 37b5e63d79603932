/* SPDX-License-Identifier: MIT */
/*
 * What mount(8), umount(8), fstab and systemd call:
 *
 *   mount.sharedfs SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE]
 *   umount.fuse.sharedfs DIR [-lfnrv]
 *
 * The work is done by the program sharedfs; this one knows mount(8)'s habits
 * and exit codes, and does what `-o remount` asks for.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/err.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/client.h"
#include "fs/options.h"

/* mount(8), EXIT STATUS. */
enum {
	EX_OK = 0,
	EX_BAD_USAGE = 1,
	EX_SYSTEM = 2,
	EX_INTERRUPTED = 8,
	EX_FAILED = 32,
};

#define TYPE "fuse.sharedfs"

struct call {
	const char *prog; /* our own name, for messages */
	const char *source, *dir;
	struct buf options; /* as -o gave them, joined */
	const char *type;
	bool fake, sloppy, verbose, lazy, force, ro_if_busy;
};

static void words(const struct call *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void
words(const struct call *c, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", c->prog);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* --- running sharedfs ------------------------------------------------- */

/* The child that a SIGTERM to us is passed on to. */
static volatile sig_atomic_t child;
static volatile sig_atomic_t interrupted;

static void
pass_on(int sig)
{
	interrupted = 1;
	if (child > 0)
		kill((pid_t)child, sig);
}

/* Beside ourselves (the build tree), else where make install put it. */
static char *
find_sharedfs(void)
{
	char self[PATH_MAX];
	_cleanup_free_ char *path = NULL;
	ssize_t n;
	char *slash;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			path = xasprintf("%s/sharedfs", self);
			if (access(path, X_OK) == 0)
				return steal_ptr(&path);
		}
	}
	return xstrdup(BINDIR "/sharedfs");
}

/* Runs sharedfs with argv (argv[0] is filled in) and translates its exit
 * status into one that mount(8) knows. */
static int
run_sharedfs(const struct call *c, char **argv)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	struct sigaction sa = {.sa_handler = pass_on};
	_cleanup_free_ char *path = find_sharedfs();
	int status, rc;
	size_t i;
	pid_t pid;

	argv[0] = path;
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
	rc = posix_spawn(&pid, path, NULL, NULL, argv, environ);
	if (rc != 0) {
		words(c, "cannot run %s: %s", path, strerror(rc));
		return EX_SYSTEM;
	}
	child = pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EX_SYSTEM;
	child = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return EX_OK;
	if (interrupted)
		return EX_INTERRUPTED;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		return EX_BAD_USAGE;
	if (WIFSIGNALED(status))
		words(c, "%s was ended by signal %d (%s)", path,
		      WTERMSIG(status), strsignal(WTERMSIG(status)));
	return EX_FAILED;
}

/* --- options ---------------------------------------------------------- */

/* Calls fn for each option of the list, escapes left as they are. */
static void
each_option(const char *list,
	    void (*fn)(void *arg, const char *opt, size_t len), void *arg)
{
	size_t n;

	while (*list) {
		for (n = 0; list[n] && list[n] != ','; n++)
			if (list[n] == '\\' && list[n + 1])
				n++;
		if (n > 0)
			fn(arg, list, n);
		list += n + (list[n] == ',');
	}
}

struct split {
	const struct call *c;
	struct buf pass;  /* for sharedfs */
	struct buf fixed; /* of these: what the daemon has to change */
	/* Of the mount that is remounted: mount(8) hands back what the kernel
	 * shows of it (user_id=0 and so on); NULL: none. */
	const char *kernels;
	unsigned long set, clear; /* MS_ flags that were named */
};

static const struct {
	const char *name;
	unsigned long set, clear;
} flag_words[] = {
	{"ro", MS_RDONLY, 0},	  {"rw", 0, MS_RDONLY},
	{"nosuid", MS_NOSUID, 0}, {"suid", 0, MS_NOSUID},
	{"nodev", MS_NODEV, 0},	  {"dev", 0, MS_NODEV},
	{"noexec", MS_NOEXEC, 0}, {"exec", 0, MS_NOEXEC},
};

static void
split_one(void *arg, const char *opt, size_t len)
{
	struct split *s = arg;
	_cleanup_free_ char *copy = xstrndup(opt, len);
	_cleanup_free_ char *name = xstrndup(copy, strcspn(copy, "="));
	bool flag = false;
	size_t i;

	if (strcmp(copy, "remount") == 0 || options_is_mount_word(name))
		return;
	for (i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++) {
		if (strcmp(copy, flag_words[i].name) != 0)
			continue;
		s->set = (s->set | flag_words[i].set) & ~flag_words[i].clear;
		s->clear =
			(s->clear | flag_words[i].clear) & ~flag_words[i].set;
		flag = true;
	}
	if (!flag && s->kernels && mount_has_option(s->kernels, copy))
		return;
	/* -s: "tolerate sloppy options rather than fail". */
	if (s->c->sloppy && !options_known(name)) {
		if (s->c->verbose)
			words(s->c, "option '%s' is ignored (-s)", name);
		return;
	}
	if (!flag)
		buf_addf(&s->fixed, "%s%s", s->fixed.len ? "," : "", copy);
	buf_addf(&s->pass, "%s%s", s->pass.len ? "," : "", copy);
}

/* Are these options that sharedfs takes?  Says so if not. */
static bool
options_good(const struct call *c, const char *list)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct options o;
	int rc;

	rc = options_init(&o, &err);
	if (rc == 0) {
		rc = options_add_list(&o, list, &err);
		options_release(&o);
	}
	if (rc < 0)
		words(c, "%s", err_words(&err));
	return rc == 0;
}

/* --- mountpoints ------------------------------------------------------ */

static bool
is_ours(const struct mount_entry *m)
{
	return strcmp(m->type, TYPE) == 0 || strcmp(m->type, "sharedfs") == 0;
}

/* 1: *out is the sharedfs that is mounted there; 0: words were said. */
static int
find_ours(const struct call *c, const char *dir, struct mount_entry *out)
{
	_cleanup_free_ char *path = realpath(dir, NULL);
	int rc = path ? mountinfo_at(path, out) : -errno;

	if (rc < 0) {
		words(c, "%s: %s", dir, strerror(-rc));
		return 0;
	}
	if (rc == 1 && is_ours(out))
		return 1;
	if (rc == 1)
		mount_entry_release(out);
	words(c, "%s: no sharedfs is mounted there", dir);
	return 0;
}

/* --- mount ------------------------------------------------------------ */

/* Options that were named: changes what can change, or with dry says whether
 * all can.  To take them without a word and do nothing would be a lie. */
static bool
change_options(const struct call *c, const struct mount_entry *m,
	       const char *list, bool dry)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct options o;
	int r;

	if (!*list)
		return true;
	r = options_init(&o, &err);
	if (r == 0) {
		r = options_add_list(&o, list, &err);
		if (r == 0)
			r = client_change(m, &o, dry, &err);
		options_release(&o);
	}
	if (r < 0)
		words(c, "%s: %s", m->target, err_words(&err));
	return r == 0;
}

static int
remount(const struct call *c, const struct mount_entry *m,
	const struct split *s)
{
	static const struct {
		const char *word;
		unsigned long flag;
	} kept[] = {
		{"ro", MS_RDONLY},	   {"nosuid", MS_NOSUID},
		{"nodev", MS_NODEV},	   {"noexec", MS_NOEXEC},
		{"noatime", MS_NOATIME},   {"nodiratime", MS_NODIRATIME},
		{"relatime", MS_RELATIME},
	};
	const char *list = s->fixed.len ? s->fixed.s : "";
	unsigned long flags = MS_REMOUNT;
	size_t i;
	int rc;

	if (!change_options(c, m, list, true))
		return EX_FAILED;
	/* A plain remount would drop every flag that it does not name. */
	for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (mount_has_option(m->options, kept[i].word))
			flags |= kept[i].flag;
	flags = (flags | s->set) & ~s->clear;
	if (mount(m->source, m->target, m->type, flags, NULL) < 0) {
		rc = errno;
		words(c, "%s: cannot remount: %s", m->target,
		      rc == EBUSY ? "files are open for writing"
				  : strerror(rc));
		return EX_FAILED;
	}
	return change_options(c, m, list, false) ? EX_OK : EX_FAILED;
}

static int
run_mount(const struct call *c, const char *options)
{
	char *argv[8];
	int rc, n = 1;

	argv[n++] = xstrdup("mount");
	if (*options) {
		argv[n++] = xstrdup("-o");
		argv[n++] = xstrdup(options);
	}
	argv[n++] = xstrdup("--");
	argv[n++] = xstrdup(c->source);
	argv[n++] = xstrdup(c->dir);
	argv[n] = NULL;
	rc = run_sharedfs(c, argv);
	while (--n > 0)
		free(argv[n]);
	if (rc == EX_OK && c->verbose)
		printf("%s: %s mounted on %s\n", c->prog, c->source, c->dir);
	return rc;
}

static int
mount_main(const struct call *c)
{
	struct split s = {.c = c, .pass = BUF_INIT, .fixed = BUF_INIT};
	_cleanup_mount_entry_ struct mount_entry m = {0};
	const char *list = c->options.len ? c->options.s : "";
	bool is_remount = mount_has_option(list, "remount");
	int rc;

	if (is_remount) {
		if (!find_ours(c, c->dir, &m))
			return EX_FAILED;
		s.kernels = m.super_options;
	}
	each_option(list, split_one, &s);
	if (!options_good(c, buf_str(&s.pass)))
		rc = EX_BAD_USAGE;
	else if (c->fake)
		rc = EX_OK;
	else if (is_remount)
		rc = remount(c, &m, &s);
	else
		rc = run_mount(c, buf_str(&s.pass));
	buf_release(&s.pass);
	buf_release(&s.fixed);
	return rc;
}

/* --- umount ----------------------------------------------------------- */

static int
umount_main(const struct call *c)
{
	struct split s = {.c = c, .set = MS_RDONLY};
	_cleanup_mount_entry_ struct mount_entry m = {0};
	char *argv[7];
	int rc, n = 1;

	if (c->fake)
		return EX_OK;
	argv[n++] = xstrdup("umount");
	if (c->lazy)
		argv[n++] = xstrdup("-l");
	if (c->force)
		argv[n++] = xstrdup("-f");
	argv[n++] = xstrdup("--");
	argv[n++] = xstrdup(c->dir);
	argv[n] = NULL;
	rc = run_sharedfs(c, argv);
	while (--n > 0)
		free(argv[n]);
	if (rc == EX_OK && c->verbose)
		printf("%s: %s unmounted\n", c->prog, c->dir);
	if (rc == EX_FAILED && c->ro_if_busy && find_ours(c, c->dir, &m)) {
		words(c, "%s: remounting read-only", c->dir);
		rc = remount(c, &m, &s);
	}
	return rc;
}

/* --- the command line ------------------------------------------------- */

static int
usage(const struct call *c, FILE *f, bool umount)
{
	if (umount)
		fprintf(f, "usage: %s DIR [-lfnrv]\n", c->prog);
	else
		fprintf(f,
			"usage: %s SOURCE DIR [-sfnv] [-o OPTIONS] [-t TYPE]\n"
			"SOURCE is s3://bucket[/prefix], file:///dir or a "
			"path; see mount.sharedfs(8).\n",
			c->prog);
	return EX_BAD_USAGE;
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"options", required_argument, NULL, 'o'},
		{"types", required_argument, NULL, 't'},
		{"verbose", no_argument, NULL, 'v'},
		{"fake", no_argument, NULL, 'F'},
		{NULL, 0, NULL, 0},
	};
	struct call c = {.options = BUF_INIT};
	bool umount;
	int opt, rc;

	c.prog = strrchr(argv[0] ? argv[0] : "mount.sharedfs", '/');
	c.prog = c.prog ? c.prog + 1 : argv[0];
	umount = strncmp(c.prog, "umount", 6) == 0;
	/* getopt takes flags in any place. */
	while ((opt = getopt_long(argc, argv, "hVo:t:svfnrwlciN:", longs,
				  NULL)) != -1) {
		switch (opt) {
		case 'h':
			usage(&c, stdout, umount);
			rc = EX_OK;
			goto out;
		case 'V':
			printf("%s (%s)\n", c.prog, PACKAGE_STRING);
			rc = EX_OK;
			goto out;
		case 'o':
			if (c.options.len)
				buf_addch(&c.options, ',');
			buf_addstr(&c.options, optarg);
			break;
		case 'r':
			if (umount)
				c.ro_if_busy = true;
			else
				buf_addf(&c.options, "%sro",
					 c.options.len ? "," : "");
			break;
		case 'w':
			buf_addf(&c.options, "%srw", c.options.len ? "," : "");
			break;
		case 't':
			c.type = optarg;
			break;
		case 's':
			c.sloppy = true;
			break;
		case 'v':
			c.verbose = true;
			break;
		case 'F':
			c.fake = true;
			break;
		case 'f':
			/* mount: fake.  umount: force. */
			c.fake = !umount;
			c.force = umount;
			break;
		case 'l':
			c.lazy = true;
			break;
		case 'n': /* no utab: mount(8) writes it, not we */
		case 'c': /* no canonicalizing: harmless here */
		case 'i':
		case 'N': /* mount(8) has entered the namespace */
			break;
		default:
			rc = usage(&c, stderr, umount);
			goto out;
		}
	}
	if (argc - optind != (umount ? 1 : 2)) {
		rc = usage(&c, stderr, umount);
		goto out;
	}
	if (!umount)
		c.source = argv[optind++];
	c.dir = argv[optind];
	rc = umount ? umount_main(&c) : mount_main(&c);
out:
	buf_release(&c.options);
	return rc;
}
