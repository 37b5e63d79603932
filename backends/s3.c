/* SPDX-License-Identifier: MIT */
/*
 * The S3 store: its options, and the table of its operations.  What each does
 * is in s3-*.c; s3-priv.h is the map.
 */
#include <config.h>

#include "backends/s3-priv.h"
#include "backends/s3-send.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/path.h"
#include "common/xalloc.h"

/* --- options ----------------------------------------------------------------------- */

static const char *
get(const struct be_config *cfg, const char *name)
{
	const char *v = cfg && cfg->get ? cfg->get(cfg->arg, name) : NULL;

	return v && *v ? v : NULL;
}

static int
get_bool(const struct be_config *cfg, const char *name, int dflt)
{
	const char *v = get(cfg, name);

	if (!v || strcmp(v, "auto") == 0)
		return dflt;
	return strcmp(v, "yes") == 0 || strcmp(v, "1") == 0 ||
	       strcmp(v, "true") == 0 || strcmp(v, "on") == 0;
}

/* A number with K, M, G or T. */
static int
get_size(const struct be_config *cfg, const char *name, uint64_t dflt,
	 uint64_t *out, struct err *err)
{
	static const char units[] = "KMGT";
	const char *v = get(cfg, name);
	unsigned long long n;
	char *end;

	*out = dflt;
	if (!v)
		return 0;
	errno = 0;
	n = strtoull(v, &end, 10);
	if (*end && strchr(units, toupper((unsigned char)*end))) {
		int shift = 10 * (strchr(units, toupper((unsigned char)*end)) -
				  units + 1);

		if (n > UINT64_MAX >> shift)
			errno = ERANGE;
		n <<= shift;
		end++;
	}
	if (errno || *end || end == v)
		return err_set(err, -EINVAL, "%s=%s is no size", name, v);
	*out = n;
	return 0;
}

/* Seconds, or with ms, s, m, h, d. */
static int
get_duration(const struct be_config *cfg, const char *name, int64_t dflt,
	     int64_t *out, struct err *err)
{
	const char *v = get(cfg, name);
	double n;
	char *end;

	*out = dflt;
	if (!v)
		return 0;
	n = strtod(v, &end);
	if (strcmp(end, "ms") == 0)
		n /= 1000;
	else if (strcmp(end, "m") == 0)
		n *= 60;
	else if (strcmp(end, "h") == 0)
		n *= 3600;
	else if (strcmp(end, "d") == 0)
		n *= 86400;
	else if (*end && strcmp(end, "s") != 0)
		end = (char *)(uintptr_t)v;
	if (end == v || !(n >= 0 && n < 1e9))
		return err_set(err, -EINVAL, "%s=%s is no time", name, v);
	*out = n * NSEC_PER_SEC;
	return 0;
}

static int
get_timeouts(const struct be_config *cfg, struct s3_http_config *hc,
	     struct err *err)
{
	int ret = get_duration(cfg, "connect_timeout", 5 * NSEC_PER_SEC,
			       &hc->connect_timeout_ns, err);

	return ret < 0 ? ret
		       : get_duration(cfg, "request_timeout", 30 * NSEC_PER_SEC,
				      &hc->request_timeout_ns, err);
}

static int
get_word(const struct be_config *cfg, const char *name,
	 const char *const words[], int dflt, int *out, struct err *err)
{
	const char *v = get(cfg, name);

	*out = dflt;
	if (!v)
		return 0;
	for (int i = 0; words[i]; i++)
		if (strcmp(v, words[i]) == 0) {
			*out = i;
			return 0;
		}
	return err_set(err, -EINVAL, "%s=%s is not known", name, v);
}

static bool
number(const char *v, int base, unsigned long max, unsigned long *out)
{
	char *end;

	if (!isdigit((unsigned char)*v))
		return false;
	errno = 0;
	*out = strtoul(v, &end, base);
	return errno == 0 && !*end && *out <= max;
}

static int
get_owner(struct s3 *s, const struct be_config *cfg, struct err *err)
{
	const char *uid = get(cfg, "uid"), *gid = get(cfg, "gid");
	const char *umask = get(cfg, "umask");
	unsigned long n;

	s->meta.uid = geteuid();
	s->meta.gid = getegid();
	s->meta.umask = 022;
	if (uid && number(uid, 10, UINT32_MAX - 1, &n)) {
		s->meta.uid = n;
	} else if (uid) {
		struct passwd *pw = getpwnam(uid);

		if (!pw)
			return err_set(err, -EINVAL, "uid=%s is no user", uid);
		s->meta.uid = pw->pw_uid;
	}
	if (gid && number(gid, 10, UINT32_MAX - 1, &n)) {
		s->meta.gid = n;
	} else if (gid) {
		struct group *gr = getgrnam(gid);

		if (!gr)
			return err_set(err, -EINVAL, "gid=%s is no group", gid);
		s->meta.gid = gr->gr_gid;
	}
	if (umask && !number(umask, 8, 0777, &n))
		return err_set(err, -EINVAL, "umask=%s is no octal mode",
			       umask);
	if (umask)
		s->meta.umask = n;
	return 0;
}

static char *
dup_opt(const struct be_config *cfg, const char *name)
{
	const char *v = get(cfg, name);

	return v ? xstrdup(v) : NULL;
}

/* --- the URL ------------------------------------------------------------------------ */

static bool
bucket_ok(const char *b)
{
	size_t n = strlen(b);

	if (n < 3 || n > 63)
		return false;
	for (; *b; b++)
		if (!isalnum((unsigned char)*b) && !strchr("-._", *b))
			return false;
	return true;
}

struct url {
	char *bucket, *prefix, *endpoint, *region;
};

static void
url_release(struct url *u)
{
	free(u->bucket);
	free(u->prefix);
	free(u->endpoint);
	free(u->region);
}

/* s3://bucket[/prefix][?endpoint=…&region=…] */
static int
parse_url(const char *text, struct url *u, struct err *err)
{
	_cleanup_free_ char *s = xstrdup(text + strlen("s3://"));
	char *query = strchr(s, '?'), *slash, *save = NULL;
	size_t n;

	if (query)
		*query++ = '\0';
	slash = strchr(s, '/');
	if (slash)
		*slash++ = '\0';
	u->bucket = xstrdup(s);
	if (!bucket_ok(u->bucket))
		return err_set(err, -EINVAL,
			       "\"%s\" can't be a bucket's name; the source is"
			       " s3://bucket[/prefix]",
			       u->bucket);
	n = slash ? strlen(slash) : 0;
	while (n && slash[n - 1] == '/')
		slash[--n] = '\0';
	if (n && (!path_ok(slash) || !s3_utf8_ok(slash)))
		return err_set(err, -EINVAL,
			       "\"%s\" can't be a prefix: no empty, \".\" or"
			       " \"..\" part",
			       slash);
	if (n > S3_KEY_MAX - 256)
		return err_set(err, -EINVAL, "the prefix is too long");
	u->prefix = n ? xasprintf("%s/", slash) : xstrdup("");
	for (char *p = query ? strtok_r(query, "&", &save) : NULL; p;
	     p = strtok_r(NULL, "&", &save)) {
		char *eq = strchr(p, '=');

		if (eq)
			*eq++ = '\0';
		if (!eq || !s3_uri_decode(eq))
			return err_set(err, -EINVAL,
				       "\"%s\" in the source is not understood",
				       p);
		if (strcmp(p, "endpoint") == 0 && !u->endpoint)
			u->endpoint = xstrdup(eq);
		else if (strcmp(p, "region") == 0 && !u->region)
			u->region = xstrdup(eq);
		else
			return err_set(err, -EINVAL,
				       "\"%s\" in the source is not known; use"
				       " endpoint= and region=",
				       p);
	}
	return 0;
}

/* http[s]://host[:port][/path] */
static int
set_endpoint(struct s3 *s, const char *e, struct err *err)
{
	const char *host, *port;
	size_t n;

	s->https = true;
	s->base = xstrdup("");
	if (!e)
		return 0;
	if (strncmp(e, "http://", 7) == 0) {
		s->https = false;
		host = e + 7;
	} else if (strncmp(e, "https://", 8) == 0) {
		host = e + 8;
	} else if (strstr(e, "://")) {
		return err_set(err, -EINVAL,
			       "endpoint=%s: only http:// and https://", e);
	} else {
		host = e;
	}
	n = strcspn(host, "/");
	if (n == 0 || n > 255 || strcspn(host, "?#@ \t\"<>\\") < strlen(host))
		return err_set(err, -EINVAL,
			       "endpoint=%s can't be understood; it is"
			       " http[s]://host[:port]",
			       e);
	s->host = xstrndup(host, n);
	/* The header that curl sends has no default port, nor may ours. */
	port = strrchr(s->host, ':');
	if (port && strcmp(port, s->https ? ":443" : ":80") == 0)
		s->host[port - s->host] = '\0';
	if (host[n]) {
		size_t len = strlen(host + n);

		while (len && host[n + len - 1] == '/')
			len--;
		free(s->base);
		s->base = xstrndup(host + n, len);
	}
	return 0;
}

/* --- life -------------------------------------------------------------------------------- */

static void
s3_free(struct backend *be)
{
	struct s3 *s = to_s3(be);

	s3_senders_free(s->senders);
	s3_http_free(s->http);
	cred_chain_free(s->creds);
	s3_heads_free(s->heads);
	s3_crc_free(s->crc);
	s3_sign_cache_release(&s->sign);
	pthread_mutex_destroy(&s->lock);
	free(s->bucket);
	free(s->prefix);
	free(s->host);
	free(s->base);
	free(s->region);
	free(s->storage_class);
	free(s->sse);
	free(s->sse_key);
	free(s->acl);
	free(s);
}

static int
s3_statfs(struct backend *be, struct be_ctx *ctx, struct statvfs *out)
{
	memset(out, 0, sizeof(*out));
	/* Nobody knows: large, and the same for all. */
	out->f_bsize = out->f_frsize = 1u << 20;
	out->f_blocks = out->f_bfree = out->f_bavail = UINT64_C(1) << 32;
	out->f_files = out->f_ffree = out->f_favail = UINT64_C(1) << 40;
	out->f_namemax = 255;
	return 0;
}

static void
s3_stats(struct backend *be, be_stat_fn *fn, void *arg)
{
	struct s3 *s = to_s3(be);

	s3_http_stats(s->http, fn, arg);
	fn(arg, "parts_under_way", s3_senders_busy(s->senders));
	fn(arg, "hidden_keys", atomic_load(&s->hidden));
	fn(arg, "conflicts", atomic_load(&s->conflicts));
	fn(arg, "corrections", atomic_load(&s->corrections));
}

static void
s3_reload(struct backend *be, const struct be_config *cfg)
{
	struct s3 *s = to_s3(be);
	struct s3_http_config hc = { 0 };
	int64_t moment;

	if (get_duration(cfg, "actimeo", NSEC_PER_SEC, &moment, NULL) == 0)
		atomic_store(&s->moment_ns, moment);
	cred_forget(s->creds);
	if (get_timeouts(cfg, &hc, NULL) == 0)
		s3_http_set_timeouts(s->http, &hc);
}

static const struct backend_ops s3_ops = {
	.name = "s3",
	.probe = s3_probe,
	.facts = s3_facts,
	.trust = s3_trust,
	.getattr = s3_getattr,
	.list = s3_list,
	.statfs = s3_statfs,
	.give_up = s3_give_up,
	.old_uploads = s3_old_uploads,
	.believe_absent = s3_believe_absent,
	.fetch = s3_fetch,
	.read = s3_read,
	.need = s3_need,
	.commit = s3_commit,
	.ahead = s3_ahead,
	.setattr = s3_setattr,
	.create = s3_create,
	.mkdir = s3_mkdir,
	.symlink = s3_symlink,
	.readlink = s3_readlink,
	.unlink = s3_unlink,
	.rmdir = s3_rmdir,
	.rename = s3_rename,
	.copy = s3_copy,
	.getxattr = s3_getxattr,
	.listxattr = s3_listxattr,
	.setxattr = s3_setxattr,
	.stats = s3_stats,
	.reload = s3_reload,
	.free = s3_free,
};

static int
set_options(struct s3 *s, const struct be_config *cfg, struct err *err)
{
	static const char *const sums[] = { "auto", "none", "md5", "sha256",
					    "crc32c", "crc64nvme", NULL };
	static const char *const posix[] = { "both", "s3fs", "aws", "none",
					     NULL };
	const char *parallel = get(cfg, "parallel");
	unsigned long n = 16;
	int64_t moment = 0;
	int word, ret;

	ret = get_size(cfg, "part_size", UINT64_C(8) << 20, &s->part_size, err);
	if (ret < 0)
		return ret;
	if (s->part_size < S3_PART_MIN || s->part_size > S3_PUT_MAX)
		return err_set(err, -EINVAL,
			       "part_size must be from 5M to 5G");
	if (parallel && (!number(parallel, 10, 256, &n) || n == 0))
		return err_set(err, -EINVAL, "parallel must be from 1 to 256");
	s->parallel = n;
	ret = get_word(cfg, "checksum", sums, S3_SUM_AUTO, &word, err);
	s->want_sum = word;
	if (ret == 0)
		ret = get_word(cfg, "posix_meta", posix, S3_POSIX_BOTH, &word,
			       err);
	s->meta.posix = word;
	if (ret == 0)
		ret = get_owner(s, cfg, err);
	if (ret == 0)
		ret = get_duration(cfg, "actimeo", NSEC_PER_SEC, &moment, err);
	atomic_init(&s->moment_ns, ret == 0 ? moment : 0);
	s->storage_class = dup_opt(cfg, "storage_class");
	s->sse = dup_opt(cfg, "sse");
	s->sse_key = dup_opt(cfg, "sse_kms_key_id");
	s->acl = dup_opt(cfg, "acl");
	s->requester_pays = get_bool(cfg, "requester_pays", 0);
	/* Until the probe knows better. */
	s->facts.sum = S3_SUM_MD5;
	return ret;
}

static const char *
env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

static const char *
first(const char *a, const char *b)
{
	return a ? a : b;
}

static int
make_http(struct s3 *s, const struct be_config *cfg, struct err *err)
{
	struct s3_http_config hc = {
		.ca_bundle = first(get(cfg, "ca_bundle"), env("AWS_CA_BUNDLE")),
		.insecure = get_bool(cfg, "insecure", 0),
		.hedge = get_bool(cfg, "hedge", 0),
	};
	int ret = get_timeouts(cfg, &hc, err);

	return ret < 0 ? ret : s3_http_new(&hc, &s->http, err);
}

int
backend_s3_open(const char *text, const struct be_config *cfg,
		struct backend **out, struct err *err)
{
	struct s3 *s = xcalloc(1, sizeof(*s));
	struct url u = { 0 };
	const char *endpoint;
	int ret;

	pthread_mutex_init(&s->lock, NULL);
	s3_sign_cache_init(&s->sign);
	backend_init(&s->be, &s3_ops, NULL);
	s->crc = s3_crc_new();
	s->heads = s3_heads_new();
	ret = parse_url(text, &u, err);
	if (ret < 0)
		goto fail;
	s->bucket = steal_ptr(&u.bucket);
	s->prefix = steal_ptr(&u.prefix);
	endpoint = first(first(get(cfg, "endpoint"), u.endpoint),
			 first(env("AWS_ENDPOINT_URL_S3"),
			       env("AWS_ENDPOINT_URL")));
	ret = set_endpoint(s, endpoint, err);
	if (ret == 0)
		ret = set_options(s, cfg, err);
	if (ret == 0)
		ret = make_http(s, cfg, err);
	if (ret == 0)
		s->senders = s3_senders_new(s->parallel);
	if (ret == 0)
		ret = cred_chain_new(cfg, s->bucket, &s->creds, err);
	if (ret < 0)
		goto fail;
	s->region = xstrdup(first(first(get(cfg, "region"), u.region),
				  first(cred_region(s->creds), "us-east-1")));
	/* Certificates don't cover names with more dots; servers that are not
	 * AWS seldom have a name for each bucket. */
	s->path_style = get_bool(cfg, "path_style",
				 s->host || strchr(s->bucket, '.'));
	s->be.id = xasprintf("s3://%s/%s/%s", s->host ? s->host : "aws",
			     s->bucket, s->prefix);
	url_release(&u);
	*out = &s->be;
	return 0;
fail:
	url_release(&u);
	s3_free(&s->be);
	return ret;
}
