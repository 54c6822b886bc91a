"""Writes tests/golden/blind.jsonl: log-probs of the first two chosen answers of two golden cases when the image's tokens keep their positions but are masked in
attention (mDPO's conditional term), by Transformers. Needs torch and transformers."""
import json
import pathlib

import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

GOLDEN = pathlib.Path(__file__).parent
with open(GOLDEN / "blind.jsonl", "w") as out:
    for case in ("llava15-hub", "next-yi"):
        model = AutoModelForImageTextToText.from_pretrained(GOLDEN / case / "model", dtype=torch.float32, attn_implementation="eager").eval()
        text, image = model.model.language_model, model.config.image_token_id
        for row in [json.loads(line) for line in open(GOLDEN / case / "expect" / "score.jsonl")][:2]:
            prompt, answer = row["chosen"]["prompt_ids"], row["chosen"]["response_ids"]
            ids = torch.tensor([prompt + answer])
            seen = (ids != image).long()
            with torch.no_grad():  # what stands in the masked rows does not matter
                hidden = text(inputs_embeds=text.embed_tokens(ids), attention_mask=seen, position_ids=torch.arange(ids.shape[1])[None]).last_hidden_state
                logps = torch.log_softmax(model.lm_head(hidden)[0].double(), -1)
            print(json.dumps({"case": case, "image": row["image"], "logps": [round(logps[len(prompt) + i - 1, t].item(), 7) for i, t in enumerate(answer)]}), file=out)
