/* plain_words.c - owns the classes of English words that the rules of plain.h stand on, and clauses as lists of words.
 *
 * Closed classes are whole; open ones hold what descriptions of pictures are made of. A word that is in no class makes no rule apply. */
#include "engine/plain_clause.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Words of a class stand between blanks. */
static const char *const classes[WORDS_CLASSES] = {
    [WORDS_SMALL] = " the a an this that these those it he she they there in on at some one two three four five six seven eight nine ten "
                    "several many its his her their another each both all to behind near next with above below under beside between "
                    "around along across inside outside people children multiple various numerous few it's there's he's she's they're ",
    [WORDS_DETERMINER] = " the a an this that these those some one two three four five six seven eight nine ten eleven twelve several many "
                         "another each every multiple various numerous few his her their its ",
    [WORDS_POSSESSIVE] = " his her their its my your our ",
    [WORDS_PRONOUN] = " it he she they there ",
    [WORDS_PREPOSITION] = " in on at near next behind beside under over above below between with without of to from by for across along "
                          "around inside outside against through into onto toward towards among amid underneath beneath atop within before "
                          "after during about via off up down out alongside throughout beyond past ",
    [WORDS_COPULA] = " is are was were ",
    [WORDS_HAVE] = " has have had ",
    [WORDS_MODAL] = " can could will would should may might must ",
    [WORDS_RELATIVE] = " who whom whose which where when ",
    [WORDS_FINITE] =
        " sits stands lies lays runs walks holds wears looks shows features depicts captures includes contains appears seems rides "
        "plays eats drinks carries hangs covers faces leans rests stretches extends suggests indicates consists serves gives "
        "adds creates makes takes goes comes sees watches reads talks speaks smiles sat stood ran walked held wore looked showed "
        "sit stand lie wear hold appear seem look say says said does do did went came took made gave saw surrounds overlooks "
        "displays portrays resembles flies swims barks sleeps jumps ",
    [WORDS_TRANSITIVE] =
        " holding wearing carrying eating drinking using pushing pulling watching featuring displaying containing including "
        "reading riding feeding washing cutting preparing cooking ",
    [WORDS_ING_NOUN] =
        " building ceiling clothing string ring king wing spring painting railing lighting evening morning something nothing "
        "anything everything dining wedding parking living pudding drawing thing sling swing icing stuffing dressing bedding "
        "awning piping fencing decking roofing flooring seating crossing landing opening being missing interesting amazing "
        "stunning charming inviting ",
    [WORDS_ADJECTIVE] =
        " big small large tall short long wide narrow old young new modern wooden empty full open closed clean dirty wet dry "
        "bright dark round square flat thick thin heavy soft fluffy furry shiny smooth rough hot cold warm visible present "
        "asleep awake alone clear cloudy blurry striped spotted tiny huge calm busy crowded quiet green-leaved bare ",
    [WORDS_COLOUR] = " black white red green blue yellow brown gray grey orange pink purple beige tan golden silver gold ",
    [WORDS_COLLECTIVE] = " together each other another same different similar alike apart side between both pair couple friends married "
                         "twins partners hands facing kissing hugging shaking competing fighting identical opposite combined total sharing "
                         "meeting separated connected surrounding surrounded all row circle line group stacked lined arranged gathered "
                         "mixed joined matching touching their they them themselves ",
    [WORDS_KEEP_WHOLE] = " or nor neither either without not never no none cannot if whether unless because although though since than as "
                         "such including like except between among both who whom whose which where when rather instead only hardly nobody "
                         "nothing isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't can't couldn't won't wouldn't "
                         "respectively versus vs plus minus "
                         "isn\xe2\x80\x99t aren\xe2\x80\x99t doesn\xe2\x80\x99t don\xe2\x80\x99t ",
    [WORDS_PLURAL] = " these those two three four five six seven eight nine ten eleven twelve several many multiple various numerous few ",
    [WORDS_SINGULAR] = " a an another one this that each every ",
    [WORDS_PLURAL_NOUN] = " people men women children sheep feet teeth mice geese police cattle ",
    [WORDS_MALE] = " man boy guy gentleman groom father king waiter policeman fireman businessman ",
    [WORDS_FEMALE] = " woman girl lady bride mother queen waitress ",
    [WORDS_PERSON] =
        " person child player baby toddler kid surfer skier skateboarder snowboarder rider cyclist worker chef doctor nurse officer "
        "student teacher driver passenger pedestrian batter pitcher catcher umpire athlete musician vendor farmer adult teenager "
        "individual ",
    [WORDS_CONNECTOR] = " additionally overall also furthermore moreover however finally meanwhile lastly besides ",
};

int word_in(const Word *w, WordClass class) {
    char key[24];
    if (w->size <= 0 || w->size > (int)sizeof key - 3) return 0;
    if (class == WORDS_DETERMINER || class == WORDS_PLURAL) /* "12 chairs" */
        for (int i = 0; i < w->size && isdigit((unsigned char)w->text[i]); i++)
            if (i == w->size - 1) return class == WORDS_DETERMINER || w->size > 1 || w->text[0] > '1';
    key[0] = ' ';
    for (int i = 0; i < w->size; i++) key[i + 1] = (char)tolower((unsigned char)w->text[i]);
    key[w->size + 1] = ' ', key[w->size + 2] = 0;
    return strstr(classes[class], key) != NULL;
}

int word_is(const Word *w, const char *text) { return (int)strlen(text) == w->size && !strncasecmp(w->text, text, (size_t)w->size); }

int word_ends(const Word *w, const char *ending) {
    int n = (int)strlen(ending);
    return w->size > n && !strncasecmp(w->text + w->size - n, ending, (size_t)n);
}

int word_participle(const Word *w) { return w->size > 4 && word_ends(w, "ing") && !word_in(w, WORDS_ING_NOUN); }

const char *verb_base(const Word *w, int *noun_like) {
    static const struct {
        const char *verb, *base;
        int noun_like;
    } verbs[] = { { "shows", "show", 1 }, { "features", "feature", 1 }, { "displays", "display", 1 }, { "captures", "capture", 1 },
        { "depicts", "depict", 0 }, { "portrays", "portray", 0 }, { "contains", "contain", 0 }, { "includes", "include", 0 },
        { "wears", "wear", 0 }, { "holds", "hold", 1 }, { "sits", "sit", 0 }, { "stands", "stand", 1 }, { "appears", "appear", 0 },
        { "overlooks", "overlook", 1 } };
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (word_is(w, verbs[i].verb)) return *noun_like = verbs[i].noun_like, verbs[i].base;
    return NULL;
}

/* ---- clauses ---- */

static int blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

int clause_read(const char *text, size_t size, Clause *out) {
    const char *end = text + size;
    out->n = out->front = 0;
    for (;;) {
        while (text < end && blank(*text)) text++;
        if (text == end) return 1;
        const char *start = text;
        while (text < end && !blank(*text)) text++;
        int n = (int)(text - start);
        if (out->n + 2 > CLAUSE_WORDS) return 0;
        Word w = { start, n, 0 };
        if (n > 1 && strchr(",;:", start[n - 1])) w.mark = start[n - 1], w.size--;
        if (out->n == 0 && word_is(&w, "there's")) out->words[out->n++] = (Word){ "There", 5, 0 }, w = (Word){ "is", 2, w.mark };
        out->words[out->n++] = w;
    }
}

size_t clause_write(const Clause *c, char *out) {
    size_t used = 0;
    for (int i = 0; i < c->n; i++) {
        const Word *w = &c->words[i];
        if (used + (size_t)w->size + 3 > CLAUSE_TEXT) break;
        if (i) out[used++] = ' ';
        size_t at = used;
        memcpy(out + used, w->text, (size_t)w->size), used += (size_t)w->size;
        if (i == 0) out[at] = (char)toupper((unsigned char)out[at]);
        if (w->mark && i + 1 < c->n) out[used++] = w->mark;
    }
    out[used] = 0;
    return used;
}

/* Where the noun of a phrase stands: its last word before a preposition, a participle, or the end. */
static int phrase_head(const Clause *c, int from, int to) {
    int i = from + 1;
    while (i < to && !word_in(&c->words[i], WORDS_PREPOSITION) && !word_participle(&c->words[i])) i++;
    return i - 1;
}

int phrase_number(const Clause *c, int from, int to) {
    const Word *first = &c->words[from], *second = from + 1 < to ? first + 1 : NULL;
    if (second && word_is(first, "a") &&
        (word_is(second, "few") || word_is(second, "couple") || word_is(second, "lot") || word_is(second, "number") ||
            word_is(second, "variety")))
        return 2;
    if (word_in(first, WORDS_PLURAL)) return 2;
    if (word_in(first, WORDS_SINGULAR)) return 1;
    int head = phrase_head(c, from, to);
    if (head <= from) return 0;
    for (int i = from + 1; i < head; i++) /* "the two dogs" */
        if (word_in(&c->words[i], WORDS_PLURAL)) return 2;
    const Word *noun = &c->words[head];
    if (word_in(noun, WORDS_PLURAL_NOUN)) return 2;
    if (!word_ends(noun, "s")) return 1;
    return word_ends(noun, "ss") || word_ends(noun, "us") || word_ends(noun, "is") ? 1 : 2;
}

/* Whether words[at] may stand in a subject that began at `from`. */
static int in_subject(const Clause *c, int from, int at) {
    const Word *w = &c->words[at];
    if (word_in(w, WORDS_RELATIVE) || word_in(w, WORDS_FINITE) || (at > from && word_is(w, "that"))) return 0;
    return !w->mark;
}

static int begins_subject(const Word *w) {
    return word_in(w, WORDS_DETERMINER) || word_in(w, WORDS_PRONOUN) || word_is(w, "people") || word_is(w, "children") ||
           word_is(w, "both") || word_is(w, "all");
}

int clause_verb(const Clause *c, int from) {
    if (from >= c->n || !begins_subject(&c->words[from])) return -1;
    for (int i = from; i < c->n && i - from <= SUBJECT_WORDS_MOST; i++) {
        const Word *w = &c->words[i];
        if (i > from && (word_in(w, WORDS_COPULA) || word_in(w, WORDS_HAVE) || word_in(w, WORDS_MODAL)))
            return word_is(w - 1, "and") || word_is(w - 1, "but") || w->mark ? -1 : i;
        if (!in_subject(c, from, i)) return -1;
    }
    return -1;
}

int clause_do_verb(const Clause *c, int from) {
    int noun_like;
    if (from >= c->n || !word_in(&c->words[from], WORDS_DETERMINER)) return -1;
    for (int i = from + 2; i < c->n && i - from <= 5; i++) {
        const Word *w = &c->words[i];
        if (verb_base(w, &noun_like))
            return i + 1 < c->n && !w[-1].mark && !w->mark && phrase_number(c, from, i) == 1 &&
                           (!noun_like || word_in(w + 1, WORDS_DETERMINER))
                       ? i
                       : -1;
        if (w[-1].mark || w->mark || word_in(w, WORDS_FINITE) || word_in(w, WORDS_RELATIVE) || word_is(w, "and") || word_is(w, "that") ||
            word_is(w, "or"))
            return -1;
    }
    return -1;
}
