/* SPDX-License-Identifier: MIT */
/* Digests of what is sent and received, several in one pass. */
#ifndef BACKENDS_S3_DIGEST_H
#define BACKENDS_S3_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The checksum= option. */
enum s3_sum {
	S3_SUM_AUTO,
	S3_SUM_NONE,
	S3_SUM_MD5, /* Content-MD5 */
	S3_SUM_SHA256,
	S3_SUM_CRC32C,
	S3_SUM_CRC64NVME,
};
/* "x-amz-checksum-…"; NULL for AUTO, NONE and MD5. */
const char *s3_sum_header(enum s3_sum sum);
/* For x-amz-checksum-algorithm: "CRC64NVME"; NULL likewise. */
const char *s3_sum_name(enum s3_sum sum);

/* Tables of the two CRCs; the hashes are OpenSSL's. */
struct s3_crc;
struct s3_crc *s3_crc_new(void);
void s3_crc_free(struct s3_crc *t);
uint64_t s3_crc64nvme(const struct s3_crc *t, uint64_t crc, const void *p,
		      size_t n); /* start with 0 */
uint32_t s3_crc32c(const struct s3_crc *t, uint32_t crc, const void *p,
		   size_t n);

enum { S3_WANT_MD5 = 1, S3_WANT_SHA256 = 2 };
struct s3_digest {
	const struct s3_crc *crc;
	enum s3_sum sum;
	void *md5, *sha; /* contexts; NULL = not wanted */
	uint32_t crc32;
	uint64_t crc64;
	/* after final() */
	char md5_hex[33], md5_b64[25];
	char sha_hex[65];
	char sum_b64[45]; /* of sum, if it has a header */
};
/* Wants md5 and sha256 by the mask, and what sum needs. */
void s3_digest_init(struct s3_digest *d, const struct s3_crc *crc,
		    unsigned mask, enum s3_sum sum);
void s3_digest_add(struct s3_digest *d, const void *p, size_t n);
void s3_digest_final(struct s3_digest *d);
void s3_digest_release(struct s3_digest *d);
#define _cleanup_digest_ __attribute__((cleanup(s3_digest_release)))
/* Adds a range of a file: 0 or -errno, -ENODATA when it is too short. */
int s3_digest_fd(struct s3_digest *d, int fd, uint64_t off, uint64_t len);

#endif
