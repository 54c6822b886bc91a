"""What the peer programs of the tokenizer share: our own functions by ctypes, and text made to be difficult."""
import ctypes, os, random, subprocess, unicodedata

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


FREE = ctypes.CDLL(None).free


class IdList(ctypes.Structure):
    _fields_ = [("ids", ctypes.POINTER(ctypes.c_int)), ("count", ctypes.c_size_t), ("cap", ctypes.c_size_t)]


class Error(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char * size) for name, size in (("what", 320), ("where", 512), ("found", 320), ("expected", 320), ("hint", 320))]

    def text(self):
        return "; ".join(getattr(self, name).decode("utf-8", "replace") for name, _ in self._fields_ if getattr(self, name))


def program():
    """tokenizer/ and base/ as one shared object under build/."""
    path = os.path.join(ROOT, "build/peer/tokenizer.so")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run("cc -std=c11 -D_GNU_SOURCE -O2 -shared -fPIC -I. -o build/peer/tokenizer.so $(ls tokenizer/*.c | grep -v /template) base/*.c -ljansson -lpcre2-8 -lutf8proc -lxxhash -lm",
                   shell=True, check=True, cwd=ROOT)
    c = ctypes.CDLL(path)
    c.tokenizer_load.restype = ctypes.c_void_p
    c.tokenizer_decode.restype = ctypes.c_void_p
    return c


class Ours:
    def __init__(self, c, folder):
        self.c, error = c, Error()
        self.t = ctypes.c_void_p(c.tokenizer_load(os.fsencode(folder), ctypes.byref(error)))
        if not self.t.value:
            raise RuntimeError(error.text())

    def encode(self, data):
        ids, error = IdList(), Error()
        if self.c.tokenizer_encode(self.t, data, ctypes.c_size_t(len(data)), ctypes.byref(ids), ctypes.byref(error)):
            raise RuntimeError(error.text())
        out = ids.ids[: ids.count]
        self.c.idlist_free(ctypes.byref(ids))
        return out

    def decode(self, ids, size):
        """`size` bytes of the text: it may hold zeros, so its end cannot be seen."""
        error = Error()
        p = self.c.tokenizer_decode(self.t, (ctypes.c_int * (len(ids) + 1))(*ids), ctypes.c_size_t(len(ids)), ctypes.byref(error))
        if not p:
            raise RuntimeError(error.text())
        whole = ctypes.string_at(p)
        text = whole if len(whole) >= size else ctypes.string_at(p, size)
        FREE(ctypes.c_void_p(p))
        return text


WORDS = ("the of and to in is a that it was for on are as with his they at be this from have or by one had not but what all were when we "
         "there can an your which their said if do will each about how up out them then she many some so these would other into has more her "
         "two like him see time could no make than first been its who now people my made over did down only way find use may water long "
         "little very after words called just where most know through back much before go good new write our used me man too any day same "
         "right look think also around another came come work three word must because does part even place well such here take why things "
         "picture image answer question claims yes no object table chair window person street standing holding wearing").split()
OTHER = ("这是一个测试句子。 图片里有一只猫和一条狗。 今日は良い天気ですね。 カタカナとひらがな 안녕하세요 세계 사진 속의 고양이 Привет, мир! Как дела? Ελληνικά γράμματα "
         "مرحبا بالعالم كيف حالك שלום עולם नमस्ते दुनिया यह एक परीक्षा है สวัสดีชาวโลก ภาษาไทย café naïve Zürich Straße œuvre señor İstanbul Việt Nam "
         "ﬁne ﬂow Ω≈ç√∫ ½ ¾ Ⅷ ² ³ ① 한국어 가각갂 ﷽ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚").split()
CODE = ["for (int i = 0; i < n; i++) {\n\t\tsum += a[i] * b[i];\n\t}\n", "def f(x, *args, **kw):\n    return {k: v for k, v in kw.items()}\n",
        "#include <stdio.h>\r\nint main(void) { return 0x7fff'ffff; }\r\n", "<div class=\"a b\">&nbsp;</div>\n", "SELECT * FROM t WHERE id=42 -- it's\n",
        "https://example.org/?q=1&r=%20#x", "a_b-c.d@e.fg", "\\frac{1}{2}\\alpha_{i+1}", "{\"key\": [1, 2.5e-3, null, true]}"]
PARTS = ["▁", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\t\t\t", "        ", "'s", "'T", "'ll", "'Re", "'ſ", "I'm", "don't", "é", "e\u0301", "\u0301", "a\u0323\u0307",
         "\u1100\u1161\u11a8", "각\u11a8", "ก็", "क्ष", "क\u093c", "١٢٣", "12", "007", "3.14159", "1,000,000", "{}", "//", "!?", "...", "——", "😀", "👨\u200d👩\u200d👧\u200d👦", "🇫🇷🇩🇪", "👍🏽",
         "\u200d", "\u00a0", "\u3000", "\u180e", "\u2003", "\u0085", "\u2028", "\ufeff", "\ufffd", "\U0010ffff", "\u2047", "\u0000", "\u0001", "\u007f", "\u212b", "\ufb01", "\u0958",
         "<s>", "</s>", "<unk>", "<pad>", "<image>", "<0x41>", "<0x0A>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>",
         "</tool_call>", "USER: ", "ASSISTANT:", "Lieutenant", "Zwiebelkuchen", "GRIN", "wherever", "[LEFT]", "[RIGHT]", "word", "swords"]
BROKEN = [b"\xff", b"\xc0\x80", b"\xe6\xbc", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\x80\x80", b"\xe2\x96", b"\xf0\x80\x80\x80", b"\xc3", b"\xe0\x9f\x80", b"\xf1\x80\x80\x41"]


def character(rnd):
    """One that is assigned: what the next Unicode will make of others depends on the version of each library."""
    low, high = rnd.choice([(0, 0x80), (0x80, 0x800), (0x800, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)])
    while True:
        c = chr(rnd.randrange(low, high))
        if unicodedata.category(c) != "Cn":
            return c


def piece(rnd):
    """A little of something, as bytes."""
    kind = rnd.random()
    if kind < 0.35:
        return (" ".join(rnd.choice(WORDS) for _ in range(rnd.randrange(1, 9))) + rnd.choice([" ", ", ", ". ", "\n", "? "])).encode()
    if kind < 0.45:
        return (rnd.choice(WORDS).title() + rnd.choice(["", " ", "'s ", "-"])).encode()
    if kind < 0.6:
        return (rnd.choice(OTHER) + rnd.choice(["", " ", "\n"])).encode()
    if kind < 0.7:
        return rnd.choice(CODE).encode()
    if kind < 0.75:
        return str(rnd.randrange(10 ** rnd.randrange(1, 12))).encode()
    if kind < 0.78:
        return rnd.choice([" ", "\n", "\t", "  \n", "-", "=", "a", "😀", "字"]).encode() * rnd.randrange(1, 40)
    if kind < 0.94:
        return rnd.choice(PARTS).encode()
    if kind < 0.97:
        return character(rnd).encode("utf-8", "surrogatepass")
    return rnd.choice(BROKEN)


def mixed(size, seed):
    """About `size` bytes of everything."""
    rnd, out, n = random.Random(seed), [], 0
    while n < size:
        out.append(piece(rnd))
        n += len(out[-1])
    return b"".join(out)


def samples(count, seed):
    """Short texts of bytes."""
    rnd = random.Random(seed)
    return [b"".join(piece(rnd) for _ in range(rnd.randrange(7))) for _ in range(count)]
