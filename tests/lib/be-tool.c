/* SPDX-License-Identifier: MIT */
/*
 * One call of a backend from the shell, for tests and debugging:
 *   be-tool [-o name=value]… [-r] URL COMMAND [argument…]

 * Commands: probe, ls PATH, stat PATH, cat PATH, put FILE PATH, new PATH,
 * mkdir PATH, ln TARGET PATH, readlink PATH, rm PATH, rmdir PATH,
 * mv FROM TO, mvn FROM TO (no replace), cp FROM TO, chmod OCTAL PATH,
 * setxattr PATH NAME VALUE, getxattr PATH NAME, lsxattr PATH,
 * uploads SECONDS, abort-uploads SECONDS (how many are older).
 * Exit: 0, 1 with "ERRNAME: words" on stderr, 2 usage.  -s prints the counters.
 */
#include <config.h>

#include "backends/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/xalloc.h"

#define OPTS_MAX 32

struct opts {
	char *v[OPTS_MAX];
	size_t n;
};

static const char *
opt_get(void *arg, const char *name)
{
	const struct opts *o = arg;
	size_t len = strlen(name);

	for (size_t i = 0; i < o->n; i++)
		if (strncmp(o->v[i], name, len) == 0 && o->v[i][len] == '=')
			return o->v[i] + len + 1;
	return NULL;
}

static void
print_attr(const char *name, const struct be_attr *a)
{
	printf("%06o %u:%u size=%" PRIu64 " ino=%016" PRIx64
	       " mtime=%" PRId64 ".%09ld ver=%.*s aver=%s flags=%x %s\n",
	       (unsigned)a->mode, (unsigned)a->uid, (unsigned)a->gid, a->size,
	       a->ino, (int64_t)a->mtime.tv_sec, a->mtime.tv_nsec, a->ver.len,
	       a->ver.b, a->aver ? "known" : "0", a->flags, name);
}

static int
on_entry(void *arg, const char *name, const struct be_attr *attr)
{
	print_attr(name, attr);
	return 0;
}

static void
on_stat(void *arg, const char *name, uint64_t value)
{
	if (value)
		printf("%s %" PRIu64 "\n", name, value);
}

static int
put(struct backend *be, struct be_ctx *ctx, const char *file, const char *path,
    const struct be_attr *attr, const struct be_opid *id, struct be_attr *out)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct be_commit c = { .path = path, .opid = *id, .fd = fd,
			       .whole = true, .attr = attr };
	struct range all = { 0 };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return be_fail(ctx, -errno, false, "%s", file);
	c.size = all.len = st.st_size;
	c.dirty = &all;
	c.ndirty = all.len > 0;
	return be_commit(be, ctx, &c, out);
}

static int
run(struct backend *be, struct be_ctx *ctx, int argc, char **argv)
{
	const char *cmd = argv[0], *a1 = argc > 1 ? argv[1] : "";
	const char *a2 = argc > 2 ? argv[2] : "";
	const struct be_cond any = { .pre = BE_ANY };
	const int out_fd = STDOUT_FILENO;
	struct be_attr attr = { .mode = S_IFREG | 0644, .uid = getuid(),
				.gid = getgid() }, out;
	struct be_opid id;
	uint64_t got;
	void *p = NULL;
	size_t len;
	int ret;

	be_opid_new(&id);
	attr.atime = attr.mtime = attr.ctime = clock_wall();
	if (strcmp(cmd, "probe") == 0)
		return 0;
	if (strcmp(cmd, "ls") == 0)
		return be_list(be, ctx, a1, on_entry, NULL);
	if (strcmp(cmd, "stat") == 0) {
		ret = be_getattr(be, ctx, a1, BE_HINT_NONE, &out);
	} else if (strcmp(cmd, "cat") == 0) {
		struct be_sink sink = be_sink_to_fd(&out_fd);
		_cleanup_free_ char *buf = NULL;

		ret = be_getattr(be, ctx, a1, BE_HINT_FILE, &out);
		if (ret < 0)
			return ret;
		/* through memory, so that a pipe will do */
		buf = xmalloc(out.size + 1);
		struct be_sink_mem m = { buf, 0, out.size };
		sink = be_sink_to_mem(&m);
		ret = be_fetch(be, ctx, a1, NULL, out.size, &sink, &out, &got);
		if (ret == 0 && fwrite(buf, 1, got, stdout) != got)
			ret = -EIO;
		return ret;
	} else if (strcmp(cmd, "put") == 0) {
		ret = put(be, ctx, a1, a2, &attr, &id, &out);
		a1 = a2;
	} else if (strcmp(cmd, "new") == 0) {
		ret = be_create(be, ctx, a1, &attr, &id, &out);
	} else if (strcmp(cmd, "mkdir") == 0) {
		attr.mode = S_IFDIR | 0755;
		ret = be_mkdir(be, ctx, a1, &attr, &id, &out);
	} else if (strcmp(cmd, "ln") == 0) {
		ret = be_symlink(be, ctx, a2, a1, &attr, &id, &out);
		a1 = a2;
	} else if (strcmp(cmd, "readlink") == 0) {
		char *target = NULL;

		ret = be_readlink(be, ctx, a1, &target);
		if (ret == 0)
			puts(target);
		free(target);
		return ret;
	} else if (strcmp(cmd, "rm") == 0) {
		return be_unlink(be, ctx, a1, &any, &id);
	} else if (strcmp(cmd, "rmdir") == 0) {
		return be_rmdir(be, ctx, a1, &id);
	} else if (strcmp(cmd, "mv") == 0 || strcmp(cmd, "mvn") == 0) {
		ret = be_rename(be, ctx, a1, a2, cmd[2] ? 1 : 0, &id, 0, NULL,
				&out);
		a1 = a2;
	} else if (strcmp(cmd, "cp") == 0) {
		ret = be_getattr(be, ctx, a1, BE_HINT_FILE, &out);
		if (ret == 0)
			ret = be_copy(be, ctx, a1, &out.ver, a2, &any, &id,
				      &attr, &out);
		a1 = a2;
	} else if (strcmp(cmd, "chmod") == 0) {
		attr.mode = strtoul(a1, NULL, 8);
		a1 = a2;
		ret = be_setattr(be, ctx, a1, &any, &id, BE_SET_MODE, &attr,
				 &out);
	} else if (strcmp(cmd, "setxattr") == 0 && argc > 3) {
		ret = be_setxattr(be, ctx, a1, a2, argv[3], strlen(argv[3]), 0,
				  &id, &out);
	} else if (strcmp(cmd, "getxattr") == 0) {
		ret = be_getxattr(be, ctx, a1, a2, &p, &len);
		if (ret == 0)
			printf("%.*s\n", (int)len, (char *)p);
		free(p);
		return ret;
	} else if (strcmp(cmd, "lsxattr") == 0) {
		char *names = NULL;

		ret = be_listxattr(be, ctx, a1, &names, &len);
		for (size_t i = 0; ret == 0 && i < len;
		     i += strlen(names + i) + 1)
			puts(names + i);
		free(names);
		return ret;
	} else if (strcmp(cmd, "uploads") == 0 ||
		   strcmp(cmd, "abort-uploads") == 0) {
		ret = be_old_uploads(be, ctx, strtol(a1, NULL, 10),
				     *cmd == 'a', &got);
		if (ret == 0)
			printf("%" PRIu64 "\n", got);
		return ret;
	} else {
		return be_fail(ctx, -EINVAL, false, "no such command: %s", cmd);
	}
	if (ret == 0)
		print_attr(a1, &out);
	return ret;
}

int
main(int argc, char **argv)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_ctx ctx = { .err = &err, .uid = getuid(), .gid = getgid() };
	struct opts opts = { .n = 0 };
	const struct be_config cfg = { opt_get, &opts };
	struct backend *be = NULL;
	bool stats = false;
	int c, ret;

	log_init(getenv("BE_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, LOG_TEXT,
		 STDERR_FILENO);
	while ((c = getopt(argc, argv, "+o:s")) != -1) {
		if (c == 's')
			stats = true;
		else if (c == 'o' && opts.n < OPTS_MAX)
			opts.v[opts.n++] = optarg;
		else
			return 2;
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: be-tool [-o name=value]… [-s] URL"
				" COMMAND [argument…]\n");
		return 2;
	}
	ret = backend_open(argv[optind], &cfg, &be, &err);
	if (ret == 0)
		ret = be_probe(be, &ctx);
	if (ret == 0)
		ret = run(be, &ctx, argc - optind - 1, argv + optind + 1);
	if (ret < 0)
		fprintf(stderr, "be-tool: %s%s: %s\n",
			strerrorname_np(-ret), ctx.transient ? " (transient)" : "",
			err_words(&err));
	if (be && stats)
		be_stats(be, on_stat, NULL);
	backend_free(be);
	return ret < 0;
}
