/* SPDX-License-Identifier: MIT */
/* See s3-sign.h. */
#include <config.h>

#include "backends/s3-sign.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/secret.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

void
s3_sign_cache_init(struct s3_sign_cache *c)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
}

void
s3_sign_cache_release(struct s3_sign_cache *c)
{
	OPENSSL_cleanse(c->key, sizeof(c->key));
	pthread_mutex_destroy(&c->lock);
}

void
s3_sign_date(time_t t, char out[17])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	if (strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm) == 0)
		out[0] = '\0';
}

void
s3_uri_encode(struct buf *b, const char *s, size_t n, bool keep_slash)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < n; i++) {
		unsigned char c = s[i];

		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    (c >= '0' && c <= '9') || c == '-' || c == '.' ||
		    c == '_' || c == '~' || (c == '/' && keep_slash)) {
			buf_addch(b, c);
		} else {
			buf_addch(b, '%');
			buf_addch(b, hex[c >> 4]);
			buf_addch(b, hex[c & 15]);
		}
	}
}

void
s3_hex(const unsigned char *p, size_t n, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = hex[p[i] >> 4];
		out[2 * i + 1] = hex[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static void
sha256(const void *p, size_t n, unsigned char out[32])
{
	unsigned int len = 32;
	int ok = EVP_Digest(p, n, out, &len, EVP_sha256(), NULL);

	/* A libcrypto without SHA-256 can't serve us at all. */
	if (ok != 1)
		abort();
}

void
s3_sha256_hex(const void *p, size_t n, char out[65])
{
	unsigned char d[32];

	sha256(p, n, d);
	s3_hex(d, sizeof(d), out);
}

static void
hmac(const void *key, size_t klen, const char *s, size_t n,
     unsigned char out[32])
{
	unsigned int len = 32;

	if (!HMAC(EVP_sha256(), key, klen, (const unsigned char *)s, n, out,
		  &len))
		abort();
}

static void
derive(const struct s3_sign_req *r, const char *day, unsigned char out[32])
{
	_cleanup_secret_ char *first =
		secret_concat("AWS4", r->secret_key, NULL);
	unsigned char k[32];

	hmac(first, strlen(first), day, 8, k);
	hmac(k, 32, r->region, strlen(r->region), k);
	hmac(k, 32, r->service, strlen(r->service), k);
	hmac(k, 32, "aws4_request", 12, out);
	OPENSSL_cleanse(k, sizeof(k));
}

static void
signing_key(struct s3_sign_cache *c, const struct s3_sign_req *r,
	    const char *day, unsigned char out[32])
{
	_cleanup_secret_ char *what = NULL;
	unsigned char id[32];

	if (!c) {
		derive(r, day, out);
		return;
	}
	what = secret_concat(day, "/", r->region, "/", r->service, "/",
			     r->access_key, "/", r->secret_key, NULL);
	sha256(what, strlen(what), id);
	pthread_mutex_lock(&c->lock);
	if (!c->valid || memcmp(c->id, id, sizeof(id)) != 0) {
		derive(r, day, c->key);
		memcpy(c->id, id, sizeof(id));
		c->valid = true;
	}
	memcpy(out, c->key, 32);
	pthread_mutex_unlock(&c->lock);
}

static int
hdr_cmp(const void *a, const void *b)
{
	return strcmp(((const struct s3_hdr *)a)->name,
		      ((const struct s3_hdr *)b)->name);
}

/* Trimmed, runs of blanks become one. */
static void
add_value(struct buf *b, const char *v)
{
	bool blank = false;

	while (*v == ' ' || *v == '\t')
		v++;
	for (; *v; v++) {
		if (*v == ' ' || *v == '\t') {
			blank = true;
			continue;
		}
		if (blank)
			buf_addch(b, ' ');
		blank = false;
		buf_addch(b, *v);
	}
}

char *
s3_sign(struct s3_sign_cache *cache, const struct s3_sign_req *r)
{
	_cleanup_free_ struct s3_hdr *h = xcalloc(r->nhdrs, sizeof(*h));
	_cleanup_buf_ struct buf canon = BUF_INIT, names = BUF_INIT,
				 todo = BUF_INIT;
	unsigned char key[32], mac[32];
	char date[17], day[9], digest[65], sig[65];
	size_t most = strlen(r->path) + strlen(r->query);
	char *out;

	s3_sign_date(r->now, date);
	snprintf(day, sizeof(day), "%.8s", date);
	memcpy(h, r->hdrs, r->nhdrs * sizeof(*h));
	qsort(h, r->nhdrs, sizeof(*h), hdr_cmp);
	/* A header may be the session token: a buffer that grows would leave
	 * copies of it. */
	for (size_t i = 0; i < r->nhdrs; i++)
		most += 2 * strlen(h[i].name) + strlen(h[i].value) + 4;
	buf_reserve(&canon, most + strlen(r->method) + strlen(r->payload_hash) +
				    8);
	buf_addf(&canon, "%s\n%s\n%s\n", r->method, r->path, r->query);
	for (size_t i = 0; i < r->nhdrs; i++) {
		buf_addf(&canon, "%s:", h[i].name);
		add_value(&canon, h[i].value);
		buf_addch(&canon, '\n');
		buf_addf(&names, "%s%s", i ? ";" : "", h[i].name);
	}
	buf_addf(&canon, "\n%s\n%s", buf_str(&names), r->payload_hash);

	s3_sha256_hex(canon.s, canon.len, digest);
	OPENSSL_cleanse(canon.s, canon.len);
	buf_addf(&todo, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s",
		 date, date, r->region, r->service, digest);
	signing_key(cache, r, day, key);
	hmac(key, 32, todo.s, todo.len, mac);
	OPENSSL_cleanse(key, sizeof(key));
	s3_hex(mac, sizeof(mac), sig);
	out = xasprintf("AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/"
			"aws4_request,SignedHeaders=%s,Signature=%s",
			r->access_key, date, r->region, r->service,
			buf_str(&names), sig);
	return out;
}
