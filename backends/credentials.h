/* SPDX-License-Identifier: MIT */
/*
 * Keys for S3: where they come from, and fresh ones ahead of expiry.
 *
 * The order is that of the AWS tools: the option passwd_file, environment
 * (unless the option profile is given), profile with a role, web identity,
 * profile files and credential_process, container endpoint, instance metadata.
 * The first that has keys is kept and asked again when they get old.
 *
 * Secrets are never logged, never in words of an error, and wiped when freed.
 */
#ifndef BACKENDS_CREDENTIALS_H
#define BACKENDS_CREDENTIALS_H

#include "backends/backend.h"
#include "common/err.h"

struct cred {
	char *access_key, *secret_key;
	char *token; /* NULL = none */
};
#define CRED_INIT                                                              \
	{                                                                      \
		NULL, NULL, NULL                                               \
	}

struct cred_chain;

/*
 * Takes the options passwd_file, profile and ca_bundle.  Reads no file and
 * asks nobody yet.  bucket: whose line of passwd_file is meant.
 */
int cred_chain_new(const struct be_config *cfg, const char *bucket,
		   struct cred_chain **out, struct err *err);
void cred_chain_free(struct cred_chain *c); /* no call under way; NULL is fine */

/*
 * A copy for the caller, to be released.  May wait for the network when there
 * is no valid key, or briefly when one gets old; any thread, one of them asks
 * and the others wait or use the old key as long as it is valid.
 * -EAGAIN: a source failed that may answer later.  -EACCES: no source has
 * keys; the words list what was tried.  -EPERM: passwd_file is readable by
 * others.  -EINVAL: what is configured can't be understood.
 */
int cred_get(struct cred_chain *c, struct cred *out, struct err *err);

/* The store refused these keys as expired or unknown: the next cred_get asks
 * the source again.  Nothing happens if newer keys are here already. */
void cred_invalidate(struct cred_chain *c, const struct cred *used);

/* Somebody says that there are other keys now: the next cred_get asks the
 * source, and goes on with the old ones if that fails and they are valid. */
void cred_forget(struct cred_chain *c);

void cred_release(struct cred *c); /* wipes; empty again */

static inline void
cred_releasep(struct cred *c)
{
	cred_release(c);
}
#define _cleanup_cred_ __attribute__((cleanup(cred_releasep)))

/*
 * AWS_REGION, AWS_DEFAULT_REGION, the profile's, the instance's (known after
 * the first cred_get).  NULL = not known.  Valid until the chain is freed.
 */
const char *cred_region(struct cred_chain *c);

#endif
