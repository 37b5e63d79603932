/* SPDX-License-Identifier: MIT */
/* What hands out keys: profile files, JSON and XML answers, command lines.
 * Keys that are accepted can be sent in a header. */
#include <config.h>

#include "tests/fuzz/fuzz.h"

#include "backends/cred-ini.h"
#include "backends/credentials-priv.h"
#include "common/cleanup.h"

static void
ini(char *text, bool config)
{
	struct ini_profile p = { NULL, false };

	ini_parse(text, config, "default", &p, NULL);
	ini_get(&p, "aws_access_key_id");
	ini_profile_release(&p);
}

static void
check(int ret, const struct cred_doc *d)
{
	if (ret < 0) {
		FUZZ_CHECK(!d->cred.access_key && !d->cred.secret_key);
		return;
	}
	FUZZ_CHECK(*d->cred.access_key && *d->cred.secret_key);
	FUZZ_CHECK(!strpbrk(d->cred.access_key, "\r\n\t "));
	FUZZ_CHECK(!strpbrk(d->cred.secret_key, "\r\n"));
	FUZZ_CHECK(!d->cred.token || !strpbrk(d->cred.token, "\r\n\t "));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_cred_doc_ struct cred_doc d = CRED_DOC_INIT;
	_cleanup_free_ char *s = NULL;
	char **argv;
	int64_t t;

	if (!size--)
		return 0;
	s = fuzz_string(data + 1, size);
	switch (data[0]) {
	case 'c':
		ini(s, false);
		break;
	case 'p':
		ini(s, true);
		break;
	case 'j':
		check(cred_doc_json(s, size, "Token", &d, NULL), &d);
		break;
	case 'x':
		check(cred_sts_answer("url", 200, s, size, &d, NULL), &d);
		break;
	case 'e':
		FUZZ_CHECK(cred_sts_answer("url", 400, s, size, &d, NULL) < 0);
		break;
	case 't':
		cred_time_parse(s, &t);
		break;
	default:
		if (cred_split(s, &argv) == 0) {
			FUZZ_CHECK(argv[0]);
			cred_argv_free(argv);
		}
	}
	return 0;
}
