/* image_test.c - decoding against Pillow's results, preprocessing against Pillow and Transformers to the bit, damaged files, PNG writing.
 *
 * Expected values were made with Pillow 13.0; the golden pixels with Transformers 5. */
#include "tests/check.h"
#include "base/json.h"
#include "model/image.h"
#include "model/safetensors.h"

#include <math.h>

static char folder[PATH_SIZE];
static int set_up(void **state) { return (void)state, scratch_make(folder), 0; }
static int tear_down(void **state) { return (void)state, scratch_drop(folder), 0; }

static const float clip_mean[3] = { 0.48145466f, 0.4578275f, 0.40821073f }, clip_std[3] = { 0.26862954f, 0.26130258f, 0.27577711f };

/* ---- SHA-256 (FIPS 180-4): what the Pillow goldens are recorded in ---- */

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha256_block(uint32_t h[8], const uint8_t *p) {
    static uint32_t k[64];
    /* The constants are the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
    for (int n = 2, i = 0; !k[63]; n++) {
        int prime = 1;
        for (int d = 2; d * d <= n; d++) prime &= n % d != 0;
        if (prime) k[i++] = (uint32_t)(uint64_t)((cbrtl(n) - floorl(cbrtl(n))) * 0x1p32L);
    }
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t t = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += s, v[0] = s + t;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

static void sha256(const uint8_t *p, size_t n, char out[65]) {
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t tail[128] = { 0 };
    size_t whole = n / 64 * 64, rest = n - whole, size = rest < 56 ? 64 : 128;
    for (size_t i = 0; i < whole; i += 64) sha256_block(h, p + i);
    if (rest) memcpy(tail, p + whole, rest);
    tail[rest] = 0x80;
    for (size_t i = 0; i < 8; i++) tail[size - 1 - i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
    for (size_t i = 0; i < size; i += 64) sha256_block(h, tail + i);
    for (int i = 0; i < 8; i++) snprintf(out + 8 * i, 9, "%08x", h[i]);
}

static void same_hash(const char *what, const Image *image, const char *expected) {
    char found[65];
    sha256(image->rgb, (size_t)image->width * (size_t)image->height * 3, found);
    if (strcmp(found, expected)) fail_msg("%s: pixels differ from Pillow's", what);
}

static void sha256_itself(void **state) {
    (void)state;
    char out[65];
    sha256((const uint8_t *)"abc", 3, out);
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256((const uint8_t *)"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, out);
    assert_string_equal(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

/* ---- decoding ---- */

static const struct {
    const char *what;
    int width, height;
    const char *bytes;
    size_t size;
    const char *rgb;
} kinds[] = {
    { "grey 1 bit", 5, 2,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x05\x00\x00\x00\x02\x01\x00\x00\x00\x00\xb8\x11\x2b"
        "\xf0\x00\x00\x00\x0c\x49\x44\x41\x54\x78\xda\x63\x58\xc1\x10\x00\x00\x02\x4c\x00\xf9\xb0\x6a\xd0\xd7\x00\x00\x00\x00\x49\x45\x4e"
        "\x44\xae\x42\x60\x82",
        69, "\xff\xff\xff\x00\x00\x00\xff\xff\xff\x00\x00\x00\xff\xff\xff\x00\x00\x00\xff\xff\xff\x00\x00\x00\xff\xff\xff\x00\x00\x00" },
    { "grey 2 bits", 4, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x04\x00\x00\x00\x01\x02\x00\x00\x00\x00\x96\xe7\x48"
        "\xb0\x00\x00\x00\x0a\x49\x44\x41\x54\x78\xda\x63\x90\x06\x00\x00\x1d\x00\x1c\x23\x7c\x8f\xac\x00\x00\x00\x00\x49\x45\x4e\x44\xae"
        "\x42\x60\x82",
        67, "\x00\x00\x00\x55\x55\x55\xaa\xaa\xaa\xff\xff\xff" },
    { "grey 4 bits", 3, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x03\x00\x00\x00\x01\x04\x00\x00\x00\x00\xfb\x7b\xa6"
        "\x69\x00\x00\x00\x0b\x49\x44\x41\x54\x78\xda\x63\xe0\x2f\x00\x00\x00\x91\x00\x80\xae\x59\x12\xe6\x00\x00\x00\x00\x49\x45\x4e\x44"
        "\xae\x42\x60\x82",
        68, "\x00\x00\x00\xff\xff\xff\x77\x77\x77" },
    { "grey 8 bits", 3, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x03\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3e\x8b\x4b"
        "\x68\x00\x00\x00\x0c\x49\x44\x41\x54\x78\xda\x63\x60\x68\xf8\x0f\x00\x02\x03\x01\x80\x1a\x9c\x26\x3b\x00\x00\x00\x00\x49\x45\x4e"
        "\x44\xae\x42\x60\x82",
        69, "\x00\x00\x00\x80\x80\x80\xff\xff\xff" },
    { "grey 8 bits, one transparent", 3, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x03\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3e\x8b\x4b"
        "\x68\x00\x00\x00\x02\x74\x52\x4e\x53\x00\x80\x9b\x2b\x4e\x18\x00\x00\x00\x0c\x49\x44\x41\x54\x78\xda\x63\x60\x68\xf8\x0f\x00\x02"
        "\x03\x01\x80\x1a\x9c\x26\x3b\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        83, "\x00\x00\x00\x80\x80\x80\xff\xff\xff" },
    { "grey 16 bits, clipped", 4, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x04\x00\x00\x00\x01\x10\x00\x00\x00\x00\x8c\xc7\x8c"
        "\x52\x00\x00\x00\x11\x49\x44\x41\x54\x78\xda\x63\x60\x60\x65\xf8\xcf\xc8\xf0\xff\x3f\x00\x08\x28\x03\x04\x0c\xeb\x90\x4d\x00\x00"
        "\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        74, "\x05\x05\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff" },
    { "grey and alpha", 2, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x01\x08\x04\x00\x00\x00\x5e\x2b\xb7"
        "\x01\x00\x00\x00\x0d\x49\x44\x41\x54\x78\xda\x63\xe0\x62\x38\xd1\x00\x00\x02\x3d\x01\x53\xae\x95\xa7\x8a\x00\x00\x00\x00\x49\x45"
        "\x4e\x44\xae\x42\x60\x82",
        70, "\x0a\x0a\x0a\xc8\xc8\xc8" },
    { "grey and alpha, 16 bits", 2, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x01\x10\x04\x00\x00\x00\x0e\xbb\x6b"
        "\x42\x00\x00\x00\x11\x49\x44\x41\x54\x78\xda\x63\xe0\x62\x64\x60\x38\xf1\xbf\x81\x01\x00\x07\x7d\x02\x53\xcb\x2d\x63\x02\x00\x00"
        "\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        74, "\x0a\x0a\x0a\xc8\xc8\xc8" },
    { "colour", 2, 2,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x02\x08\x02\x00\x00\x00\xfd\xd4\x9a"
        "\x73\x00\x00\x00\x16\x49\x44\x41\x54\x78\xda\x63\x60\x64\x62\xfe\xf0\xf1\x13\x83\x80\x82\x81\x43\x40\x02\x00\x1d\x3d\x04\x2a\xfe"
        "\x4d\x9e\xc5\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        79, "\x01\x02\x03\xf0\xf1\xf2\x10\x20\x30\x40\x50\x60" },
    { "colour, one transparent", 2, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x01\x08\x02\x00\x00\x00\x7b\x40\xe8"
        "\xdd\x00\x00\x00\x06\x74\x52\x4e\x53\x00\x01\x00\x02\x00\x03\xc9\x4b\xab\xf5\x00\x00\x00\x0f\x49\x44\x41\x54\x78\xda\x63\x60\x64"
        "\x62\xfe\xf0\xf1\x13\x00\x05\xc7\x02\xda\x3e\x1a\x52\xad\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        90, "\x01\x02\x03\xf0\xf1\xf2" },
    { "colour 16 bits", 2, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x01\x10\x02\x00\x00\x00\x2b\xd0\x34"
        "\x9e\x00\x00\x00\x15\x49\x44\x41\x54\x78\xda\x63\x60\xfc\xcf\xc4\xc0\xdc\xf0\x81\xe1\xe3\xff\x4f\xf5\x00\x1d\x7e\x05\xd7\xd7\xc6"
        "\xd6\x19\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        78, "\x01\x02\x03\xf0\xf1\xf2" },
    { "colour and alpha", 2, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x02\x00\x00\x00\x01\x08\x06\x00\x00\x00\xf4\x22\x7f"
        "\x8a\x00\x00\x00\x11\x49\x44\x41\x54\x78\xda\x63\x60\x64\x62\x66\xf8\xf0\xf1\x53\x03\x00\x09\x28\x03\x5a\x27\x1b\x57\x49\x00\x00"
        "\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        74, "\x01\x02\x03\xf0\xf1\xf2" },
    { "colour and alpha, 16 bits", 1, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x10\x06\x00\x00\x00\x4f\x85\x18"
        "\xca\x00\x00\x00\x11\x49\x44\x41\x54\x78\xda\x63\x60\xfc\xcf\xc4\xc0\xdc\xc0\xc0\x08\x00\x08\xa3\x01\x87\x5b\xd4\x92\x83\x00\x00"
        "\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        74, "\x01\x02\x03" },
    { "palette 2 bits", 4, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x04\x00\x00\x00\x01\x02\x03\x00\x00\x00\x84\x52\xe7"
        "\x5e\x00\x00\x00\x0c\x50\x4c\x54\x45\x01\x02\x03\x28\x32\x3c\xff\x00\x80\x09\x08\x07\xdc\xe4\xfb\x75\x00\x00\x00\x0a\x49\x44\x41"
        "\x54\x78\xda\x63\x90\x06\x00\x00\x1d\x00\x1c\x23\x7c\x8f\xac\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        91, "\x01\x02\x03\x28\x32\x3c\xff\x00\x80\x09\x08\x07" },
    { "palette 8 bits with alpha", 4, 1,
        "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x04\x00\x00\x00\x01\x08\x03\x00\x00\x00\xce\xe2\xff"
        "\xff\x00\x00\x00\x0c\x50\x4c\x54\x45\x01\x02\x03\x28\x32\x3c\xff\x00\x80\x09\x08\x07\xdc\xe4\xfb\x75\x00\x00\x00\x02\x74\x52\x4e"
        "\x53\x00\x80\x9b\x2b\x4e\x18\x00\x00\x00\x0d\x49\x44\x41\x54\x78\xda\x63\x60\x66\x62\x64\x00\x00\x00\x19\x00\x07\x43\x87\xf2\x95"
        "\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82",
        108, "\x09\x08\x07\xff\x00\x80\x28\x32\x3c\x01\x02\x03" },
    { "BMP 24 bits", 3, 2,
        "\x42\x4d\x4e\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x03\x00\x00\x00\x02\x00\x00\x00\x01\x00\x18\x00\x00\x00"
        "\x00\x00\x18\x00\x00\x00\xc4\x0e\x00\x00\xc4\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x8f\x82\x75\xb6\xa9\x9c\xdd\xd0\xc3\x00"
        "\x00\x00\x1a\x0d\x00\x41\x34\x27\x68\x5b\x4e\x00\x00\x00",
        78, "\x00\x0d\x1a\x27\x34\x41\x4e\x5b\x68\x75\x82\x8f\x9c\xa9\xb6\xc3\xd0\xdd" },
    { "BMP 32 bits", 2, 2,
        "\x42\x4d\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x01\x00\x20\x00\x00\x00"
        "\x00\x00\x10\x00\x00\x00\xc4\x0e\x00\x00\xc4\x0e\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x96\x87\x78\xa5\xd2\xc3\xb4\xe1\x1e\x0f"
        "\x00\x2d\x5a\x4b\x3c\x69",
        70, "\x00\x0f\x1e\x3c\x4b\x5a\x78\x87\x96\xb4\xc3\xd2" },
    { "PPM", 2, 1,
        "\x50\x36\x0a\x23\x20\x6d\x61\x64\x65\x20\x62\x79\x20\x68\x61\x6e\x64\x0a\x32\x20\x31\x0a\x32\x35\x35\x0a\x01\x02\x03\x04\x05\x06",
        32, "\x01\x02\x03\x04\x05\x06" },
    { "PGM", 2, 2, "\x50\x35\x20\x32\x20\x32\x20\x32\x35\x35\x20\x00\x01\xfe\xff", 15, "\x00\x00\x00\x01\x01\x01\xfe\xfe\xfe\xff\xff\xff" },
};

static void every_kind_decodes_as_pillow_does(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        Image image;
        Error e;
        char line[2048];
        if (image_decode(kinds[i].bytes, kinds[i].size, kinds[i].what, &image, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
        assert_int_equal(image.width, kinds[i].width);
        assert_int_equal(image.height, kinds[i].height);
        if (memcmp(image.rgb, kinds[i].rgb, (size_t)image.width * (size_t)image.height * 3)) fail_msg("%s: other pixels", kinds[i].what);
        image_free(&image);
    }
}

/* 8 x 8 grey, (20 x + 10 y) before compression. */
static const char jpeg[] =
    "\xff\xd8\xff\xe0\x00\x10\x4a\x46\x49\x46\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xdb\x00\x43\x00\x03\x02\x02\x03\x02\x02\x03\x03"
    "\x03\x03\x04\x03\x03\x04\x05\x08\x05\x05\x04\x04\x05\x0a\x07\x07\x06\x08\x0c\x0a\x0c\x0c\x0b\x0a\x0b\x0b\x0d\x0e\x12\x10\x0d\x0e\x11"
    "\x0e\x0b\x0b\x10\x16\x10\x11\x13\x14\x15\x15\x15\x0c\x0f\x17\x18\x16\x14\x18\x12\x14\x15\x14\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01"
    "\x01\x11\x00\xff\xc4\x00\x14\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06\xff\xc4\x00\x1a\x10\x00\x00\x07"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x08\x23\x34\x41\x51\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x04\x92\x4a"
    "\x48\x4c\xe5\x0f\xff\xd9";
enum { JPEG_SIZE = sizeof jpeg - 1, JPEG_DHT = 102 };

static void jpeg_decodes(void **state) {
    (void)state;
    Image image;
    Error e;
    static const uint8_t expected[] = { 1, 20, 41, 61, 80, 100, 121, 140, 10, 29, 51, 70, 90, 109, 131, 150, 21, 39, 61, 80, 100, 119, 141,
        160, 30, 49, 71, 90, 110, 129, 151, 170, 41, 60, 81, 100, 120, 140, 161, 180, 50, 69, 91, 110, 130, 149, 171, 190, 61, 80, 101, 120,
        140, 160, 181, 200, 70, 89, 111, 130, 150, 169, 191, 209 }; /* libjpeg-turbo 3.2 */
    assert_int_equal(image_decode(jpeg, JPEG_SIZE, "jpeg", &image, &e), 0);
    assert_int_equal(image.width * image.height, 64);
    for (int i = 0; i < 64; i++) assert_int_equal(image.rgb[3 * i], expected[i]);
    image_free(&image);
}

static void refused(const void *bytes, size_t size, const char *says) {
    Image image;
    Error e;
    if (!image_decode(bytes, size, "x.img", &image, &e)) fail_msg("decoded, but should say: %s", says);
    assert_null(image.rgb);
    error_says(&e, "x.img");
    error_says(&e, says);
}

static void damaged_files(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *says;
    } cases[] = {
#define CASE(BYTES, SAYS) { BYTES, sizeof BYTES - 1, SAYS }
        CASE("", "an empty file"), CASE("x", "a few bytes"), CASE("hello there", "bytes 68 65 6c 6c"), CASE("GIF89a......", "found a GIF"),
        CASE("RIFF....WEBPVP8 ", "found a WebP; expected PNG, JPEG, BMP, PPM, PGM or PBM; convert"),
        CASE("P7\n1 1\n255\n1 2 3", "unknown image format"), CASE("P3\n1 1\n255\n1 2", "ends too early"), CASE("P6\n2 2\n255\n123", "ends too early"),
        CASE("P6\n2 2\n65535\n123", "ends too early"), CASE("P6\n2 2\n65536\n123", "expected 1 to 65535"), CASE("P6\n2 2", "a header without"),
        CASE("P6\n0 2\n255\n", "0 x 2 pixels"), CASE("P6\n99999999999999999999 2\n255\n", "pixels; expected"),
        CASE("P5\n60000 60000\n255\n", "60000 x 60000"), CASE("P6 2 x 255 ", "a header without"),
        CASE("P6 # no end of comment", "a header without"), CASE("P5\n1 1\n255", "ends too early"), CASE("BM12345678", "ends too early"),
        CASE("\xff\xd8\xff", "ends too early"), CASE("\xff\xd8\xff\xd9", "an end without any scan"),
        CASE("\xff\xd8\xff\xe0\x00\x01xx", "impossible length"), CASE("\xff\xd8\xff\xe0\x01\x01xx", "ends too early"),
        CASE("\x89PNG\r\n\x1a\n", "ends too early")
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refused(cases[i].bytes, cases[i].size, cases[i].says);
    /* Cut anywhere, none of the kinds decodes; PNG and JPEG say that the file ends too early. */
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (size_t n = 0; n < kinds[i].size; n++) {
            Image image;
            Error e;
            if (!image_decode(kinds[i].bytes, n, "x.img", &image, &e)) fail_msg("%s cut to %zu bytes decoded", kinds[i].what, n);
            if (n >= 8 && !strncmp(kinds[i].bytes + 1, "PNG", 3)) error_says(&e, "ends too early");
        }
    for (size_t n = 3; n < JPEG_SIZE; n++) refused(jpeg, n, "ends too early");
    /* Any changed byte of a PNG is seen, by signature, length or checksum. */
    for (size_t k = 0; k < kinds[0].size; k++) {
        char bytes[200];
        Image image;
        Error e;
        memcpy(bytes, kinds[0].bytes, kinds[0].size);
        bytes[k] ^= 0x10;
        assert_int_equal(image_decode(bytes, kinds[0].size, "x.png", &image, &e), -1);
    }
    char table[JPEG_SIZE];
    memcpy(table, jpeg, JPEG_SIZE);
    memset(table + JPEG_DHT + 5, 0xff, 16);
    refused(table, JPEG_SIZE, "Bogus Huffman table definition");
    char *huge = calloc(1, IMAGE_FILE_BYTES + 1);
    refused(huge, IMAGE_FILE_BYTES + 1, "image file too large");
    put(at(folder, "huge"), huge, IMAGE_FILE_BYTES + 1);
    free(huge);
    Image image;
    Error e;
    assert_int_equal(image_load(at(folder, "huge"), &image, &e), -1);
    error_says(&e, "file too large");
    assert_int_equal(image_load(at(folder, "none"), &image, &e), -1);
    error_says(&e, "cannot open file");
    assert_int_equal(image_load(folder, &image, &e), -1);
    error_says(&e, "found a folder");
}

/* Random damage inside JPEG and BMP, which carry no checksums: whatever is decoded must stay within memory (run under sanitizers). */
static void random_damage(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char bytes[400];
        size_t i = sizeof kinds / sizeof *kinds - 4 + (size_t)round % 5, size;
        int is_jpeg = i == sizeof kinds / sizeof *kinds;
        size = is_jpeg ? (size_t)JPEG_SIZE : kinds[i].size;
        memcpy(bytes, is_jpeg ? jpeg : kinds[i].bytes, size);
        for (int k = 0; k < 1 + round % 3; k++) {
            seed = seed * 1664525 + 1013904223;
            bytes[(seed >> 8) % size] = (char)(seed >> 24);
        }
        Image image;
        Error e;
        if (!image_decode(bytes, size, "x", &image, &e)) image_free(&image);
    }
}

/* ---- preprocessing ---- */

static void golden_pixels(void **state) {
    (void)state;
    static const struct {
        const char *folder;
        int S;
    } cases[] = { { "tests/golden/llava15-hub", 56 }, { "tests/golden/llava15-orig", 42 }, { "tests/golden/llava15-v5", 56 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        Error e;
        TensorSet s;
        int S = cases[c].S;
        size_t bytes = sizeof(float) * 3 * (size_t)S * (size_t)S;
        float *out = malloc(bytes);
        assert_int_equal(tensors_open(&s, at(cases[c].folder, "expect/pixels.safetensors"), &e), 0);
        for (int i = 0; i < 8; i++) {
            char name[32], path[64];
            Image image;
            snprintf(path, sizeof path, "images/%d.png", i / 2);
            snprintf(name, sizeof name, "%s.%d", i % 2 ? "crop" : "pad", i / 2);
            const Tensor *t = tensors_find(&s, name);
            assert_non_null(t);
            assert_int_equal(t->count, 3 * S * S);
            assert_int_equal(image_load(at(cases[c].folder, path), &image, &e), 0);
            assert_int_equal(image_preprocess(&image, i % 2 ? IMAGE_CROP : IMAGE_PAD, S, clip_mean, clip_std, out, &e), 0);
            if (memcmp(out, t->data, bytes)) fail_msg("%s %s: pixels differ", cases[c].folder, name);
            image_free(&image);
        }
        tensors_close(&s);
        free(out);
    }
}

static double channel_mean(const Image *image, int c) {
    double sum = 0;
    size_t area = (size_t)image->width * (size_t)image->height;
    for (size_t i = 0; i < area; i++) sum += image->rgb[3 * i + (size_t)c];
    return sum / (double)area;
}

/* One image of goldens.json. */
static void pillow_case(const char *path, const json_t *entry) {
    Image image, fit;
    Error e;
    const json_t *item;
    size_t index;
    const char *hash, *kind;
    int64_t S;
    assert_int_equal(image_load(path, &image, &e), 0);
    assert_int_equal(image.width, json_integer_value(json_array_get(json_object_get(entry, "size"), 0)));
    assert_int_equal(image.height, json_integer_value(json_array_get(json_object_get(entry, "size"), 1)));
    assert_int_equal(json_need_string(entry, "decoded_sha256", path, &hash, &e), 0);
    same_hash(path, &image, hash);
    json_array_foreach(json_object_get(entry, "cases"), index, item) {
        assert_int_equal(json_need_string(item, "kind", path, &kind, &e), 0);
        assert_int_equal(json_need_string(item, "sha256", path, &hash, &e), 0);
        assert_int_equal(json_need_integer(item, "S", path, 1, 1000, &S, &e), 0);
        assert_int_equal(image_fit(&image, strcmp(kind, "crop") ? IMAGE_PAD : IMAGE_CROP, (int)S, clip_mean, &fit, &e), 0);
        same_hash(path, &fit, hash);
        for (int c = 0; c < 3; c++) {
            double expected = json_number_value(json_array_get(json_object_get(item, "mean"), (size_t)c));
            if (fabs(channel_mean(&fit, c) - expected) > 1e-9) fail_msg("%s %s: mean of channel %d", path, kind, c);
        }
        image_free(&fit);
    }
    image_free(&image);
}

static void pillow_goldens(void **state) {
    (void)state;
    const char *path = shared_path("data/pil-goldens/goldens.json"), *file;
    if (!path) return;
    json_t *goldens;
    const json_t *entry;
    size_t index;
    Error e;
    int seen = 0;
    assert_int_equal(json_read_object(path, &goldens, &e), 0);
    json_array_foreach(json_object_get(goldens, "images"), index, entry) {
        char name[PATH_SIZE];
        assert_int_equal(json_need_string(entry, "file", path, &file, &e), 0);
        const char *base = strrchr(file, '/'); /* photographs under a non-commercial licence lie apart */
        if (!strncmp(file, "RLAIF-V/", 8)) snprintf(name, sizeof name, "data-noncommercial/RLAIF-V/images%s", base);
        else if (!strncmp(file, "LLaVA/", 6)) snprintf(name, sizeof name, "data-noncommercial/LLaVA%s", base);
        else snprintf(name, sizeof name, "data/%s", file);
        const char *image = shared_path(name);
        if (image) pillow_case(image, entry), seen++;
    }
    json_decref(goldens);
    assert_true(seen > 0);
}

static void pillow_files(void **state) {
    (void)state;
    static const struct {
        const char *file;
        int width, height;
        const char *hash;
    } cases[] = { { "data/Pillow/hopper.png", 128, 128, "87ce2dc3eea0549d83beb8013872498a3ce5267acaa22fbd26335ccb680700d5" },
        { "data/Pillow/pil123p.png", 162, 150, "18e7a454376a4261ce1934b42552f06b609d2ae1953fb63e7aca1d8c8bbd0eb3" },
        { "data/Pillow/pil123rgba.png", 162, 150, "82e60836df56f42a07f8f6d1b0a9366bd8abfb2e753ee8238907f9efce5b048e" },
        { "data/scikit-image/camera.png", 512, 512, "13e2b4aa92cb1649b4aac5a4d48b38a8ea3a18b86e8abdf5a4871abf24c9d038" },
        { "data/scikit-image/color.png", 371, 370, "4ce89baa8b291cfec33e2e67908a588b16eee46478ad4b664a93c7a17ea4b277" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Image image;
        Error e;
        const char *path = shared_path(cases[i].file);
        if (!path) continue;
        assert_int_equal(image_load(path, &image, &e), 0);
        assert_int_equal(image.width, cases[i].width);
        assert_int_equal(image.height, cases[i].height);
        same_hash(path, &image, cases[i].hash);
        image_free(&image);
    }
}

/* A textured image whose resampling has over- and undershoot. */
static Image texture(int width, int height) {
    Image image = { width, height, malloc((size_t)width * (size_t)height * 3) };
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                image.rgb[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] = (uint8_t)((x * 37 + y * 91 + c * 55) ^ (x * y));
    return image;
}

static void shapes(void **state) {
    (void)state;
    static const struct {
        int width, height, S;
        const char *pad, *crop;
    } cases[] = { { 1, 1, 8, "77512f54262c0a79bb420a493adbf6e3f8b5e5be61f8dcf889060fd3d608791b",
                      "77512f54262c0a79bb420a493adbf6e3f8b5e5be61f8dcf889060fd3d608791b" },
        { 8, 8, 8, "f818c112e276f166a07b718e5b16c9a2feec33d9500ec45319447107b2322539",
            "f818c112e276f166a07b718e5b16c9a2feec33d9500ec45319447107b2322539" },
        { 8, 5, 8, "bc5a2979697a4eb393c559ed8e503918eeb924d00b322dc8f7664e83aad3d25d",
            "b80f9b933ec91defeb7db7a5947be6fd9217fc0a100b6738719a33830d88f9af" },
        { 1, 50, 14, "45be46af6a35f87630db3ae1f8daf6bc10f4c268454523c01cb6ea609517be2d",
            "ab26985d3a0f311238695134b0b93bfa720a07625917bf53f3c272b90d5d0fd6" },
        { 50, 1, 14, "d7419b2d090d86e82a33f6c1276bfcf276d985973a1d79f5a4982cc68386ea99",
            "6e31ee6332ad9b041324fb1de943c620f83486e371fd8a893e6f47cc9705901d" },
        { 100, 99, 14, "c29edecd776389d4cc143c2cf4e54d49980d4f335fae926c4be071970eccc33e",
            "f7a5a7e1b36c08e793437bb6bb7aa8816dbe34ed91cf5182bd3ada6ada5b56ec" },
        { 33, 200, 42, "76114322dfc5b934e7db47a881b461ade4084859b0a025d1b1a4f6c161c846f9",
            "9db750a01d67cea0a1fd0f4872b287c21b5a47620bb79bed8281ba93d28954e4" },
        { 640, 3, 56, "9e28abf2a14f585fc1a270bc3460e559e6510e95bb2dfa91ccf1de265720136d",
            "1abfb105c2867a4619a63df45eefc861d08158b7376e8ca1909d9760642c051d" },
        { 2, 2, 336, "e133f932c66b233aec7f62cfabd416f8af873d6216d138e6481c1e5e84bff3de",
            "e133f932c66b233aec7f62cfabd416f8af873d6216d138e6481c1e5e84bff3de" },
        { 300, 301, 20, "e246a8ca65c23511889e1791b0da41daf6ed98081d56289d6d993849d3788edf",
            "1b4d83361d9a7ba1769949c68a2708bd049c1f756fcffcd590cd1c168867810f" },
        { 53, 140, 42, "3048094528df2ad0d70aeffc1c2c6053351ea1bbb22458182a9dc6458edc940a",
            "fc220a8473e9a2676ec00eddfbbdc5ba428422f9adb4c6173a62e26749612c85" },
        { 100, 250, 90, "5f830c37946ec008d934a346addc1a994d1b89f947c11882692c65dcb3ab08f6",
            "0297e4048566eb12d91487e01de07ba833c4435d224e110acc10c65ec706ebc7" },
        { 50, 400, 40, "837c3c13a7548501ba6515b5bea9743767a479fd1db427bca9a28d1f3fc496e6",
            "709c766ea61bac8a52150f78ad7a41523c125971ff553b7915c8bd03337ba04b" },
        { 20, 90, 19, "a03597f5ccf6452fb90af64aa3a3126901ca5c37927e96b4a14f042a419229f4",
            "d959ed8a36cedb4a409996dc1e6dc73e580f002273ee8a67bb342d3daa64174a" },
        { 61, 125, 60, "b97eba060b3f8bf1277eeaae91513f2162a086d6b5b3f6dbc27820e497d0f49d",
            "4adece207c19872bfcc00e8ec9cc6343018bf7465a117eaad7cf2518ac19cf91" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Image image = texture(cases[i].width, cases[i].height), fit;
        char what[64];
        Error e;
        snprintf(what, sizeof what, "%d x %d to %d", image.width, image.height, cases[i].S);
        assert_int_equal(image_fit(&image, IMAGE_PAD, cases[i].S, clip_mean, &fit, &e), 0);
        same_hash(what, &fit, cases[i].pad);
        image_free(&fit);
        assert_int_equal(image_fit(&image, IMAGE_CROP, cases[i].S, clip_mean, &fit, &e), 0);
        same_hash(what, &fit, cases[i].crop);
        image_free(&fit);
        image_free(&image);
    }
}

static void bad_requests(void **state) {
    (void)state;
    Error e;
    Image image = texture(4, 4), none = { 0, 4, image.rgb }, fit;
    float out[3], zero[3] = { 1, 0, 1 }, nan[3] = { NAN, 0, 0 };
    assert_int_equal(image_fit(&image, IMAGE_PAD, 0, clip_mean, &fit, &e), -1);
    error_says(&e, "found 0; expected 1 to 4096");
    assert_int_equal(image_fit(&image, IMAGE_PAD, 4097, clip_mean, &fit, &e), -1);
    assert_int_equal(image_fit(&none, IMAGE_PAD, 1, clip_mean, &fit, &e), -1);
    error_says(&e, "found 0 x 4");
    assert_int_equal(image_preprocess(&image, IMAGE_PAD, 1, clip_mean, zero, out, &e), -1);
    error_says(&e, "expected a finite mean and a positive std");
    assert_int_equal(image_preprocess(&image, IMAGE_PAD, 1, nan, clip_std, out, &e), -1);
    image_free(&image);
}

/* ---- writing ---- */

static void png_round_trip(void **state) {
    (void)state;
    Error e;
    Image image = texture(61, 47), back;
    char first[HASH_TEXT], second[HASH_TEXT];
    assert_int_equal(image_write_png(at(folder, "a.png"), &image, &e), 0);
    assert_int_equal(image_write_png(at(folder, "b.png"), &image, &e), 0);
    hash_file(at(folder, "a.png"), first, NULL);
    hash_file(at(folder, "b.png"), second, NULL);
    assert_string_equal(first, second);
    assert_int_equal(image_load(at(folder, "a.png"), &back, &e), 0);
    assert_int_equal(back.width, 61);
    assert_int_equal(back.height, 47);
    assert_memory_equal(back.rgb, image.rgb, 61 * 47 * 3);
    image_free(&back);
    assert_int_equal(image_write_png(at(folder, "none/a.png"), &image, &e), -1);
    error_says(&e, "cannot create file");
    image.width = 0;
    assert_int_equal(image_write_png(at(folder, "c.png"), &image, &e), -1);
    error_says(&e, "0 x 47 pixels");
    image_free(&image);
}

static void png_in_memory(void **state) {
    (void)state;
    Error e = { 0 };
    Image image = texture(61, 47);
    unsigned char *bytes;
    char *file;
    size_t n, size;
    assert_int_equal(image_encode_png(&image, &bytes, &n, &e), 0);
    assert_int_equal(image_write_png(at(folder, "a.png"), &image, &e), 0);
    assert_int_equal(file_read(at(folder, "a.png"), 1 << 20, &file, &size, &e), 0);
    assert_int_equal(n, size);
    assert_memory_equal(bytes, file, n);
    free(bytes), free(file);
    image.height = 0;
    assert_int_equal(image_encode_png(&image, &bytes, &n, &e), -1);
    error_says(&e, "61 x 0 pixels");
    image_free(&image);
}

static void shrinking(void **state) {
    (void)state;
    static const int sizes[][5] = { { 600, 300, 100, 100, 50 }, { 30, 90, 45, 15, 45 }, { 20, 10, 20, 20, 10 }, { 20, 10, 64, 20, 10 }, { 900, 2, 90, 90, 1 } };
    Error e = { 0 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Image image = texture(sizes[i][0], sizes[i][1]), small;
        assert_int_equal(image_shrink(&image, sizes[i][2], &small, &e), 0);
        assert_int_equal(small.width, sizes[i][3]);
        assert_int_equal(small.height, sizes[i][4]);
        if (small.width == image.width) assert_memory_equal(small.rgb, image.rgb, 3 * image.width * image.height); /* the same pixels */
        image_free(&image), image_free(&small);
    }
    Image grey = { .width = 8, .height = 4, .rgb = malloc(96) }, small;
    memset(grey.rgb, 77, 96);
    assert_int_equal(image_shrink(&grey, 4, &small, &e), 0);
    for (int i = 0; i < 24; i++) assert_int_equal(small.rgb[i], 77);
    image_free(&small);
    assert_int_equal(image_shrink(&grey, 0, &small, &e), -1);
    error_says(&e, "expected 1 to");
    image_free(&grey);
}

int main(void) {
#define TEST(NAME) cmocka_unit_test_setup_teardown(NAME, set_up, tear_down)
    const struct CMUnitTest tests[] = { TEST(sha256_itself), TEST(every_kind_decodes_as_pillow_does), TEST(jpeg_decodes),
        TEST(damaged_files), TEST(random_damage), TEST(golden_pixels), TEST(pillow_goldens), TEST(pillow_files), TEST(shapes),
        TEST(bad_requests), TEST(png_round_trip), TEST(png_in_memory),
        TEST(shrinking) };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
