/* SPDX-License-Identifier: MIT */
/* See doctor.h.  Each check prints one line; a bad one has its cure. */
#include <config.h>

#include "fs/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/mountinfo.h"
#include "common/xalloc.h"
#include "fs/client.h"
#include "fs/kmount.h"
#include "fs/places.h"

#define PROBE_LIMIT (15 * NSEC_PER_SEC)
#define ANSWER_MS 5000
#define UPLOAD_OLD (24 * 60 * 60) /* seconds */

struct doctor {
	const struct options *opt;
	bool ill;
};

static void say(struct doctor *d, bool good, const char *cure, const char *fmt,
		...) __attribute__((format(printf, 4, 5)));

static void
say(struct doctor *d, bool good, const char *cure, const char *fmt, ...)
{
	va_list ap;

	printf("%s  ", good ? "ok  " : "BAD ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (!good && cure)
		printf("      %s\n", cure);
	d->ill |= !good;
}

static void
check_fuse(struct doctor *d)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	say(d, fd >= 0,
	    "load the module: modprobe fuse; in a container: --device "
	    "/dev/fuse --cap-add SYS_ADMIN",
	    "/dev/fuse %s", fd >= 0 ? "can be opened" : strerror(errno));
}

static void
check_allow_other(struct doctor *d)
{
	_cleanup_fclose_ FILE *f = NULL;
	char line[256];
	bool there = false;

	if (geteuid() == 0 || !kmount_allow_other(d->opt))
		return;
	f = fopen("/etc/fuse.conf", "re");
	while (f && fgets(line, sizeof(line), f))
		there |= strncmp(line, "user_allow_other", 16) == 0;
	say(d, there, "write the line user_allow_other into /etc/fuse.conf",
	    "allow_other for a user who is not root");
}

static void
check_cache(struct doctor *d)
{
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_free_ char *dir = places_cache_dir(d->opt, &err);
	struct statvfs st;
	uint64_t room;

	if (!dir) {
		say(d, false, NULL, "cache: %s", err_words(&err));
		return;
	}
	if (access(dir, F_OK) < 0 && errno == ENOENT) {
		say(d, true, NULL, "cache directory %s: made at the mount",
		    dir);
		return;
	}
	if (access(dir, R_OK | W_OK | X_OK) < 0) {
		say(d, false, "give cache_dir=DIRECTORY that can be written",
		    "cache directory %s: %s", dir, strerror(errno));
		return;
	}
	if (statvfs(dir, &st) < 0) {
		say(d, false, NULL, "cache directory %s: %s", dir,
		    strerror(errno));
		return;
	}
	room = (uint64_t)st.f_bavail * st.f_frsize;
	say(d, room > d->opt->cache_free,
	    "make room, or lower cache_free: below it nothing is kept",
	    "cache directory %s: %" PRIu64 " MiB free", dir, room >> 20);
}

/* Nobody but who pays sees them. */
static void
tell_uploads(struct backend *be, struct be_ctx *ctx)
{
	uint64_t n;

	/* (Who may not list them is not told.) */
	if (be_old_uploads(be, ctx, UPLOAD_OLD, false, &n) < 0 || n == 0)
		return;
	printf("      %" PRIu64 " uploads were begun more than a day ago and "
	       "never ended; the store keeps\n"
	       "      and bills their parts.  Give the bucket a lifecycle rule:\n"
	       "        {\"Rules\": [{\"ID\": \"sharedfs-uploads\", "
	       "\"Status\": \"Enabled\",\n"
	       "          \"Filter\": {\"Prefix\": \"\"},\n"
	       "          \"AbortIncompleteMultipartUpload\": "
	       "{\"DaysAfterInitiation\": 7}}]}\n"
	       "      (aws s3api put-bucket-lifecycle-configuration), or mount "
	       "with abort_uploads=7d\n",
	       n);
}

static void
check_store(struct doctor *d, const char *source)
{
	_cleanup_err_ struct err err = ERR_INIT;
	struct be_config cfg = options_be_config(d->opt);
	struct backend *be = NULL;
	struct be_ctx ctx = {
		.uid = geteuid(),
		.gid = getegid(),
		.deadline_ns = clock_mono_ns() + PROBE_LIMIT,
		.err = &err,
	};
	int r = backend_open(source, &cfg, &be, &err);

	if (r < 0) {
		say(d, false, "see sharedfs --help for sources and options",
		    "%s: %s", source, err_words(&err));
		return;
	}
	r = be_probe(be, &ctx);
	if (r < 0)
		say(d, false,
		    ctx.transient ?
			    "the store is down or can't be reached from here; "
			    "look at endpoint, network and firewall" :
			    "the store answers and refuses; look at bucket, "
			    "keys, region and permissions",
		    "store %s: %s", source, err_words(&err));
	else
		say(d, true, NULL, "store %s answers", source);
	if (r == 0 && !be->caps.exclusive_create)
		printf("      the store has no exclusive create: O_EXCL is "
		       "decided per node\n");
	if (r == 0 && !be->caps.owner)
		printf("      the store keeps no owners and modes\n");
	if (r == 0)
		tell_uploads(be, &ctx);
	backend_free(be);
}

static void
check_worker(struct doctor *d, const struct mount_entry *e)
{
	_cleanup_err_ struct err err = ERR_INIT;
	json_t *o = NULL;
	int r = client_ask(e, "status", ANSWER_MS, &o, &err);
	pid_t sup;

	if (r < 0) {
		int alive = mountpoint_probe(e->target, ANSWER_MS);

		say(d, false,
		    alive == -ENOTCONN ?
			    "the daemon is gone: mount again (that clears it)" :
			    "look into the log; sharedfs umount and mount",
		    "worker: %s", err_words(&err));
		return;
	}
	sup = json_integer_value(json_object_get(o, "supervisor_pid"));
	say(d, true, NULL, "worker %lld answers",
	    json_integer_value(json_object_get(o, "worker_pid")));
	say(d, kill(sup, 0) == 0 || errno == EPERM,
	    "the mount works but would not outlive its worker: umount and "
	    "mount when nobody uses it",
	    "supervisor %d", (int)sup);
	say(d,
	    strcmp(json_string_value(json_object_get(o, "backend")) ?: "",
		   "up") == 0,
	    "calls wait until it answers (hard) or fail (soft)",
	    "the worker's view of the store: %s",
	    json_string_value(json_object_get(o, "backend")));
	say(d,
	    json_integer_value(json_object_get(json_object_get(o, "errors"),
					       "failed_files")) == 0,
	    "sharedfs status lists them; they are kept in the cache directory",
	    "files that could not be sent");
	json_decref(o);
	r = mountpoint_probe(e->target, ANSWER_MS);
	say(d, r == 0, "calls on the mount hang or fail: see above",
	    "statfs(%s): %s", e->target, r == 0 ? "ok" : strerror(-r));
}

/* With the mount point's parent shared or a bind of the parent with rslave, a
 * container sees a mount that comes back; see README. */
static void
check_propagation(const struct mount_entry *e)
{
	printf("      containers: bind a directory inside %s, and start them "
	       "after the mount\n"
	       "      (x-systemd.before=docker.service); --mount type=bind "
	       "fails if it is missing,\n"
	       "      -v makes an empty directory on the host's disk\n",
	       e->target);
}

int
doctor_command(const char *what, const struct options *opt)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	struct doctor d = { .opt = opt };
	struct stat st;

	check_fuse(&d);
	check_allow_other(&d);
	if (strstr(what, "://") || strcmp(what, "mem:") == 0) {
		check_store(&d, what);
		check_cache(&d);
	} else if (places_mount_of(what, &e) == 1) {
		printf("ok    %s is mounted on %s\n", e.source, e.target);
		check_worker(&d, &e);
		check_propagation(&e);
	} else if (stat(what, &st) < 0) {
		say(&d, false, "make it: mkdir -p", "%s: %s", what,
		    strerror(errno));
	} else {
		say(&d, false,
		    "sharedfs mount SOURCE DIR; at boot: a line in /etc/fstab",
		    "%s: no sharedfs is mounted there", what);
	}
	return d.ill;
}
