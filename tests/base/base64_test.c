/* base64_test.c - RFC 4648's vectors, every byte there and back, and what is no base64. */
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void vectors(void **state) {
    (void)state;
    static const char *const cases[][2] = { { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" }, { "\xfb\xff\xbe", "+/++" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        char *text = base64_encode(cases[i][0], strlen(cases[i][0]), NULL);
        unsigned char *bytes = base64_decode(cases[i][1], strlen(cases[i][1]), &size);
        assert_string_equal(text, cases[i][1]);
        assert_non_null(bytes);
        assert_int_equal(size, strlen(cases[i][0]));
        assert_memory_equal(bytes, cases[i][0], size);
        free(text), free(bytes);
    }
    char *nothing = base64_encode("", 0, NULL);
    assert_string_equal(nothing, "");
    free(nothing);
}

static void there_and_back(void **state) {
    (void)state;
    unsigned char all[1000];
    for (size_t i = 0; i < sizeof all; i++) all[i] = (unsigned char)(i * 7 + i / 256);
    for (size_t n = 1; n <= sizeof all; n += 1 + n / 5) {
        size_t size;
        char *text = base64_encode(all, n, NULL);
        assert_int_equal(strlen(text), (n + 2) / 3 * 4);
        unsigned char *back = base64_decode(text, strlen(text), &size);
        assert_int_equal(size, n);
        assert_memory_equal(back, all, n);
        free(text), free(back);
    }
}

static void refusals(void **state) {
    (void)state;
    static const char *const bad[] = { "", "Zg", "Zg=", "Zg=a", "Z===", "Zm9v!", "Zm 9v", "====", "Zm9-" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t size = 1;
        assert_null(base64_decode(bad[i], strlen(bad[i]), &size));
        assert_int_equal(size, 0);
    }
    size_t size;
    static const char folded[] = "Zm9v\r\nYmFy\n";
    unsigned char *lines = base64_decode(folded, sizeof folded - 1, &size);
    assert_int_equal(size, 6);
    free(lines);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(vectors), cmocka_unit_test(there_and_back), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
