"""make_beams.py - writes beams.jsonl: what Transformers' generate(num_beams = ...) answers the prompts of some golden cases, for tests/engine/beam_test.c.

A row is kept where float32 and float64 give the same answers in the same order: elsewhere another rounding may choose otherwise. `score` is the mean log-prob
of an answer's ids, the one that ends it included (length_penalty 1). Ids that the program never emits are suppressed. Needs torch and transformers."""
import json
import pathlib

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlavaForConditionalGeneration

GOLDEN = pathlib.Path(__file__).parent
CASES = ["llava15-v5", "text-mistral", "text-llama3", "text-qwen2"]
SEARCHES = [(2, 1, 16), (3, 3, 16), (5, 2, 9), (3, 1, 1)]  # beams, answers, most new tokens
KNOWN = 476  # ids from here on are <image>, <pad>, and none of the tokenizer's


def rows(path):
    return [json.loads(line) for line in open(path)]


def answers(model, prompt, pixels, search, ends):
    beams, n, most = search
    inputs = {"input_ids": torch.tensor([prompt]), "attention_mask": torch.ones(1, len(prompt), dtype=torch.long)}
    if pixels is not None:
        inputs["pixel_values"] = pixels.to(next(model.parameters()).dtype)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    out = model.generate(
        **inputs,
        num_beams=beams,
        num_return_sequences=n,
        max_new_tokens=most,
        do_sample=False,
        length_penalty=1.0,
        early_stopping=False,
        suppress_tokens=list(range(KNOWN, vocabulary)),
        pad_token_id=KNOWN + 1,
        return_dict_in_generate=True,
        output_scores=True,
    )
    found = []
    for ids, score in zip(out.sequences[:, len(prompt) :].tolist(), out.sequences_scores.tolist()):
        end = next((i + 1 for i, t in enumerate(ids) if t in ends), len(ids))
        found.append({"ids": ids[:end], "score": score})
    return found


def main():
    kept = dropped = 0
    with open(GOLDEN / "beams.jsonl", "w") as out:
        for case in CASES:
            folder = GOLDEN / case
            kind = LlavaForConditionalGeneration if "llava" in case else AutoModelForCausalLM
            models = [kind.from_pretrained(folder / "model", dtype=d).eval() for d in (torch.float32, torch.float64)]
            eos = models[0].generation_config.eos_token_id
            ends = eos if isinstance(eos, list) else [eos]
            pixels = load_file(folder / "expect/pixels.safetensors") if "llava" in case else None
            seen = set()
            for pair, scored in zip(rows(folder / "pairs.jsonl"), rows(folder / "expect/score.jsonl")):
                key = (pair.get("image"), pair["question"])
                if key in seen:
                    continue
                seen.add(key)
                image = None
                if pixels is not None:
                    image = pixels[f"pad.{pathlib.Path(pair['image']).stem}"]
                    image = image if image.dim() == 4 else image[None]
                for search in SEARCHES:
                    with torch.no_grad():
                        one, two = (answers(m, scored["chosen"]["prompt_ids"], image, search, ends) for m in models)
                    if [a["ids"] for a in one] != [a["ids"] for a in two]:
                        dropped += 1
                        continue
                    row = {"case": case, "question": pair["question"], "beams": search[0], "max_new_tokens": search[2], "answers": two}
                    if image is not None:
                        row["image"] = pair["image"]
                    out.write(json.dumps(row) + "\n")
                    kept += 1
    print(f"{kept} searches, {dropped} left out as their answers hang on rounding")


if __name__ == "__main__":
    main()
