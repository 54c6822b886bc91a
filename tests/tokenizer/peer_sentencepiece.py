#!/usr/bin/env python3
"""Compares `rlaifv tokenize` with PyPI's sentencepiece (pip install sentencepiece) on text made to be difficult.

    tests/tokenizer/peer_sentencepiece.py [--program ./rlaifv] [--rows 4000] [--seed 1] [MODEL_DIR...]

Without MODEL_DIR: the golden cases, Mistral's 32k vocabulary where $RLAIFV_SHARED (default ../shared) has it, and models trained here on this
repository's text with user-defined pieces, squeezed spaces, no byte fallback, and pieces across spaces. Rows travel as JSON, which holds
neither broken UTF-8 nor zero characters; the C tests cover those. Exits 1 at any difference, after showing the first few of each model.
"""
import argparse, glob, json, os, random, shutil, subprocess, sys, tempfile, time

import sentencepiece

TRAINED = {
    "user-defined": dict(byte_fallback=True, remove_extra_whitespaces=False, user_defined_symbols=["<image>", "▁▁", "the cat", "<0x", "漢", "  x"]),
    "squeezed, unknown": dict(remove_extra_whitespaces=True, character_coverage=0.98),
    "no prefix, unknown": dict(add_dummy_prefix=False, character_coverage=0.98, user_defined_symbols=[" ", "e "]),
    "across spaces": dict(byte_fallback=True, split_by_whitespace=False, remove_extra_whitespaces=False),
}
PARTS = ["▁", " ", "  ", "\t", "\n", "\r\n", "a", "the", " of the", "ing", "é", "e\u0301", "\u0301", "漢", "字", "かな", "가", "ß", "ก็", "١", "12", "0", "{}", "//",
         "😀", "👨\u200d👩\u200d👧", "🇫🇷", "\u200d", "\u00a0", "\u3000", "\ufeff", "\ufffd", "\U0010ffff", "\u2047", "<s>", "</s>", "<unk>", "<pad>", "<image>", "<0x41>",
         "the cat", "USER: ", "ASSISTANT:"]


def character(rnd):
    low, high = rnd.choice([(1, 0x80), (0x80, 0x800), (0x800, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)])
    return chr(rnd.randrange(low, high))


def texts(rows, seed):
    """Whole source files, cuts out of them, mixtures of difficult parts, and long words."""
    rnd = random.Random(seed)
    sources = []
    for pattern in ("*.md", "tokenizer/*.c", "base/*.c", "tests/tokenizer/*.py", "tests/golden/*/pairs.jsonl"):
        sources += [open(f, encoding="utf-8").read() for f in sorted(glob.glob(pattern))]
    out = ["", " ", "▁", "a" * 5000, " " * 3000, "▁" * 3001, "漢字かな交じり文" * 500, "ab" * 4000] + sources
    while len(out) < rows:
        if rnd.random() < 0.3:
            source = rnd.choice(sources)
            at = rnd.randrange(len(source))
            out.append(source[at : at + rnd.randrange(400)])
        else:
            out.append("".join(rnd.choice(PARTS) if rnd.random() < 0.7 else character(rnd) for _ in range(rnd.randrange(60))))
    return out, "\n".join(sources)


def models(folder, corpus):
    found = {case: f"tests/golden/{case}/model" for case in ("llava15-hub", "llava15-orig", "llava15-v5")}
    mistral = os.path.join(os.environ.get("RLAIFV_SHARED", "../shared"), "data/mistral-common/tokenizer.model.v1")
    if os.path.exists(mistral):
        found["mistral 32k"] = os.path.join(folder, "mistral")
        os.mkdir(found["mistral 32k"])
        shutil.copy(mistral, os.path.join(found["mistral 32k"], "tokenizer.model"))
    else:
        print(f"skipped mistral 32k: no {mistral} (set RLAIFV_SHARED)")
    text = os.path.join(folder, "corpus.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write(corpus + "\n漢字かな 가나다 é ß\n" * 30)
    for i, (name, settings) in enumerate(TRAINED.items()):
        found[name] = os.path.join(folder, f"trained{i}")
        os.mkdir(found[name])
        sentencepiece.SentencePieceTrainer.train(input=text, model_prefix=found[name] + "/tokenizer", model_type="bpe", vocab_size=1000,
                                                 normalization_rule_name="identity", minloglevel=2, **settings)
    return found


def compare(program, name, model, rows, folder):
    data, out = os.path.join(folder, "rows.jsonl"), os.path.join(folder, "out.jsonl")
    with open(data, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in rows)
    start = time.time()
    subprocess.run([program, "tokenize", "--model", model, "--data", data, "--out", out], check=True)
    seconds = time.time() - start
    peer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(model, "tokenizer.model"))
    with open(out, encoding="utf-8") as f:
        ours = [json.loads(line) for line in f]
    if len(ours) != len(rows):
        print(f"{name}: {len(ours)} rows came back of {len(rows)}")
        return 1
    wrong = 0
    for text, row in zip(rows, ours):
        ids = peer.encode(text)
        expected = {"ids": [peer.bos_id()] + ids, "ids_plain": ids, "decoded": peer.decode(ids)}
        differing = [key for key in expected if row.get(key) != expected[key]]
        if differing:
            wrong += 1
            if wrong <= 3:
                key = differing[0]
                print(f"{name}: {text[:80]!r}: {key} is {str(row.get(key))[:200]}, sentencepiece gives {str(expected[key])[:200]}")
    print(f"{name}: {len(rows)} texts, {wrong} differ ({seconds:.2f} s with start, reading and writing)")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL_DIR")
    parser.add_argument("--program", default="./rlaifv")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    rows, corpus = texts(args.rows, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        chosen = {m: m for m in args.models} or models(folder, corpus)
        wrong = sum(compare(args.program, name, model, rows, folder) for name, model in chosen.items())
    print(f"sentencepiece {sentencepiece.__version__}: {'all agree' if not wrong else f'{wrong} differences'}")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
