#!/usr/bin/env python3
"""Seeds for tokenizer_json_fuzz: the golden tokenizers cut down to a few tokens, each with a text.  make_corpus.py FOLDER"""
import glob, json, os, sys

for path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../golden/tokenizers/*/tokenizer.json"))):
    with open(path, encoding="utf-8") as f:
        j = json.load(f)
    vocab = sorted(j["model"]["vocab"], key=j["model"]["vocab"].get)
    kept = [t for t in vocab if len(t) <= 1 or t.startswith("<")][:40] + [t for t in vocab if len(t) == 2][:10]
    j["model"]["vocab"] = {t: i for i, t in enumerate(kept)}
    pairs = [m if isinstance(m, list) else m.split(" ") for m in j["model"]["merges"]]
    j["model"]["merges"] = [p for p in pairs if all(x in kept for x in (*p, "".join(p)))]
    j["added_tokens"] = [dict(t, id=kept.index(t["content"]) if t["content"] in kept else len(kept) + i) for i, t in enumerate(j["added_tokens"])]
    j["post_processor"] = None
    name = os.path.basename(os.path.dirname(path))
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(json.dumps(j, ensure_ascii=False, separators=(",", ":")).encode() + b"\0the cat's 12 e\xcc\x81\n\n <s> \xe2\x96\x81a\xff")
