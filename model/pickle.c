/* pickle.c - owns the machine that reads pickles (protocols 2 to 5, Python's pickletools.py) and knows of them what torch.save writes.
 *
 * Nothing is executed: an instruction moves records of this file's own making, and the only "calls" are those of the table `callables`,
 * each of which becomes a dictionary or the description of a tensor. Refuses every other global and every other way to make an object by
 * the name it bears, instructions torch.save has no use for, numbers beyond 64 bits, and pickles beyond the limits below. Strings stay
 * where they are in the pickle; nothing is recursive, and a dictionary that holds itself ends at the limit of nesting. */
#include "model/pickle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint of 100000 tensors makes 2.5 million objects in 10 MB of pickle; Python writes the entries of a dictionary by the thousand.
 */
enum { PICKLE_MOST = 1 << 26, OBJECTS_MOST = 1 << 22, TENSORS_MOST = 1 << 17, STACK_MOST = 1 << 16, MARKS_MOST = 256, NEST_MOST = 4 };
enum { SHOWN = 160, NONE_LEFT = -1 };

typedef enum Kind { K_NONE, K_BOOL, K_INT, K_FLOAT, K_TEXT, K_BYTES, K_TUPLE, K_LIST, K_DICT, K_CALLABLE, K_STORAGE, K_TENSOR, KINDS } Kind;
static const char *const kind_names[KINDS] = { "None", "a truth value", "an integer", "a float", "a string", "bytes", "a tuple", "a list",
    "a dictionary", "a callable", "a storage", "a tensor" };

typedef enum Call { CALL_DICT, CALL_TENSOR, CALL_PARAMETER, CALL_NEVER } Call; /* CALL_NEVER: a type of storage */
static const struct {
    const char *module, *name;
    Call call;
    TensorType type;
} callables[] = {
    { "collections", "OrderedDict", CALL_DICT, 0 },
    { "torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, 0 },
    { "torch._utils", "_rebuild_parameter", CALL_PARAMETER, 0 },
    { "torch", "DoubleStorage", CALL_NEVER, TENSOR_F64 },
    { "torch", "FloatStorage", CALL_NEVER, TENSOR_F32 },
    { "torch", "HalfStorage", CALL_NEVER, TENSOR_F16 },
    { "torch", "BFloat16Storage", CALL_NEVER, TENSOR_BF16 },
    { "torch", "LongStorage", CALL_NEVER, TENSOR_I64 },
    { "torch", "IntStorage", CALL_NEVER, TENSOR_I32 },
    { "torch", "ShortStorage", CALL_NEVER, TENSOR_I16 },
    { "torch", "CharStorage", CALL_NEVER, TENSOR_I8 },
    { "torch", "ByteStorage", CALL_NEVER, TENSOR_U8 },
    { "torch", "BoolStorage", CALL_NEVER, TENSOR_BOOL },
};
enum { CALLABLES = sizeof callables / sizeof *callables };

/* Objects, and the cells of tuples, lists and dictionaries (key, value, key, value), are numbered in the order they are made. */
typedef struct Object {
    Kind kind;
    union {
        int64_t integer;
        struct {
            const char *at;
            size_t n;
        } text;
        struct {
            int first, last, n;
        } items;
        int callable; /* row of the table */
        struct {
            int key;
            TensorType type;
            int64_t count;
        } storage;
        struct {
            int storage, shape, stride;
            int64_t offset;
        } tensor;
    };
} Object;

typedef struct Cell {
    int object, next;
} Cell;

typedef struct Machine {
    const unsigned char *begin, *at, *end, *op; /* op: the instruction being done */
    Object *objects;
    Cell *cells;
    int *stack, *memo;
    size_t objects_n, objects_cap, cells_n, cells_cap, stack_n, stack_cap, memo_n, memo_cap;
    size_t marks[MARKS_MOST]; /* the height of the stack at each */
    int marks_n;
    const char *path;
    Error *e;
} Machine;

static int pickle_bad(const Machine *m, const char *what) {
    return error_what(m->e, "%s", what), error_where(m->e, "%s: byte %td of its pickle", m->path, m->op - m->begin);
}

/* A name of the pickle's, MODULE.NAME, that it would run. */
static int refuse_call(const Machine *m, const char *module, size_t module_n, const char *name, size_t name_n) {
    char a[SHOWN / 2], b[SHOWN / 2], what[SHOWN + 40];
    snprintf(what, sizeof what, "the pickle would call %s%s%s", bytes_show(module, module_n, a, sizeof a), module_n ? "." : "",
        bytes_show(name, name_n, b, sizeof b));
    return pickle_bad(m, what), error_expected(m->e, "nothing but tensors in dictionaries"),
           error_hint(m->e,
               "nothing was run. Loading this file in Python would run code of its choice: if its source is to be trusted, convert it to "
               "safetensors there");
}

/* ---- bytes, numbers, names ---- */

static const unsigned char *take(Machine *m, uint64_t n) {
    const unsigned char *p = m->at;
    if (n > (uint64_t)(m->end - m->at)) {
        pickle_bad(m, "pickle is cut short");
        error_expected(m->e, "%llu bytes more", (unsigned long long)n);
        return NULL;
    }
    m->at += n;
    return p;
}

/* An integer of `size` bytes, at most 8, the lowest first. */
static int take_number(Machine *m, int size, uint64_t *out) {
    const unsigned char *p = take(m, (uint64_t)size);
    if (!p) return -1;
    *out = 0;
    for (int i = size - 1; i >= 0; i--) *out = *out << 8 | p[i];
    return 0;
}

/* The same in two's complement. */
static int take_integer(Machine *m, int size, int64_t *out) {
    uint64_t bits;
    if (take_number(m, size, &bits)) return -1;
    int unused = 64 - 8 * size;
    *out = size ? (int64_t)(bits << unused) >> unused : 0;
    return 0;
}

/* Text up to the end of its line. */
static const char *take_line(Machine *m, size_t *n) {
    const unsigned char *p = m->at, *end = memchr(p, '\n', (size_t)(m->end - p));
    if (!end) {
        pickle_bad(m, "pickle is cut short"), error_expected(m->e, "the end of a name");
        return NULL;
    }
    *n = (size_t)(end - p);
    m->at = end + 1;
    return (const char *)p;
}

static int text_is(const char *text, size_t n, const char *word) { return n == strlen(word) && !memcmp(text, word, n); }

/* ---- objects and the stack ---- */

static int limit_passed(const Machine *m, const char *of, long most) {
    return pickle_bad(m, "pickle is beyond all measure"), error_expected(m->e, "at most %ld %s", most, of);
}

static int stack_push(Machine *m, int object) {
    if (m->stack_n == STACK_MOST) return limit_passed(m, "objects on its stack", STACK_MOST);
    if (mem_grow(&m->stack, &m->stack_cap, m->stack_n + 1, sizeof *m->stack, "pickle", m->e)) return -1;
    m->stack[m->stack_n++] = object;
    return 0;
}

/* Makes an object and pushes it. */
static int push(Machine *m, Object o) {
    if (m->objects_n == OBJECTS_MOST) return limit_passed(m, "objects", OBJECTS_MOST);
    if (mem_grow(&m->objects, &m->objects_cap, m->objects_n + 1, sizeof *m->objects, "pickle", m->e)) return -1;
    m->objects[m->objects_n++] = o;
    return stack_push(m, (int)m->objects_n - 1);
}

static int push_items(Machine *m, Kind kind) { return push(m, (Object){ .kind = kind, .items = { NONE_LEFT, NONE_LEFT, 0 } }); }
static int push_integer(Machine *m, int64_t x) { return push(m, (Object){ .kind = K_INT, .integer = x }); }

static size_t stack_floor(const Machine *m) { return m->marks_n ? m->marks[m->marks_n - 1] : 0; }

/* The number of the object on top, which leaves the stack; -1 when there is none above the last mark. */
static int pop(Machine *m) {
    if (m->stack_n > stack_floor(m)) return m->stack[--m->stack_n];
    return pickle_bad(m, "pickle takes from an empty stack");
}

static int pop_kind(Machine *m, Kind kind) {
    int o = pop(m);
    if (o < 0 || m->objects[o].kind == kind) return o;
    return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "%s", kind_names[m->objects[o].kind]),
           error_expected(m->e, "%s", kind_names[kind]);
}

static int mark(Machine *m) {
    if (m->marks_n == MARKS_MOST) return limit_passed(m, "objects begun within each other", MARKS_MOST);
    m->marks[m->marks_n++] = m->stack_n;
    return 0;
}

/* Ends the last mark: *first becomes the place on the stack of what stands above it. */
static int unmark(Machine *m, size_t *first) {
    if (!m->marks_n) return pickle_bad(m, "pickle ends a list it did not begin");
    *first = m->marks[--m->marks_n];
    return 0;
}

static int items_add(Machine *m, int owner, int object) {
    if (m->cells_n == 2 * OBJECTS_MOST) return limit_passed(m, "entries", 2 * OBJECTS_MOST);
    if (mem_grow(&m->cells, &m->cells_cap, m->cells_n + 1, sizeof *m->cells, "pickle", m->e)) return -1;
    Object *o = &m->objects[owner];
    int cell = (int)m->cells_n++;
    m->cells[cell] = (Cell){ object, NONE_LEFT };
    if (o->items.n++) m->cells[o->items.last].next = cell;
    else o->items.first = cell;
    o->items.last = cell;
    return 0;
}

/* What stands on the stack from `first` on goes into `owner`. */
static int items_take(Machine *m, int owner, size_t first) {
    for (size_t i = first; i < m->stack_n; i++)
        if (items_add(m, owner, m->stack[i])) return -1;
    m->stack_n = first;
    return 0;
}

/* A tuple of what stands above `first`. */
static int push_tuple(Machine *m, size_t first) {
    if (push_items(m, K_TUPLE)) return -1;
    int tuple = m->stack[--m->stack_n];
    return items_take(m, tuple, first) || stack_push(m, tuple) ? -1 : 0;
}

static int push_tuple_of(Machine *m, size_t n) {
    if (m->stack_n - stack_floor(m) < n) return pickle_bad(m, "pickle takes from an empty stack");
    return push_tuple(m, m->stack_n - n);
}

/* The object on top, which stays, takes what stands above `first`. */
static int append_to(Machine *m, Kind kind, size_t first) {
    if (first > m->stack_n || first <= stack_floor(m)) return pickle_bad(m, "pickle takes from an empty stack");
    int owner = m->stack[first - 1];
    if (m->objects[owner].kind != kind)
        return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "%s that takes entries", kind_names[m->objects[owner].kind]),
               error_expected(m->e, "%s", kind_names[kind]);
    if (kind == K_DICT && (m->stack_n - first) % 2)
        return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "a key without a value");
    return items_take(m, owner, first);
}

/* ---- memo: objects by number, which Python deals in order ---- */

static int memo_put(Machine *m, uint64_t place) {
    if (m->stack_n == stack_floor(m)) return pickle_bad(m, "pickle takes from an empty stack");
    if (place > m->memo_n)
        return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "memo %llu", (unsigned long long)place),
               error_expected(m->e, "at most %zu, the next", m->memo_n);
    if (place == m->memo_n) {
        if (m->memo_n == OBJECTS_MOST) return limit_passed(m, "memos", OBJECTS_MOST);
        if (mem_grow(&m->memo, &m->memo_cap, m->memo_n + 1, sizeof *m->memo, "pickle", m->e)) return -1;
        m->memo_n++;
    }
    m->memo[place] = m->stack[m->stack_n - 1];
    return 0;
}

static int memo_get(Machine *m, uint64_t place) {
    if (place < m->memo_n) return stack_push(m, m->memo[place]);
    return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "memo %llu", (unsigned long long)place),
           error_expected(m->e, "one of the %zu that were put", m->memo_n);
}

/* ---- what the instructions of objects mean ---- */

static int push_global(Machine *m, const char *module, size_t module_n, const char *name, size_t name_n) {
    for (int i = 0; i < CALLABLES; i++)
        if (text_is(module, module_n, callables[i].module) && text_is(name, name_n, callables[i].name))
            return push(m, (Object){ .kind = K_CALLABLE, .callable = i });
    return refuse_call(m, module, module_n, name, name_n);
}

static int do_global(Machine *m) {
    size_t module_n, name_n = 0;
    const char *module = take_line(m, &module_n), *name = module ? take_line(m, &name_n) : NULL;
    return name ? push_global(m, module, module_n, name, name_n) : -1;
}

static int do_stack_global(Machine *m) {
    int name = pop_kind(m, K_TEXT), module = name < 0 ? -1 : pop_kind(m, K_TEXT);
    if (module < 0) return -1;
    const Object *a = &m->objects[module], *b = &m->objects[name];
    return push_global(m, a->text.at, a->text.n, b->text.at, b->text.n);
}

static int refuse_object(Machine *m, const char *how) {
    int o = m->stack_n > stack_floor(m) ? m->stack[m->stack_n - 1] : -1;
    return pickle_bad(m, "the pickle would make objects that are no tensors"),
           error_found(m->e, "%s of %s", how, o < 0 ? "nothing" : kind_names[m->objects[o].kind]),
           error_expected(m->e, "nothing but tensors in dictionaries");
}

/* Gives the first n items of a tuple; 0 when it has at least those and at most `most`. */
static int tuple_items(const Machine *m, int tuple, int n, int most, int out[]) {
    const Object *o = &m->objects[tuple];
    if (o->kind != K_TUPLE || o->items.n < n || o->items.n > most) return -1;
    for (int i = 0, cell = o->items.first; i < o->items.n; i++, cell = m->cells[cell].next) out[i] = m->cells[cell].object;
    return 0;
}

/* ("storage", type, key, location, elements): a persistent id, which names an entry of the archive. */
static int do_storage(Machine *m) {
    int id = pop(m), item[5];
    if (id < 0) return -1;
    if (tuple_items(m, id, 5, 5, item)) goto bad;
    const Object *word = &m->objects[item[0]], *type = &m->objects[item[1]], *key = &m->objects[item[2]], *count = &m->objects[item[4]];
    if (word->kind != K_TEXT || !text_is(word->text.at, word->text.n, "storage") || type->kind != K_CALLABLE ||
        callables[type->callable].call != CALL_NEVER || key->kind != K_TEXT || m->objects[item[3]].kind != K_TEXT || count->kind != K_INT ||
        count->integer < 0)
        goto bad;
    return push(m, (Object){ .kind = K_STORAGE, .storage = { item[2], callables[type->callable].type, count->integer } });
bad:
    return pickle_bad(m, "pickle makes no sense"), error_found(m->e, "a persistent id of another sort"),
           error_expected(m->e, "(\"storage\", type, key, location, elements)");
}

static int bad_arguments(const Machine *m, int callable) {
    return pickle_bad(m, "pickle makes no sense"),
           error_found(m->e, "other arguments of %s.%s", callables[callable].module, callables[callable].name);
}

static int is_empty(const Object *o, Kind kind) { return o->kind == kind && !o->items.n; }

/* (storage, offset, shape, stride, requires_grad, backward_hooks[, metadata]); metadata says that the elements mean something else
 * (negated, conjugated). */
static int call_tensor(Machine *m, int callable, int arguments) {
    int item[7];
    if (tuple_items(m, arguments, 6, 7, item)) return bad_arguments(m, callable);
    const Object *storage = &m->objects[item[0]], *offset = &m->objects[item[1]];
    if (storage->kind != K_STORAGE || offset->kind != K_INT || offset->integer < 0 || m->objects[item[2]].kind != K_TUPLE ||
        m->objects[item[3]].kind != K_TUPLE || m->objects[item[4]].kind != K_BOOL || !is_empty(&m->objects[item[5]], K_DICT) ||
        (m->objects[arguments].items.n == 7 && !is_empty(&m->objects[item[6]], K_DICT)))
        return bad_arguments(m, callable);
    return push(m, (Object){ .kind = K_TENSOR, .tensor = { item[0], item[2], item[3], offset->integer } });
}

/* (tensor, requires_grad, backward_hooks): the tensor itself. */
static int call_parameter(Machine *m, int callable, int arguments) {
    int item[3];
    if (tuple_items(m, arguments, 3, 3, item) || m->objects[item[0]].kind != K_TENSOR || m->objects[item[1]].kind != K_BOOL ||
        !is_empty(&m->objects[item[2]], K_DICT))
        return bad_arguments(m, callable);
    return stack_push(m, item[0]);
}

static int do_call(Machine *m) {
    int arguments = pop_kind(m, K_TUPLE), function = arguments < 0 ? -1 : pop_kind(m, K_CALLABLE);
    if (function < 0) return -1;
    int callable = m->objects[function].callable;
    switch (callables[callable].call) {
    case CALL_DICT:
        if (m->objects[arguments].items.n) return bad_arguments(m, callable);
        return push_items(m, K_DICT);
    case CALL_TENSOR:
        return call_tensor(m, callable, arguments);
    case CALL_PARAMETER:
        return call_parameter(m, callable, arguments);
    case CALL_NEVER:
        break;
    }
    return refuse_call(
        m, callables[callable].module, strlen(callables[callable].module), callables[callable].name, strlen(callables[callable].name));
}

/* Attributes of a dictionary (a state dict has "_metadata", the versions of its modules) are left out. */
static int do_build(Machine *m) {
    if (pop(m) < 0) return -1;
    int o = pop(m);
    if (o < 0) return -1;
    if (m->objects[o].kind == K_DICT) return stack_push(m, o);
    return pickle_bad(m, "the pickle would set attributes"), error_found(m->e, "of %s", kind_names[m->objects[o].kind]),
           error_expected(m->e, "of dictionaries only");
}

static int push_text(Machine *m, Kind kind, int size) {
    uint64_t n;
    if (take_number(m, size, &n)) return -1;
    const unsigned char *p = take(m, n);
    return p ? push(m, (Object){ .kind = kind, .text = { (const char *)p, (size_t)n } }) : -1;
}

static int push_long(Machine *m, int size) {
    uint64_t n;
    int64_t x;
    if (take_number(m, size, &n)) return -1;
    if (n > 8) return pickle_bad(m, "number is beyond 64 bits"), error_found(m->e, "%llu bytes", (unsigned long long)n);
    return take_integer(m, (int)n, &x) || push_integer(m, x) ? -1 : 0;
}

/* ---- the machine ---- */

static int do_frame(Machine *m) {
    uint64_t n;
    if (take_number(m, 8, &n)) return -1;
    if (n <= (uint64_t)(m->end - m->at)) return 0;
    return pickle_bad(m, "pickle is cut short"), error_expected(m->e, "a frame of %llu bytes", (unsigned long long)n);
}

/* One instruction, by the code of pickletools.py. */
static int step(Machine *m, int code) {
    uint64_t n = 0;
    int64_t x;
    size_t first = 0;
    switch (code) {
    case '(':
        return mark(m); /* MARK */
    case '0':
        return pop(m) < 0 ? -1 : 0; /* POP */
    case 'N':
        return push(m, (Object){ .kind = K_NONE }); /* NONE */
    case 0x88:
    case 0x89:
        return push(m, (Object){ .kind = K_BOOL, .integer = code == 0x88 }); /* NEWTRUE, NEWFALSE */
    case 'J':
        return take_integer(m, 4, &x) || push_integer(m, x) ? -1 : 0; /* BININT */
    case 'K':
        return take_number(m, 1, &n) || push_integer(m, (int64_t)n) ? -1 : 0; /* BININT1 */
    case 'M':
        return take_number(m, 2, &n) || push_integer(m, (int64_t)n) ? -1 : 0; /* BININT2 */
    case 0x8a:
        return push_long(m, 1); /* LONG1 */
    case 0x8b:
        return push_long(m, 4); /* LONG4 */
    case 'G':
        return !take(m, 8) || push(m, (Object){ .kind = K_FLOAT }) ? -1 : 0; /* BINFLOAT */
    case 0x8c:
        return push_text(m, K_TEXT, 1); /* SHORT_BINUNICODE */
    case 'X':
        return push_text(m, K_TEXT, 4); /* BINUNICODE */
    case 0x8d:
        return push_text(m, K_TEXT, 8); /* BINUNICODE8 */
    case 'C':
        return push_text(m, K_BYTES, 1); /* SHORT_BINBYTES */
    case 'B':
        return push_text(m, K_BYTES, 4); /* BINBYTES */
    case 0x8e:
        return push_text(m, K_BYTES, 8); /* BINBYTES8 */
    case ')':
        return push_items(m, K_TUPLE); /* EMPTY_TUPLE */
    case ']':
        return push_items(m, K_LIST); /* EMPTY_LIST */
    case '}':
        return push_items(m, K_DICT); /* EMPTY_DICT */
    case 0x85:
    case 0x86:
    case 0x87:
        return push_tuple_of(m, (size_t)(code - 0x84)); /* TUPLE1, TUPLE2, TUPLE3 */
    case 't':
        return unmark(m, &first) || push_tuple(m, first) ? -1 : 0; /* TUPLE */
    case 'a':
        return append_to(m, K_LIST, m->stack_n - 1); /* APPEND */
    case 'e':
        return unmark(m, &first) || append_to(m, K_LIST, first) ? -1 : 0; /* APPENDS */
    case 's':
        return append_to(m, K_DICT, m->stack_n - 2); /* SETITEM */
    case 'u':
        return unmark(m, &first) || append_to(m, K_DICT, first) ? -1 : 0; /* SETITEMS */
    case 'q':
        return take_number(m, 1, &n) || memo_put(m, n) ? -1 : 0; /* BINPUT */
    case 'r':
        return take_number(m, 4, &n) || memo_put(m, n) ? -1 : 0; /* LONG_BINPUT */
    case 0x94:
        return memo_put(m, m->memo_n); /* MEMOIZE */
    case 'h':
        return take_number(m, 1, &n) || memo_get(m, n) ? -1 : 0; /* BINGET */
    case 'j':
        return take_number(m, 4, &n) || memo_get(m, n) ? -1 : 0; /* LONG_BINGET */
    case 0x95:
        return do_frame(m); /* FRAME */
    case 'c':
        return do_global(m); /* GLOBAL */
    case 0x93:
        return do_stack_global(m); /* STACK_GLOBAL */
    case 'Q':
        return do_storage(m); /* BINPERSID */
    case 'R':
        return do_call(m); /* REDUCE */
    case 'b':
        return do_build(m); /* BUILD */
    case 'i':
        return do_global(m) ? -1 : refuse_object(m, "INST"); /* INST */
    case 'o':
        return refuse_object(m, "OBJ");
    case 0x81:
        return refuse_object(m, "NEWOBJ");
    case 0x92:
        return refuse_object(m, "NEWOBJ_EX");
    default:
        return pickle_bad(m, "pickle has an instruction torch.save has no use for"), error_found(m->e, "code 0x%02x", (unsigned)code);
    }
}

/* The object that the pickle makes, or -1. */
static int run(Machine *m) {
    m->op = m->begin;
    const unsigned char *p = take(m, 2);
    if (!p) return -1;
    if (p[0] != 0x80 || p[1] < 2 || p[1] > 5)
        return pickle_bad(m, "not a pickle of torch.save"), error_found(m->e, "first bytes 0x%02x 0x%02x", p[0], p[1]),
               error_expected(m->e, "0x80 and a protocol of 2 to 5");
    for (;;) {
        m->op = m->at;
        if (!(p = take(m, 1))) return -1;
        if (*p == '.') break; /* STOP */
        if (step(m, *p)) return -1;
    }
    if (m->marks_n || m->stack_n != 1 || m->at != m->end)
        return pickle_bad(m, "pickle makes no sense"),
               error_found(m->e, "%zu objects and %td bytes at its end", m->stack_n, m->end - m->at),
               error_expected(m->e, "one object and no bytes");
    return m->stack[0];
}

/* ---- the dictionary of tensors ---- */

static int holds_tensor(const Machine *m, int dict) {
    const Object *o = &m->objects[dict];
    for (int cell = o->items.first; cell != NONE_LEFT; cell = m->cells[m->cells[cell].next].next)
        if (m->objects[m->cells[m->cells[cell].next].object].kind == K_TENSOR) return 1;
    return 0;
}

/* The one dictionary that stands under a name which programs give to the weights; -1 when there is none, or more than one. */
static int weights_within(const Machine *m, int dict) {
    static const char *const names[] = { "state_dict", "model", "module" };
    int found = -1, times = 0;
    for (int cell = m->objects[dict].items.first, value; cell != NONE_LEFT; cell = m->cells[value].next) {
        value = m->cells[cell].next;
        const Object *key = &m->objects[m->cells[cell].object];
        if (key->kind != K_TEXT || m->objects[m->cells[value].object].kind != K_DICT) continue;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (text_is(key->text.at, key->text.n, names[i])) found = m->cells[value].object, times++;
    }
    return times == 1 ? found : -1;
}

static int weights_find(const Machine *m, int object) {
    int o = object;
    for (int depth = 0; depth < NEST_MOST && o >= 0 && m->objects[o].kind == K_DICT; depth++) {
        if (holds_tensor(m, o)) return o;
        o = weights_within(m, o);
    }
    return error_what(m->e, "no dictionary of tensors"), error_where(m->e, "%s", m->path),
           error_found(m->e, "%s", kind_names[m->objects[object].kind]),
           error_expected(m->e, "a dictionary of tensors, or one under \"state_dict\", \"model\" or \"module\"");
}

static int name_read(const Object *key, char out[PICKLE_NAME]) {
    if (key->kind != K_TEXT || !key->text.n || key->text.n >= PICKLE_NAME) return -1;
    bytes_show(key->text.at, key->text.n, out, PICKLE_NAME);
    return memcmp(out, key->text.at, key->text.n) ? -1 : 0;
}

/* A tuple of sizes; their number, or -1. */
static int sizes_read(const Machine *m, int tuple, int64_t out[TENSOR_DIMS]) {
    int item[TENSOR_DIMS];
    if (tuple_items(m, tuple, 0, TENSOR_DIMS, item)) return -1;
    for (int i = 0; i < m->objects[tuple].items.n; i++) {
        const Object *o = &m->objects[item[i]];
        if (o->kind != K_INT || o->integer < 0) return -1;
        out[i] = o->integer;
    }
    return m->objects[tuple].items.n;
}

static int tensor_take(const Machine *m, const Object *o, PickleTensor *t, PickleTake take_tensor, void *context) {
    const Object *storage = &m->objects[o->tensor.storage], *key = &m->objects[storage->storage.key];
    t->key = key->text.at, t->key_n = key->text.n;
    t->type = storage->storage.type;
    t->storage_count = storage->storage.count, t->offset = o->tensor.offset;
    t->ndim = sizes_read(m, o->tensor.shape, t->shape);
    if (t->ndim < 0 || sizes_read(m, o->tensor.stride, t->stride) != t->ndim)
        return error_what(m->e, "bad tensor shape"), error_where(m->e, "%s: tensor \"%s\"", m->path, t->name),
               error_expected(m->e, "at most %d sizes and as many strides of 0 or more", TENSOR_DIMS);
    return take_tensor(context, t, m->e);
}

/* Numbers and words beside the tensors (versions, the name of a model) are left out; what could hold tensors is not. */
static int entry_take(const Machine *m, const Object *key, const Object *value, PickleTake take_tensor, void *context) {
    PickleTensor t;
    int named = !name_read(key, t.name);
    if (value->kind == K_TENSOR && named) return tensor_take(m, value, &t, take_tensor, context);
    if (value->kind < K_TUPLE) return 0;
    if (!named)
        return error_what(m->e, "tensor without a name"), error_where(m->e, "%s", m->path),
               error_found(m->e, "%s as its key", kind_names[key->kind]),
               error_expected(m->e, "a string of fewer than %d printable ASCII characters", PICKLE_NAME);
    return error_what(m->e, "not a tensor"), error_where(m->e, "%s: entry \"%s\"", m->path, t.name),
           error_found(m->e, "%s", kind_names[value->kind]), error_expected(m->e, "a tensor, a number or a word");
}

static int weights_take(const Machine *m, int dict, PickleTake take_tensor, void *context) {
    if (m->objects[dict].items.n / 2 > TENSORS_MOST) return limit_passed(m, "tensors", TENSORS_MOST);
    for (int cell = m->objects[dict].items.first, value; cell != NONE_LEFT; cell = m->cells[value].next) {
        value = m->cells[cell].next;
        if (entry_take(m, &m->objects[m->cells[cell].object], &m->objects[m->cells[value].object], take_tensor, context)) return -1;
    }
    return 0;
}

int pickle_tensors(const void *bytes, size_t size, const char *path, PickleTake take_tensor, void *context, Error *e) {
    Machine m = { .begin = bytes, .at = bytes, .op = bytes, .end = (const unsigned char *)bytes + size, .path = path, .e = e };
    if (size > PICKLE_MOST) return limit_passed(&m, "bytes", PICKLE_MOST);
    int object = run(&m), dict = object < 0 ? -1 : weights_find(&m, object);
    int failed = dict < 0 || weights_take(&m, dict, take_tensor, context);
    free(m.objects);
    free(m.cells);
    free(m.stack);
    free(m.memo);
    return failed ? -1 : 0;
}
