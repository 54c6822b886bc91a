/* pickle_test.c - the pickle machine: what torch.save writes, in every protocol's instructions, and the refusal of all else. */
#include "tests/check.h"

#include "model/pickle.h"

/* Pieces of pickles. A text is its instruction, its length in octal, and itself. */
#define B(TEXT) TEXT, sizeof TEXT - 1
#define PROTOCOL "\200\2"
#define TEXT(LENGTH, WORD) "X" LENGTH "\0\0\0" WORD
#define GLOBAL(MODULE, NAME) "c" MODULE "\n" NAME "\n"
#define HOOKS GLOBAL("collections", "OrderedDict") ")R"
#define STORAGE_OF(WORD, TYPE, KEY, COUNT) "(" WORD TYPE KEY TEXT("\3", "cpu") COUNT "tQ"
#define STORAGE(TYPE, COUNT) STORAGE_OF(TEXT("\7", "storage"), GLOBAL("torch", TYPE), TEXT("\1", "0"), COUNT)
#define VIEW(STORAGE, OFFSET, SHAPE, STRIDE) GLOBAL("torch._utils", "_rebuild_tensor_v2") "(" STORAGE OFFSET SHAPE STRIDE "\211" HOOKS "tR"
#define SIX "K\6"
#define TWO_BY_THREE "K\2K\3\206"
#define THREE_BY_ONE "K\3K\1\206"
#define TENSOR VIEW(STORAGE("FloatStorage", SIX), "K\0", TWO_BY_THREE, THREE_BY_ONE)
#define DICT_OF(VALUE) PROTOCOL "}" TEXT("\1", "a") VALUE "s."

typedef struct Taken {
    PickleTensor list[8];
    int n, fail_at;
} Taken;

static int take(void *context, const PickleTensor *t, Error *e) {
    Taken *x = context;
    if (x->n == x->fail_at - 1) return error_what(e, "taken enough");
    assert_in_range(x->n, 0, 7);
    x->list[x->n++] = *t;
    return 0;
}

/* A copy without a byte to spare, so that a sanitizer sees reading beyond it. */
static int read_exact(const char *bytes, size_t n, Taken *x, Error *e) {
    char *exact = malloc(n ? n : 1);
    memcpy(exact, bytes, n);
    int failed = pickle_tensors(exact, n, "some.bin", take, x, e);
    for (int i = 0; i < x->n; i++) { /* keys point into the pickle: into the caller's from here on */
        if (x->list[i].key) x->list[i].key = bytes + (x->list[i].key - exact);
    }
    free(exact);
    return failed;
}

static void read_good(const char *bytes, size_t n, Taken *x) {
    Error e = { 0 };
    char line[2048];
    *x = (Taken){ 0 };
    if (read_exact(bytes, n, x, &e)) fail_msg("%s", error_text(&e, line, sizeof line));
}

static void is_the_tensor(const PickleTensor *t, const char *name) {
    assert_string_equal(t->name, name);
    assert_int_equal(t->type, TENSOR_F32);
    assert_int_equal(t->key_n, 1);
    assert_memory_equal(t->key, "0", 1);
    assert_int_equal(t->storage_count, 6);
    assert_int_equal(t->offset, 0);
    assert_int_equal(t->ndim, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 3);
    assert_int_equal(t->stride[0], 3);
    assert_int_equal(t->stride[1], 1);
}

/* ---- what is read ---- */

static void good(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {
        { B(DICT_OF(TENSOR)) },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR "u.") },
        { B(PROTOCOL HOOKS "(" TEXT("\1", "a") TENSOR "u}" TEXT("\11", "_metadata") HOOKS "sb.") }, /* attributes of the dictionary */
        { B(PROTOCOL "}" TEXT("\5", "model") "}" TEXT("\1", "a") TENSOR "ss.") },
        { B(PROTOCOL "}(" TEXT("\12", "state_dict") "}" TEXT("\1", "a") TENSOR "s" TEXT("\11", "optimizer") "](K\1K\2eu.") },
        { B(PROTOCOL "}" TEXT("\6", "module") "}" TEXT("\5", "model") "}" TEXT("\1", "a") TENSOR "sss.") },
        { B(DICT_OF(GLOBAL("torch._utils", "_rebuild_parameter") "(" TENSOR "\210" HOOKS "tR")) }, /* a parameter */
        { B(DICT_OF(GLOBAL("torch._utils", "_rebuild_parameter") TENSOR "\210" HOOKS "\207R")) },
        /* Harmless entries: None, numbers, words, bytes. */
        { B(PROTOCOL "}(" TEXT("\1", "n") "N" TEXT("\1", "t") "\210" TEXT("\1", "f") "G12345678" TEXT("\1", "i") "J\377\377\377\377" TEXT(
            "\1", "a") TENSOR TEXT("\1", "w") TEXT("\1", "x") TEXT("\1", "y") "C\2xy" TEXT("\1", "z") "B\2\0\0\0xy"
                                                                                                      "K\1"
                                                                                                      "\216\2\0\0\0\0\0\0\0xy"
                                                                                                      "u.") },
        /* Numbers in every form; the last is 2^32 + 6, then dropped. */
        { B(DICT_OF(
            VIEW(STORAGE("FloatStorage", "J\6\0\0\0"), "\212\0", "M\2\0\212\1\3\206", "\213\1\0\0\0\3\212\10\1\0\0\0\0\0\0\0\206"))) },
        { B(PROTOCOL "}" TEXT("\1", "a") TENSOR "\212\5\6\0\0\0\1"
                                                "0s.") },
        /* Memos: the dictionary is put, the key used twice, the hooks of the tensor are made once. */
        { B(PROTOCOL "}q\0" TEXT("\1", "a") "r\1\0\0\0" TENSOR "q\2s0h\0.") },
        { B(PROTOCOL "}q\0" TEXT("\1", "a") "q\1" TENSOR "0h\1j\0\0\0\0"
                                            "00" TENSOR "s.") },
        /* Protocol 4: frames, short texts, globals from the stack, memos in order. */
        { B("\200\4\225\3\0\0\0\0\0\0\0}\224\214\1a\224\214\14torch._utils\224\214\22_rebuild_tensor_v2\224\223\224(("
            "\214\7storage\224\214\5torch\224\214\14FloatStorage\224\223\224\214\1"
            "0\224\214\3cpu\224K\6t\224QK\0K\2K\3\206K\3K\1\206\211" HOOKS "t\224Rs.") },
        { B("\200\5}\215\1\0\0\0\0\0\0\0a" TENSOR "s.") },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Taken x;
        read_good(cases[i].bytes, cases[i].n, &x);
        assert_int_equal(x.n, 1);
        is_the_tensor(&x.list[0], "a");
    }
    /* Two views of one storage, in the order they stand. */
    static const char two[] = PROTOCOL "}(" TEXT("\1", "b") VIEW(STORAGE("HalfStorage", SIX), "K\4", ")", ")") TEXT("\1", "a")
        VIEW(STORAGE("HalfStorage", SIX), "K\0", "K\2\205", "K\3\205") "u.";
    Taken x;
    read_good(two, sizeof two - 1, &x);
    assert_int_equal(x.n, 2);
    assert_string_equal(x.list[0].name, "b");
    assert_int_equal(x.list[0].ndim, 0);
    assert_int_equal(x.list[0].offset, 4);
    assert_int_equal(x.list[1].ndim, 1);
    assert_int_equal(x.list[1].stride[0], 3);
    assert_int_equal(x.list[1].type, TENSOR_F16);
    /* The taker's word stops the reading. */
    Error e = { 0 };
    x = (Taken){ .fail_at = 2 };
    assert_int_equal(read_exact(two, sizeof two - 1, &x, &e), -1);
    error_says(&e, "taken enough");
    assert_int_equal(x.n, 1);
}

static void types(void **state) {
    (void)state;
#define TYPED(NAME) B(DICT_OF(VIEW(STORAGE(NAME, SIX), "K\0", TWO_BY_THREE, THREE_BY_ONE)))
    static const struct {
        const char *bytes;
        size_t n;
        TensorType type;
    } cases[] = { { TYPED("DoubleStorage"), TENSOR_F64 }, { TYPED("FloatStorage"), TENSOR_F32 }, { TYPED("HalfStorage"), TENSOR_F16 },
        { TYPED("BFloat16Storage"), TENSOR_BF16 }, { TYPED("LongStorage"), TENSOR_I64 }, { TYPED("IntStorage"), TENSOR_I32 },
        { TYPED("ShortStorage"), TENSOR_I16 }, { TYPED("CharStorage"), TENSOR_I8 }, { TYPED("ByteStorage"), TENSOR_U8 },
        { TYPED("BoolStorage"), TENSOR_BOOL } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Taken x;
        read_good(cases[i].bytes, cases[i].n, &x);
        assert_int_equal(x.list[0].type, cases[i].type);
    }
}

/* ---- what is refused ---- */

static void says(const char *bytes, size_t n, const char *word) {
    Taken x = { 0 };
    Error e = { 0 };
    if (!read_exact(bytes, n, &x, &e)) fail_msg("read a pickle that should be refused for: %s", word);
    error_says(&e, word);
    error_says(&e, "some.bin");
}

static void calls(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        { B(PROTOCOL GLOBAL("posix", "system") TEXT("\2", "id") "\205R."), "the pickle would call posix.system" },
        { B(PROTOCOL GLOBAL("os", "system") TEXT("\2", "id") "\205R."), "the pickle would call os.system" },
        { B(PROTOCOL GLOBAL("builtins", "eval") TEXT("\1", "1") "\205R."), "the pickle would call builtins.eval" },
        { B(PROTOCOL GLOBAL("builtins", "getattr") "."), "the pickle would call builtins.getattr" },
        { B(PROTOCOL GLOBAL("torch", "load") "."), "the pickle would call torch.load" },
        { B(PROTOCOL GLOBAL("torch.hub", "load") "."), "the pickle would call torch.hub.load" },
        { B(PROTOCOL GLOBAL("torch._utils", "_rebuild_tensor_v3") "."), "torch._utils._rebuild_tensor_v3" },
        { B(PROTOCOL GLOBAL("torch._utils", "_rebuild_tensor_v2.__globals__") "."), "torch._utils._rebuild_tensor_v2.__globals__" },
        { B(PROTOCOL GLOBAL("torch", "ComplexFloatStorage") "."), "torch.ComplexFloatStorage" },
        { B(PROTOCOL GLOBAL("torch.storage", "_load_from_bytes") "."), "torch.storage._load_from_bytes" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict2") "."), "collections.OrderedDict2" },
        { B(PROTOCOL GLOBAL("", "") "."), "the pickle would call " },
        { B(PROTOCOL GLOBAL("a\33[2Jb", "c\x90\x80") "."), "the pickle would call a?[2Jb.c??" },
        { B("\200\4\214\2os\214\6system\223\214\2id\205R."), "the pickle would call os.system" },
        { B(PROTOCOL "(" TEXT("\2", "id") "ios\nsystem\n."), "the pickle would call os.system" }, /* INST */
        { B(PROTOCOL "(" GLOBAL("os", "system") TEXT("\2", "id") "o."), "the pickle would call os.system" },
        { B(PROTOCOL "(icollections\nOrderedDict\n."), "INST of a callable" },
        { B(PROTOCOL "(" GLOBAL("collections", "OrderedDict") "o."), "OBJ of a callable" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict") ")\201."), "NEWOBJ of a tuple" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict") ")}\222."), "NEWOBJ_EX of a dictionary" },
        { B(PROTOCOL GLOBAL("torch", "FloatStorage") "K\7\205R."), "the pickle would call torch.FloatStorage" },
        { B(PROTOCOL "\202\1."), "code 0x82" }, /* EXT1 */
        { B(PROTOCOL "P0\n."), "code 0x50" },   /* PERSID in text */
        { B(PROTOCOL "I01\n."), "code 0x49" },
        { B(PROTOCOL "\217."), "code 0x8f" }, /* EMPTY_SET */
        { B(PROTOCOL "\226."), "code 0x96" }, /* BYTEARRAY8 */
        { B(PROTOCOL "\200\2."), "code 0x80" },
        { B(PROTOCOL "K\1)R."), "found an integer; expected a callable" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict") "}R."), "found a dictionary; expected a tuple" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict") "]\205R."), "other arguments of collections.OrderedDict" },
        { B(PROTOCOL TENSOR "}b."), "the pickle would set attributes" },
        { B(PROTOCOL GLOBAL("collections", "OrderedDict") "}b."), "found of a callable" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) says(cases[i].bytes, cases[i].n, cases[i].says);
}

static void nonsense(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        { B(""), "cut short" },
        { B("\200"), "cut short" },
        { B("(dp0\n."), "not a pickle of torch.save" },
        { B("\200\1."), "first bytes 0x80 0x01" },
        { B("\200\6."), "first bytes 0x80 0x06" },
        { B(PROTOCOL "."), "0 objects and 0 bytes at its end" },
        { B(PROTOCOL "NN."), "2 objects" },
        { B(PROTOCOL "N.."), "1 objects and 1 bytes" },
        { B(PROTOCOL "N(."), "makes no sense" },
        { B(PROTOCOL "N."), "no dictionary of tensors: some.bin; found None" },
        { B(PROTOCOL "}."), "no dictionary of tensors" },
        { B(PROTOCOL TENSOR "."), "found a tensor; expected a dictionary of tensors" },
        { B(PROTOCOL "0."), "empty stack" },
        { B(PROTOCOL "N(0."), "empty stack" }, /* not beyond the mark */
        { B(PROTOCOL "K\1(\205."), "empty stack" },
        { B(PROTOCOL "K\1\206."), "empty stack" },
        { B(PROTOCOL "t."), "ends a list it did not begin" },
        { B(PROTOCOL "u."), "ends a list it did not begin" },
        { B(PROTOCOL "NNs."), "empty stack" },
        { B(PROTOCOL "s."), "empty stack" },
        { B(PROTOCOL "a."), "empty stack" },
        { B(PROTOCOL "}NN(N0s."), "empty stack" },
        { B(PROTOCOL "}N(NNs."), "empty stack" },
        { B(PROTOCOL "}N(Ns."), "empty stack" },
        { B(PROTOCOL "(NNu."), "empty stack" },
        { B(PROTOCOL "](NNu."), "found a list that takes entries; expected a dictionary" },
        { B(PROTOCOL "}Na."), "found a dictionary that takes entries; expected a list" },
        { B(PROTOCOL "}(Nu."), "a key without a value" },
        { B(PROTOCOL "q\0."), "empty stack" },
        { B(PROTOCOL "Nq\1."), "found memo 1; expected at most 0" },
        { B(PROTOCOL "Nr\377\377\377\377."), "found memo 4294967295" },
        { B(PROTOCOL "h\0."), "found memo 0; expected one of the 0" },
        { B(PROTOCOL "Nq\0j\0\0\0\200."), "found memo 2147483648" },
        { B(PROTOCOL "X\5\0\0\0abc."), "cut short" },
        { B(PROTOCOL "X\377\377\377\377abc."), "expected 4294967295 bytes more" },
        { B(PROTOCOL "\215\0\0\0\0\0\0\0\200abc."), "expected 9223372036854775808 bytes more" },
        { B(PROTOCOL "\216\377\377\377\377\377\377\377\377abc."), "expected 18446744073709551615 bytes more" },
        { B(PROTOCOL "\225\377\377\377\377\377\377\377\377N."), "a frame of" },
        { B(PROTOCOL "\212\11\1\2\3\4\5\6\7\10\11."), "beyond 64 bits" },
        { B(PROTOCOL "\213\377\377\377\377."), "found 4294967295 bytes" },
        { B(PROTOCOL "cos"), "the end of a name" },
        { B(PROTOCOL "cos\nsystem"), "the end of a name" },
        { B(PROTOCOL "K\1\214\1a\223."), "found an integer; expected a string" },
        { B(PROTOCOL "\214\1aK\1\223."), "found an integer; expected a string" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) says(cases[i].bytes, cases[i].n, cases[i].says);
}

static void tensors(void **state) {
    (void)state;
#define F32_OF(COUNT) STORAGE("FloatStorage", COUNT)
#define V2 GLOBAL("torch._utils", "_rebuild_tensor_v2")
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        /* persistent ids */
        { B(DICT_OF("K\1Q")), "persistent id of another sort" }, { B(DICT_OF(")Q")), "persistent id of another sort" },
        { B(DICT_OF(STORAGE_OF(TEXT("\6", "module"), GLOBAL("torch", "FloatStorage"), TEXT("\1", "0"), SIX))), "persistent id" },
        { B(DICT_OF(STORAGE_OF(TEXT("\7", "storage"), GLOBAL("collections", "OrderedDict"), TEXT("\1", "0"), SIX))), "persistent id" },
        { B(DICT_OF(STORAGE_OF(TEXT("\7", "storage"), TEXT("\1", "0"), TEXT("\1", "0"), SIX))), "persistent id" },
        { B(DICT_OF(STORAGE_OF(TEXT("\7", "storage"), GLOBAL("torch", "FloatStorage"), "K\0", SIX))), "persistent id" },
        { B(DICT_OF(F32_OF("J\377\377\377\377"))), "persistent id" }, /* -1 elements */
        { B(DICT_OF(F32_OF("N"))), "persistent id" },
        { B(DICT_OF(F32_OF("K\6K\6"))), "persistent id" }, /* six items, as files before 1.6 have */
        /* arguments */
        { B(DICT_OF(V2 ")R")), "other arguments of torch._utils._rebuild_tensor_v2" },
        { B(DICT_OF(VIEW("K\0", "K\0", TWO_BY_THREE, THREE_BY_ONE))), "other arguments" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "J\377\377\377\377", TWO_BY_THREE, THREE_BY_ONE))), "other arguments" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "N", TWO_BY_THREE, THREE_BY_ONE))), "other arguments" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", "](K\2K\3e", THREE_BY_ONE))), "other arguments" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", TWO_BY_THREE, "N"))), "other arguments" },
        { B(DICT_OF(V2 "(" F32_OF(SIX) "K\0" TWO_BY_THREE THREE_BY_ONE "N" HOOKS "tR")), "other arguments" },
        { B(DICT_OF(V2 "(" F32_OF(SIX) "K\0" TWO_BY_THREE THREE_BY_ONE "\211NtR")), "other arguments" },
        { B(DICT_OF(V2 "(" F32_OF(SIX) "K\0" TWO_BY_THREE THREE_BY_ONE "\211}K\1K\1stR")), "other arguments" }, /* hooks */
        { B(DICT_OF(V2 "(" F32_OF(SIX) "K\0" TWO_BY_THREE THREE_BY_ONE "\211}}" TEXT("\3", "neg") "\210stR")),
            "other arguments" }, /* negated */
        { B(DICT_OF(V2 "(" F32_OF(SIX) "K\0" TWO_BY_THREE THREE_BY_ONE "\211}}NtR")), "other arguments" },
        { B(DICT_OF(GLOBAL("torch._utils", "_rebuild_parameter") "N\211" HOOKS "\207R")),
            "other arguments of torch._utils._rebuild_parameter" },
        { B(DICT_OF(GLOBAL("torch._utils", "_rebuild_parameter") TENSOR "\205R")), "other arguments" },
        { B(DICT_OF(GLOBAL("torch._utils", "_rebuild_parameter") TENSOR "\211}K\1K\1s\207R")), "other arguments" },
        /* shapes */
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", TWO_BY_THREE, "K\1\205"))), "tensor \"a\"; expected at most 8 sizes" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", "K\2J\377\377\377\377\206", THREE_BY_ONE))), "bad tensor shape" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", TWO_BY_THREE, "K\3J\377\377\377\377\206"))), "bad tensor shape" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", "K\2N\206", THREE_BY_ONE))), "bad tensor shape" },
        { B(DICT_OF(VIEW(F32_OF(SIX), "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"))), "bad tensor shape" },
        /* dictionaries */
        { B(PROTOCOL "}(K\1" TENSOR "u."), "tensor without a name: some.bin; found an integer" },
        { B(PROTOCOL "}(" TEXT("\0", "") TENSOR "u."), "tensor without a name" },
        { B(PROTOCOL "}(" TEXT("\2", "a\0") TENSOR "u."), "tensor without a name" },
        { B(PROTOCOL "}(" TEXT("\2", "\303\244") TENSOR "u."), "printable ASCII" },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR TEXT("\1", "b") "}u."), "not a tensor: some.bin: entry \"b\"; found a dictionary" },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR TEXT("\1", "b") "]u."), "found a list" },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR TEXT("\1", "b") ")u."), "found a tuple" },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR TEXT("\1", "b") STORAGE("FloatStorage", SIX) "u."), "found a storage" },
        { B(PROTOCOL "}(" TEXT("\1", "a") TENSOR "K\1]u."), "without a name" },
        { B(PROTOCOL "}(" TEXT("\5", "other") "}" TEXT("\1", "a") TENSOR "su."), "no dictionary of tensors" },
        { B(PROTOCOL "}(" TEXT("\5", "model") "}" TEXT("\1", "a") TENSOR "s" TEXT("\6", "module") "}u."), "no dictionary of tensors" },
        { B(PROTOCOL "}q\0" TEXT("\5", "model") "h\0s."), "no dictionary of tensors" }, /* itself */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) says(cases[i].bytes, cases[i].n, cases[i].says);
}

/* ---- limits ---- */

/* lead, then `times` times part, then what ends it. */
static void says_of_many(
    const char *lead, size_t lead_n, const char *part, size_t part_n, size_t times, const char *end, size_t end_n, const char *word) {
    size_t n = lead_n + part_n * times + end_n;
    char *bytes = malloc(n), *to = bytes;
    assert_non_null(bytes);
    memcpy(to, lead, lead_n), to += lead_n;
    for (size_t i = 0; i < times; i++) memcpy(to, part, part_n), to += part_n;
    memcpy(to, end, end_n);
    says(bytes, n, word);
    free(bytes);
}

static void limits(void **state) {
    (void)state;
    says_of_many(B(PROTOCOL), B("("), 257, B("."), "at most 256 objects begun within each other");
    says_of_many(B(PROTOCOL), B("N"), 65537, B("."), "at most 65536 objects on its stack");
    says_of_many(B(PROTOCOL), B("N0"), (1 << 22) + 1, B("."), "at most 4194304 objects");
    says_of_many(B(PROTOCOL "]q\0"), B("h\0a"), (1 << 23) + 1, B("."), "at most 8388608 entries");
    says_of_many(B(PROTOCOL), B("N"), 1 << 26, B("."), "at most 67108864 bytes");
    says_of_many(B(PROTOCOL "}" TEXT("\1", "a") "q\0" TENSOR "q\1s"), B("h\0h\1s"), (1 << 17) + 1, B("."), "at most 131072 tensors");
    /* Tuples within tuples, dictionaries within dictionaries: as deep as it likes, nothing here goes down. */
    says_of_many(B(PROTOCOL "N"), B("\205"), 1000000, B("."), "found a tuple");
#define WITHIN(INNER) "}" TEXT("\5", "model") INNER "s"
    static const char fourth[] = PROTOCOL WITHIN(WITHIN(WITHIN("}" TEXT("\1", "a") TENSOR "s"))) ".";
    Taken x;
    read_good(fourth, sizeof fourth - 1, &x);
    says(B(PROTOCOL WITHIN(WITHIN(WITHIN(WITHIN("}" TEXT("\1", "a") TENSOR "s")))) "."), "no dictionary of tensors");
    /* Thirty tuples, each of the one before twice over: a thousand million leaves, if anyone walked there. */
    says_of_many(B(PROTOCOL "Nq\0"), B("h\0h\0\206q\0"), 30, B("."), "31 objects");
    /* A name of 512 characters is too long, of 511 it is not. */
    char name[6 + 512 + sizeof TENSOR + 8];
    for (int n = 511; n <= 512; n++) {
        char *to = name;
        memcpy(to, PROTOCOL "}X", 4), to += 4;
        *to++ = (char)n, *to++ = (char)(n >> 8), *to++ = 0, *to++ = 0;
        memset(to, 'n', (size_t)n), to += n;
        memcpy(to, B(TENSOR "s.")), to += sizeof TENSOR "s." - 1;
        if (n == 512) says(name, (size_t)(to - name), "tensor without a name");
        else read_good(name, (size_t)(to - name), &x), assert_int_equal(strlen(x.list[0].name), 511);
    }
}

/* Every proper beginning of a good pickle is refused, and no change of one byte makes reading go wrong (the sanitizer's word). */
static void cut_and_changed(void **state) {
    (void)state;
    static const char whole[] = PROTOCOL HOOKS "q\0(" TEXT("\1", "a") TENSOR TEXT("\1", "b")
        VIEW(STORAGE("LongStorage", SIX), "K\4", "K\2\205", "K\1\205") "u}" TEXT("\11", "_metadata") HOOKS "sb.";
    Taken x;
    for (size_t n = 0; n < sizeof whole - 1; n++) says(whole, n, n < 3 ? "cut short" : "some.bin");
    for (size_t i = 0; i < sizeof whole - 1; i++)
        for (int v = 0; v < 256; v++) {
            char changed[sizeof whole];
            Error e = { 0 };
            memcpy(changed, whole, sizeof whole);
            changed[i] = (char)v;
            x = (Taken){ 0 };
            if (!read_exact(changed, sizeof whole - 1, &x, &e)) assert_in_range(x.n, 1, 2);
            else assert_true(e.what[0]);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(types),
        cmocka_unit_test(calls),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(tensors),
        cmocka_unit_test(limits),
        cmocka_unit_test(cut_and_changed),
    };
    return cmocka_run_group_tests_name("pickle", tests, NULL, NULL);
}
