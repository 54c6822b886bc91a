/* words.c - owns the WordCache: slots of one cache line, each guarded by a counter that is odd while the slot is written (a sequence lock).
 * Its fields are atomics, so that a reader who comes at that moment reads numbers that do not belong together, sees the counter move, and
 * drops them. */
#include "tokenizer/words.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_BITS = 14, SLOTS = 1 << SLOT_BITS /* a megabyte: what the words of most texts fit in */ };

typedef struct Slot {
    _Alignas(64) _Atomic uint64_t turn;
    _Atomic uint64_t key[3]; /* the word, zeros, and its size in the last byte; size 0: never written */
    _Atomic uint64_t ids[4]; /* two in each; ABSENT behind the last */
} Slot;
#define ABSENT UINT32_MAX

struct WordCache {
    Slot slots[SLOTS];
};

WordCache *word_cache_new(Error *e) {
    WordCache *c = aligned_alloc(_Alignof(WordCache), sizeof *c);
    if (!c) return error_what(e, "out of memory for the table of words"), NULL;
    memset(c, 0, sizeof *c);
    return c;
}

void word_cache_free(WordCache *c) { free(c); }

static Slot *slot_of(WordCache *c, const char *word, size_t size, uint64_t key[3]) {
    unsigned char bytes[WORD_BYTES + 1] = { 0 };
    memcpy(bytes, word, size);
    bytes[WORD_BYTES] = (unsigned char)size;
    memcpy(key, bytes, sizeof bytes);
    uint64_t h = (key[0] ^ key[1] * 0x9E3779B97F4A7C15u ^ key[2] * 0xC2B2AE3D27D4EB4Fu) * 0xD6E8FEB86659FD93u;
    h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
    return &c->slots[h >> (64 - SLOT_BITS)];
}

int word_cache_find(WordCache *c, const char *word, size_t size, int ids[WORD_IDS]) {
    if (!size || size > WORD_BYTES) return 0;
    uint64_t key[3], both[4];
    Slot *s = slot_of(c, word, size, key);
    const uint64_t turn = atomic_load_explicit(&s->turn, memory_order_acquire);
    for (int i = 0; i < 3; i++)
        if (atomic_load_explicit(&s->key[i], memory_order_relaxed) != key[i]) return 0;
    for (int i = 0; i < 4; i++) both[i] = atomic_load_explicit(&s->ids[i], memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    if (turn & 1 || atomic_load_explicit(&s->turn, memory_order_relaxed) != turn) return 0;
    int n = 0;
    for (; n < WORD_IDS; n++) {
        const uint32_t id = (uint32_t)(both[n / 2] >> (32 * (n & 1)));
        if (id == ABSENT) break;
        ids[n] = (int)id;
    }
    return n;
}

void word_cache_keep(WordCache *c, const char *word, size_t size, const int *ids, size_t count) {
    if (!size || size > WORD_BYTES || count > WORD_IDS) return;
    uint64_t key[3];
    Slot *s = slot_of(c, word, size, key);
    uint64_t turn = atomic_load_explicit(&s->turn, memory_order_relaxed);
    if (turn & 1 || !atomic_compare_exchange_strong_explicit(&s->turn, &turn, turn + 1, memory_order_acquire, memory_order_relaxed)) return;
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < 3; i++) atomic_store_explicit(&s->key[i], key[i], memory_order_relaxed);
    for (size_t i = 0; i < 4; i++) {
        const uint64_t low = 2 * i < count ? (uint32_t)ids[2 * i] : ABSENT, high = 2 * i + 1 < count ? (uint32_t)ids[2 * i + 1] : ABSENT;
        atomic_store_explicit(&s->ids[i], low | high << 32, memory_order_relaxed);
    }
    atomic_store_explicit(&s->turn, turn + 2, memory_order_release);
}
