/* SPDX-License-Identifier: MIT */
/* See mountinfo.h. */
#include <config.h>

#include "common/mountinfo.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

void
mount_entry_release(struct mount_entry *m)
{
	free(m->root);
	free(m->target);
	free(m->options);
	free(m->type);
	free(m->source);
	free(m->super_options);
	memset(m, 0, sizeof(*m));
}

static bool
octal(char c)
{
	return c >= '0' && c <= '7';
}

static void
unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && octal(s[1]) && octal(s[2]) && octal(s[3])) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 |
				       (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

static char *
field(char **rest)
{
	char *f = strsep(rest, " ");

	return f && *f ? f : NULL;
}

static char *
text(const char *f)
{
	char *s = xstrdup(f);

	unescape(s);
	return s;
}

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw */
int
mountinfo_parse(const char *line, struct mount_entry *out)
{
	_cleanup_free_ char *copy = xstrdup(line);
	struct mount_entry m = {0};
	char *rest = copy, *f[6], *tag, *type, *source, *super;
	size_t i;

	copy[strcspn(copy, "\n")] = '\0';
	for (i = 0; i < 6; i++) {
		f[i] = field(&rest);
		if (!f[i])
			return -EINVAL;
	}
	while ((tag = field(&rest)) != NULL && strcmp(tag, "-") != 0)
		;
	type = field(&rest);
	/* The source may be empty: two blanks in a row. */
	source = strsep(&rest, " ");
	super = field(&rest);
	if (!tag || !type || !source || !super)
		return -EINVAL;
	if (sscanf(f[0], "%d", &m.id) != 1 ||
	    sscanf(f[1], "%d", &m.parent) != 1 ||
	    sscanf(f[2], "%u:%u", &m.major, &m.minor) != 2)
		return -EINVAL;
	m.root = text(f[3]);
	m.target = text(f[4]);
	m.options = text(f[5]);
	m.type = text(type);
	m.source = text(source);
	m.super_options = text(super);
	*out = m;
	return 0;
}

int
mountinfo_find(FILE *f, const char *dir, struct mount_entry *out)
{
	_cleanup_free_ char *line = NULL;
	struct mount_entry m, best = {0};
	size_t cap = 0;
	bool found = false;

	while (getline(&line, &cap, f) >= 0) {
		if (mountinfo_parse(line, &m) < 0)
			continue;
		/* Of a stack the one that covers what we have is on top; the
		 * order of the lines is not promised. */
		if (strcmp(m.target, dir) != 0 ||
		    (found && best.parent == m.id)) {
			mount_entry_release(&m);
			continue;
		}
		mount_entry_release(&best);
		best = m;
		found = true;
	}
	if (ferror(f)) {
		mount_entry_release(&best);
		return -EIO;
	}
	if (found)
		*out = best;
	return found;
}

int
mountinfo_at(const char *dir, struct mount_entry *out)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -errno;
	return mountinfo_find(f, dir, out);
}

int
mount_has_option(const char *options, const char *word)
{
	size_t len, n = strlen(word);

	for (; *options; options += len + (options[len] == ',')) {
		len = strcspn(options, ",");
		if (len == n && strncmp(options, word, n) == 0)
			return 1;
	}
	return 0;
}

/* The caller could hang for ever in statfs(), so a child asks; the wait for a
 * FUSE answer ends when the process is killed. */
int
mountpoint_probe(const char *dir, int timeout_ms)
{
	_cleanup_close_ int fd = -1;
	struct pollfd p = {.events = POLLIN};
	struct statfs st;
	int status, rc;
	pid_t pid;

	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* statfs always reaches the daemon; stat may be answered from
		 * what the kernel remembers of a dead one. */
		rc = statfs(dir, &st) == 0 ? 0 : errno;
		_exit(rc < 256 ? rc : EIO);
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd >= 0) {
		p.fd = fd;
		do
			rc = poll(&p, 1, timeout_ms);
		while (rc < 0 && errno == EINTR);
		if (rc == 0)
			kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status))
		return -WEXITSTATUS(status);
	return -ETIMEDOUT;
}
