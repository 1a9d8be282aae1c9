/* SPDX-License-Identifier: Apache-2.0 */
/* test_http.c - the answers of the control socket, whole, in pieces, damaged and hostile. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl_client.h"

static int parse(const char *text, size_t bytes, bool ended, char *body, int *status)
{
	char *copy = malloc(bytes + 1);
	struct ctl_http h;
	int r;

	memcpy(copy, text, bytes);
	copy[bytes] = 0; /* as ctl_receive() does */
	r = ctl_http_parse(copy, bytes, ended, &h);
	if (r == 1) {
		assert_true(h.body_bytes < 200 && h.body >= copy && h.body + h.body_bytes <= copy + bytes);
		memcpy(body, h.body, h.body_bytes);
		body[h.body_bytes] = 0;
		*status = h.status;
	}
	free(copy);
	return r;
}

static const char counted[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
static const char chunked[] =
    "HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n";
static const char endless[] = "HTTP/1.0 200 OK\r\n\r\n{\"a\":1}";

static void whole(void **state)
{
	char body[200];
	int status = 0;

	assert_int_equal(parse(counted, strlen(counted), false, body, &status), 1);
	assert_int_equal(status, 200);
	assert_string_equal(body, "{\"a\":1}");
	assert_int_equal(parse(chunked, strlen(chunked), false, body, &status), 1);
	assert_int_equal(status, 404);
	assert_string_equal(body, "{\"a\":1}");
	assert_int_equal(parse(endless, strlen(endless), false, body, &status), 0);
	assert_int_equal(parse(endless, strlen(endless), true, body, &status), 1);
	assert_string_equal(body, "{\"a\":1}");
}

/* A part of an answer is never taken for the whole, and never read beyond. */
static void pieces(void **state)
{
	char body[200];
	int status;

	for (size_t n = 0; n < strlen(counted); n++) {
		assert_int_equal(parse(counted, n, false, body, &status), 0);
		assert_int_equal(parse(counted, n, true, body, &status), -EPROTO);
	}
	for (size_t n = 0; n < strlen(chunked) - 4; n++) { /* the last chunk's "0\r\n" is enough */
		assert_int_equal(parse(chunked, n, false, body, &status), 0);
		assert_int_equal(parse(chunked, n, true, body, &status), -EPROTO);
	}
}

static void hostile(void **state)
{
	static const char *const bad[] = {
	    "SSH-2.0-OpenSSH\r\n\r\n",
	    "HTTP/2.0 200 OK\r\n\r\n",
	    "HTTP/1.1\r\n\r\n",
	    "HTTP/1.1 99 no\r\nContent-Length: 0\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nxx",
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
	};
	char body[200];
	int status;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(parse(bad[i], strlen(bad[i]), true, body, &status), -EPROTO);
}

static void escaping(void **state)
{
	char *text = ctl_escape("a b/\xc3\xa9&x");

	assert_string_equal(text, "a%20b%2F%C3%A9%26x");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole),
	    cmocka_unit_test(pieces),
	    cmocka_unit_test(hostile),
	    cmocka_unit_test(escaping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
