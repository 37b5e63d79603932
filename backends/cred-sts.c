/* SPDX-License-Identifier: MIT */
/* The keys of a role, from the Security Token Service. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <curl/curl.h>
#include <expat.h>

#include "backends/s3-sign.h"
#include "backends/secret.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

#define TOKEN_FILE_MAX (64 << 10)
#define FIELD_MAX (32 << 10)
#define ATTEMPTS 2

/* --- the answer ------------------------------------------------------------ */

enum field { KEY, SECRET, TOKEN, EXPIRES, CODE, MESSAGE, NFIELDS };
static const char *const field_names[NFIELDS] = {
	"AccessKeyId", "SecretAccessKey", "SessionToken",
	"Expiration",  "Code",		  "Message",
};

struct answer {
	XML_Parser parser;
	struct buf f[NFIELDS];
	struct buf *now; /* the field that is open; NULL = none */
};

static void
answer_release(struct answer *a)
{
	for (int i = 0; i < NFIELDS; i++)
		cred_buf_release(&a->f[i]);
}

static void XMLCALL
on_start(void *arg, const char *name, const char **atts)
{
	struct answer *a = arg;

	a->now = NULL;
	for (int i = 0; i < NFIELDS; i++)
		if (strcmp(name, field_names[i]) == 0 && a->f[i].len == 0)
			a->now = &a->f[i];
	if (a->now)
		buf_reserve(a->now, FIELD_MAX);
}

static void XMLCALL
on_end(void *arg, const char *name)
{
	((struct answer *)arg)->now = NULL;
}

static void XMLCALL
on_text(void *arg, const char *s, int n)
{
	struct answer *a = arg;

	if (!a->now)
		return;
	if (a->now->len + n > FIELD_MAX)
		XML_StopParser(a->parser, XML_FALSE);
	else
		buf_add(a->now, s, n);
}

/* No document of this service has one; it is where entities come from. */
static void XMLCALL
on_doctype(void *arg, const char *name, const char *sysid, const char *pubid,
	   int internal)
{
	XML_StopParser(((struct answer *)arg)->parser, XML_FALSE);
}

static int
parse(struct answer *a, const char *text, size_t len)
{
	static const XML_Memory_Handling_Suite memory = {
		xmalloc, secret_realloc, secret_free
	};
	int ok;

	a->parser = XML_ParserCreate_MM(NULL, &memory, NULL);
	if (!a->parser)
		return -ENOMEM;
	XML_SetUserData(a->parser, a);
	XML_SetElementHandler(a->parser, on_start, on_end);
	XML_SetCharacterDataHandler(a->parser, on_text);
	XML_SetStartDoctypeDeclHandler(a->parser, on_doctype);
	ok = XML_Parse(a->parser, text, len, 1) == XML_STATUS_OK;
	XML_ParserFree(a->parser);
	a->parser = NULL;
	return ok ? 0 : -EIO;
}

static bool
may_pass(long status, const char *code)
{
	return status >= 500 || status == 429 ||
	       strcmp(code, "IDPCommunicationError") == 0 ||
	       strcmp(code, "InvalidIdentityToken") == 0 ||
	       strstr(code, "Throttl") != NULL;
}

int
cred_sts_answer(const char *url, long status, const char *text, size_t len,
		struct cred_doc *out, struct err *err)
{
	__attribute__((cleanup(answer_release))) struct answer a = { 0 };
	_cleanup_err_ struct err why = ERR_INIT;
	int parsed = parse(&a, text, len);

	if (status != 200) {
		const char *code = parsed == 0 ? buf_str(&a.f[CODE]) : "";

		return err_set(err, may_pass(status, code) ? -EAGAIN : -EACCES,
			       "%s: HTTP %ld %.100s: %.300s", url, status, code,
			       parsed == 0 ? buf_str(&a.f[MESSAGE]) : "");
	}
	if (parsed < 0)
		return err_set(err, -EIO, "%s: the answer is not sound XML",
			       url);
	if (cred_time_parse(buf_str(&a.f[EXPIRES]), &out->expires) < 0)
		return err_set(err, -EIO,
			       "%s: the answer has no time of expiry", url);
	if (cred_fill(&out->cred, buf_str(&a.f[KEY]), buf_str(&a.f[SECRET]),
		      buf_str(&a.f[TOKEN]), &why) < 0)
		return err_set(err, -EIO, "%s: in the answer %s", url,
			       err_words(&why));
	return 0;
}

/* --- the request ----------------------------------------------------------- */

static char *
endpoint(const struct cred_conf *conf, const char *region)
{
	const char *url = cred_env("AWS_ENDPOINT_URL_STS");
	char *out;

	if (!url)
		url = cred_env("AWS_ENDPOINT_URL");
	if (cred_env_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"))
		url = NULL;
	if (!url) {
		if (!region)
			return xstrdup("https://sts.amazonaws.com/");
		return xasprintf("https://sts.%s.amazonaws.com%s/", region,
				 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	}
	out = xstrdup(url);
	for (size_t n = strlen(out); n && out[n - 1] == '/'; n--)
		out[n - 1] = '\0';
	url = out;
	out = xasprintf("%s/", url);
	free((char *)url);
	return out;
}

static void
add_param(struct buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	if (b->len)
		buf_addch(b, '&');
	buf_addstr(b, name);
	buf_addch(b, '=');
	s3_uri_encode(b, value, strlen(value), false);
}

static void
role_params(struct buf *b, const struct cred_conf *conf,
	    const struct cred_role *role, const char *action)
{
	_cleanup_free_ char *made_up =
		xasprintf("sharedfs-%" PRId64, conf->now(conf->now_arg));

	add_param(b, "Action", action);
	add_param(b, "Version", "2011-06-15");
	add_param(b, "RoleArn", role->arn);
	add_param(b, "RoleSessionName", role->session ? role->session : made_up);
	add_param(b, "DurationSeconds", role->duration);
	add_param(b, "ExternalId", role->external_id);
}

/* Host and path as curl is going to send them; the caller frees both. */
static int
split_url(const char *url, char **host, char **path)
{
	CURLU *u = curl_url();
	char *h = NULL, *port = NULL, *p = NULL;
	int ret = -EINVAL;

	if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) == 0 &&
	    curl_url_get(u, CURLUPART_HOST, &h, 0) == 0 &&
	    curl_url_get(u, CURLUPART_PATH, &p, 0) == 0) {
		curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
		*host = port ? xasprintf("%s:%s", h, port) : xstrdup(h);
		*path = xstrdup(p);
		ret = 0;
	}
	curl_free(h);
	curl_free(port);
	curl_free(p);
	curl_url_cleanup(u);
	return ret;
}

static int
sign(const struct cred_conf *conf, const char *url, const char *region,
     const struct cred *base, const struct buf *body,
     struct curl_slist **headers, struct err *err)
{
	_cleanup_free_ char *host = NULL, *path = NULL;
	time_t now = conf->now(conf->now_arg);
	char date[17], hash[65];
	char *auth;

	if (split_url(url, &host, &path) < 0)
		return err_set(err, -EINVAL, "%s is no URL", url);
	s3_sign_date(now, date);
	s3_sha256_hex(body->s, body->len, hash);

	const struct s3_hdr h[] = {
		{ "content-type", "application/x-www-form-urlencoded" },
		{ "host", host },
		{ "x-amz-date", date },
		{ "x-amz-security-token", base->token },
	};
	const struct s3_sign_req r = {
		.method = "POST",
		.path = path,
		.query = "",
		.hdrs = h,
		.nhdrs = base->token ? 4 : 3,
		.payload_hash = hash,
		.region = region ? region : "us-east-1",
		.service = "sts",
		.access_key = base->access_key,
		.secret_key = base->secret_key,
		.now = now,
	};

	cred_header_add(headers, "x-amz-date", date);
	if (base->token)
		cred_header_add(headers, "x-amz-security-token", base->token);
	auth = s3_sign(NULL, &r);
	cred_header_add(headers, "authorization", auth);
	free(auth);
	return 0;
}

static int
post(const struct cred_conf *conf, const char *url, const struct buf *body,
     const struct cred *base, const char *region, struct cred_doc *out,
     struct err *err)
{
	struct curl_slist *headers = NULL;
	_cleanup_cred_buf_ struct buf answer = BUF_INIT;
	struct cred_request req = {
		.method = "POST",
		.url = url,
		.body = body->s,
		.ca_bundle = conf->ca_bundle,
		.timeout_ms = conf->limits.sts_ms,
	};
	long status;
	int ret = 0;

	cred_header_add(&headers, "content-type",
		   "application/x-www-form-urlencoded");
	if (base)
		ret = sign(conf, url, region, base, body, &headers, err);
	req.headers = headers;
	if (ret == 0)
		ret = cred_http(&req, &status, NULL, &answer, err);
	if (ret == 0)
		ret = cred_sts_answer(url, status, answer.s, answer.len, out,
				      err);
	curl_slist_free_all(headers);
	return ret;
}

/* base NULL: not signed. */
static int
ask(const struct cred_conf *conf, const struct cred_role *role,
    const struct buf *body, const struct cred *base, struct cred_doc *out,
    struct err *err)
{
	_cleanup_free_ char *url = endpoint(conf, role->region);
	unsigned tries = 0;
	int ret;

	for (;;) {
		ret = post(conf, url, body, base, role->region, out, err);
		if (ret != -EAGAIN || ++tries >= ATTEMPTS)
			return ret;
		cred_pause(conf->limits.pause_ms);
	}
}

int
cred_sts_assume(const struct cred_conf *conf, const struct cred_role *role,
		const struct cred *base, struct cred_doc *out, struct err *err)
{
	_cleanup_buf_ struct buf body = BUF_INIT;
	int ret;

	role_params(&body, conf, role, "AssumeRole");
	ret = ask(conf, role, &body, base, out, err);
	if (ret < 0)
		err_prefix(err, "role %s", role->arn);
	return ret;
}

int
cred_sts_web_identity(const struct cred_conf *conf,
		      const struct cred_role *role, const char *token_file,
		      struct cred_doc *out, struct err *err)
{
	_cleanup_cred_buf_ struct buf token = BUF_INIT, body = BUF_INIT;
	int ret;

	/* Each time anew: it is replaced before it expires. */
	ret = cred_read_file(token_file, TOKEN_FILE_MAX, &token, err);
	if (ret < 0)
		return ret == -ENOENT ? -EINVAL : ret;
	while (token.len && strchr(" \t\r\n", token.s[token.len - 1]))
		token.s[--token.len] = '\0';
	if (!token.len)
		return err_set(err, -EINVAL, "%s is empty", token_file);
	buf_reserve(&body, 3 * token.len + 8192);
	role_params(&body, conf, role, "AssumeRoleWithWebIdentity");
	add_param(&body, "WebIdentityToken", token.s);
	ret = ask(conf, role, &body, NULL, out, err);
	if (ret < 0)
		err_prefix(err, "role %s by web identity", role->arn);
	return ret;
}
