/* SPDX-License-Identifier: MIT */
/* See s3-error.h. */
#include <config.h>

#include "backends/s3-error.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"

const struct s3_errno s3_errno_table[] = {
#define S3_CODE(c, e, k) { c, 0, e, S3_CLASS_##k },
#define S3_STATUS(s, e, k) { NULL, s, e, S3_CLASS_##k },
#include "backends/s3-errno.def"
#undef S3_CODE
#undef S3_STATUS
};
const size_t s3_errno_count =
	sizeof(s3_errno_table) / sizeof(s3_errno_table[0]);

const struct s3_errno *
s3_errno_code(const char *code)
{
	for (size_t i = 0; i < s3_errno_count; i++)
		if (s3_errno_table[i].code &&
		    strcmp(s3_errno_table[i].code, code) == 0)
			return &s3_errno_table[i];
	return NULL;
}

const struct s3_errno *
s3_errno_status(int status)
{
	static const struct s3_errno client = { NULL, 0, EIO, S3_CLASS_FINAL };
	static const struct s3_errno server = { NULL, 0, EIO, S3_CLASS_LATER };

	for (size_t i = 0; i < s3_errno_count; i++)
		if (s3_errno_table[i].status == status)
			return &s3_errno_table[i];
	return status >= 500 ? &server : &client;
}

void
s3_error_release(struct s3_error *e)
{
	s3_xml_error_release(&e->xml);
	free(e->words);
	memset(e, 0, sizeof(*e));
}

/* No answer: which of curl's failures pass by themselves? */
static void
from_curl(const struct s3_reply *r, struct s3_error *out)
{
	const char *cure = "";

	if (r->source) {
		/* The store is not to blame, and did not get all of it. */
		out->code = r->source;
		out->class = S3_CLASS_FINAL;
		out->words = xasprintf("reading the bytes to send: %s",
				       r->source == -ENODATA ?
					       "the file became shorter" :
					       strerror(-r->source));
		return;
	}
	out->code = -EIO;
	out->class = S3_CLASS_LATER;
	out->unclear = r->curl >= 0;
	switch (r->curl) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		cure = " (no such name in DNS: check endpoint=)";
		out->unclear = false;
		break;
	case CURLE_COULDNT_CONNECT:
		cure = " (is the server running, is endpoint= right?)";
		out->unclear = false;
		break;
	case CURLE_OPERATION_TIMEDOUT:
		out->code = -ETIMEDOUT;
		break;
	case CURLE_SSL_CONNECT_ERROR:
		cure = " (does the endpoint speak https on this port?)";
		out->unclear = false;
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		cure = " (the server's certificate is not trusted: give its CA"
		       " with ca_bundle=FILE, or the right name in endpoint=)";
		out->class = S3_CLASS_FINAL;
		out->unclear = false;
		break;
	case CURLE_SSL_CACERT_BADFILE:
		cure = " (ca_bundle= must be a PEM file)";
		out->class = S3_CLASS_FINAL;
		out->unclear = false;
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
		cure = " (does the endpoint speak HTTP on this port?)";
		break;
	case CURLE_URL_MALFORMAT:
		cure = " (endpoint= must be http://host[:port] or https://…)";
		out->class = S3_CLASS_FINAL;
		out->unclear = false;
		break;
	default:
		break;
	}
	out->words = xasprintf("%s%s", r->words ? r->words : "no answer", cure);
}

static bool
is_document(const struct s3_reply *r)
{
	size_t i = 0;

	while (i < r->body.len && strchr(" \t\r\n", r->body.s[i]))
		i++;
	return i < r->body.len && r->body.s[i] == '<';
}

void
s3_error_from(const struct s3_reply *r, struct s3_error *out)
{
	const struct s3_errno *e = NULL;
	int status = r->status;

	s3_error_release(out);
	out->status = status;
	if (status == 0) {
		from_curl(r, out);
		return;
	}
	if (is_document(r) &&
	    (status >= 300 || memmem(r->body.s, r->body.len, "<Error", 6))) {
		if (s3_xml_error(r->body.s, r->body.len, &out->xml) == 0)
			e = s3_errno_code(out->xml.code);
	}
	if ((status < 300 && !out->xml.code) || status == 304)
		return;
	/* An <Error> under 200 that we don't know: as a 500. */
	if (!e)
		e = s3_errno_status(status < 300 ? 500 : status);
	/* A server that is down behind its proxy: believe the status. */
	if (status >= 500 && status != 501 && status != 507 &&
	    e->class == S3_CLASS_FINAL)
		e = s3_errno_status(status);
	out->code = -e->err;
	out->class = e->class;
	out->unclear = status >= 500 || status < 300;
	out->words = out->xml.code ?
			     xasprintf("%d %s%s%s", status, out->xml.code,
				       out->xml.message && *out->xml.message ?
					       ": " : "",
				       out->xml.message ? out->xml.message : "") :
			     xasprintf("HTTP status %d", status);
}
