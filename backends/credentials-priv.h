/* SPDX-License-Identifier: MIT */
/* What the sources of credentials.h share among themselves. */
#ifndef BACKENDS_CREDENTIALS_PRIV_H
#define BACKENDS_CREDENTIALS_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/credentials.h"
#include "common/buf.h"

/* Keys as a source hands them out. */
struct cred_doc {
	struct cred cred;
	int64_t expires; /* Unix seconds; 0 = never */
	char *region;	 /* if the source knows; else NULL */
};
#define CRED_DOC_INIT                                                          \
	{                                                                      \
		CRED_INIT, 0, NULL                                             \
	}
void cred_doc_release(struct cred_doc *d); /* wipes */
#define _cleanup_cred_doc_ __attribute__((cleanup(cred_doc_release)))

/* Limits of waiting; the defaults are those of the AWS tools. */
struct cred_limits {
	long imds_ms; /* AWS_METADATA_SERVICE_TIMEOUT goes before it */
	long container_ms;
	unsigned container_attempts;
	long pause_ms; /* between attempts */
	long sts_ms;
	long process_ms;
};

/* What a source may know.  Not changed after cred_chain_new. */
struct cred_conf {
	char *bucket;
	char *passwd_file;  /* NULL = not given */
	char *profile;	    /* never NULL */
	bool profile_given; /* by option or AWS_PROFILE: it must exist */
	bool no_env;	    /* by option: goes before the environment */
	char *ca_bundle;    /* NULL = the system's */
	struct cred_limits limits;
	int64_t (*now)(void *arg); /* Unix seconds */
	void *now_arg;
};

/*
 * A source.  0: *out is filled.  -ENOENT: nothing is configured here, words
 * say what was looked for, the next source is asked.  Any other error ends the
 * search; -EAGAIN: may succeed later.
 */
typedef int cred_source_fn(const struct cred_conf *conf, struct cred_doc *out,
			   struct err *err);
cred_source_fn cred_from_passwd, cred_from_env, cred_from_role_profile,
	cred_from_web_identity, cred_from_profile, cred_from_container,
	cred_from_imds;

/* For tests: before the first cred_get. */
struct cred_conf *cred_chain_conf(struct cred_chain *c);

/* --- cred-doc.c ------------------------------------------------------------ */

const char *cred_env(const char *name); /* NULL also when empty */
bool cred_env_true(const char *name);
/* The directory of the user's own files; NULL = none.  Caller frees. */
char *cred_home(void);
void cred_buf_release(struct buf *b); /* wipes */
#define _cleanup_cred_buf_ __attribute__((cleanup(cred_buf_release)))
/* At most max bytes; -EFBIG above.  -ENOENT and others as of open(2). */
int cred_read_file(const char *path, size_t max, struct buf *out,
		   struct err *err);
/* "2026-11-20T18:00:00Z", with a fraction or an offset too.  0 or -EINVAL. */
int cred_time_parse(const char *s, int64_t *out);
/* Copies; -EINVAL when one is missing or has bytes that can't be sent. */
int cred_fill(struct cred *out, const char *access_key, const char *secret,
	      const char *token, struct err *err);
/* AccessKeyId, SecretAccessKey, Expiration and the token by token_name.
 * -EIO with words for anything else, also for Code and Message. */
int cred_doc_json(const char *text, size_t len, const char *token_name,
		  struct cred_doc *out, struct err *err);

/* --- cred-http.c ----------------------------------------------------------- */

struct curl_slist;
struct cred_request {
	const char *method; /* "GET", "PUT", "POST" */
	const char *url;
	const char *body;	  /* NULL = none */
	struct curl_slist *headers; /* not taken over */
	const char *ca_bundle;	  /* NULL = the system's */
	bool direct;		  /* no proxy: it is a link-local address */
	long timeout_ms;
};
/* The line that it makes in between is wiped. */
void cred_header_add(struct curl_slist **l, const char *name,
		     const char *value);
/*
 * One request, no redirects.  0: *status and the body (short; wiped by the
 * caller).  -EAGAIN: no answer; *connected tells whether somebody listens.
 */
int cred_http(const struct cred_request *req, long *status, bool *connected,
	      struct buf *body, struct err *err);
void cred_pause(long ms);

/* --- cred-sts.c ------------------------------------------------------------ */

struct cred_role {
	const char *arn;
	const char *session;	 /* NULL: made up */
	const char *external_id; /* NULL = none */
	const char *duration;	 /* seconds; NULL = the service's default */
	const char *region;	 /* NULL: the global endpoint */
};
int cred_sts_assume(const struct cred_conf *conf, const struct cred_role *role,
		    const struct cred *base, struct cred_doc *out,
		    struct err *err);
int cred_sts_web_identity(const struct cred_conf *conf,
			  const struct cred_role *role, const char *token_file,
			  struct cred_doc *out, struct err *err);

/* What was answered with this HTTP status; url only for words. */
int cred_sts_answer(const char *url, long status, const char *text, size_t len,
		    struct cred_doc *out, struct err *err);

/* --- cred-process.c -------------------------------------------------------- */

/* Runs it without a shell and reads its JSON. */
int cred_process(const struct cred_conf *conf, const char *command,
		 struct cred_doc *out, struct err *err);
/* Words of a command line with '…', "…" and \; NULL-terminated.  -EINVAL: a
 * quote is open or there is no word. */
int cred_split(const char *command, char ***argv);
void cred_argv_free(char **argv);

/* --- cred-profile.c -------------------------------------------------------- */

/* The profile's value of a key that is no secret; caller frees; NULL = none. */
char *cred_profile_value(const struct cred_conf *conf, const char *key);

#endif
