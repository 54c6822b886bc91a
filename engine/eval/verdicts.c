/* verdicts.c - owns the reading of judges' replies. */
#include "engine/eval/verdicts.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int rating_read(const char *reply) {
    static const char mark[] = "rating: ";
    int found = -1;
    for (const char *p = reply; (p = strcasestr(p, mark));) {
        p += sizeof mark - 1;
        if (*p < '0' || *p > '6') continue;
        if (isdigit((unsigned char)p[1]) || (found >= 0 && found != *p - '0')) return -1;
        found = *p - '0';
    }
    return found;
}

char verdict_read(const char *reply) {
    char found = 0;
    for (const char *p = reply; (p = strstr(p, "[[")); p++) {
        if (p[2] < 'A' || p[2] > 'C' || p[3] != ']' || p[4] != ']') continue;
        if (found && found != p[2]) return 0;
        found = p[2];
    }
    return found;
}

int scores_read(const char *reply, double out[2]) {
    char line[64], *p = line, *end;
    size_t n = strcspn(reply, "\r\n");
    if (n >= sizeof line) return -1;
    memcpy(line, reply, n), line[n] = 0;
    for (int i = 0; i < 2; i++) {
        p += strspn(p, i ? " \t," : " \t");
        if (!isdigit((unsigned char)*p)) return -1; /* no signs, names or hexadecimals of strtod */
        size_t digits = strspn(p, "0123456789.");
        out[i] = strtod(p, &end);
        if (end != p + digits || out[i] < 1 || out[i] > 10) return -1;
        p = end;
        if (!i && !strchr(" \t,", *p)) return -1;
    }
    return p[strspn(p, " \t")] ? -1 : 0;
}

/* ---- objects ---- */

static int name_add(json_t *names, const char *text, size_t n) {
    while (n && isspace((unsigned char)*text)) text++, n--;
    while (n && isspace((unsigned char)text[n - 1])) n--;
    return n ? json_array_append_new(names, json_stringn(text, n)) : 0;
}

/* An array of texts and nothing else; 1: no such array. */
static int array_take(const char *text, json_t *names) {
    json_t *all = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL), *name;
    size_t i;
    int bad = !json_is_array(all);
    json_array_foreach(all, i, name) bad |= !json_is_string(name);
    if (!bad) json_array_foreach(all, i, name) if (!bad) bad = name_add(names, json_string_value(name), json_string_length(name)) ? -1 : 0;
    json_decref(all);
    return bad;
}

/* The bytes of a line's bullet or number, blanks before it included; 0: none. */
static size_t bullet(const char *line) {
    size_t n = strspn(line, " \t"), digits = strspn(line + n, "0123456789");
    if (digits && digits < 4 && strchr(".)", line[n + digits]) && line[n + digits]) return n + digits + 1;
    if (line[n] == '-' || (line[n] == '*' && line[n + 1] != '*')) return n + 1;
    return strncmp(line + n, "\xe2\x80\xa2", 3) ? 0 : n + 3;
}

static int lines_take(const char *text, json_t *names) {
    while (*text) {
        size_t n = strcspn(text, "\n"), mark = bullet(text);
        if (mark && mark <= n && name_add(names, text + mark, n - mark)) return -1;
        text += n + (text[n] == '\n');
    }
    return json_array_size(names) ? 0 : 1;
}

static int says_none(const char *reply) {
    reply += strspn(reply, " \t\r\n\"'");
    return !strncasecmp(reply, "none", 4) && !reply[4 + strspn(reply + 4, " \t\r\n\"'.")];
}

json_t *objects_read(const char *reply, int *unread, Error *e) {
    json_t *names = json_array();
    int got = names ? 1 : -1;
    *unread = 0;
    if (got > 0 && says_none(reply)) got = 0;
    for (const char *p = reply; got > 0 && (p = strchr(p, '[')); p++) got = array_take(p, names);
    if (got > 0) got = lines_take(reply, names);
    if (got > 0) *unread = 1;
    if (got >= 0) return names;
    json_decref(names);
    error_what(e, "out of memory"), error_where(e, "a list of objects");
    return NULL;
}
