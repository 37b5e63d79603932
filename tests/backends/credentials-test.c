/* SPDX-License-Identifier: MIT */
/*
 * backends/credentials.h: every source against a stand-in of its service, and
 * keys that get old.  No words of an error ever hold a secret: all secrets
 * here contain "s3cr3t", and check_fails() looks for it.
 */
#include <config.h>

#include "backends/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/cred-ini.h"
#include "backends/credentials-priv.h"
#include "backends/s3-sign.h"
#include "common/cleanup.h"
#include "common/xalloc.h"
#include "tests/lib/standin.h"
#include "tests/lib/unit.h"

#define NOW INT64_C(1800000000) /* 2027-01-15T08:00:00Z */
#define IN_1H "2027-01-15T09:00:00Z"
#define IN_2H "2027-01-15T10:00:00Z"

static struct standin *web;
static char home[] = "/tmp/sharedfs-cred-XXXXXX";
static atomic_llong the_time;
/* How long an endpoint is waited for.  Short only where it does not answer: the
 * machine may be busy. */
static long patience_ms;
#define PATIENCE_MS 20000
#define NO_ANSWER_MS 300

static int64_t
test_now(void *arg)
{
	return the_time;
}

/* --- helpers --------------------------------------------------------------- */

struct opts {
	const char *passwd_file, *profile;
};

static const char *
get_opt(void *arg, const char *name)
{
	const struct opts *o = arg;

	if (strcmp(name, "passwd_file") == 0)
		return o->passwd_file;
	if (strcmp(name, "profile") == 0)
		return o->profile;
	return NULL;
}

static struct cred_chain *
chain_with(const char *passwd_file, const char *profile)
{
	struct opts o = { passwd_file, profile };
	struct be_config cfg = { get_opt, &o };
	struct cred_chain *c;
	struct cred_conf *conf;

	assert_int_equal(cred_chain_new(&cfg, "mybucket", &c, NULL), 0);
	conf = cred_chain_conf(c);
	conf->now = test_now;
	conf->limits = (struct cred_limits){
		.imds_ms = patience_ms,
		.container_ms = patience_ms,
		.container_attempts = 3,
		.pause_ms = 1,
		.sts_ms = patience_ms,
		.process_ms = 5000,
	};
	return c;
}

static struct cred_chain *
chain(void)
{
	return chain_with(NULL, NULL);
}

static void
check_keys(struct cred_chain *c, const char *key, const char *secret,
	   const char *token)
{
	_cleanup_cred_ struct cred k = CRED_INIT;
	_cleanup_err_ struct err err = ERR_INIT;

	if (cred_get(c, &k, &err) < 0)
		fail_msg("%s", err_words(&err));
	assert_string_equal(k.access_key, key);
	assert_string_equal(k.secret_key, secret);
	if (token)
		assert_string_equal(k.token, token);
	else
		assert_null(k.token);
}

static void
check_fails(struct cred_chain *c, int code, const char *words)
{
	_cleanup_cred_ struct cred k = CRED_INIT;
	_cleanup_err_ struct err err = ERR_INIT;
	int ret = cred_get(c, &k, &err);

	if (ret != code || !strstr(err_words(&err), words) ||
	    strstr(err_words(&err), "s3cr3t"))
		fail_msg("expected %d and \"%s\", got %d: %s", code, words, ret,
			 err_words(&err));
	assert_null(k.access_key);
	assert_null(k.secret_key);
}

/* The same for a chain of its own. */
static void
fails(int code, const char *words)
{
	struct cred_chain *c = chain();

	check_fails(c, code, words);
	cred_chain_free(c);
}

static void
gives(const char *key, const char *secret, const char *token)
{
	struct cred_chain *c = chain();

	check_keys(c, key, secret, token);
	cred_chain_free(c);
}

static char *
in_home(const char *name)
{
	return xasprintf("%s/%s", home, name);
}

static char *
put_file(const char *name, mode_t mode, const char *text)
{
	char *path = in_home(name);
	FILE *f;

	unlink(path);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static void
write_home(const char *name, const char *text)
{
	free(put_file(name, 0600, text));
}

static void
setenv_url(const char *name, const char *path)
{
	_cleanup_free_ char *v = xasprintf("%s%s", standin_url(web), path);

	setenv(name, v, 1);
}

#define NEED_WEB()                                                             \
	do {                                                                   \
		if (!web)                                                      \
			skip();                                                \
	} while (0)

static int
setup(void **state)
{
	static const char *const names[] = {
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
		"AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE",
		"AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
		"AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_STS", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
		"AWS_EC2_METADATA_V1_DISABLED", "AWS_CA_BUNDLE",
		"AWS_METADATA_SERVICE_TIMEOUT",
		"AWS_METADATA_SERVICE_NUM_ATTEMPTS", "http_proxy",
		"https_proxy", "all_proxy", "ALL_PROXY", "HTTPS_PROXY",
	};
	static const char *const files[] = {
		".aws/credentials", ".aws/config", "passwd", "token", "jwt",
	};

	patience_ms = PATIENCE_MS;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		_cleanup_free_ char *path = in_home(files[i]);

		unlink(path);
	}
	setenv("HOME", home, 1);
	setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
	the_time = NOW;
	if (web)
		standin_clear(web);
	return 0;
}

/* --- environment ----------------------------------------------------------- */

static void
environment(void **state)
{
	struct cred_chain *c;

	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t/env", 1);
	gives("AKENV", "s3cr3t/env", NULL);
	setenv("AWS_SESSION_TOKEN", "TOKEN", 1);
	gives("AKENV", "s3cr3t/env", "TOKEN");
	c = chain();
	assert_null(cred_region(c));
	setenv("AWS_DEFAULT_REGION", "eu-north-1", 1);
	assert_string_equal(cred_region(c), "eu-north-1");
	setenv("AWS_REGION", "eu-west-1", 1);
	assert_string_equal(cred_region(c), "eu-west-1");
	cred_chain_free(c);

	setenv("AWS_SESSION_TOKEN", "TO\r\nKEN: s3cr3t", 1);
	fails(-EINVAL, "blanks");
	unsetenv("AWS_SESSION_TOKEN");
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t\n", 1);
	fails(-EINVAL, "control characters");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	fails(-EINVAL, "secret key is missing");
}

static void
nothing_anywhere(void **state)
{
	fails(-EACCES, "none found; tried passwd_file");
	fails(-EACCES, "AWS_ACCESS_KEY_ID is not set");
	fails(-EACCES, "disabled by AWS_EC2_METADATA_DISABLED");
}

/* --- passwd_file ----------------------------------------------------------- */

static void
passwd_is(mode_t mode, const char *text, int code, const char *key_or_words)
{
	_cleanup_free_ char *path = put_file("passwd", mode, text);
	struct cred_chain *c = chain_with(path, NULL);

	if (code)
		check_fails(c, code, key_or_words);
	else
		check_keys(c, key_or_words, "s3cr3t", NULL);
	cred_chain_free(c);
}

static void
passwd_file(void **state)
{
	_cleanup_free_ char *none = in_home("none");
	struct cred_chain *c;

	/* It goes before the environment. */
	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t/env", 1);
	passwd_is(0600, "AK1:s3cr3t\n", 0, "AK1");
	passwd_is(0400, "AK1:s3cr3t", 0, "AK1");
	passwd_is(0600, "# words\n\n  AK1:s3cr3t  \r\n", 0, "AK1");
	passwd_is(0600, "AK1:s3cr3t\nmybucket:AK2:s3cr3t\n", 0, "AK2");
	passwd_is(0600, "mybucket:AK2:s3cr3t\nAK1:s3cr3t\n", 0, "AK2");
	passwd_is(0600, "other:AK2:s3cr3t\nAK1:s3cr3t\n", 0, "AK1");
	passwd_is(0600, "other:AK2:s3cr3t\n", -EINVAL, "no line for bucket");
	passwd_is(0600, "\n", -EINVAL, "no line for bucket");
	passwd_is(0600, "AK1 s3cr3t\n", -EINVAL, "line 1: not KEY:SECRET");
	passwd_is(0600, "a:b:c:s3cr3t\n", -EINVAL, "line 1");
	passwd_is(0600, "AK1:\n", -EINVAL, "secret key is missing");
	passwd_is(0640, "AK1:s3cr3t\n", -EPERM, "mode 0640");
	passwd_is(0604, "AK1:s3cr3t\n", -EPERM, "mode 0604");
	passwd_is(0620, "AK1:s3cr3t\n", -EPERM, "chmod 600");

	c = chain_with(none, NULL);
	check_fails(c, -EINVAL, "No such file");
	cred_chain_free(c);
	c = chain_with(home, NULL);
	check_fails(c, -EINVAL, "not a file");
	cred_chain_free(c);
}

/* --- profile files --------------------------------------------------------- */

static void
profile_files(void **state)
{
	_cleanup_free_ char *other = NULL;
	struct cred_chain *c;

	write_home(".aws/credentials",
		   "# mine\n[default]\naws_access_key_id = AKDEF\n"
		   "aws_secret_access_key=s3cr3t=def\n"
		   "; words\n[two]\n  AWS_ACCESS_KEY_ID = AKTWO\r\n"
		   "  aws_secret_access_key = s3cr3t/two\r\n"
		   "  aws_session_token = TOK\r\n");
	write_home(".aws/config",
		   "[default]\nregion = eu-central-1\n"
		   "aws_access_key_id = AKCONF\n"
		   "aws_secret_access_key = s3cr3t/conf\n"
		   "[profile two]\nregion=us-west-2\ns3 =\n"
		   "  region = nested\n  max = 1\n"
		   "[profile \"with blank\"]\naws_access_key_id = AKB\n"
		   "aws_secret_access_key = s3cr3t/b\n"
		   "[two]\nregion = not-a-profile\n"
		   "[sso-session two]\nregion = neither\n");
	gives("AKDEF", "s3cr3t=def", NULL);
	c = chain();
	assert_string_equal(cred_region(c), "eu-central-1");
	cred_chain_free(c);

	setenv("AWS_PROFILE", "two", 1);
	gives("AKTWO", "s3cr3t/two", "TOK");
	c = chain();
	assert_string_equal(cred_region(c), "us-west-2");
	cred_chain_free(c);

	setenv("AWS_PROFILE", "with blank", 1);
	gives("AKB", "s3cr3t/b", NULL);
	setenv("AWS_PROFILE", "three", 1);
	fails(-EINVAL, "profile three is in neither");

	/* The environment goes before AWS_PROFILE, but not before the option. */
	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t/env", 1);
	gives("AKENV", "s3cr3t/env", NULL);
	c = chain_with(NULL, "two");
	check_keys(c, "AKTWO", "s3cr3t/two", "TOK");
	cred_chain_free(c);
	unsetenv("AWS_ACCESS_KEY_ID");
	unsetenv("AWS_PROFILE");

	other = put_file("passwd", 0600,
			 "[default]\naws_access_key_id=AKO\n"
			 "aws_secret_access_key=s3cr3t/o\n");
	setenv("AWS_SHARED_CREDENTIALS_FILE", other, 1);
	gives("AKO", "s3cr3t/o", NULL);
}

static void
profile_files_bad(void **state)
{
	write_home(".aws/credentials", "[default]\naws_access_key_id = AK\n");
	fails(-EINVAL, "secret key is missing");
	write_home(".aws/credentials", "[default\naws_access_key_id = AK\n");
	fails(-EINVAL, "line 1");
	write_home(".aws/credentials", "[default]\ns3cr3t without sign\n");
	fails(-EINVAL, ".aws/credentials: line 2");
	write_home(".aws/credentials", "aws_secret_access_key = s3cr3t\n");
	fails(-EINVAL, "line 1");
	write_home(".aws/credentials", "");
	fails(-EACCES, "none found");
	write_home(".aws/credentials", "");
	write_home(".aws/config", "[default]\nsso_session = corp\n");
	fails(-EINVAL, "credential_process");
}

/* --- credential_process ---------------------------------------------------- */

static void
process_is(const char *command)
{
	_cleanup_free_ char *text =
		xasprintf("[default]\ncredential_process = %s\n", command);

	write_home(".aws/config", text);
}

static void
process(void **state)
{
	_cleanup_free_ char *made = in_home("made");
	_cleanup_free_ char *cmd = NULL;
	struct cred none = CRED_INIT;
	struct cred_chain *c;

	process_is("printf '{\"Version\":1,\"AccessKeyId\":\"AKP\","
		   "\"SecretAccessKey\":\"s3cr3t/p\",\"SessionToken\":\"T\"}'");
	gives("AKP", "s3cr3t/p", "T");

	/* No shell: the redirection is just an argument. */
	cmd = xasprintf("printf '{\"Version\":1,\"AccessKeyId\":\"AKP\","
			"\"SecretAccessKey\":\"s3cr3t\"}' > %s",
			made);
	process_is(cmd);
	gives("AKP", "s3cr3t", NULL);
	assert_int_equal(access(made, F_OK), -1);

	process_is("sh -c 'echo s3cr3t >&2; exit 3'");
	fails(-EAGAIN, "status 3");
	process_is("sh -c 'kill -TERM $$'");
	fails(-EAGAIN, "signal 15");
	process_is("/nonexistent/program s3cr3t");
	c = chain();
	assert_true(cred_get(c, &none, NULL) < 0); /* which: valgrind differs */
	cred_chain_free(c);
	process_is("echo s3cr3t");
	fails(-EIO, "not a JSON object");
	process_is("echo '{\"Version\":2,\"AccessKeyId\":\"AKP\","
		   "\"SecretAccessKey\":\"s3cr3t\"}'");
	fails(-EIO, "Version");
	process_is("echo '{\"Version\":1,\"AccessKeyId\":\"AKP\"}'");
	fails(-EIO, "secret key is missing");
	process_is("echo 'open");
	fails(-EINVAL, "open quote");
	process_is("head -c 1000000 /dev/zero");
	fails(-EIO, "too much");

	/* A child that keeps the pipe does not hold us up. */
	process_is("sh -c 'sleep 8 & echo \"{\\\"AccessKeyId\\\":\\\"AKP\\\","
		   "\\\"SecretAccessKey\\\":\\\"s3cr3t\\\"}\"'");
	gives("AKP", "s3cr3t", NULL);

	process_is("sleep 100");
	c = chain();
	cred_chain_conf(c)->limits.process_ms = 100;
	check_fails(c, -EAGAIN, "no answer in time");
	cred_chain_free(c);
}

static void
splitting(void **state)
{
	char **v;

	assert_int_equal(cred_split(" a 'b c' \"d \\\" e\" f\\ g '' x\"y\"z", &v),
			 0);
	assert_string_equal(v[0], "a");
	assert_string_equal(v[1], "b c");
	assert_string_equal(v[2], "d \" e");
	assert_string_equal(v[3], "f g");
	assert_string_equal(v[4], "");
	assert_string_equal(v[5], "xyz");
	assert_null(v[6]);
	cred_argv_free(v);
	assert_int_equal(cred_split("  ", &v), -EINVAL);
	assert_int_equal(cred_split("a \"b", &v), -EINVAL);
}

static void
times(void **state)
{
	int64_t t;

	assert_int_equal(cred_time_parse("2027-01-15T08:00:00Z", &t), 0);
	assert_int_equal(t, NOW);
	assert_int_equal(cred_time_parse("2027-01-15T08:00:00.123456Z", &t), 0);
	assert_int_equal(t, NOW);
	assert_int_equal(cred_time_parse("2027-01-15T09:30:00+01:30", &t), 0);
	assert_int_equal(t, NOW);
	assert_int_equal(cred_time_parse("2027-01-15T08:00:00", &t), -EINVAL);
	assert_int_equal(cred_time_parse("2027-01-15T08:00:00Zx", &t), -EINVAL);
	assert_int_equal(cred_time_parse("soon", &t), -EINVAL);
	assert_int_equal(cred_time_parse("", &t), -EINVAL);
}

/* --- container ------------------------------------------------------------- */

#define DOC(key, secret, expires)                                              \
	"{\"Code\":\"Success\",\"AccessKeyId\":\"" key                         \
	"\",\"SecretAccessKey\":\"" secret                                     \
	"\",\"Token\":\"TOK\",\"Expiration\":\"" expires "\"}"

static void
container(void **state)
{
	_cleanup_free_ char *file = NULL;
	struct cred_chain *c;

	NEED_WEB();
	setenv_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/v1/credentials");
	standin_answer(web, "GET", "/v1/credentials", 200,
		       DOC("AKC", "s3cr3t/c", IN_1H));
	gives("AKC", "s3cr3t/c", "TOK");

	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "env-token", 1);
	standin_demand(web, "GET", "/v1/credentials", "Authorization",
		       "env-token");
	gives("AKC", "s3cr3t/c", "TOK");

	/* The file goes before the variable, and is read for each request. */
	file = put_file("token", 0600, "first");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file, 1);
	standin_demand(web, "GET", "/v1/credentials", "Authorization", "first");
	c = chain();
	check_keys(c, "AKC", "s3cr3t/c", "TOK");
	write_home("token", "second");
	standin_answer(web, "GET", "/v1/credentials", 200,
		       DOC("AKD", "s3cr3t/d", IN_2H));
	standin_demand(web, "GET", "/v1/credentials", "Authorization",
		       "second");
	the_time = NOW + 3600;
	check_keys(c, "AKD", "s3cr3t/d", "TOK");
	cred_chain_free(c);

	the_time = NOW;
	write_home("token", "s3cr3t\r\nHost: x");
	fails(-EINVAL, "line break");
	unlink(file);
	fails(-EAGAIN, "No such file");
}

static void
container_bad(void **state)
{
	const char *const refused[] = {
		"http://192.0.2.1/x", "http://127.0.0.1@192.0.2.1/x",
		"http://localhost.example/x", "http://169.254.170.20/x",
		"http://[fd00:ec2::24]/x", "ftp://127.0.0.1/x",
	};

	NEED_WEB();
	setenv_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/c");
	standin_answer(web, "GET", "/c", 500, "s3cr3t");
	fails(-EAGAIN, "HTTP 500");
	assert_int_equal(standin_count(web, "GET", "/c"), 3);
	standin_answer(web, "GET", "/c", 403, "");
	fails(-EACCES, "HTTP 403");
	assert_int_equal(standin_count(web, "GET", "/c"), 4);
	standin_answer(web, "GET", "/c", 200, "<html>s3cr3t</html>");
	fails(-EIO, "not a JSON object");
	standin_answer(web, "GET", "/c", 200, "[]");
	fails(-EIO, "not a JSON object");
	standin_answer(web, "GET", "/c", 200, "{\"AccessKeyId\":[1]}");
	fails(-EIO, "access key is missing");
	standin_answer(web, "GET", "/c", 200,
		       DOC("A\\r\\nB", "s3cr3t", IN_1H));
	fails(-EIO, "blanks");
	standin_answer(web, "GET", "/c", 200, DOC("A", "s3cr3t", "never"));
	fails(-EIO, "is no time");
	standin_answer(web, "GET", "/c", 0, "");
	patience_ms = NO_ANSWER_MS;
	fails(-EAGAIN, "imed out");
	patience_ms = PATIENCE_MS;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", refused[i], 1);
		fails(-EINVAL, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	}
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@192.0.2.1/x", 1);
	fails(-EINVAL, "does not begin with /");
}

/* --- instance metadata ----------------------------------------------------- */

#define ROLES "/latest/meta-data/iam/security-credentials/"
#define TOKEN_HDR "x-aws-ec2-metadata-token"

static void
imds_on(void)
{
	unsetenv("AWS_EC2_METADATA_DISABLED");
	setenv_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", "/");
	standin_answer(web, "GET", ROLES, 200, "my-role\n");
	standin_answer(web, "GET", ROLES "my-role", 200,
		       DOC("AKI", "s3cr3t/i", IN_1H));
	standin_answer(web, "GET", "/latest/meta-data/placement/region", 200,
		       "ap-south-1");
}

static void
imds_v2(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	imds_on();
	standin_answer(web, "PUT", "/latest/api/token", 200, "sesame");
	standin_demand(web, "PUT", "/latest/api/token",
		       "x-aws-ec2-metadata-token-ttl-seconds", "21600");
	standin_demand(web, "GET", ROLES, TOKEN_HDR, "sesame");
	standin_demand(web, "GET", ROLES "my-role", TOKEN_HDR, "sesame");
	standin_demand(web, "GET", "/latest/meta-data/placement/region",
		       TOKEN_HDR, "sesame");
	c = chain();
	check_keys(c, "AKI", "s3cr3t/i", "TOK");
	assert_string_equal(cred_region(c), "ap-south-1");
	cred_chain_free(c);
}

static void
imds_v1(void **state)
{
	NEED_WEB();
	imds_on();
	standin_answer(web, "PUT", "/latest/api/token", 405, "");
	gives("AKI", "s3cr3t/i", "TOK");
	standin_answer(web, "PUT", "/latest/api/token", 0, "");
	patience_ms = 3 * NO_ANSWER_MS; /* and then there is an answer */
	gives("AKI", "s3cr3t/i", "TOK");
	setenv("AWS_EC2_METADATA_V1_DISABLED", "true", 1);
	fails(-EACCES, "HttpPutResponseHopLimit");
	unsetenv("AWS_EC2_METADATA_V1_DISABLED");
	standin_demand(web, "GET", ROLES, TOKEN_HDR, "sesame");
	fails(-EACCES, "HttpPutResponseHopLimit");
}

static void
imds_bad(void **state)
{
	NEED_WEB();
	imds_on();
	standin_answer(web, "PUT", "/latest/api/token", 400, "");
	fails(-EIO, "HTTP 400");
	standin_answer(web, "PUT", "/latest/api/token", 200, "s3cr3t\r\nX: y");
	fails(-EIO, "garbage");
	standin_answer(web, "PUT", "/latest/api/token", 200, "sesame");
	standin_answer(web, "GET", ROLES, 200, "../../x");
	fails(-EIO, "garbage");
	standin_answer(web, "GET", ROLES, 200, "");
	fails(-EIO, "garbage");
	standin_answer(web, "GET", ROLES, 404, "");
	fails(-EACCES, "the instance has no role");
	standin_answer(web, "GET", ROLES, 200, "my-role");
	standin_answer(web, "GET", ROLES "my-role", 200,
		       "{\"Code\":\"AssumeRoleUnauthorizedAccess\","
		       "\"Message\":\"EC2 cannot assume the role\"}");
	fails(-EIO, "EC2 cannot assume the role");
	standin_answer(web, "GET", ROLES "my-role", 500, "");
	fails(-EAGAIN, "HTTP 500");
	standin_answer(web, "GET", ROLES "my-role", 0, "");
	patience_ms = NO_ANSWER_MS;
	fails(-EAGAIN, "imed out");
	patience_ms = PATIENCE_MS;
	/* Nobody is there: the usual machine. */
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1", 1);
	fails(-EACCES, "instance metadata (http://127.0.0.1:1");
}

/* --- roles ----------------------------------------------------------------- */

#define STS(action, key, expires)                                              \
	"<" action "Response xmlns=\"https://sts.amazonaws.com/doc/"           \
	"2011-06-15/\"><" action "Result><AssumedRoleUser><Arn>a</Arn>"        \
	"</AssumedRoleUser><Credentials><AccessKeyId>" key "</AccessKeyId>"    \
	"<SecretAccessKey>s3cr3t/&amp;sts</SecretAccessKey><SessionToken>"     \
	"STOK</SessionToken><Expiration>" expires "</Expiration>"              \
	"</Credentials></" action "Result></" action "Response>"

static void
web_identity(void **state)
{
	_cleanup_free_ char *file = put_file("jwt", 0600, "ey.jwt/1+\n");
	struct cred_chain *c;

	NEED_WEB();
	setenv_url("AWS_ENDPOINT_URL_STS", "");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1);
	fails(-EINVAL, "AWS_ROLE_ARN");
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	standin_answer(web, "POST", "/", 200,
		       STS("AssumeRoleWithWebIdentity", "AKW", IN_1H));
	c = chain();
	check_keys(c, "AKW", "s3cr3t/&sts", "STOK");
	assert_non_null(strstr(standin_body(web),
			       "Action=AssumeRoleWithWebIdentity&"
			       "Version=2011-06-15&RoleArn="
			       "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&"
			       "RoleSessionName=sharedfs-1800000000"));
	assert_non_null(
		strstr(standin_body(web), "&WebIdentityToken=ey.jwt%2F1%2B"));
	assert_string_equal(standin_header(web, "authorization"), "");
	write_home("jwt", "ey.jwt.2");
	setenv("AWS_ROLE_SESSION_NAME", "mine", 1);
	the_time = NOW + 3000;
	check_keys(c, "AKW", "s3cr3t/&sts", "STOK");
	assert_non_null(strstr(standin_body(web), "WebIdentityToken=ey.jwt.2"));
	assert_non_null(strstr(standin_body(web), "RoleSessionName=mine"));
	cred_chain_free(c);
}

static void
web_identity_bad(void **state)
{
	_cleanup_free_ char *file = put_file("jwt", 0600, "ey.s3cr3t");

	NEED_WEB();
	setenv_url("AWS_ENDPOINT_URL_STS", "");
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file, 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r", 1);
	standin_answer(web, "POST", "/", 403,
		       "<ErrorResponse><Error><Type>Sender</Type><Code>"
		       "AccessDenied</Code><Message>Not you</Message></Error>"
		       "</ErrorResponse>");
	fails(-EACCES, "HTTP 403 AccessDenied: Not you");
	assert_int_equal(standin_count(web, "POST", "/"), 1);
	standin_answer(web, "POST", "/", 400,
		       "<ErrorResponse><Error><Code>IDPCommunicationError"
		       "</Code></Error></ErrorResponse>");
	fails(-EAGAIN, "IDPCommunicationError");
	assert_int_equal(standin_count(web, "POST", "/"), 3);
	standin_answer(web, "POST", "/", 503, "busy");
	fails(-EAGAIN, "HTTP 503");
	standin_answer(web, "POST", "/", 200, "<a><AccessKeyId>s3cr3t");
	fails(-EIO, "not sound XML");
	standin_answer(web, "POST", "/", 200, "<a></a>");
	fails(-EIO, "no time of expiry");
	standin_answer(web, "POST", "/", 200,
		       "<!DOCTYPE a [<!ENTITY x \"s3cr3t\">]>"
		       "<a><AccessKeyId>&x;</AccessKeyId></a>");
	fails(-EIO, "not sound XML");
	standin_answer(web, "POST", "/", 0, "");
	patience_ms = NO_ANSWER_MS;
	fails(-EAGAIN, "imed out");
	patience_ms = PATIENCE_MS;
	write_home("jwt", "\n");
	fails(-EINVAL, "is empty");
	unlink(file);
	fails(-EINVAL, "No such file");
}

/* The signature over what the stand-in really got. */
static void
check_signature(const char *key, const char *secret, const char *region)
{
	_cleanup_free_ char *host = xstrdup(standin_header(web, "host"));
	_cleanup_free_ char *date = xstrdup(standin_header(web, "x-amz-date"));
	_cleanup_free_ char *token =
		xstrdup(standin_header(web, "x-amz-security-token"));
	_cleanup_free_ char *type =
		xstrdup(standin_header(web, "content-type"));
	_cleanup_free_ char *want = NULL;
	const char *body = standin_body(web);
	char hash[65];
	struct s3_hdr h[] = {
		{ "content-type", type },
		{ "host", host },
		{ "x-amz-date", date },
		{ "x-amz-security-token", token },
	};
	struct s3_sign_req r = {
		.method = "POST",
		.path = "/",
		.query = "",
		.hdrs = h,
		.nhdrs = *token ? 4 : 3,
		.payload_hash = hash,
		.region = region,
		.service = "sts",
		.access_key = key,
		.secret_key = secret,
		.now = the_time,
	};

	assert_string_equal(date, "20270115T080000Z");
	s3_sha256_hex(body, strlen(body), hash);
	want = s3_sign(NULL, &r);
	assert_string_equal(standin_header(web, "authorization"), want);
}

static void
assume_role(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	setenv_url("AWS_ENDPOINT_URL", "/");
	write_home(".aws/credentials",
		   "[base]\naws_access_key_id = AKBASE\n"
		   "aws_secret_access_key = s3cr3t/base\n"
		   "aws_session_token = BTOK\n");
	write_home(".aws/config",
		   "[profile app]\nrole_arn = arn:aws:iam::1:role/app\n"
		   "source_profile = base\nexternal_id = x y\n"
		   "duration_seconds = 900\nregion = eu-west-3\n"
		   "[profile outer]\nrole_arn = arn:outer\n"
		   "source_profile = app\n"
		   "[profile envy]\nrole_arn = arn:envy\n"
		   "credential_source = Environment\n");
	standin_answer(web, "POST", "/", 200, STS("AssumeRole", "AKR", IN_1H));
	c = chain_with(NULL, "app");
	check_keys(c, "AKR", "s3cr3t/&sts", "STOK");
	assert_non_null(strstr(standin_body(web), "Action=AssumeRole&"));
	assert_non_null(strstr(standin_body(web), "&DurationSeconds=900"));
	assert_non_null(strstr(standin_body(web), "&ExternalId=x%20y"));
	check_signature("AKBASE", "s3cr3t/base", "eu-west-3");
	cred_chain_free(c);

	/* A role by way of a role is signed with that one's keys. */
	c = chain_with(NULL, "outer");
	check_keys(c, "AKR", "s3cr3t/&sts", "STOK");
	assert_int_equal(standin_count(web, "POST", "/"), 3);
	check_signature("AKR", "s3cr3t/&sts", "us-east-1");
	cred_chain_free(c);

	setenv("AWS_ACCESS_KEY_ID", "AKENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t/env", 1);
	c = chain_with(NULL, "envy");
	check_keys(c, "AKR", "s3cr3t/&sts", "STOK");
	check_signature("AKENV", "s3cr3t/env", "us-east-1");
	cred_chain_free(c);
}

static void
assume_role_bad(void **state)
{
	struct cred_chain *c;
	const char *const cases[][2] = {
		{ "circle", "source_profile goes in a circle" },
		{ "mfa", "MFA" },
		{ "lost", "profile nobody is in neither" },
		{ "odd", "credential_source Moon is not known" },
		{ "both", "source_profile and credential_source" },
	};

	write_home(".aws/config",
		   "[profile circle]\nrole_arn=a\nsource_profile=circle2\n"
		   "[profile circle2]\nrole_arn=a\nsource_profile=circle\n"
		   "[profile mfa]\nrole_arn=a\nsource_profile=base\n"
		   "mfa_serial=m\n"
		   "[profile lost]\nrole_arn=a\nsource_profile=nobody\n"
		   "[profile odd]\nrole_arn=a\ncredential_source=Moon\n"
		   "[profile both]\nrole_arn=a\ncredential_source=Environment\n"
		   "source_profile=base\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		c = chain_with(NULL, cases[i][0]);
		check_fails(c, -EINVAL, cases[i][1]);
		cred_chain_free(c);
	}
}

/* --- getting old ----------------------------------------------------------- */

static struct cred_chain *
expiring(void)
{
	setenv_url("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/c");
	standin_answer(web, "GET", "/c", 200, DOC("AK1", "s3cr3t", IN_1H));
	return chain();
}

static void
refresh_ahead(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	c = expiring();
	check_keys(c, "AK1", "s3cr3t", "TOK");
	standin_answer(web, "GET", "/c", 200, DOC("AK2", "s3cr3t", IN_2H));
	the_time = NOW + 3600 - 901;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 1);
	the_time = NOW + 3600 - 899;
	check_keys(c, "AK2", "s3cr3t", "TOK");
	check_keys(c, "AK2", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 2);
	cred_chain_free(c);
}

static void
refresh_failure(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	c = expiring();
	check_keys(c, "AK1", "s3cr3t", "TOK");
	standin_answer(web, "GET", "/c", 403, "");
	/* Tolerated while they are valid, and not asked with every call. */
	the_time = NOW + 3600 - 800;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 2);
	the_time = NOW + 3600 - 300;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 3);
	/* Then it is an outage: the source has worked before. */
	the_time = NOW + 3600;
	check_fails(c, -EAGAIN, "HTTP 403");
	check_fails(c, -EAGAIN, "HTTP 403");
	standin_answer(web, "GET", "/c", 200, DOC("AK2", "s3cr3t", IN_2H));
	check_keys(c, "AK2", "s3cr3t", "TOK");
	cred_chain_free(c);
}

static void *
get_in_thread(void *arg)
{
	struct cred k = CRED_INIT;
	int ret = cred_get(arg, &k, NULL);

	cred_release(&k);
	return (void *)(intptr_t)ret;
}

/* One thread asks a source that does not answer; the others go on. */
static void
refresh_by_one(void **state)
{
	struct cred_chain *c;
	pthread_t t;
	void *ret;

	NEED_WEB();
	c = expiring();
	check_keys(c, "AK1", "s3cr3t", "TOK");
	cred_chain_conf(c)->limits.container_ms = 2000;
	cred_chain_conf(c)->limits.container_attempts = 1;
	standin_answer(web, "GET", "/c", 0, "");
	the_time = NOW + 3600 - 800;
	assert_int_equal(pthread_create(&t, NULL, get_in_thread, c), 0);
	while (standin_count(web, "GET", "/c") < 2)
		sched_yield();
	for (int i = 0; i < 100; i++)
		check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 2);
	pthread_join(t, &ret);
	assert_int_equal((intptr_t)ret, 0);
	cred_chain_free(c);
}

/* Old enough that all wait: one request, one answer for all. */
static void
refresh_waits(void **state)
{
	pthread_t t[8];
	struct cred_chain *c;
	void *ret;

	NEED_WEB();
	c = expiring();
	for (int i = 0; i < 8; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, get_in_thread, c), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &ret);
		assert_int_equal((intptr_t)ret, 0);
	}
	assert_int_equal(standin_count(web, "GET", "/c"), 1);
	cred_chain_free(c);
}

/* Keys that look expired when they are handed out (our clock may be wrong)
 * are tried, and asked for again after a minute. */
static void
expired_at_once(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	the_time = NOW + 7200;
	c = expiring();
	check_keys(c, "AK1", "s3cr3t", "TOK");
	the_time += 59;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 1);
	the_time += 1;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 2);
	cred_chain_free(c);
}

static void
short_lived(void **state)
{
	struct cred_chain *c;

	NEED_WEB();
	the_time = NOW + 2700; /* 15 minutes are left */
	c = expiring();
	check_keys(c, "AK1", "s3cr3t", "TOK");
	the_time += 590;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 1);
	the_time += 20;
	check_keys(c, "AK1", "s3cr3t", "TOK");
	assert_int_equal(standin_count(web, "GET", "/c"), 2);
	cred_chain_free(c);
}

static void
invalidate(void **state)
{
	struct cred old = { (char *)"AK1", (char *)"s3cr3t", NULL };
	struct cred other = { (char *)"AK0", (char *)"s3cr3t", NULL };
	struct cred_chain *c;

	write_home(".aws/credentials", "[default]\naws_access_key_id = AK1\n"
				       "aws_secret_access_key = s3cr3t\n");
	c = chain();
	check_keys(c, "AK1", "s3cr3t", NULL);
	/* Keys in a file are kept until the store refuses them. */
	write_home(".aws/credentials", "[default]\naws_access_key_id = AK2\n"
				       "aws_secret_access_key = s3cr3t\n");
	the_time += 1000000;
	check_keys(c, "AK1", "s3cr3t", NULL);
	cred_invalidate(c, &other);
	check_keys(c, "AK1", "s3cr3t", NULL);
	cred_invalidate(c, &old);
	check_keys(c, "AK2", "s3cr3t", NULL);
	cred_invalidate(c, &old);
	check_keys(c, "AK2", "s3cr3t", NULL);
	/* A key that was just read is not asked for again at once. */
	old.access_key = (char *)"AK2";
	cred_invalidate(c, &old);
	write_home(".aws/credentials", "");
	check_keys(c, "AK2", "s3cr3t", NULL);
	the_time += 1;
	cred_invalidate(c, &old);
	check_fails(c, -EAGAIN, "none found");
	cred_chain_free(c);
}

static void
make_home(void)
{
	_cleanup_free_ char *dir = NULL;

	assert_non_null(mkdtemp(home));
	dir = in_home(".aws");
	assert_int_equal(mkdir(dir, 0700), 0);
}

static void
drop_home(void)
{
	_cleanup_free_ char *dir = in_home(".aws");

	setup(NULL);
	rmdir(dir);
	rmdir(home);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(environment, setup),
		cmocka_unit_test_setup(nothing_anywhere, setup),
		cmocka_unit_test_setup(passwd_file, setup),
		cmocka_unit_test_setup(profile_files, setup),
		cmocka_unit_test_setup(profile_files_bad, setup),
		cmocka_unit_test_setup(process, setup),
		cmocka_unit_test_setup(splitting, setup),
		cmocka_unit_test_setup(times, setup),
		cmocka_unit_test_setup(container, setup),
		cmocka_unit_test_setup(container_bad, setup),
		cmocka_unit_test_setup(imds_v2, setup),
		cmocka_unit_test_setup(imds_v1, setup),
		cmocka_unit_test_setup(imds_bad, setup),
		cmocka_unit_test_setup(web_identity, setup),
		cmocka_unit_test_setup(web_identity_bad, setup),
		cmocka_unit_test_setup(assume_role, setup),
		cmocka_unit_test_setup(assume_role_bad, setup),
		cmocka_unit_test_setup(refresh_ahead, setup),
		cmocka_unit_test_setup(refresh_failure, setup),
		cmocka_unit_test_setup(refresh_by_one, setup),
		cmocka_unit_test_setup(refresh_waits, setup),
		cmocka_unit_test_setup(expired_at_once, setup),
		cmocka_unit_test_setup(short_lived, setup),
		cmocka_unit_test_setup(invalidate, setup),
	};
	int failed;

	make_home();
	web = standin_new();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	drop_home();
	if (!web && failed == 0) {
		printf("skipped: what needs a server; libmicrohttpd-dev was "
		       "not there at configure time\n");
		return 77;
	}
	standin_free(web);
	return failed;
}
