/* SPDX-License-Identifier: MIT */
/* Keys by way of a profile: its own, a program's, or those of a role. */
#include <config.h>

#include "backends/credentials-priv.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "backends/cred-ini.h"
#include "common/cleanup.h"
#include "common/xalloc.h"

/* Roles that name one another in a row; also ends a circle. */
#define ROLES_MAX 8

#define _cleanup_profile_ __attribute__((cleanup(ini_profile_release)))

/* -ENOENT: there is none by the name. */
static int
load(const char *name, struct ini_profile *p, struct err *err)
{
	int ret = ini_profile_load(name, p, err);

	if (ret == 0 && !p->found)
		ret = err_set(err, -ENOENT,
			      "profile %s is in neither ~/.aws/credentials nor "
			      "~/.aws/config",
			      name);
	return ret;
}

static int
static_keys(const struct ini_profile *p, bool keys_file, const char *name,
	    struct cred_doc *out, struct err *err)
{
	const char *key = ini_get_from(p, keys_file, "aws_access_key_id");
	const char *secret =
		ini_get_from(p, keys_file, "aws_secret_access_key");
	int ret;

	if (!key && !secret)
		return -ENOENT;
	ret = cred_fill(&out->cred, key, secret,
			ini_get_from(p, keys_file, "aws_session_token"), err);
	if (ret < 0)
		err_prefix(err, "profile %s", name);
	return ret;
}

/* What stands in the profile itself. */
static int
own_keys(const struct cred_conf *conf, const char *name,
	 const struct ini_profile *p, struct cred_doc *out, struct err *err)
{
	const char *command = ini_get(p, "credential_process");
	int ret;

	ret = static_keys(p, true, name, out, err);
	if (ret != -ENOENT)
		return ret;
	if (command) {
		ret = cred_process(conf, command, out, err);
		if (ret < 0)
			err_prefix(err, "profile %s", name);
		return ret;
	}
	ret = static_keys(p, false, name, out, err);
	if (ret != -ENOENT)
		return ret;
	if (ini_get(p, "sso_session") || ini_get(p, "sso_start_url") ||
	    ini_get(p, "login_session"))
		return err_set(err, -EINVAL,
			       "profile %s signs in interactively (SSO), which "
			       "a daemon can't; give it a profile with "
			       "credential_process = aws configure "
			       "export-credentials --profile %s --format "
			       "process",
			       name, name);
	return err_set(err, -ENOENT, "profile %s has no keys", name);
}

static int
from_named_source(const struct cred_conf *conf, const char *source,
		  struct cred_doc *out, struct err *err)
{
	if (strcasecmp(source, "Environment") == 0)
		return cred_from_env(conf, out, err);
	if (strcasecmp(source, "EcsContainer") == 0)
		return cred_from_container(conf, out, err);
	if (strcasecmp(source, "Ec2InstanceMetadata") == 0)
		return cred_from_imds(conf, out, err);
	return err_set(err, -EINVAL, "credential_source %s is not known",
		       source);
}

static int profile_keys(const struct cred_conf *conf, const char *name,
			unsigned depth, struct cred_doc *out, struct err *err);

static bool
has_role(const struct ini_profile *p)
{
	return ini_get(p, "role_arn") && (ini_get(p, "source_profile") ||
					  ini_get(p, "credential_source"));
}

static bool
has_web_identity(const struct ini_profile *p)
{
	return ini_get(p, "role_arn") && ini_get(p, "web_identity_token_file");
}

static struct cred_role
role_of(const struct ini_profile *p)
{
	const char *region = cred_env("AWS_REGION");

	if (!region)
		region = cred_env("AWS_DEFAULT_REGION");
	return (struct cred_role){
		.arn = ini_get(p, "role_arn"),
		.session = ini_get(p, "role_session_name"),
		.external_id = ini_get(p, "external_id"),
		.duration = ini_get(p, "duration_seconds"),
		.region = region ? region : ini_get(p, "region"),
	};
}

static int
role_keys(const struct cred_conf *conf, const char *name,
	  const struct ini_profile *p, unsigned depth, struct cred_doc *out,
	  struct err *err)
{
	const char *next = ini_get(p, "source_profile");
	const char *source = ini_get(p, "credential_source");
	_cleanup_cred_doc_ struct cred_doc base = CRED_DOC_INIT;
	struct cred_role role = role_of(p);
	int ret;

	if (ini_get(p, "mfa_serial"))
		return err_set(err, -EINVAL,
			       "profile %s asks for an MFA code, which a daemon "
			       "can't; use credential_process",
			       name);
	if (next && source)
		return err_set(err, -EINVAL,
			       "profile %s has source_profile and "
			       "credential_source",
			       name);
	if (depth >= ROLES_MAX)
		return err_set(err, -EINVAL,
			       "profile %s: source_profile goes in a circle",
			       name);
	if (source)
		ret = from_named_source(conf, source, &base, err);
	else if (strcmp(next, name) == 0)
		ret = own_keys(conf, name, p, &base, err);
	else
		ret = profile_keys(conf, next, depth + 1, &base, err);
	if (ret == 0)
		ret = cred_sts_assume(conf, &role, &base.cred, out, err);
	if (ret < 0)
		err_prefix(err, "profile %s", name);
	/* A role that is configured is meant: nobody else is asked. */
	return ret == -ENOENT ? -EINVAL : ret;
}

static int
web_identity_keys(const struct cred_conf *conf, const char *name,
		  const struct ini_profile *p, struct cred_doc *out,
		  struct err *err)
{
	struct cred_role role = role_of(p);
	int ret = cred_sts_web_identity(conf, &role,
					ini_get(p, "web_identity_token_file"),
					out, err);

	if (ret < 0)
		err_prefix(err, "profile %s", name);
	return ret;
}

static int
profile_keys(const struct cred_conf *conf, const char *name, unsigned depth,
	     struct cred_doc *out, struct err *err)
{
	_cleanup_profile_ struct ini_profile p = { NULL, false };
	int ret = load(name, &p, err);

	if (ret < 0)
		return ret;
	if (has_role(&p))
		return role_keys(conf, name, &p, depth, out, err);
	if (has_web_identity(&p))
		return web_identity_keys(conf, name, &p, out, err);
	return own_keys(conf, name, &p, out, err);
}

/* The chain asks three times, as the AWS tools do: a role goes before web
 * identity of the environment, that before keys that stand in a file. */

static int
load_ours(const struct cred_conf *conf, struct ini_profile *p, struct err *err)
{
	int ret = load(conf->profile, p, err);

	return ret == -ENOENT && conf->profile_given ? -EINVAL : ret;
}

int
cred_from_role_profile(const struct cred_conf *conf, struct cred_doc *out,
		       struct err *err)
{
	_cleanup_profile_ struct ini_profile p = { NULL, false };
	int ret = load_ours(conf, &p, err);

	if (ret < 0)
		return ret;
	if (!has_role(&p))
		return err_set(err, -ENOENT, "profile %s names no role",
			       conf->profile);
	return role_keys(conf, conf->profile, &p, 0, out, err);
}

int
cred_from_web_identity(const struct cred_conf *conf, struct cred_doc *out,
		       struct err *err)
{
	const char *file = cred_env("AWS_WEB_IDENTITY_TOKEN_FILE");
	_cleanup_profile_ struct ini_profile p = { NULL, false };
	struct cred_role role;
	int ret;

	ret = ini_profile_load(conf->profile, &p, err);
	if (ret < 0)
		return ret;
	if (!conf->no_env && file) {
		role = role_of(&p);
		role.arn = cred_env("AWS_ROLE_ARN");
		role.session = cred_env("AWS_ROLE_SESSION_NAME");
		role.external_id = NULL;
		if (!role.arn)
			return err_set(err, -EINVAL,
				       "AWS_WEB_IDENTITY_TOKEN_FILE is set but "
				       "AWS_ROLE_ARN is not");
		return cred_sts_web_identity(conf, &role, file, out, err);
	}
	if (has_web_identity(&p))
		return web_identity_keys(conf, conf->profile, &p, out, err);
	return err_set(err, -ENOENT,
		       "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
}

int
cred_from_profile(const struct cred_conf *conf, struct cred_doc *out,
		  struct err *err)
{
	_cleanup_profile_ struct ini_profile p = { NULL, false };
	int ret = load_ours(conf, &p, err);

	return ret < 0 ? ret : own_keys(conf, conf->profile, &p, out, err);
}

char *
cred_profile_value(const struct cred_conf *conf, const char *key)
{
	_cleanup_profile_ struct ini_profile p = { NULL, false };
	const char *v;

	if (ini_profile_load(conf->profile, &p, NULL) < 0)
		return NULL;
	v = ini_get(&p, key);
	return v ? xstrdup(v) : NULL;
}
