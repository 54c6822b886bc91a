/* state_test.c - the host side of the CUDA backend (kernels/cuda/state.h) on the emulated runtime, whose copies run as late as they may:
 * the ring that host arrays pass through, scratch, and what is left of an operation after a failure. */
#include "kernels/cuda/state.h"
#include "tests/check.h"

static void open_or_fail(void) {
    Error e;
    char line[2048];
    if (cuda_open(&e)) fail_msg("%s", error_text(&e, line, sizeof line));
}
static void failure_none(void) {
    Error e;
    char line[2048];
    if (cuda_failure_take(&e)) fail_msg("%s", error_text(&e, line, sizeof line));
}
static void *memory_or_fail(int64_t bytes) {
    Error e;
    void *at = cuda_memory_new(bytes, "test", &e);
    assert_non_null(at);
    return at;
}

/* Byte i of array number n. */
static unsigned char byte_of(int n, int64_t i) { return (unsigned char)(n * 131 + i * 7 + i / 251); }
static void array_fill(unsigned char *x, int n, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++) x[i] = byte_of(n, i);
}
static void array_check(const unsigned char *x, int n, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i++)
        if (x[i] != byte_of(n, i)) fail_msg("array %d, byte %lld of %lld is wrong", n, (long long)i, (long long)bytes);
}

/* Arrays of odd sizes, several rings' worth, each changed by the host as soon as it is staged. What the device got is copied away in the
 * order of the stream, as a kernel would read it. */
static void test_stage(void **state) {
    (void)state;
    enum { ARRAYS = 60, MOST = 1300003 };
    open_or_fail();
    unsigned char *host = malloc(MOST), *all = malloc((size_t)ARRAYS * MOST);
    assert_non_null(host), assert_non_null(all);
    char *kept = memory_or_fail((int64_t)ARRAYS * MOST);
    for (int n = 0; n < ARRAYS; n++) {
        int64_t bytes = n % 3 == 0 ? MOST - n : 1 + n * 977;
        array_fill(host, n, bytes);
        const void *staged = cuda_stage(host, bytes);
        assert_non_null(staged);
        assert_int_equal((uintptr_t)staged % 256, 0);
        memset(host, 0xEE, (size_t)bytes);
        assert_int_equal(
            CUDA_TRY(cudaMemcpyAsync(kept + (int64_t)n * MOST, staged, (size_t)bytes, cudaMemcpyDeviceToDevice, cuda_stream())), 0);
    }
    cuda_bytes_download(all, kept, (int64_t)ARRAYS * MOST);
    for (int n = 0; n < ARRAYS; n++) array_check(all + (int64_t)n * MOST, n, n % 3 == 0 ? MOST - n : 1 + n * 977);
    failure_none();
    cuda_memory_free(kept);
    free(host), free(all);
}

/* What was staged stays while CUDA_STAGE_KEPT more bytes are staged, and for ever where a larger array made a larger ring. */
static void test_stage_kept(void **state) {
    (void)state;
    enum { SMALL = 1000, PIECE = 4096, LARGE = 3 * CUDA_STAGE_KEPT + 17 };
    open_or_fail();
    unsigned char *host = malloc(LARGE), *got = malloc(LARGE);
    assert_non_null(host), assert_non_null(got);
    array_fill(host, 1, SMALL);
    const void *first = cuda_stage(host, SMALL);
    for (int i = 0; i < CUDA_STAGE_KEPT / PIECE; i++) assert_non_null(cuda_stage(host, PIECE));
    cuda_bytes_download(got, first, SMALL);
    array_check(got, 1, SMALL);

    array_fill(host, 2, SMALL);
    const void *second = cuda_stage(host, SMALL);
    array_fill(host, 3, LARGE);
    const void *large = cuda_stage(host, LARGE);
    for (int i = 0; i < 40; i++) assert_non_null(cuda_stage(host, CUDA_STAGE_KEPT / 2)); /* in the larger ring now */
    cuda_bytes_download(got, second, SMALL);
    array_check(got, 2, SMALL);
    large = cuda_stage(host, LARGE);
    cuda_bytes_download(got, large, LARGE);
    array_check(got, 3, LARGE);
    failure_none();
    free(host), free(got);
}

static void test_upload_download(void **state) {
    (void)state;
    static const int64_t sizes[] = { 1, 255, 257, CUDA_STAGE_KEPT - 1, CUDA_STAGE_KEPT, CUDA_STAGE_KEPT + 1, 13 * CUDA_STAGE_KEPT + 5 };
    open_or_fail();
    for (int n = 0; n < (int)(sizeof sizes / sizeof *sizes); n++) {
        int64_t bytes = sizes[n];
        unsigned char *x = malloc((size_t)bytes), *y = malloc((size_t)bytes);
        assert_non_null(x), assert_non_null(y);
        char *at = memory_or_fail(bytes + 3);
        array_fill(x, n, bytes);
        cuda_bytes_upload(at + 3, x, bytes);
        memset(x, 0, (size_t)bytes);
        cuda_bytes_download(y, at + 3, bytes);
        array_check(y, n, bytes);
        cuda_memory_free(at);
        free(x), free(y);
    }
    failure_none();
}

static void test_scratch(void **state) {
    (void)state;
    open_or_fail();
    void *norm = cuda_scratch(CUDA_SCRATCH_NORM, 1000), *rows = cuda_scratch(CUDA_SCRATCH_ROWS, 1000);
    assert_non_null(norm);
    assert_ptr_not_equal(norm, rows);
    assert_ptr_equal(cuda_scratch(CUDA_SCRATCH_NORM, 10), norm);
    assert_ptr_equal(cuda_scratch(CUDA_SCRATCH_NORM, 1000), norm);
    CUDA_TRY(cudaMemsetAsync(norm, 1, 1000, cuda_stream())); /* still queued when the scratch grows */
    char *grown = cuda_scratch(CUDA_SCRATCH_NORM, 1 << 25);
    assert_non_null(grown);
    assert_int_equal(CUDA_TRY(cudaMemsetAsync(grown + (1 << 25) - 1, 0, 1, cuda_stream())), 0);
    assert_ptr_equal(cuda_scratch(CUDA_SCRATCH_ROWS, 1000), rows);
    assert_true(cuda_memory_peak() >= 1 << 25);
    failure_none();
}

/* The first failure is kept with its place; until it is taken there is neither scratch nor staging, and a download gives zeros. */
static void test_after_failure(void **state) {
    (void)state;
    Error e;
    unsigned char got[16], here[64];
    open_or_fail();
    char *at = memory_or_fail(sizeof got);
    CUDA_TRY(cudaMemsetAsync(at, 7, sizeof got, cuda_stream()));
    int line = __LINE__ + 1;
    assert_int_not_equal(CUDA_TRY(cudaSetDevice(5)), 0);
    cuda_failure_set("a later failure", "%d", 2);
    assert_null(cuda_scratch(CUDA_SCRATCH_ROWS, 8));
    assert_null(cuda_stage(here, sizeof here));
    memset(got, 0xEE, sizeof got);
    cuda_bytes_download(got, at, sizeof got);
    for (size_t i = 0; i < sizeof got; i++) assert_int_equal(got[i], 0);
    memset(got, 3, sizeof got);
    cuda_bytes_upload(at, got, sizeof got);
    assert_int_equal(cuda_failure_take(&e), -1);
    snprintf((char *)here, sizeof here, "state_test.c:%d", line);
    error_says(&e, (char *)here);
    error_says(&e, "cudaSetDevice failed");
    error_says(&e, "cudaErrorInvalidDevice");
    assert_int_equal(cuda_failure_take(&e), 0);
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess); /* no later launch will find it */
    cuda_bytes_download(got, at, sizeof got);             /* and all goes on; the upload after the failure was not made */
    for (size_t i = 0; i < sizeof got; i++) assert_int_equal(got[i], 7);
    cuda_memory_free(at);

    cuda_memory_free(got);
    assert_int_equal(cuda_failure_take(&e), -1);
    error_says(&e, "not allocated");
    assert_null(cuda_memory_new(-1, "a negative thing", &e));
    error_says(&e, "a negative thing");
    assert_null(cuda_memory_new((int64_t)1 << 46, "the universe", &e));
    error_says(&e, "out of memory for the universe");
    error_says(&e, "70368744177664 bytes");
    assert_null(cuda_scratch(CUDA_SCRATCH_ROWS, (int64_t)1 << 46));
    assert_int_equal(cuda_failure_take(&e), -1);
    error_says(&e, "out of memory for sums and results of rows");
    assert_non_null(cuda_scratch(CUDA_SCRATCH_ROWS, 8)); /* the old one was given back before */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stage),
        cmocka_unit_test(test_stage_kept),
        cmocka_unit_test(test_upload_download),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_after_failure),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
