/* memory_test.c - the memory behind every table: refusals, the account, the way to and from the host, copies with conversion, zero; at odd
 * sizes and odd addresses. */
#include "tests/check.h"
#include "tests/kernels/kernel_test.h"

/* Sizes around vectors, blocks of threads and what a device may stage at once. */
static const int64_t sizes[] = { 1, 2, 7, 8, 9, 31, 255, 257, 4099, 70001 };
enum { SIZES = sizeof sizes / sizeof *sizes, LARGE = 3 * (4 << 20) / 4 + 5 };

static void sync_checked(const Kernels *k) {
    Error e;
    char line[sizeof(Error) + 64];
    if (k->sync(&e)) fail_msg("%s: %s", k->isa, error_text(&e, line, sizeof line));
}

/* Fails unless `n` numbers from b are `value`. */
static void all_are(const Kernels *k, Buf b, int64_t n, float value) {
    float *x = buf_read(k, b, n);
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] == value)) fail_msg("%s: element %lld of %lld is %g", k->isa, (long long)i, (long long)n, (double)x[i]);
    free(x);
}

static void test_alloc(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        Error e;
        Buf none, big, small;
        assert_int_equal(k->alloc(&none, FP32, -1, "a negative thing", &e), -1);
        error_says(&e, "a negative thing");
        assert_int_equal(k->alloc(&none, FP32, INT64_MAX / 2, "an overflowing thing", &e), -1);
        error_says(&e, "an overflowing thing");
        assert_int_equal(k->alloc(&none, BF16, (int64_t)1 << 60, "a thing too large", &e), -1);
        error_says(&e, "a thing too large");
        assert_null(none.at);
        int64_t before = k->bytes_peak();
        int64_t n = before / 4 + (1 << 20) + 3; /* more than the peak so far: it must move, by as much as is known to be live */
        assert_int_equal(k->alloc(&big, FP32, n, "big", &e), 0);
        assert_int_equal(k->alloc(&small, BF16, 5, "small", &e), 0);
        assert_true(k->bytes_peak() >= n * 4 + 10);
        assert_int_equal((uintptr_t)big.at % 64, 0);
        assert_int_equal((uintptr_t)small.at % 64, 0);
        float *x = malloc((size_t)n * sizeof *x);
        assert_non_null(x);
        k->download(x, big, n);
        for (int64_t i = 0; i < n; i++) assert_true(x[i] == 0);
        free(x);
        int64_t peak = k->bytes_peak();
        k->free(big);
        assert_int_equal(k->alloc(&big, FP32, 1000, "reuse", &e), 0);
        float again[1000];
        k->download(again, big, 1000);
        for (int i = 0; i < 1000; i++) assert_true(again[i] == 0);
        assert_int_equal(k->bytes_peak(), peak);
        k->free(big), k->free(small), k->free(BUF_NONE);
        sync_checked(k);
    }
}

/* What goes up comes down, from and to the middle of a buffer, and nothing beside it changes. */
static void test_upload_download(void **state) {
    (void)state;
    FOR_EACH_ISA(k)
    FOR_EACH_DTYPE(t)
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s], at = s % 5, whole = n + 10;
        size_t each = dtype_size(t);
        unsigned char *from = malloc((size_t)n * each), *to = malloc((size_t)whole * each);
        assert_non_null(from), assert_non_null(to);
        for (size_t i = 0; i < (size_t)n * each; i++) from[i] = (unsigned char)(i * 37 + 11);
        Buf b = buf_new(k, t, whole);
        k->upload(buf_at(b, at), from, n);
        memset(from, 0, (size_t)n * each); /* it is the caller's again */
        k->download(to, b, whole);
        for (size_t i = 0; i < (size_t)whole * each; i++) {
            size_t begin = (size_t)at * each, end = begin + (size_t)n * each;
            assert_int_equal(to[i], i < begin || i >= end ? 0 : (unsigned char)((i - begin) * 37 + 11));
        }
        memset(to, 0xEE, (size_t)n * each);
        k->download(to, buf_at(b, at), n - 1);
        assert_int_equal(to[(size_t)n * each - 1], 0xEE);
        k->free(b), free(from), free(to);
        sync_checked(k);
    }
}

/* More than a device stages at once, in one call and in many: order holds. */
static void test_large(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        float *x = malloc(LARGE * sizeof *x), *y = malloc(LARGE * sizeof *y);
        assert_non_null(x), assert_non_null(y);
        Buf b = buf_new(k, FP32, LARGE), other = buf_new(k, FP32, LARGE);
        for (int i = 0; i < LARGE; i++) x[i] = (float)i;
        k->upload(b, x, LARGE);
        k->copy(other, b, LARGE);
        k->zero(b, LARGE);
        k->download(y, other, LARGE);
        assert_memory_equal(x, y, LARGE * sizeof *x);
        enum { PIECE = 100003 };
        for (int i = 0; i < LARGE; i += PIECE) {
            int n = LARGE - i < PIECE ? LARGE - i : PIECE;
            for (int j = 0; j < n; j++) y[j] = -x[i + j];
            k->upload(buf_at(b, i), y, n);
        }
        k->download(y, b, LARGE);
        for (int i = 0; i < LARGE; i++) assert_true(y[i] == -x[i]);
        k->free(b), k->free(other), free(x), free(y);
        sync_checked(k);
    }
}

/* Every pair of dtypes, starts of every alignment, and neighbours that stay. */
static void test_copy(void **state) {
    (void)state;
    FOR_EACH_ISA(k)
    for (int s = 0; s < SIZES; s++)
        for (int shift = 0; shift < 9; shift += s < 6 ? 1 : 3)
            for (int pair = 0; pair < 4; pair++) {
                if (!case_taken()) continue;
                DType from_type = pair & 1 ? BF16 : FP32, to_type = pair & 2 ? BF16 : FP32;
                int64_t n = sizes[s], from_at = shift, to_at = (shift * 3 + s) % 9, whole = n + 9;
                float *x = fill_normal(n, 3, from_type, (uint64_t)(s + 1));
                Buf narrow = buf_of(k, from_type, x, n), from = buf_new(k, from_type, whole), to = buf_new(k, to_type, whole);
                k->copy(buf_at(from, from_at), narrow, n);
                k->copy(buf_at(to, to_at), buf_at(from, from_at), n);
                float *got = buf_read(k, to, whole);
                for (int64_t i = 0; i < whole; i++) {
                    float want = i < to_at || i >= to_at + n ? 0 : to_type == BF16 ? bf16_round(x[i - to_at]) : x[i - to_at];
                    if (got[i] != want)
                        fail_msg("%s: copy of %lld from %lld to %lld: element %lld is %g", k->isa, (long long)n, (long long)from_at,
                            (long long)to_at, (long long)i, (double)got[i]);
                }
                k->free(narrow), k->free(from), k->free(to);
                free(x), free(got);
            }
}

static void test_rounding(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        /* halfway cases go to even; the largest numbers overflow; small ones stay */
        const uint32_t special[] = { 0x3F808000u, 0x3F818000u, 0x3F80FFFFu, 0x7F7FFFFFu, 0x80000001u, 0x7F800000u, 0xFF800000u, 0x00008000u,
            0x00018000u, 0x7FC00000u, 0x7F800001u };
        const uint16_t halves[] = { 0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x8000, 0x7F80, 0xFF80, 0x0000, 0x0002 };
        enum { N = sizeof special / sizeof *special, NUMBERS = sizeof halves / sizeof *halves };
        uint16_t got[N];
        float back[N];
        Buf wide = buf_new(k, FP32, N), narrow = buf_new(k, BF16, N);
        k->upload(wide, special, N);
        k->copy(narrow, wide, N);
        k->download(got, narrow, N);
        assert_memory_equal(got, halves, sizeof halves);
        k->copy(wide, narrow, N);
        k->download(back, wide, N);
        for (int i = 0; i < NUMBERS; i++) {
            uint32_t bits = (uint32_t)halves[i] << 16;
            assert_memory_equal(&back[i], &bits, sizeof bits);
        }
        assert_true(isnan(back[NUMBERS]) && isnan(back[NUMBERS + 1])); /* also the one whose upper half alone would be an infinity */
        k->free(wide), k->free(narrow);
        sync_checked(k);
    }
}

static void test_zero(void **state) {
    (void)state;
    FOR_EACH_ISA(k)
    FOR_EACH_DTYPE(t)
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s], whole = n + 6;
        float *ones = malloc((size_t)whole * sizeof *ones);
        assert_non_null(ones);
        for (int64_t i = 0; i < whole; i++) ones[i] = 1;
        Buf b = buf_of(k, t, ones, whole);
        k->zero(buf_at(b, 3), n);
        all_are(k, buf_at(b, 3), n, 0);
        all_are(k, b, 3, 1);
        all_are(k, buf_at(b, 3 + n), 3, 1);
        k->zero(b, 0);
        all_are(k, b, 3, 1);
        k->free(b), free(ones);
        sync_checked(k);
    }
}

static void test_nothing(void **state) {
    (void)state;
    FOR_EACH_ISA(k) {
        Buf b = buf_new(k, FP32, 1), empty = buf_new(k, FP32, 0), narrow = buf_new(k, BF16, 1);
        k->copy(b, empty, 0), k->copy(narrow, b, 0), k->upload(b, NULL, 0), k->download(NULL, b, 0), k->zero(BUF_NONE, 0);
        k->free(b), k->free(empty), k->free(narrow);
        sync_checked(k);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc),
        cmocka_unit_test(test_upload_download),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_zero),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
