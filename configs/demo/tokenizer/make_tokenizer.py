#!/usr/bin/env python3
"""Makes the demo's tokenizer: a small SentencePiece BPE model in the layout of Vicuna's, in which every word of Scenes is one piece.

A maintainer's tool; the program itself needs no Python. It was run as
    rlaifv scenes --out DIR --count 2000 --seed 1 --captions 1 --yes-no 4 --open 2
    pip install sentencepiece==0.2.3
    python3 make_tokenizer.py DIR/sft.jsonl .
(any rows that use every word will do). The corpus is every distinct word of those rows and of the chat template, equally often, with a
word-start mark and, where a word can follow the newline after the image, without: frequencies would spend the vocabulary on the neighbours
of common words and split the rare ones. The script checks its own result and fails loudly."""
import io
import json
import re
import sys
from pathlib import Path

import sentencepiece as spm

TEMPLATE = ("A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: ASSISTANT:")
VOCABULARY = 590  # with the two added tokens a multiple of 16
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]  # CLIP's


def words_of(text):
    return re.findall(r"[A-Za-z]+|[^A-Za-z\s]", text)


def corpus(rows):
    words = set(words_of(TEMPLATE))
    first = set()  # words right after the newline that follows the image: no word-start mark there
    for row in rows:
        words.update(words_of(row["question"]) + words_of(row["answer"]))
        first.add(words_of(row["question"])[0])
    words = sorted(w for w in words if w.isalpha())
    marks = sorted({w for w in words_of(TEMPLATE + " . ? '") if not w.isalpha()})
    # The trainer marks the start of each item; a letter or full stop before what must go unmarked takes that mark away (pieces never
    # cross from letters to punctuation).
    return words, sorted(first), words + ["." + w for w in sorted(first)] + ["a" + m for m in marks]


def main():
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    rows = [json.loads(line) for line in source.open(encoding="utf-8")]
    words, first, sentences = corpus(rows)
    trained = io.BytesIO()  # not model_prefix: it would stand in the file
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=trained, model_type="bpe", vocab_size=VOCABULARY,
        hard_vocab_limit=False, byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
        add_dummy_prefix=True, remove_extra_whitespaces=False, split_digits=True, num_threads=1, minloglevel=1)
    (out / "tokenizer.model").write_bytes(trained.getvalue())
    model = spm.SentencePieceProcessor(model_proto=trained.getvalue())
    split = [w for w in words if len(model.encode(w)) != 1]
    split += ["\\n" + w for w in first if model.encode("\n" + w, out_type=str)[2:] != [w]]
    if split:
        sys.exit(f"split into several pieces: {' '.join(split)}; VOCABULARY is too small")
    size = model.get_piece_size()
    files = {
        "added_tokens.json": {"<image>": size, "<pad>": size + 1},
        "tokenizer_config.json": {
            "tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
            "add_bos_token": True, "add_eos_token": False, "legacy": True, "clean_up_tokenization_spaces": False,
            "model_max_length": 2048},
        "preprocessor_config.json": {
            "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 48}, "resample": 3,
            "do_center_crop": True, "crop_size": {"height": 48, "width": 48}, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": True, "image_mean": MEAN, "image_std": STD, "do_convert_rgb": True},
    }
    for name, value in files.items():
        (out / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    lengths = [len(model.encode(r["answer"])) + 1 for r in rows if r["answer"].count(" ") > 3]
    print(f"{size} pieces, {len(words)} words, captions of {sum(lengths) / len(lengths):.1f} ids on average, {max(lengths)} at most")


if __name__ == "__main__":
    main()
