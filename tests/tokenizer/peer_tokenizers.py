#!/usr/bin/env python3
"""Compares this program's tokenizer.json with PyPI's tokenizers, and its tokenizer.model on broken UTF-8 with PyPI's sentencepiece.

    tests/tokenizer/peer_tokenizers.py [--bytes 1000000] [--seed 1] [--speed] [FOLDER...]

Without FOLDER: those of tests/golden/tokenizers, and the golden case's tokenizer.json and tokenizer.model, each alone. Texts: a megabyte of
everything (peer.py) as one text and in pieces, and every character between others; decoding: those ids, and random ones. Special tokens stay
text, as in tokenizer.h. --speed prints MB/s of both on one thread instead. Exits 1 at any difference, after showing the first few of each.
"""
import argparse, os, random, shutil, sys, tempfile, time, unicodedata

import sentencepiece, tokenizers
import peer

PUNCTUATION = tokenizers.pre_tokenizers.Punctuation()


class Hub:
    beyond = 3  # ids above the tokens vanish

    def __init__(self, folder):
        self.t = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.t.encode_special_tokens = True
        self.size = self.t.get_vocab_size()

    def encode(self, data):
        return self.t.encode(data.decode("utf-8", "replace"), add_special_tokens=False).ids

    def decode(self, ids):
        return self.t.decode(ids).encode()


class Pieces:
    beyond = 0  # sentencepiece has no text for ids above

    def __init__(self, folder):
        self.t = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
        self.size = self.t.get_piece_size()

    def encode(self, data):
        return self.t.encode(data)

    def decode(self, ids):
        return self.t.decode(ids).encode()


def folders(scratch):
    golden = os.path.join(peer.ROOT, "tests/golden")
    found = {name: os.path.join(golden, "tokenizers", name) for name in sorted(os.listdir(os.path.join(golden, "tokenizers")))}
    for name in ("tokenizer.json", "tokenizer.model"):
        found["llava15-hub, " + name] = os.path.join(scratch, name)
        os.mkdir(os.path.join(scratch, name))
        shutil.copy(os.path.join(golden, "llava15-hub/model", name), os.path.join(scratch, name))
    return found


def same_everywhere(c):
    """Assigned, no private use, and punctuation to the Rust library (which has Unicode 8 there) as to Unicode: libraries of other versions differ on others."""
    kind = unicodedata.category(c)
    return kind not in ("Cn", "Co", "Cs") and (len(PUNCTUATION.pre_tokenize_str("x" + c + "x")) == 3) == (kind[0] == "P" or (c < "\x80" and kind[0] == "S"))


def texts(size, seed):
    whole = peer.mixed(size, seed)
    yield "a megabyte", whole
    for i, text in enumerate(peer.samples(1500, seed)):
        yield f"sample {i}", text
    rnd, at = random.Random(seed), 0
    while at < len(whole):  # cut anywhere, within characters too
        n = rnd.randrange(1, 2000)
        yield f"bytes {at} to {at + n}", whole[at : at + n]
        at += n
    for first in range(0, 0x110000, 128):
        characters = [chr(c) for c in range(first, first + 128) if same_everywhere(chr(c))]
        if characters:
            yield f"characters from U+{first:04X}", "".join(f"a{c}b {c}1{c} e{c}\n{c}" for c in characters).encode()
    for text in (b"a" * 30000, b" " * 30000 + b"x", ("字" * 10000).encode(), b"ab" * 10000, b"\n" * 10000, b"1" * 10000, b"!" * 10000):
        yield f"{text[:4]!r}, {len(text)} bytes", text


def show(got, want):
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    return f"from {at} of {len(got)} and {len(want)}: {got[at : at + 12]}, the peer {want[at : at + 12]}"


def compare(ours, theirs, name, size, seed):
    wrong = count = 0
    rnd = random.Random(seed)
    for what, text in texts(size, seed):
        want, count = theirs.encode(text), count + 1
        got, decoded = ours.encode(text), theirs.decode(want)
        back = ours.decode(want, len(decoded))
        if got != want or back != decoded:
            wrong += 1
            if wrong <= 4:
                print(f"{name}: {what}, {text[:40]!r}: {'ids ' + show(got, want) if got != want else 'text ' + show(back, decoded)}")
    for i in range(1500):
        ids = [rnd.randrange(theirs.size + theirs.beyond) for _ in range(rnd.randrange(20))]
        want, count = theirs.decode(ids), count + 1
        if ours.decode(ids, len(want)) != want:
            wrong += 1
            if wrong <= 4:
                print(f"{name}: ids {ids}: {ours.decode(ids, len(want))!r}, the peer {want!r}")
    print(f"{name}: {count} texts and lists of ids, {wrong} differ")
    return wrong


def rate(encode, pieces):
    best = 0
    for _ in range(3):
        start = time.process_time()
        for text in pieces:
            encode(text)
        best = max(best, sum(map(len, pieces)) / (time.process_time() - start) / 1e6)
    return best


def speed(c, name, folder, theirs, size, seed):
    rnd = random.Random(seed)
    lines = " ".join(rnd.choice(peer.WORDS) for _ in range(size // 5)).encode()
    for what, whole in (("mixed", peer.mixed(size, seed).decode("utf-8", "replace").encode()), ("English", lines)):
        pieces = [whole[i : i + 10000] for i in range(0, len(whole), 10000)]
        ours = peer.Ours(c, folder)

        def encode(text, ids=peer.IdList(), error=peer.Error()):  # without making a Python list of the ids
            ids.count = 0
            if c.tokenizer_encode(ours.t, text, len(text), peer.ctypes.byref(ids), peer.ctypes.byref(error)):
                raise RuntimeError(error.text())

        print(f"{name}, {what}: ours {rate(encode, pieces):.1f} MB/s, the peer {rate(theirs.encode, pieces):.1f} MB/s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--bytes", type=int, default=1000000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    c, wrong = peer.program(), 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in ({f: f for f in args.folders} or folders(scratch)).items():
            theirs = (Pieces if os.path.exists(os.path.join(folder, "tokenizer.model")) else Hub)(folder)
            if args.speed:
                speed(c, name, folder, theirs, args.bytes, args.seed)
            else:
                wrong += compare(peer.Ours(c, folder), theirs, name, args.bytes, args.seed)
    print(f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}" + ("" if args.speed else f": {wrong or 'no'} differences"))
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
