#!/usr/bin/env python3
"""Makes tests/golden/tokenizers: small tokenizer.json files in the shapes that published models have, and what PyPI's `tokenizers` says of texts.

    pip install tokenizers && tests/golden/make_tokenizers.py

The texts they are trained on, and those of the vectors, come out of tests/tokenizer/peer.py, so that nothing here is anybody's data. Which of
equally frequent characters the trainer keeps changes from run to run, so files and vectors are only good together.
vectors.jsonl: {text, ids, decoded}, or {ids, decoded} for ids that no text has; texts are hexadecimal, because they are any bytes.
Special tokens stay text (encode_special_tokens), as in tokenizer/tokenizer.h; bytes that are not UTF-8 are U+FFFD before anything else.
"""
import json, os, random, sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tokenizer"))
import peer
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def corpus():
    return [peer.mixed(400, seed).decode("utf-8", "replace").replace("\0", "") for seed in range(300)]


def train(t, size, **settings):
    t.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, show_progress=False, **settings))
    return json.loads(t.to_str())


def byte_level(pattern):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return t


def llama3():
    t = byte_level(LLAMA3)
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    j = train(t, 1200, initial_alphabet=ALPHABET)
    j["model"]["ignore_merges"] = True
    for word in ("ĠLieutenant", "wherever", "Zwiebelkuchen", "GRIN"):  # words that no merges make
        j["model"]["vocab"].setdefault(word, len(j["model"]["vocab"]))
    first = len(j["model"]["vocab"])
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    j["added_tokens"] = [dict(id=first + i, content=n, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for i, n in enumerate(names)]
    j["post_processor"] = {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [
            {"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": names[0], "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {names[0]: {"id": names[0], "ids": [first], "tokens": [names[0]]}}}]}
    return j, {"tokenizer_config.json": {"bos_token": names[0], "eos_token": names[4], "tokenizer_class": "PreTrainedTokenizerFast"}}


def qwen2():
    t = byte_level(QWEN2)
    t.normalizer = normalizers.NFC()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    j = train(t, 1200, initial_alphabet=ALPHABET)
    j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]  # as files of before 2024 have them
    j["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
    first = len(j["model"]["vocab"])
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
    j["added_tokens"] = [dict(id=first + i, content=n, single_word=False, lstrip=False, rstrip=False, normalized=False, special=i < 3) for i, n in enumerate(names)]
    return j, {"tokenizer_config.json": {"add_bos_token": False, "bos_token": None, "eos_token": "<|im_end|>", "pad_token": {"content": "<|endoftext|>"}, "unk_token": None},
               "generation_config.json": {"bos_token_id": first, "eos_token_id": [first + 2, first]}}


def gpt2():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    train(t, 1000, initial_alphabet=ALPHABET)
    t.add_special_tokens(["<|endoftext|>"])
    t.add_tokens([AddedToken("[LEFT]", lstrip=True), AddedToken("[RIGHT]", rstrip=True, normalized=False), AddedToken("word", single_word=True), AddedToken("😀"), AddedToken("        ")])
    return json.loads(t.to_str()), {"special_tokens_map.json": {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|endoftext|>"}}}


def pieces(size, **model):
    """A vocabulary as SentencePiece's, with bytes."""
    t = Tokenizer(models.BPE(unk_token="<unk>", **model))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if model.get("byte_fallback")]
    j = train(t, size, special_tokens=special, limit_alphabet=300)
    j["added_tokens"] = j["added_tokens"][:3]
    return j


def llama2():
    j = pieces(1200, byte_fallback=True, fuse_unk=True)
    j["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    j["pre_tokenizer"] = None
    j["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [
        {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    j["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    first = len(j["model"]["vocab"])
    return j, {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, "added_tokens.json": {"<image>": first, "<pad>": first + 1}}


def metaspace():
    j = pieces(1000, fuse_unk=True)
    j["normalizer"] = {"type": "NFC"}
    j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False}, {"type": "Punctuation", "behavior": "MergedWithPrevious"},
        {"type": "Split", "pattern": {"String": "a"}, "behavior": "Contiguous", "invert": True}, {"type": "Split", "pattern": {"Regex": "o|(?=e)"}, "behavior": "MergedWithNext", "invert": False},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}]}
    j["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    return j, {"config.json": {"model_type": "llava", "text_config": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 99999999}}}


def words():
    """Neither bytes nor unknown tokens, words without spaces, no decoder."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    j = train(t, 800, limit_alphabet=150)
    j["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True}, {"type": "Punctuation"},
        {"type": "Split", "pattern": {"Regex": r"\w*[a-c]$|\s"}, "behavior": "Removed", "invert": False}]}
    return j, {}


def vectors(t, seed):
    rnd = random.Random(seed)
    texts = [b"", b" ", b"\n", b"a", "▁".encode(), b"\xff", "字".encode() * 30, b"ab" * 40, b" " * 50 + b"x"] + peer.samples(240, seed)
    for text in texts:
        ids = t.encode(text.decode("utf-8", "replace"), add_special_tokens=False).ids
        yield {"text": text.hex(), "ids": ids, "decoded": t.decode(ids).encode().hex()}
    for _ in range(60):
        ids = [rnd.randrange(t.get_vocab_size() + 5) for _ in range(rnd.randrange(1, 12))]
        yield {"ids": ids, "decoded": t.decode(ids).encode().hex()}


def main():
    for seed, make in enumerate((llama3, qwen2, gpt2, llama2, metaspace, words)):
        folder = os.path.join(HERE, make.__name__)
        os.makedirs(folder, exist_ok=True)
        content, files = make()
        files["tokenizer.json"] = content
        for name, value in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                json.dump(value, f, ensure_ascii=False, separators=(",", ":") if name == "tokenizer.json" else None)
                f.write("\n")
        t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        t.encode_special_tokens = True
        with open(os.path.join(folder, "vectors.jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in vectors(t, seed))
        print(make.__name__, t.get_vocab_size(), "tokens, tokenizers", tokenizers.__version__)


if __name__ == "__main__":
    main()
