/* SPDX-License-Identifier: MIT */
/* Documents that hold keys: reading, checking and wiping them. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "backends/secret.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

const char *
cred_env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

bool
cred_env_true(const char *name)
{
	const char *v = cred_env(name);

	return v && strcasecmp(v, "true") == 0;
}

char *
cred_home(void)
{
	const char *home = cred_env("HOME");
	struct passwd pw, *found;
	char mem[4096];

	if (home)
		return xstrdup(home);
	/* A mount from fstab has no HOME. */
	if (getpwuid_r(getuid(), &pw, mem, sizeof(mem), &found) != 0 || !found)
		return NULL;
	return xstrdup(found->pw_dir);
}

void
cred_buf_release(struct buf *b)
{
	if (b->s)
		OPENSSL_cleanse(b->s, b->cap);
	buf_release(b);
}

void
cred_release(struct cred *c)
{
	secret_free(c->access_key);
	secret_free(c->secret_key);
	secret_free(c->token);
	*c = (struct cred)CRED_INIT;
}

void
cred_doc_release(struct cred_doc *d)
{
	cred_release(&d->cred);
	free(d->region);
	*d = (struct cred_doc)CRED_DOC_INIT;
}

int
cred_read_file(const char *path, size_t max, struct buf *out, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0) {
		int code = -errno;

		return err_set(err, code, "%s: %s", path, strerror(-code));
	}
	/* All at once: a buffer that grows leaves copies of the secret. */
	buf_reserve(out, max + 1);
	for (;;) {
		ssize_t n = read(fd, out->s + out->len, max + 1 - out->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int code = -errno;

			return err_set(err, code, "%s: %s", path,
				       strerror(-code));
		}
		if (n == 0)
			break;
		out->len += n;
		if (out->len > max)
			return err_set(err, -EFBIG,
				       "%s: more than %zu bytes long", path,
				       max);
	}
	out->s[out->len] = '\0';
	return 0;
}

int
cred_time_parse(const char *s, int64_t *out)
{
	struct tm tm = { 0 };
	const char *p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t t;
	int h, m, n = 0;
	char sign;

	if (!p)
		return -EINVAL;
	t = timegm(&tm);
	if (*p == '.') {
		p++;
		p += strspn(p, "0123456789");
	}
	if (strcmp(p, "Z") != 0) {
		sign = *p;
		if (sign != '+' && sign != '-')
			return -EINVAL;
		if (sscanf(p + 1, "%2d:%2d%n", &h, &m, &n) != 2 ||
		    p[1 + n] != '\0' || h < 0 || m < 0)
			return -EINVAL;
		t -= (sign == '+' ? 1 : -1) * (h * 3600 + m * 60);
	}
	*out = t;
	return 0;
}

/* What goes into a header must not end it. */
static bool
sendable(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

int
cred_fill(struct cred *out, const char *access_key, const char *secret,
	  const char *token, struct err *err)
{
	if (!access_key || !*access_key)
		return err_set(err, -EINVAL, "the access key is missing");
	if (!secret || !*secret)
		return err_set(err, -EINVAL, "the secret key is missing");
	if (!sendable(access_key))
		return err_set(err, -EINVAL,
			       "the access key has blanks or bytes that are "
			       "not ASCII");
	if (token && !sendable(token))
		return err_set(err, -EINVAL,
			       "the session token has blanks or bytes that "
			       "are not ASCII");
	for (const char *p = secret; *p; p++)
		if ((unsigned char)*p < ' ')
			return err_set(err, -EINVAL,
				       "the secret key has control characters");
	out->access_key = xstrdup(access_key);
	out->secret_key = xstrdup(secret);
	out->token = token && *token ? xstrdup(token) : NULL;
	return 0;
}

/* Jansson frees without wiping. */
static void
wipe_json(json_t *doc)
{
	const char *key;
	json_t *v;

	if (json_is_object(doc))
		json_object_foreach(doc, key, v)
			if (json_is_string(v))
				OPENSSL_cleanse((char *)json_string_value(v),
						json_string_length(v));
	json_decref(doc);
}

static const char *
json_word(const json_t *doc, const char *key)
{
	return json_string_value(json_object_get(doc, key));
}

int
cred_doc_json(const char *text, size_t len, const char *token_name,
	      struct cred_doc *out, struct err *err)
{
	json_t *doc = json_loadb(text, len, 0, NULL);
	_cleanup_err_ struct err why = ERR_INIT;
	const char *code, *message, *expires;
	json_t *version;
	int64_t t = 0;
	int ret;

	if (!json_is_object(doc)) {
		json_decref(doc);
		return err_set(err, -EIO, "the answer is not a JSON object");
	}
	code = json_word(doc, "Code");
	if (!code)
		code = json_word(doc, "code");
	if (code && strcmp(code, "Success") != 0) {
		message = json_word(doc, "Message");
		if (!message)
			message = json_word(doc, "message");
		ret = err_set(err, -EIO, "the answer is %.100s: %.200s", code,
			      message ? message : "no message");
		goto out;
	}
	version = json_object_get(doc, "Version");
	if (version && json_integer_value(version) != 1) {
		ret = err_set(err, -EIO, "the answer's Version is not 1");
		goto out;
	}
	expires = json_word(doc, "Expiration");
	if (expires && cred_time_parse(expires, &t) < 0) {
		ret = err_set(err, -EIO, "Expiration \"%.40s\" is no time",
			      expires);
		goto out;
	}
	if (cred_fill(&out->cred, json_word(doc, "AccessKeyId"),
		      json_word(doc, "SecretAccessKey"),
		      json_word(doc, token_name), &why) < 0) {
		ret = err_set(err, -EIO, "in the answer %s", err_words(&why));
		goto out;
	}
	out->expires = t;
	ret = 0;
out:
	wipe_json(doc);
	return ret;
}
