/* SPDX-License-Identifier: MIT */
/* See client.h. */
#include <config.h>

#include "fs/client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "fs/ask.h"
#include "fs/guard.h"
#include "fs/kmount.h"
#include "fs/places.h"
#include "fs/utab.h"

#define STATUS_WAIT_MS 10000
#define UPGRADE_WAIT (90 * NSEC_PER_SEC)
#define UPGRADE_LOOK_MS 50
#define END_WAIT_MS 5000
#define RELOAD_WAIT_MS 30000

static void json_putp(json_t **j);
static void
json_putp(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ __attribute__((cleanup(json_putp)))

static json_t *
command(const char *cmd)
{
	return json_pack("{s:s}", "cmd", cmd);
}

static int
ask(const struct mount_entry *e, json_t *req, int wait_ms, json_t **out,
    struct err *err)
{
	struct asked a;
	int r = ask_begin(e, req, &a, err);

	if (r < 0)
		return r;
	r = ask_more(&a, wait_ms, out, err);
	ask_end(&a);
	return r;
}

int
client_ask(const struct mount_entry *e, const char *cmd, int wait_ms,
	   json_t **out, struct err *err)
{
	_cleanup_json_ json_t *req = command(cmd);

	return ask(e, req, wait_ms, out, err);
}

static const char *
text_of(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "?";
}

int
client_discard(const struct mount_entry *e, const char *name, json_t **out,
	       struct err *err)
{
	_cleanup_json_ json_t *req = json_pack("{s:s, s:s}", "cmd", "discard",
					       "name", name);
	int r = ask(e, req, STATUS_WAIT_MS, out, err);

	if (r == 0 && !json_is_true(json_object_get(*out, "ok")))
		r = err_set(err, -EBUSY, "%s: %s", name,
			    text_of(*out, "error"));
	return r;
}

/* --- status --------------------------------------------------------------- */

static uint64_t
number_of(json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

/* 0 ok, 1 degraded, 2 down; why: the reason. */
static int
judge(json_t *o, const char **why)
{
	const char *backend = text_of(o, "backend");
	json_t *errors = json_object_get(o, "errors");

	if (strcmp(backend, "down") == 0) {
		*why = "the store can't be reached";
		return 2;
	}
	if (strcmp(backend, "up") != 0) {
		*why = "the store answers badly";
		return 1;
	}
	if (json_is_true(json_object_get(o, "crash_loop"))) {
		*why = "the worker crashes again and again";
		return 1;
	}
	if (number_of(errors, "failed_files")) {
		*why = "files could not be sent";
		return 1;
	}
	if (number_of(errors, "disk")) {
		*why = "the cache's disk has errors";
		return 1;
	}
	*why = "ok";
	return 0;
}

static void
print_text(json_t *o)
{
	json_t *errors = json_object_get(o, "errors");
	json_t *requests = json_object_get(o, "requests"), *v;
	const char *why, *name;

	judge(o, &why);
	printf("source         %s\n", text_of(o, "source"));
	printf("mounted on     %s\n", text_of(o, "mountpoint"));
	printf("state          %s\n", why);
	printf("store          %s\n", text_of(o, "backend"));
	printf("version        %s\n", text_of(o, "version"));
	printf("supervisor     %" PRIu64 "\n", number_of(o, "supervisor_pid"));
	printf("worker         %" PRIu64 " (%" PRIu64 " restarts)\n",
	       number_of(o, "worker_pid"), number_of(o, "worker_restarts"));
	if (json_object_get(o, "last_worker"))
		printf("worker before  %s\n", text_of(o, "last_worker"));
	printf("passthrough    %s\n", text_of(o, "passthrough"));
	printf("unsent         %" PRIu64 " files, %" PRIu64 " bytes, %" PRIu64
	       " changes of attributes\n",
	       number_of(o, "pending_files"), number_of(o, "pending_bytes"),
	       number_of(o, "pending_attrs"));
	printf("cache          %" PRIu64 " bytes, %" PRIu64 " hits, %" PRIu64
	       " misses\n",
	       number_of(o, "cache_bytes"), number_of(o, "hits"),
	       number_of(o, "misses"));
	printf("errors         %" PRIu64 " files not sent, %" PRIu64
	       " of the disk, %" PRIu64 " conflicts\n",
	       number_of(errors, "failed_files"), number_of(errors, "disk"),
	       number_of(o, "conflicts"));
	if (number_of(errors, "kept_files"))
		printf("kept           %" PRIu64 " files of earlier mounts "
		       "(sharedfs recover list %s)\n",
		       number_of(errors, "kept_files"), text_of(o, "cache_dir"));
	printf("requests      ");
	json_object_foreach (requests, name, v) {
		if (json_integer_value(v))
			printf(" %s %" PRIu64, name,
			       (uint64_t)json_integer_value(v));
	}
	printf("\n");
}

/* Nobody answered: still a JSON object, still a verdict. */
static int
print_down(const char *dir, enum client_format format, const char *why)
{
	if (format == CLIENT_JSON) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "mountpoint",
				      dir, "version", PACKAGE_VERSION,
				      "backend", "unknown", "error", why);

		if (o)
			json_dumpf(o, stdout, JSON_INDENT(2));
		json_decref(o);
		printf("\n");
	} else if (format == CLIENT_CHECK) {
		printf("down: %s\n", why);
	} else {
		fprintf(stderr, "sharedfs: %s: %s\n", dir, why);
	}
	return 2;
}

int
client_status(const char *dir, enum client_format format)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_json_ json_t *o = NULL;
	const char *why;
	int r;

	r = places_mount_of(dir, &e);
	if (r < 0)
		return print_down(dir, format, strerror(-r));
	if (r == 0)
		return print_down(dir, format, "no sharedfs is mounted there");
	r = client_ask(&e, "status", STATUS_WAIT_MS, &o, &err);
	if (r < 0)
		return print_down(dir, format, err_words(&err));
	r = judge(o, &why);
	switch (format) {
	case CLIENT_JSON:
		json_object_set_new(o, "state",
				    json_string(r == 0 ? "ok" :
						r == 1 ? "degraded" :
							 "down"));
		json_dumpf(o, stdout, JSON_INDENT(2));
		printf("\n");
		break;
	case CLIENT_CHECK:
		printf("%s: %s\n",
		       r == 0 ? "ok" :
		       r == 1 ? "degraded" :
				"down",
		       why);
		break;
	case CLIENT_TEXT:
		print_text(o);
		break;
	}
	return r;
}

/* --- reload ---------------------------------------------------------------- */

static void
add_named(void *arg, const char *name, const char *value)
{
	json_object_set_new(arg, name, json_string(value ? value : ""));
}

static int
ask_reload(const struct mount_entry *e, const struct options *named, bool dry,
	   json_t **out, struct err *err)
{
	_cleanup_json_ json_t *req = command("reload");
	int r;

	if (named) {
		json_t *given = json_object();

		options_each_set(named, add_named, given);
		json_object_set_new(req, "options", given);
		json_object_set_new(req, "dry", json_boolean(dry));
	}
	r = ask(e, req, RELOAD_WAIT_MS, out, err);
	if (r == 0 && !json_is_true(json_object_get(*out, "ok")))
		return err_set(err, -EINVAL, "%s", text_of(*out, "error"));
	return r;
}

int
client_change(const struct mount_entry *e, const struct options *named,
	      bool dry, struct err *err)
{
	_cleanup_json_ json_t *o = NULL;

	return ask_reload(e, named, dry, &o, err);
}

static size_t
print_lines(FILE *f, const char *head, json_t *list)
{
	json_t *v;
	size_t i;

	json_array_foreach (list, i, v)
		fprintf(f, "%s%s\n", head, json_string_value(v));
	return json_array_size(list);
}

int
client_reload(const char *dir, const struct options *named)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_json_ json_t *o = NULL;
	int r = places_mount_of(dir, &e);

	if (r == 0)
		r = err_set(&err, -ENOENT, "no sharedfs is mounted there");
	else if (r > 0)
		r = ask_reload(&e, named, false, &o, &err);
	else
		err_set(&err, r, "%s", strerror(-r));
	if (r < 0) {
		fprintf(stderr, "sharedfs: %s: %s\n", dir, err_words(&err));
		return 1;
	}
	print_lines(stdout, "", json_object_get(o, "changed"));
	return print_lines(stderr,
			   "sharedfs: takes effect when the share is mounted "
			   "again: ",
			   json_object_get(o, "left")) > 0;
}

/* --- upgrade -------------------------------------------------------------- */

static int
complain(const char *dir, const struct err *err)
{
	fprintf(stderr, "sharedfs: %s: %s\n", dir, err_words(err));
	return 1;
}

/* Until another worker than `old` answers. */
static int
wait_upgraded(const struct mount_entry *e, uint64_t old, struct err *err)
{
	int64_t until = clock_mono_ns() + UPGRADE_WAIT;

	while (clock_mono_ns() < until) {
		_cleanup_json_ json_t *o = NULL;

		if (client_ask(e, "status", STATUS_WAIT_MS, &o, NULL) == 0 &&
		    number_of(o, "worker_pid") != old) {
			printf("worker %" PRIu64 ", version %s\n",
			       number_of(o, "worker_pid"),
			       text_of(o, "version"));
			return 0;
		}
		poll(NULL, 0, UPGRADE_LOOK_MS);
	}
	return err_set(err, -ETIMEDOUT, "no new worker has come; the log says "
					"why");
}

int
client_upgrade(const char *dir)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_json_ json_t *before = NULL, *o = NULL;
	int r = places_mount_of(dir, &e);

	if (r == 0)
		r = err_set(&err, -ENOENT, "no sharedfs is mounted there");
	else if (r < 0)
		err_set(&err, r, "%s", strerror(-r));
	else
		r = client_ask(&e, "status", STATUS_WAIT_MS, &before, &err);
	if (r < 0)
		return complain(dir, &err);
	r = client_ask(&e, "upgrade", STATUS_WAIT_MS * 2, &o, &err);
	/* It may be gone before it could say yes. */
	if (r < 0 && r != -EPIPE)
		return complain(dir, &err);
	if (r == 0 && !json_is_true(json_object_get(o, "ok"))) {
		err_set(&err, -EPROTO, "%s", text_of(o, "error"));
		return complain(dir, &err);
	}
	if (wait_upgraded(&e, number_of(before, "worker_pid"), &err) < 0)
		return complain(dir, &err);
	return 0;
}

/* --- umount --------------------------------------------------------------- */

static bool
all_sent(const char *dir, json_t *o)
{
	json_t *left = json_object_get(o, "left"), *v;
	size_t i;

	if (json_is_true(json_object_get(o, "ok")))
		return true;
	fprintf(stderr, "sharedfs: %s: %s\n", dir, text_of(o, "error"));
	if (json_array_size(left))
		fprintf(stderr, "sharedfs: %zu files are not in the store:\n",
			json_array_size(left));
	json_array_foreach (left, i, v)
		fprintf(stderr, "  %s (%" PRIu64 " bytes)\n",
			text_of(v, "path"), number_of(v, "bytes"));
	return false;
}

/* Was the mount made with `guard`?  One whose daemon is gone keeps it. */
static bool
has_guard(const struct mount_entry *e)
{
	_cleanup_json_ json_t *o = NULL;

	if (client_ask(e, "status", STATUS_WAIT_MS, &o, NULL) < 0)
		return false;
	return strcmp(text_of(json_object_get(o, "options"), "guard"),
		      "yes") == 0;
}

static void
clear_guard(const char *dir)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };

	/* Another mount may have been below. */
	if (mountinfo_at(dir, &e) == 0)
		guard_clear(dir);
}

static int
do_umount(const struct mount_entry *e, bool force, bool lazy)
{
	int flags = (force ? MNT_FORCE : 0) | (lazy ? MNT_DETACH : 0);
	int r = kumount(e->target, flags);

	if (r == -EBUSY && force)
		r = kumount(e->target, flags | MNT_DETACH);
	if (r == 0) {
		utab_remove(e->target);
		return 0;
	}
	if (r == -EBUSY)
		fprintf(stderr,
			"sharedfs: %s is busy: a program has a file or its "
			"working directory there (fuser -vm shows it; -l "
			"unmounts when it is done)\n",
			e->target);
	else
		fprintf(stderr, "sharedfs: unmount %s: %s\n", e->target,
			strerror(-r));
	return 1;
}

int
client_umount(const char *dir, bool force, bool lazy)
{
	_cleanup_mount_entry_ struct mount_entry e = { 0 };
	_cleanup_err_ struct err err = ERR_INIT;
	_cleanup_json_ json_t *drained = NULL, *ended = NULL, *last = NULL;
	_cleanup_json_ json_t *wait_req = NULL;
	_cleanup_free_ char *path = places_canonical(dir);
	struct asked wait;
	bool waiting, guarded, sent = true;
	int r;

	r = path ? mountinfo_at(path, &e) : -errno;
	if (r < 0) {
		fprintf(stderr, "sharedfs: %s: %s\n", dir, strerror(-r));
		return 1;
	}
	if (r == 0 || strcmp(e.type, MOUNT_TYPE) != 0) {
		fprintf(stderr, "sharedfs: %s: no sharedfs is mounted there\n",
			dir);
		return 1;
	}
	if (!force) {
		r = client_ask(&e, "drain", -1, &drained, &err);
		if (r == 0)
			sent = all_sent(dir, drained);
		else if (r != -ENOENT && r != -ECONNREFUSED)
			fprintf(stderr, "sharedfs: %s: %s\n", dir,
				err_words(&err));
		if (!sent)
			return 1;
	}
	wait_req = command("wait");
	guarded = has_guard(&e);
	waiting = ask_begin(&e, wait_req, &wait, NULL) == 0;
	r = do_umount(&e, force, lazy);
	if (r == 0 && guarded)
		clear_guard(path);
	if (!waiting)
		return r;
	/* It ends when nobody else has it (a container, a lazy user); what was
	 * written since the drain is waited for. */
	if (r == 0 && !lazy && !force &&
	    ask_more(&wait, END_WAIT_MS, &ended, NULL) == 0 &&
	    ask_more(&wait, -1, &last, NULL) == 0 && !all_sent(dir, last))
		r = 1;
	ask_end(&wait);
	return r;
}
