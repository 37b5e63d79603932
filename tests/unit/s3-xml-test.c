/* SPDX-License-Identifier: MIT */
/* S3's XML: right, and everything that a broken or hostile server may send. */
#include <config.h>

#include "tests/lib/unit.h"

#include "backends/s3-xml.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

struct seen {
	struct buf text;
	int stop;
};

static int
see(void *arg, const struct s3_xml_entry *e)
{
	struct seen *s = arg;

	buf_addf(&s->text, "%s%s[%s,%llu,%lld]", e->prefix ? "D:" : "F:", e->key,
		 e->etag, (unsigned long long)e->size,
		 (long long)e->modified.tv_sec);
	return s->stop;
}

static int
list(const char *xml, size_t n, char **text, struct s3_xml_list *out)
{
	struct seen s = { BUF_INIT, 0 };
	int ret;

	memset(out, 0, sizeof(*out));
	buf_str(&s.text);
	ret = s3_xml_list(xml, n, see, &s, out);
	*text = buf_steal(&s.text);
	if (!*text)
		*text = calloc(1, 1);
	return ret;
}

static const char page[] =
	HEAD "<ListBucketResult" NS "><Name>b</Name><Prefix>p%2F</Prefix>"
	     "<EncodingType>url</EncodingType>"
	     "<Contents><Key>p%2Fa+b%2Bc%0A</Key>"
	     "<LastModified>2026-11-20T16:59:01.861Z</LastModified>"
	     "<ETag>&quot;abc-2&quot;</ETag><Size>12</Size>"
	     "<Owner><ID>x</ID></Owner></Contents>"
	     "<CommonPrefixes><Prefix>p%2Fd%2F</Prefix></CommonPrefixes>"
	     "<IsTruncated>true</IsTruncated>"
	     "<NextContinuationToken>tok==</NextContinuationToken>"
	     "</ListBucketResult>";

static void
listing(void **state)
{
	struct s3_xml_list l;
	char *text;

	assert_int_equal(list(page, sizeof(page) - 1, &text, &l), 0);
	assert_string_equal(text, "F:p/a b+c\n[abc-2,12,1795193941]"
				  "D:p/d/[,0,0]");
	assert_true(l.truncated);
	assert_string_equal(l.next, "tok==");
	assert_int_equal(l.bad, 0);
	s3_xml_list_release(&l);
	free(text);
}

/* However it is cut, nothing of it is believed. */
static void
truncated(void **state)
{
	for (size_t n = 0; n < sizeof(page) - 2; n++) {
		struct s3_xml_list l;
		char *text;

		assert_int_equal(list(page, n, &text, &l), -EPROTO);
		assert_string_equal(text, "");
		assert_null(l.next);
		free(text);
	}
}

static void
refused(void **state)
{
	static const struct {
		const char *xml;
		int ret;
	} t[] = {
		{ "", -EPROTO },
		{ "not xml", -EPROTO },
		{ "<ListBucketResult><a></b></ListBucketResult>", -EPROTO },
		{ "<ListBucketResult/><ListBucketResult/>", -EPROTO },
		{ "<Error><Code>x</Code></Error>", -EBADMSG },
		{ "<html><body>hello</body></html>", -EBADMSG },
		{ "<ListBucketResult>\xff\xfe</ListBucketResult>", -EPROTO },
		{ "<ListBucketResult>&unknown;</ListBucketResult>", -EPROTO },
		/* truncated, but how to go on? */
		{ "<ListBucketResult><IsTruncated>true</IsTruncated>"
		  "</ListBucketResult>", -EPROTO },
		/* entities of the sender's: none, whatever for */
		{ "<!DOCTYPE lolz [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]>"
		  "<ListBucketResult><Name>&b;</Name></ListBucketResult>",
		  -EPROTO },
		{ "<!DOCTYPE x SYSTEM \"file:///etc/passwd\">"
		  "<ListBucketResult/>", -EPROTO },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct s3_xml_list l;
		char *text;

		assert_int_equal(list(t[i].xml, strlen(t[i].xml), &text, &l),
				 t[i].ret);
		assert_string_equal(text, "");
		free(text);
	}
}

static void
enormous(void **state)
{
	_cleanup_buf_ struct buf deep = BUF_INIT, wide = BUF_INIT;
	struct s3_xml_list l;
	char *text;

	buf_addstr(&deep, "<ListBucketResult>");
	for (int i = 0; i < 100000; i++)
		buf_addstr(&deep, "<a>");
	assert_int_equal(list(deep.s, deep.len, &text, &l), -EPROTO);
	free(text);
	buf_addstr(&wide, "<ListBucketResult><Name>");
	for (int i = 0; i < 1000000; i++)
		buf_addch(&wide, 'x');
	buf_addstr(&wide, "</Name></ListBucketResult>");
	assert_int_equal(list(wide.s, wide.len, &text, &l), -EPROTO);
	free(text);
}

/* What can't be understood is left out and counted. */
static void
bad_entries(void **state)
{
	static const char xml[] =
		"<ListBucketResult><EncodingType>url</EncodingType>"
		"<Contents><Key>ok</Key><Size>1</Size></Contents>"
		"<Contents><Key>a%00b</Key><Size>1</Size></Contents>"
		"<Contents><Key>a%4</Key><Size>1</Size></Contents>"
		"<Contents><Key>neg</Key><Size>-1</Size></Contents>"
		"<Contents><Key>big</Key><Size>99999999999999999999</Size>"
		"</Contents>"
		"<Contents><Key>word</Key><Size>many</Size></Contents>"
		"<Contents><Size>5</Size></Contents>"
		"<Contents><Key>time</Key><Size>2</Size>"
		"<LastModified>yesterday</LastModified></Contents>"
		"</ListBucketResult>";
	struct s3_xml_list l;
	char *text;

	assert_int_equal(list(xml, sizeof(xml) - 1, &text, &l), 0);
	assert_string_equal(text, "F:ok[,1,0]F:time[,2,0]");
	assert_int_equal(l.bad, 6);
	free(text);
}

/* RGW echoes the prefix in a form that XML 1.0 does not know. */
static void
control_echo(void **state)
{
	static const char xml[] =
		"<ListBucketResult><Prefix>a&#x01;&#2;&#x9;b</Prefix>"
		"<EncodingType>url</EncodingType>"
		"<Contents><Key>a%01b</Key><Size>1</Size></Contents>"
		"</ListBucketResult>";
	struct s3_xml_list l;
	char *text;

	assert_int_equal(list(xml, sizeof(xml) - 1, &text, &l), 0);
	assert_string_equal(text, "F:a\x01"
				  "b[,1,0]");
	free(text);
}

static void
errors(void **state)
{
	static const char xml[] = HEAD
		"<Error><Code>AuthorizationHeaderMalformed</Code>"
		"<Message>wrong</Message><Region>eu-west-1</Region></Error>";
	struct s3_xml_error e = { 0 };

	assert_int_equal(s3_xml_error(xml, sizeof(xml) - 1, &e), 0);
	assert_string_equal(e.code, "AuthorizationHeaderMalformed");
	assert_string_equal(e.message, "wrong");
	assert_string_equal(e.region, "eu-west-1");
	s3_xml_error_release(&e);
	assert_int_equal(s3_xml_error("<Error></Error>", 15, &e), -EPROTO);
	assert_int_equal(s3_xml_error("<a/>", 4, &e), -EBADMSG);
	assert_null(e.code);
}

static void
etags(void **state)
{
	static const char *const t[][2] = {
		{ "\"abc\"", "abc" }, { "&quot;abc&quot;", "abc" },
		{ "abc", "abc" }, { "\"", "\"" }, { "", "" },
		{ "\"\"", "" }, { "&quot;", "&quot;" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char s[32];

		snprintf(s, sizeof(s), "%s", t[i][0]);
		s3_etag_bare(s);
		assert_string_equal(s, t[i][1]);
	}
}

static void
one_text(void **state)
{
	static const char xml[] = "<s3:InitiateMultipartUploadResult "
				  "xmlns:s3=\"x\"><s3:UploadId>42</s3:UploadId>"
				  "</s3:InitiateMultipartUploadResult>";
	char *s = NULL;

	assert_int_equal(s3_xml_text(xml, sizeof(xml) - 1,
				     "InitiateMultipartUploadResult", "UploadId",
				     &s), 0);
	assert_string_equal(s, "42");
	free(s);
	assert_int_equal(s3_xml_text("<a/>", 4, "a", "b", &s), 0);
	assert_null(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listing),
		cmocka_unit_test(truncated),
		cmocka_unit_test(refused),
		cmocka_unit_test(enormous),
		cmocka_unit_test(bad_entries),
		cmocka_unit_test(control_echo),
		cmocka_unit_test(errors),
		cmocka_unit_test(etags),
		cmocka_unit_test(one_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
