/* SPDX-License-Identifier: MIT */
/* One small HTTP request to a service that hands out keys. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>

#include "backends/secret.h"
#include "common/clock.h"

/* Answers are about 2 KiB; a token may make them larger. */
#define ANSWER_MAX (128 << 10)

void
cred_header_add(struct curl_slist **l, const char *name, const char *value)
{
	_cleanup_secret_ char *line = secret_concat(name, ": ", value, NULL);

	*l = curl_slist_append(*l, line);
}

static size_t
take(char *p, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;

	if (n > ANSWER_MAX - b->len)
		return 0;
	buf_add(b, p, n);
	return n;
}

static int
perform(CURL *e, const struct cred_request *req, long *status, bool *connected,
	struct buf *body, struct err *err)
{
	char words[CURL_ERROR_SIZE] = "";
	curl_off_t connect_us = 0;
	CURLcode rc;

	curl_easy_setopt(e, CURLOPT_URL, req->url);
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, req->headers);
	if (req->body)
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, req->body);
	if (req->direct)
		curl_easy_setopt(e, CURLOPT_PROXY, "");
	if (req->ca_bundle)
		curl_easy_setopt(e, CURLOPT_CAINFO, req->ca_bundle);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, req->timeout_ms);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, body);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, words);
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(e, CURLOPT_PROTOCOLS,
			 (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
	rc = curl_easy_perform(e);
	curl_easy_getinfo(e, CURLINFO_CONNECT_TIME_T, &connect_us);
	if (connected)
		*connected = connect_us > 0;
	if (rc == CURLE_WRITE_ERROR)
		return err_set(err, -EAGAIN, "%s: the answer is too long",
			       req->url);
	if (rc != CURLE_OK)
		return err_set(err, -EAGAIN, "%s: %s", req->url,
			       words[0] ? words : curl_easy_strerror(rc));
	curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, status);
	return 0;
}

int
cred_http(const struct cred_request *req, long *status, bool *connected,
	  struct buf *body, struct err *err)
{
	CURL *e = curl_easy_init();
	int ret;

	if (connected)
		*connected = false;
	if (!e)
		return err_set(err, -ENOMEM, "curl can't be set up");
	buf_reset(body);
	buf_reserve(body, ANSWER_MAX); /* never moves: no copy is left behind */
	ret = perform(e, req, status, connected, body, err);
	curl_easy_cleanup(e);
	return ret;
}

void
cred_pause(long ms)
{
	struct timespec t = ns_timespec(ms * NSEC_PER_MSEC);

	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}
