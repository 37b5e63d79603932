/* SPDX-License-Identifier: MIT */
/* See volume-set.h.  The file is the state: one JSON object. */
#include <config.h>

#include "mount-helpers/volume-set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/path.h"
#include "common/xalloc.h"

#define NAME_MAX_LEN 128

struct volumes {
	char *file;
	json_t *root; /* {"boot": id, "volumes": {name: {"subdir": text,
		       * "purge": bool, "created": time, "ids": {id: true}}}} */
};

static json_t *
all(struct volumes *v)
{
	return json_object_get(v->root, "volumes");
}

static json_t *
find(struct volumes *v, const char *name, struct err *err)
{
	json_t *one = json_object_get(all(v), name);

	if (!one)
		err_set(err, -ENOENT, "no such volume: %s", name);
	return one;
}

static json_t *
ids(json_t *one)
{
	return json_object_get(one, "ids");
}

/* --- the file --------------------------------------------------------------- */

static char *
boot_id(void)
{
	_cleanup_fclose_ FILE *f =
		fopen("/proc/sys/kernel/random/boot_id", "re");
	char id[64] = "";

	if (f && !fgets(id, sizeof(id), f))
		id[0] = '\0';
	id[strcspn(id, "\n")] = '\0';
	return xstrdup(id);
}

static int
save(struct volumes *v, struct err *err)
{
	_cleanup_free_ char *tmp = xasprintf("%s.new", v->file);
	_cleanup_close_ int fd = open(
		tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		0600);

	if (fd < 0 || json_dumpfd(v->root, fd, JSON_INDENT(1)) < 0 ||
	    fsync(fd) < 0 || rename(tmp, v->file) < 0)
		return err_set(err, -EIO, "the state can't be written to %s: %s",
			       v->file, strerror(errno));
	return 0;
}

/* A state that we didn't write could lead out of the share. */
static bool
is_sane(json_t *root)
{
	json_t *volumes = json_object_get(root, "volumes"), *one;
	const char *name;

	if (!json_is_string(json_object_get(root, "boot")) ||
	    !json_is_object(volumes))
		return false;
	json_object_foreach (volumes, name, one) {
		const char *subdir =
			json_string_value(json_object_get(one, "subdir"));

		if (!path_name_ok(name, strlen(name)) || !subdir || !*subdir ||
		    !path_ok(subdir) || !json_is_object(ids(one)) ||
		    !json_is_boolean(json_object_get(one, "purge")) ||
		    !json_is_string(json_object_get(one, "created")))
			return false;
	}
	return true;
}

int
volumes_open(const char *file, struct volumes **out, struct err *err)
{
	_cleanup_free_ char *boot = boot_id();
	struct volumes *v = xcalloc(1, sizeof(*v));
	json_error_t why;
	json_t *one;
	const char *name;

	v->file = xstrdup(file);
	if (access(file, F_OK) < 0) {
		v->root = json_pack("{s:s, s:{}}", "boot", boot, "volumes");
		*out = v;
		return 0;
	}
	v->root = json_load_file(file, JSON_REJECT_DUPLICATES, &why);
	if (!v->root || !is_sane(v->root)) {
		err_set(err, -EBADMSG,
			"%s is damaged (%s); move it away, the volumes' data "
			"is in the share",
			file, v->root ? "a volume makes no sense" : why.text);
		volumes_free(v);
		return -EBADMSG;
	}
	/* Containers of an earlier boot use nothing any more. */
	if (strcmp(json_string_value(json_object_get(v->root, "boot")),
		   boot) != 0) {
		json_object_foreach (all(v), name, one)
			json_object_clear(ids(one));
		json_object_set_new(v->root, "boot", json_string(boot));
	}
	*out = v;
	return 0;
}

void
volumes_free(struct volumes *v)
{
	if (!v)
		return;
	json_decref(v->root);
	free(v->file);
	free(v);
}

/* --- volumes ------------------------------------------------------------------ */

/* As dockerd wants them, and a name that is a path segment. */
static bool
name_ok(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(name);

	return n > 0 && n <= NAME_MAX_LEN && strspn(name, good) == n &&
	       name[0] != '.' && name[0] != '-';
}

static int
parse_options(const char *name, json_t *opts, const char **subdir, bool *purge,
	      struct err *err)
{
	const char *key, *text;
	json_t *value;

	*subdir = name;
	*purge = false;
	json_object_foreach (opts, key, value) {
		text = json_string_value(value);
		if (strcmp(key, "subdir") == 0) {
			if (!text || !*text || !path_ok(text))
				return err_set(err, -EINVAL,
					       "subdir: a path inside the "
					       "share is needed, without a "
					       "leading '/', '.' or '..'");
			*subdir = text;
		} else if (strcmp(key, "purge") == 0) {
			if (!text || (strcmp(text, "yes") != 0 &&
				      strcmp(text, "no") != 0))
				return err_set(err, -EINVAL,
					       "purge: write yes or no");
			*purge = strcmp(text, "yes") == 0;
		} else {
			/* Its value may be a secret: not in the words. */
			return err_set(err, -EINVAL,
				       "unknown option '%s'; there are subdir "
				       "and purge.  The share, its options and "
				       "its credentials are the plugin's: see "
				       "docker-volume-sharedfs(8)",
				       key);
		}
	}
	return 0;
}

static char *
now(void)
{
	char text[40];
	time_t t = time(NULL);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return xstrdup(text);
}

int
volumes_create(struct volumes *v, const char *name, json_t *opts,
	       struct err *err)
{
	_cleanup_free_ char *created = now();
	const char *subdir;
	json_t *one;
	bool purge;
	int r;

	if (!name_ok(name))
		return err_set(err, -EINVAL,
			       "'%s' can't be a volume's name: letters, digits, "
			       "'_', '.' and '-'",
			       name);
	r = parse_options(name, opts, &subdir, &purge, err);
	if (r < 0)
		return r;
	one = json_object_get(all(v), name);
	if (one) {
		if (strcmp(volumes_subdir(v, name, NULL), subdir) == 0 &&
		    volumes_purge(v, name) == purge)
			return 0;
		return err_set(err, -EEXIST,
			       "volume %s exists with other options", name);
	}
	one = json_pack("{s:s, s:b, s:s, s:{}}", "subdir", subdir, "purge",
			purge, "created", created, "ids");
	if (!one)
		return err_set(err, -EINVAL, "subdir: not UTF-8");
	json_object_set_new(all(v), name, one);
	r = save(v, err);
	if (r < 0)
		json_object_del(all(v), name);
	return r;
}

int
volumes_check_remove(struct volumes *v, const char *name, struct err *err)
{
	json_t *one = find(v, name, err);
	size_t n;

	if (!one)
		return -ENOENT;
	n = json_object_size(ids(one));
	if (n)
		return err_set(err, -EBUSY,
			       "volume %s is used by %zu containers", name, n);
	return 0;
}

int
volumes_remove(struct volumes *v, const char *name, struct err *err)
{
	json_t *one = json_incref(json_object_get(all(v), name));
	int r;

	json_object_del(all(v), name);
	r = save(v, err);
	if (r < 0)
		json_object_set(all(v), name, one);
	json_decref(one);
	return r;
}

const char *
volumes_subdir(struct volumes *v, const char *name, struct err *err)
{
	json_t *one = find(v, name, err);

	return one ? json_string_value(json_object_get(one, "subdir")) : NULL;
}

bool
volumes_purge(struct volumes *v, const char *name)
{
	return json_is_true(json_object_get(json_object_get(all(v), name),
					    "purge"));
}

const char *
volumes_overlap(struct volumes *v, const char *name)
{
	const char *mine = volumes_subdir(v, name, NULL), *other;
	json_t *one;

	json_object_foreach (all(v), other, one) {
		const char *theirs =
			json_string_value(json_object_get(one, "subdir"));

		if (strcmp(other, name) != 0 &&
		    (path_within(mine, theirs) || path_within(theirs, mine)))
			return other;
	}
	return NULL;
}

const char *
volumes_created(struct volumes *v, const char *name)
{
	return json_string_value(json_object_get(
		json_object_get(all(v), name), "created"));
}

size_t
volumes_users(struct volumes *v, const char *name)
{
	return json_object_size(ids(json_object_get(all(v), name)));
}

size_t
volumes_all_users(struct volumes *v)
{
	const char *name;
	json_t *one;
	size_t n = 0;

	json_object_foreach (all(v), name, one)
		n += json_object_size(ids(one));
	return n;
}

int
volumes_use(struct volumes *v, const char *name, const char *id,
	    struct err *err)
{
	json_t *one = find(v, name, err);

	if (!one)
		return -ENOENT;
	if (json_object_get(ids(one), id))
		return 0;
	if (json_object_set_new(ids(one), id, json_true()) < 0)
		return err_set(err, -EINVAL, "the id is not UTF-8");
	return save(v, err);
}

int
volumes_unuse(struct volumes *v, const char *name, const char *id,
	      struct err *err)
{
	json_t *one = find(v, name, err);

	if (!one)
		return -ENOENT;
	if (json_object_del(ids(one), id) < 0)
		return 0;
	return save(v, err);
}

void
volumes_each(struct volumes *v, void (*fn)(void *arg, const char *name),
	     void *arg)
{
	const char *name;
	json_t *one;

	json_object_foreach (all(v), name, one)
		fn(arg, name);
}
