/* SPDX-License-Identifier: MIT */
/* The option passwd_file: KEY:SECRET lines as s3fs has them. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define PASSWD_MAX (64 << 10)

/* s3fs's rule: nobody else may read it; a group only the system-wide one. */
static int
check_mode(const char *path, struct err *err)
{
	struct stat st;
	mode_t bad = S_IRWXO | S_IRWXG;

	if (stat(path, &st) < 0) {
		int code = -errno;

		return err_set(err, code, "passwd_file %s: %s", path,
			       strerror(-code));
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "passwd_file %s: not a file",
			       path);
	if (strcmp(path, "/etc/passwd-s3fs") == 0)
		bad = S_IRWXO | S_IWGRP | S_IXGRP;
	if (st.st_mode & bad)
		return err_set(err, -EPERM,
			       "passwd_file %s: others can read it (mode "
			       "%04o); chmod 600 it",
			       path, (unsigned)(st.st_mode & 07777));
	return 0;
}

/* One line, cut into its two or three parts in place. */
static int
parse_line(char *line, char **bucket, char **key, char **secret)
{
	char *a = strchr(line, ':'), *b = a ? strchr(a + 1, ':') : NULL;

	if (!a)
		return -EINVAL;
	*a++ = '\0';
	*bucket = NULL;
	*key = line;
	*secret = a;
	if (b) {
		*b++ = '\0';
		*bucket = line;
		*key = a;
		*secret = b;
		if (strchr(b, ':'))
			return -EINVAL;
	}
	return 0;
}

int
cred_from_passwd(const struct cred_conf *conf, struct cred_doc *out,
		 struct err *err)
{
	const char *path = conf->passwd_file;
	_cleanup_cred_buf_ struct buf text = BUF_INIT;
	char *line, *save = NULL, *bucket, *key, *secret;
	char *found_key = NULL, *found_secret = NULL;
	unsigned n = 0;
	int ret;

	if (!path)
		return err_set(err, -ENOENT, "the option is not given");
	ret = check_mode(path, err);
	if (ret < 0)
		return ret == -ENOENT ? -EINVAL : ret;
	ret = cred_read_file(path, PASSWD_MAX, &text, err);
	if (ret < 0)
		return ret;
	for (line = text.s;; line = save) {
		bool last;

		save = line + strcspn(line, "\n");
		last = *save == '\0';
		*save++ = '\0';
		n++;
		line += strspn(line, " \t");
		for (size_t l = strlen(line);
		     l && strchr(" \t\r", line[l - 1]); l--)
			line[l - 1] = '\0';
		if (*line && *line != '#') {
			if (parse_line(line, &bucket, &key, &secret) < 0)
				return err_set(err, -EINVAL,
					       "passwd_file %s line %u: not "
					       "KEY:SECRET or "
					       "BUCKET:KEY:SECRET",
					       path, n);
			/* The bucket's own line goes before the general. */
			if (bucket ? strcmp(bucket, conf->bucket) == 0
				   : !found_key) {
				found_key = key;
				found_secret = secret;
			}
			if (bucket && found_key == key)
				break;
		}
		if (last)
			break;
	}
	if (!found_key)
		return err_set(err, -EINVAL,
			       "passwd_file %s: no line for bucket %s", path,
			       conf->bucket);
	ret = cred_fill(&out->cred, found_key, found_secret, NULL, err);
	if (ret < 0)
		err_prefix(err, "passwd_file %s", path);
	return ret;
}
