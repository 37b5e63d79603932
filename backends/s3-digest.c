/* SPDX-License-Identifier: MIT */
/* See s3-digest.h. */
#include <config.h>

#include "backends/s3-digest.h"

#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/s3-sign.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

#define POLY_CRC32C UINT32_C(0x82f63b78)
#define POLY_CRC64NVME UINT64_C(0x9a6c9329ac4bc9b5)

/* t[k][b]: the effect of byte b that is k bytes further on. */
struct s3_crc {
	uint32_t c[8][256];
	uint64_t n[8][256];
};

struct s3_crc *
s3_crc_new(void)
{
	struct s3_crc *t = xmalloc(sizeof(*t));

	for (unsigned b = 0; b < 256; b++) {
		uint32_t c = b;
		uint64_t n = b;

		for (int i = 0; i < 8; i++) {
			c = c & 1 ? c >> 1 ^ POLY_CRC32C : c >> 1;
			n = n & 1 ? n >> 1 ^ POLY_CRC64NVME : n >> 1;
		}
		t->c[0][b] = c;
		t->n[0][b] = n;
	}
	for (unsigned b = 0; b < 256; b++)
		for (int k = 1; k < 8; k++) {
			t->c[k][b] = t->c[k - 1][b] >> 8 ^
				     t->c[0][t->c[k - 1][b] & 255];
			t->n[k][b] = t->n[k - 1][b] >> 8 ^
				     t->n[0][t->n[k - 1][b] & 255];
		}
	return t;
}

void
s3_crc_free(struct s3_crc *t)
{
	free(t);
}

uint64_t
s3_crc64nvme(const struct s3_crc *t, uint64_t crc, const void *data, size_t n)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		crc ^= le64toh(v);
		crc = t->n[7][crc & 255] ^ t->n[6][crc >> 8 & 255] ^
		      t->n[5][crc >> 16 & 255] ^ t->n[4][crc >> 24 & 255] ^
		      t->n[3][crc >> 32 & 255] ^ t->n[2][crc >> 40 & 255] ^
		      t->n[1][crc >> 48 & 255] ^ t->n[0][crc >> 56];
	}
	while (n--)
		crc = crc >> 8 ^ t->n[0][(crc ^ *p++) & 255];
	return ~crc;
}

uint32_t
s3_crc32c(const struct s3_crc *t, uint32_t crc, const void *data, size_t n)
{
	const unsigned char *p = data;

	crc = ~crc;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		v = le64toh(v) ^ crc;
		crc = t->c[7][v & 255] ^ t->c[6][v >> 8 & 255] ^
		      t->c[5][v >> 16 & 255] ^ t->c[4][v >> 24 & 255] ^
		      t->c[3][v >> 32 & 255] ^ t->c[2][v >> 40 & 255] ^
		      t->c[1][v >> 48 & 255] ^ t->c[0][v >> 56];
	}
	while (n--)
		crc = crc >> 8 ^ t->c[0][(crc ^ *p++) & 255];
	return ~crc;
}

const char *
s3_sum_header(enum s3_sum sum)
{
	switch (sum) {
	case S3_SUM_SHA256:
		return "x-amz-checksum-sha256";
	case S3_SUM_CRC32C:
		return "x-amz-checksum-crc32c";
	case S3_SUM_CRC64NVME:
		return "x-amz-checksum-crc64nvme";
	default:
		return NULL;
	}
}

const char *
s3_sum_name(enum s3_sum sum)
{
	switch (sum) {
	case S3_SUM_SHA256:
		return "SHA256";
	case S3_SUM_CRC32C:
		return "CRC32C";
	case S3_SUM_CRC64NVME:
		return "CRC64NVME";
	default:
		return NULL;
	}
}

static void *
hash_new(const EVP_MD *md)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (!c || EVP_DigestInit_ex(c, md, NULL) != 1)
		abort();
	return c;
}

void
s3_digest_init(struct s3_digest *d, const struct s3_crc *crc, unsigned mask,
	       enum s3_sum sum)
{
	memset(d, 0, sizeof(*d));
	d->crc = crc;
	d->sum = sum;
	if ((mask & S3_WANT_MD5) || sum == S3_SUM_MD5)
		d->md5 = hash_new(EVP_md5());
	if ((mask & S3_WANT_SHA256) || sum == S3_SUM_SHA256)
		d->sha = hash_new(EVP_sha256());
}

void
s3_digest_add(struct s3_digest *d, const void *p, size_t n)
{
	if (d->md5)
		EVP_DigestUpdate(d->md5, p, n);
	if (d->sha)
		EVP_DigestUpdate(d->sha, p, n);
	if (d->sum == S3_SUM_CRC32C)
		d->crc32 = s3_crc32c(d->crc, d->crc32, p, n);
	else if (d->sum == S3_SUM_CRC64NVME)
		d->crc64 = s3_crc64nvme(d->crc, d->crc64, p, n);
}

static void
base64(const unsigned char *p, size_t n, char *out)
{
	EVP_EncodeBlock((unsigned char *)out, p, n);
}

void
s3_digest_final(struct s3_digest *d)
{
	unsigned char h[EVP_MAX_MD_SIZE];

	if (d->md5) {
		EVP_DigestFinal_ex(d->md5, h, NULL);
		s3_hex(h, 16, d->md5_hex);
		base64(h, 16, d->md5_b64);
	}
	if (d->sha) {
		EVP_DigestFinal_ex(d->sha, h, NULL);
		s3_hex(h, 32, d->sha_hex);
		if (d->sum == S3_SUM_SHA256)
			base64(h, 32, d->sum_b64);
	}
	if (d->sum == S3_SUM_CRC32C) {
		uint32_t v = htobe32(d->crc32);

		base64((unsigned char *)&v, 4, d->sum_b64);
	} else if (d->sum == S3_SUM_CRC64NVME) {
		uint64_t v = htobe64(d->crc64);

		base64((unsigned char *)&v, 8, d->sum_b64);
	}
}

void
s3_digest_release(struct s3_digest *d)
{
	EVP_MD_CTX_free(d->md5);
	EVP_MD_CTX_free(d->sha);
	d->md5 = d->sha = NULL;
}

int
s3_digest_fd(struct s3_digest *d, int fd, uint64_t off, uint64_t len)
{
	const size_t size = 256 * 1024;
	_cleanup_free_ char *p = xmalloc(size);

	while (len) {
		ssize_t n = pread(fd, p, len < size ? len : size, off);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -ENODATA;
		s3_digest_add(d, p, n);
		off += n;
		len -= n;
	}
	return 0;
}
