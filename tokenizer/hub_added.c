/* hub_added.c - owns the finding of added tokens in text: the leftmost, of those the longest, then on from its end.
 *
 * Special tokens are found and passed over, so that what they hold is not found in them, and stay text. Tokens that want to be single words
 * are passed over beside a word character; lstrip and rstrip take the spaces around. What counts as a word or a space is Unicode's Word and
 * White_Space, as in the Rust library. */
#include "tokenizer/hub.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- the tree ---- */

static int node_new(AddedTree *t, unsigned char byte, int sibling, Error *e) {
    if (mem_grow(&t->nodes, &t->cap, t->count + 1, sizeof *t->nodes, "the added tokens", e)) return -1;
    t->nodes[t->count] = (struct AddedNode){ -1, sibling, -1, byte };
    return (int)t->count++;
}

static int tree_add(AddedTree *t, const char *text, int size, int added, Error *e) {
    int at = -1;
    for (int i = 0; i < size; i++) {
        const unsigned char byte = (unsigned char)text[i];
        const int head = i ? t->nodes[at].child : t->first[byte];
        int next = head;
        while (next >= 0 && t->nodes[next].byte != byte) next = t->nodes[next].sibling;
        if (next < 0) {
            if ((next = node_new(t, byte, i ? head : -1, e)) < 0) return -1;
            if (i) t->nodes[at].child = next;
            else t->first[byte] = next;
        }
        at = next;
    }
    if (at >= 0 && t->nodes[at].added < 0) t->nodes[at].added = added; /* of equal texts the first counts */
    return 0;
}

int hub_build_trees(Hub *h, Error *e) {
    Bytes buffers[2] = { { 0 }, { 0 } };
    int bad = 0;
    memset(h->raw.first, 0xff, sizeof h->raw.first);
    memset(h->normalized.first, 0xff, sizeof h->normalized.first);
    for (int special = 1; special >= 0; special--)
        for (size_t i = 0; !bad && i < h->added_count; i++) {
            const Added *a = &h->added[i];
            AddedTree *t = a->normalized ? &h->normalized : &h->raw;
            Text text = a->text;
            if (!a->from_text || a->special != special) continue;
            if (a->normalized) bad = hub_normalize(h, 0, a->text.data, (size_t)a->text.size, buffers, &text, e);
            bad = bad || tree_add(t, text.data, text.size, (int)i, e);
            t->useful |= !special;
        }
    free(buffers[0].data), free(buffers[1].data);
    return bad ? -1 : 0;
}

/* The longest token that `text` starts with, its bytes in *length; NULL when there is none. */
static const Added *tree_match(const Hub *h, const AddedTree *t, const char *text, size_t size, size_t *length) {
    const Added *found = NULL;
    int at = t->first[(unsigned char)text[0]];
    for (size_t i = 1; at >= 0; i++) {
        if (t->nodes[at].added >= 0) found = &h->added[t->nodes[at].added], *length = i;
        if (i == size) break;
        const unsigned char byte = (unsigned char)text[i];
        for (at = t->nodes[at].child; at >= 0 && t->nodes[at].byte != byte;) at = t->nodes[at].sibling;
    }
    return found;
}

/* ---- what stands around ---- */

static int is_space(uint32_t c) {
    const utf8proc_category_t k = c < 0x80 ? 0 : utf8proc_category((utf8proc_int32_t)c);
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL ||
           k == UTF8PROC_CATEGORY_ZP;
}

static int is_word(uint32_t c) {
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return 1;
    default: /* joiners, and letters in circles and squares */
        return c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    }
}

static int stands_alone(const char *text, size_t size, size_t start, size_t end) {
    uint32_t code;
    if (start && utf8_last(text, start, &code) && is_word(code)) return 0;
    return end == size || !utf8_next(text + end, size - end, &code) || !is_word(code);
}

/* ---- visiting ---- */

int hub_visit_added(const Hub *h, const AddedTree *tree, const char *text, size_t size, const AddedVisitor *v, Error *e) {
    size_t done = 0, length = 0;
    uint32_t code;
    for (size_t at = 0; tree->useful && at < size;) {
        const Added *a = tree->first[(unsigned char)text[at]] < 0 ? NULL : tree_match(h, tree, text + at, size - at, &length);
        if (!a) {
            at++;
            continue;
        }
        size_t start = at, end = at + length;
        at = end;
        if (a->special || (a->single_word && !stands_alone(text, size, start, end))) continue;
        while (a->lstrip && start > done && utf8_last(text, start, &code) && is_space(code)) start -= (size_t)utf8_last(text, start, &code);
        while (a->rstrip && end < size && utf8_next(text + end, size - end, &code) && is_space(code))
            end += (size_t)utf8_next(text + end, size - end, &code);
        if (done < start && v->between(v->self, text + done, start - done, done, e)) return -1;
        if (v->token(v->self, a->id, e)) return -1;
        done = end;
    }
    return done < size ? v->between(v->self, text + done, size - done, done, e) : 0;
}
