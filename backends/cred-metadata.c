/* SPDX-License-Identifier: MIT */
/* Keys that the machine's surroundings hand out: ECS, EKS, EC2's IMDS. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "common/cleanup.h"
#include "common/xalloc.h"

#define ECS_HOST "http://169.254.170.2"
#define TOKEN_FILE_MAX (64 << 10)

static void
slist_freep(struct curl_slist **l)
{
	curl_slist_free_all(*l);
}
#define _cleanup_slist_ __attribute__((cleanup(slist_freep)))

/* --- ECS and EKS ----------------------------------------------------------- */

static bool
is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return false;
}

/* The token must not travel in the clear to just any host. */
static int
check_full_uri(const char *uri, struct err *err)
{
	CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL;
	size_t n;
	int ret;

	if (!u || curl_url_set(u, CURLUPART_URL, uri, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
		ret = err_set(err, -EINVAL,
			      "AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL");
		goto out;
	}
	n = strlen(host);
	if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = '\0';
	}
	if (strcmp(scheme, "https") == 0 ||
	    (strcmp(scheme, "http") == 0 &&
	     (is_loopback(host) || strcmp(host, "169.254.170.2") == 0 ||
	      strcmp(host, "169.254.170.23") == 0 ||
	      strcasecmp(host, "fd00:ec2::23") == 0)))
		ret = 0;
	else
		ret = err_set(err, -EINVAL,
			      "AWS_CONTAINER_CREDENTIALS_FULL_URI: host %s is "
			      "not allowed without https",
			      host);
out:
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(u);
	return ret;
}

static int
container_token(struct curl_slist **headers, struct err *err)
{
	const char *file = cred_env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	const char *token = cred_env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	_cleanup_cred_buf_ struct buf b = BUF_INIT;
	int ret;

	if (file) {
		/* Each time anew: it is replaced before it expires. */
		ret = cred_read_file(file, TOKEN_FILE_MAX, &b, err);
		if (ret < 0)
			return ret == -ENOENT ? -EAGAIN : ret;
		token = b.s;
		if (strlen(token) != b.len)
			return err_set(err, -EINVAL, "%s: has a NUL", file);
	}
	if (!token)
		return 0;
	if (strpbrk(token, "\r\n"))
		return err_set(err, -EINVAL,
			       "the container's authorization token has a "
			       "line break");
	cred_header_add(headers, "Authorization", token);
	return 0;
}

static int
container_ask(const struct cred_conf *conf, const char *url,
	      struct curl_slist *headers, struct cred_doc *out, struct err *err)
{
	_cleanup_cred_buf_ struct buf body = BUF_INIT;
	struct cred_request req = {
		.method = "GET",
		.url = url,
		.headers = headers,
		.ca_bundle = conf->ca_bundle,
		.direct = true,
		.timeout_ms = conf->limits.container_ms,
	};
	long status;
	int ret = cred_http(&req, &status, NULL, &body, err);

	if (ret < 0)
		return ret;
	if (status != 200)
		return err_set(err,
			       status >= 500 || status == 429 ? -EAGAIN
							      : -EACCES,
			       "%s: HTTP %ld", url, status);
	ret = cred_doc_json(body.s, body.len, "Token", out, err);
	if (ret < 0)
		err_prefix(err, "%s", url);
	return ret;
}

int
cred_from_container(const struct cred_conf *conf, struct cred_doc *out,
		    struct err *err)
{
	const char *relative =
		cred_env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = cred_env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	_cleanup_slist_ struct curl_slist *headers = NULL;
	_cleanup_free_ char *url = NULL;
	unsigned tries = 0;
	int ret;

	if (!relative && !full)
		return err_set(err, -ENOENT,
			       "AWS_CONTAINER_CREDENTIALS_*_URI is not set");
	if (relative) {
		if (relative[0] != '/')
			return err_set(err, -EINVAL,
				       "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
				       " does not begin with /");
		url = xasprintf("%s%s", ECS_HOST, relative);
	} else {
		ret = check_full_uri(full, err);
		if (ret < 0)
			return ret;
		url = xstrdup(full);
	}
	ret = container_token(&headers, err);
	if (ret < 0)
		return ret;
	cred_header_add(&headers, "Accept", "application/json");
	for (;;) {
		ret = container_ask(conf, url, headers, out, err);
		if (ret != -EAGAIN ||
		    ++tries >= conf->limits.container_attempts)
			return ret;
		cred_pause(conf->limits.pause_ms);
	}
}

/* --- EC2 ------------------------------------------------------------------- */

struct imds {
	const struct cred_conf *conf;
	bool no_v1;
	char *base; /* no '/' at the end */
	long timeout_ms;
	unsigned attempts;
	struct curl_slist *token; /* header; NULL: version 1 */
};

static void
imds_release(struct imds *m)
{
	free(m->base);
	curl_slist_free_all(m->token);
}

static unsigned
env_number(const char *name, unsigned def)
{
	const char *v = cred_env(name);
	char *end;
	unsigned long n;

	if (!v)
		return def;
	n = strtoul(v, &end, 10);
	return *end || n < 1 || n > 100 ? def : n;
}

static void
imds_init(struct imds *m, const struct cred_conf *conf)
{
	const char *base = cred_env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *mode = cred_env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	size_t n;

	*m = (struct imds){ .conf = conf };
	if (!base)
		base = mode && strcasecmp(mode, "ipv6") == 0
			       ? "http://[fd00:ec2::254]"
			       : "http://169.254.169.254";
	m->base = xstrdup(base);
	for (n = strlen(m->base); n && m->base[n - 1] == '/'; n--)
		m->base[n - 1] = '\0';
	m->timeout_ms = 1000L * env_number("AWS_METADATA_SERVICE_TIMEOUT", 0);
	if (!m->timeout_ms)
		m->timeout_ms = conf->limits.imds_ms;
	m->attempts = env_number("AWS_METADATA_SERVICE_NUM_ATTEMPTS", 1);
	m->no_v1 = cred_env_true("AWS_EC2_METADATA_V1_DISABLED");
}

static int
imds_request(struct imds *m, const char *method, const char *path,
	     struct curl_slist *headers, long *status, bool *connected,
	     struct buf *body, struct err *err)
{
	_cleanup_free_ char *url = xasprintf("%s/latest/%s", m->base, path);
	struct cred_request req = {
		.method = method,
		.url = url,
		.headers = headers,
		.ca_bundle = m->conf->ca_bundle,
		.direct = true,
		.timeout_ms = m->timeout_ms,
	};
	unsigned tries = 0;
	int ret;

	do {
		ret = cred_http(&req, status, connected, body, err);
		if (ret == 0 && *status >= 500)
			ret = err_set(err, -EAGAIN, "%s: HTTP %ld", url,
				      *status);
	} while (ret == -EAGAIN && ++tries < m->attempts);
	return ret;
}

/* One word, as a token and the name of a role are. */
static bool
is_word(const struct buf *b, const char *also_bad)
{
	if (b->len == 0 || b->len > 4096)
		return false;
	for (size_t i = 0; i < b->len; i++)
		if (b->s[i] <= ' ' || b->s[i] >= 0x7f ||
		    strchr(also_bad, b->s[i]))
			return false;
	return true;
}

/*
 * 0 with m->token, or without: version 1 is to be tried.  A token that never
 * arrives is what a bridged container sees at a hop limit of 1.
 */
static int
imds_token(struct imds *m, struct err *err)
{
	_cleanup_slist_ struct curl_slist *ask = NULL;
	_cleanup_cred_buf_ struct buf body = BUF_INIT;
	bool connected;
	long status;
	int ret;

	cred_header_add(&ask, "x-aws-ec2-metadata-token-ttl-seconds", "21600");
	ret = imds_request(m, "PUT", "api/token", ask, &status, &connected,
			   &body, err);
	if (ret == 0 && status == 200) {
		if (!is_word(&body, ""))
			return err_set(err, -EIO,
				       "%s: the session token is garbage",
				       m->base);
		cred_header_add(&m->token, "x-aws-ec2-metadata-token", body.s);
		return 0;
	}
	if (ret == 0 && status != 403 && status != 404 && status != 405)
		return err_set(err, -EIO,
			       "%s: HTTP %ld to the request for a token",
			       m->base, status);
	if (ret < 0 && !connected)
		return ret == -EAGAIN ? -ENOENT : ret;
	if (m->no_v1)
		return err_set(err, -EACCES,
			       "%s: no session token, and version 1 is "
			       "disabled; in a container the instance needs "
			       "HttpPutResponseHopLimit 2",
			       m->base);
	return 0;
}

static int
imds_get(struct imds *m, const char *path, struct buf *body, struct err *err)
{
	long status;
	int ret = imds_request(m, "GET", path, m->token, &status, NULL, body,
			       err);

	if (ret < 0)
		return ret;
	if (status == 200)
		return 0;
	/* Other clouds answer at this address too, with 403 or 404. */
	if (status == 404 || status == 403)
		return err_set(err, -ENOENT, "%s: %s: HTTP %ld", m->base, path,
			       status);
	if (status == 401 && !m->token)
		return err_set(err, -EACCES,
			       "%s: it wants a session token but gave none; in "
			       "a container the instance needs "
			       "HttpPutResponseHopLimit 2",
			       m->base);
	return err_set(err, status == 429 ? -EAGAIN : -EACCES,
		       "%s: %s: HTTP %ld", m->base, path, status);
}

static int
imds_keys(struct imds *m, struct cred_doc *out, struct err *err)
{
	static const char dir[] = "meta-data/iam/security-credentials/";
	_cleanup_cred_buf_ struct buf role = BUF_INIT, body = BUF_INIT;
	_cleanup_free_ char *path = NULL;
	int ret;

	ret = imds_get(m, dir, &role, err);
	if (ret == -ENOENT)
		return err_set(err, -ENOENT, "%s: the instance has no role",
			       m->base);
	if (ret < 0)
		return ret;
	/* Several lines: the first is the instance's. */
	role.s[strcspn(role.s, "\r\n")] = '\0';
	role.len = strlen(role.s);
	if (!is_word(&role, "/?#%\\"))
		return err_set(err, -EIO, "%s: the role's name is garbage",
			       m->base);
	path = xasprintf("%s%s", dir, role.s);
	ret = imds_get(m, path, &body, err);
	if (ret < 0)
		return ret == -ENOENT ? -EAGAIN : ret;
	ret = cred_doc_json(body.s, body.len, "Token", out, err);
	if (ret < 0)
		err_prefix(err, "%s: role %s", m->base, role.s);
	return ret;
}

int
cred_from_imds(const struct cred_conf *conf, struct cred_doc *out,
	       struct err *err)
{
	__attribute__((cleanup(imds_release))) struct imds m = { 0 };
	_cleanup_cred_buf_ struct buf region = BUF_INIT;
	int ret;

	if (cred_env_true("AWS_EC2_METADATA_DISABLED"))
		return err_set(err, -ENOENT,
			       "disabled by AWS_EC2_METADATA_DISABLED");
	imds_init(&m, conf);
	ret = imds_token(&m, err);
	if (ret < 0)
		return ret;
	ret = imds_keys(&m, out, err);
	if (ret < 0)
		return ret;
	if (imds_get(&m, "meta-data/placement/region", &region, NULL) == 0 &&
	    is_word(&region, "/"))
		out->region = xstrdup(region.s);
	return 0;
}
