"""make_penalty.py - writes penalty.jsonl: what Transformers' greedy generate(repetition_penalty = ...) answers the prompts of the golden cases of text, for
tests/engine/sample_test.c. Prompts go in as embeddings, so that, as in upstream's calls, the penalty knows of the answer alone. A row is left
out where the two largest penalised logits come within 1e-3 of each other: there another rounding may choose otherwise. Needs torch and transformers."""
import json
import pathlib

import torch
from transformers import AutoModelForCausalLM

from make_beams import KNOWN, rows

GOLDEN = pathlib.Path(__file__).parent
CASES = ["text-mistral", "text-llama3", "text-qwen2"]
PENALTIES = [1.1, 2.5]


def main():
    with open(GOLDEN / "penalty.jsonl", "w") as out:
        for case in CASES:
            model = AutoModelForCausalLM.from_pretrained(GOLDEN / case / "model", dtype=torch.float32).eval()
            table = model.get_input_embeddings()
            seen = set()
            for pair, scored in zip(rows(GOLDEN / case / "pairs.jsonl"), rows(GOLDEN / case / "expect/score.jsonl")):
                if pair["question"] in seen:
                    continue
                seen.add(pair["question"])
                embeddings = table(torch.tensor([scored["chosen"]["prompt_ids"]]))
                for penalty in PENALTIES:
                    with torch.no_grad():
                        got = model.generate(
                            inputs_embeds=embeddings,
                            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
                            do_sample=False,
                            max_new_tokens=24,
                            repetition_penalty=penalty,
                            suppress_tokens=list(range(KNOWN, table.weight.shape[0])),
                            pad_token_id=KNOWN + 1,
                            return_dict_in_generate=True,
                            output_scores=True,
                        )
                    gaps = [float(top[0, 0] - top[0, 1]) for top in (s.topk(2).values for s in got.scores)]
                    if min(gaps) >= 1e-3:
                        row = {"case": case, "question": pair["question"], "penalty": penalty, "ids": got.sequences[0].tolist()}
                        out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
