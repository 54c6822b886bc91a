#!/usr/bin/env python3
"""make_omnilmm.py OUT - the golden case of OmniLMM: a tiny random checkpoint in the published naming, and what PyTorch makes of it.

Tower: timm's own Eva class with the flags of eva02_enormous_patch14_clip_224 (post-norm blocks, absolute positions, q and v biases), its last block
replaced by an identity, read at another size than it was trained for. Resampler: torch.nn.MultiheadAttention between LayerNorms. Decoder: Transformers' MistralForCausalLM on embeddings. All in float32; sums of log-probs in float64.
OUT needs nothing; images, pairs and the SentencePiece model come from tests/golden/llava15-v5. Needs torch, timm, transformers, sentencepiece,
safetensors, pillow, numpy."""
import json
import math
import os
import shutil
import sys

import numpy as np
import sentencepiece
import timm
import torch
import torch.nn.functional as F
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.eva import Eva
from torch import nn
from transformers import MistralConfig, MistralForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "llava15-v5")
SIDE, TRAINED_SIDE, PATCH = 70, 42, 14  # 5 x 5 patches read, 3 x 3 in the table of positions
QUERIES, RESAMPLER_HEADS, WIDTH = 16, 2, 32
TOWER = dict(img_size=TRAINED_SIDE, patch_size=PATCH, embed_dim=24, depth=3, num_heads=3, mlp_ratio=80 / 24)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SYSTEM = "You are an artificial intelligence assistant, which gives helpful, detailed, and polite answers to the human's questions."
SEED = 29


class Skip(nn.Identity):
    def forward(self, x, **_):
        return x


def tower():
    t = Eva(**TOWER, use_post_norm=True, global_pool="token", num_classes=0, dynamic_img_size=True, dynamic_img_pad=True)
    t.blocks[-1] = Skip()
    return t


def sincos(width, side):
    """Columns' sines and cosines first, then rows'; float64 powers of a float32 ladder, as the published code computes them."""
    ladder = np.arange(width // 4, dtype=np.float32)
    ladder /= width / 4.0
    ladder = 1.0 / 10000**ladder
    rows, columns = np.divmod(np.arange(side * side), side)
    parts = []
    for place in (columns, rows):
        angle = np.outer(place.astype(np.float32), ladder)
        parts += [np.sin(angle), np.cos(angle)]
    return torch.from_numpy(np.concatenate(parts, 1)).float()


def table_resized(table, side):
    """A table of positions without class row at another size: plain bicubic."""
    own = math.isqrt(len(table))
    if own == side:
        return table
    grid = table.reshape(1, own, own, -1).permute(0, 3, 1, 2)
    return F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False).permute(0, 2, 3, 1).flatten(0, 2)


class Resampler(nn.Module):
    def __init__(self, queries, width, heads, kv_width):
        super().__init__()
        side = math.isqrt(queries)
        self.pos_embed = nn.Parameter(sincos(width, side), requires_grad=False)
        self.query = nn.Parameter(torch.zeros(queries, width))
        self.kv_proj = nn.Linear(kv_width, width, bias=False)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.proj = nn.Parameter(torch.zeros(width, width))

    def forward(self, x):
        values = self.ln_kv(self.kv_proj(x))
        keys = values + table_resized(self.pos_embed, math.isqrt(x.shape[1]))
        queries = (self.ln_q(self.query) + self.pos_embed).expand(len(x), -1, -1)
        return self.ln_post(self.attn(queries, keys, values, need_weights=False)[0]) @ self.proj


class Model(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.tower = tower()
        self.resampler = Resampler(QUERIES, WIDTH, RESAMPLER_HEADS, TOWER["embed_dim"])
        self.decoder = MistralForCausalLM(decoder_config(vocab))

    def features(self, pixels, grad=False):
        with torch.set_grad_enabled(grad):
            return self.tower.forward_features(pixels)[:, self.tower.num_prefix_tokens :]

    def logits(self, features, ids):
        """One sequence; the im_patch rows are the image's."""
        embeds = self.decoder.model.embed_tokens(torch.tensor([ids]))
        rows = [i for i, t in enumerate(ids) if t == IM_PATCH]
        assert len(rows) == QUERIES
        embeds = torch.cat([embeds[:, : rows[0]], self.resampler(features), embeds[:, rows[-1] + 1 :]], 1)
        return self.decoder(inputs_embeds=embeds, use_cache=False).logits[0]

    def state(self):
        out = {"model.vision_tower." + k: v for k, v in self.tower.state_dict().items()}
        out |= {"model.resampler." + k: v for k, v in self.resampler.state_dict().items()}
        out |= dict(self.decoder.state_dict())
        return {k: v.detach().clone().contiguous() for k, v in out.items()}

    def trained(self):
        out = {"model.resampler." + k: p for k, p in self.resampler.named_parameters() if p.requires_grad}
        return out | dict(self.decoder.named_parameters())


def decoder_config(vocab):
    """config.json says pad 2, as published, which is </s>; to PyTorch that would mean that this row of the embedding learns nothing."""
    return MistralConfig(vocab_size=vocab, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, hidden_act="silu", max_position_embeddings=32768, rms_norm_eps=1e-5, rope_theta=1e4, sliding_window=4096, bos_token_id=1,
        eos_token_id=2, pad_token_id=None, tie_word_embeddings=False, attn_implementation="eager")


def randomise(model):
    """No weight is left at a value at which a mistake would not show."""
    g = torch.Generator().manual_seed(SEED)
    for name, p in list(model.named_parameters()):
        if name == "resampler.pos_embed":
            continue
        noise = torch.randn(p.shape, generator=g)
        if "norm" in name.split(".")[-2] or ".ln_" in name:
            p.data = (1 if name.endswith("weight") else 0) + 0.1 * noise
        elif "embed_tokens" in name or name.endswith("query"):
            p.data = 0.5 * noise
        elif "cls_token" in name or "pos_embed" in name:
            p.data = 0.3 * noise
        elif p.dim() == 1:
            p.data = 0.1 * noise
        elif "lm_head" in name:
            p.data = 0.3 * noise
        else:
            p.data = noise / math.sqrt(p.numel() / p.shape[0])


def squashed(path):
    return normalised(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.BICUBIC))


def normalised(image):
    x = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1) / 255
    return ((x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).contiguous()


def write_json(value, *path, lines=False):
    with open(os.path.join(*path), "w") as f:
        f.write("".join(json.dumps(v) + "\n" for v in value) if lines else json.dumps(value, indent=1))


def positions():
    """Both ways of resizing a table of positions, at sizes that grow, shrink and stay."""
    g, out = torch.Generator().manual_seed(SEED + 1), {}
    for own, side in ((3, 5), (4, 5), (2, 4), (5, 3), (7, 4), (16, 32), (4, 4)):
        table = torch.randn(1, 1 + own * own, 3, generator=g)
        out[f"{own}.{side}.table"] = table[0].clone()
        out[f"{own}.{side}.tower"] = resample_abs_pos_embed(table, [side, side], num_prefix_tokens=1)[0].clone()
        out[f"{own}.{side}.resampler"] = table_resized(table[0, 1:], side).clone()
    return out


def main(out):
    global IM_PATCH
    torch.manual_seed(SEED)
    sp = sentencepiece.SentencePieceProcessor(os.path.join(SOURCE, "model", "tokenizer.model"))
    IM_PATCH, im_start, im_end = (sp.vocab_size() + i for i in range(3))
    vocab = sp.vocab_size() + 3
    model = Model(vocab).eval()
    randomise(model)
    for folder in ("model/vision", "expect", "images"):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
    for i in range(4):
        shutil.copy(os.path.join(SOURCE, "images", f"{i}.png"), os.path.join(out, "images"))
    shutil.copy(os.path.join(SOURCE, "pairs.jsonl"), out)
    shutil.copy(os.path.join(SOURCE, "model", "tokenizer.model"), os.path.join(out, "model"))
    pairs = [json.loads(line) for line in open(os.path.join(out, "pairs.jsonl"))]

    # ---- the checkpoint ----
    config = dict(architectures=["OmniLMMForCausalLM"], model_type="omnilmm", hidden_act="silu", hidden_size=WIDTH, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=32768, rms_norm_eps=1e-5, rope_theta=10000.0,
        sliding_window=4096, vocab_size=vocab, bos_token_id=1, eos_token_id=2, pad_token_id=2, tie_word_embeddings=False, torch_dtype="float32",
        mm_vision_tower="./vision", mm_hidden_size=TOWER["embed_dim"], mm_use_im_start_end=True, use_mm_proj=True, num_query=QUERIES, image_size=SIDE,
        resampler_heads=RESAMPLER_HEADS)
    write_json(config, out, "model/config.json")
    write_json(dict(architecture="eva02_enormous_patch14_clip_224", num_classes=0, model_args=TOWER), out, "model/vision/config.json")
    write_json({"<im_patch>": IM_PATCH, "<im_start>": im_start, "<im_end>": im_end}, out, "model/added_tokens.json")
    save_file(model.state(), os.path.join(out, "model/model.safetensors"), metadata={"format": "pt"})

    # ---- forward ----
    def inner(text):
        """An answer goes on behind text, so it has no word-start mark: encoded behind other text, which is cut off again."""
        lead = sp.encode("<unk>")
        ids = sp.encode("<unk>" + text)
        assert ids[: len(lead)] == lead
        return ids[len(lead) :]

    def prompt(question):
        ids = [1] + sp.encode("<|system|>\n" + SYSTEM) + [2] + sp.encode("\n<|user|>\n") + [im_start] + [IM_PATCH] * QUERIES
        return ids + [im_end] + sp.encode(f"\n{question}") + [2] + sp.encode("\n<|assistant|>\n")

    pixels = {path: squashed(os.path.join(out, path)) for path in sorted({p["image"] for p in pairs})}
    features = {path: model.features(x[None]) for path, x in pixels.items()}
    save_file({f"squash.{path[7]}": x for path, x in pixels.items()}, os.path.join(out, "expect/pixels.safetensors"))
    save_file(positions(), os.path.join(out, "expect/positions.safetensors"))

    def response(text):
        return inner(text) + [2]

    def logps(row, side, features=features):
        ids, answer = prompt(row["question"]), response(row[side])
        logits = model.logits(features[row["image"]], ids + answer)[len(ids) - 1 : -1]
        return torch.log_softmax(logits.double(), -1).gather(1, torch.tensor(answer)[:, None])[:, 0]

    with torch.no_grad():
        first = pairs[1]
        ids = prompt(first["question"]) + response(first["chosen"])
        save_file({"ids": torch.tensor(ids), "vision_features": features[first["image"]][0].contiguous(),
            "projected": model.resampler(features[first["image"]])[0].contiguous(),
            "logits": model.logits(features[first["image"]], ids).contiguous()}, os.path.join(out, "expect/forward.safetensors"))
        rows, reference = [], []
        for row in pairs:
            entry = {"image": row["image"]}
            for side in ("chosen", "rejected"):
                logp = logps(row, side)
                entry[side] = dict(prompt_ids=prompt(row["question"]), response_ids=response(row[side]), logps=[round(x, 7) for x in logp.tolist()],
                    sum=logp.sum().item())
            reference.append([entry["chosen"]["sum"], entry["rejected"]["sum"]])
            rows.append(entry)
        write_json(rows, out, "expect/score.jsonl", lines=True)
        words = {word: inner(word)[-1] for word in ("yes", "Yes", "no", "No")}
        rows = []
        for path in sorted(pixels):
            for question in ("Describe this image in detail.", "Is there a cat? Please answer yes or no."):
                ids, answer, gap, yes_no = prompt(question), [], math.inf, None
                while len(answer) < 16 and (not answer or answer[-1] != 2):
                    logits = model.logits(features[path], ids + answer)[-1].double()
                    if yes_no is None:
                        yes_no = {word: torch.softmax(logits, -1)[i].item() for word, i in words.items()}
                    top = torch.topk(logits[: sp.vocab_size()], 2)
                    gap = min(gap, (top.values[0] - top.values[1]).item())
                    answer.append(top.indices[0].item())
                rows.append(dict(image=path, question=question, prompt_ids=ids, greedy_ids=answer, min_gap=gap, yes_no=yes_no, yes_no_ids=words))
        write_json(rows, out, "expect/greedy.jsonl", lines=True)

    # ---- the gradients of the first DPO step that a trained tower would get ----
    first = pairs[:2]
    seen = {row["image"]: model.features(pixels[row["image"]][None], grad=True) for row in first}
    losses = []
    for row, before in zip(first, reference):
        a, b = (logps(row, side, seen).sum() for side in ("chosen", "rejected"))
        losses.append(-F.logsigmoid(0.1 * ((a - before[0]) - (b - before[1]))))
    (sum(losses) / 2).backward()
    save_file({"model.vision_tower." + k: p.grad.clone().contiguous() for k, p in model.tower.named_parameters()},
        os.path.join(out, "expect/grad_tower.safetensors"))

    # ---- DPO ----
    # eps: keys' bias moves no softmax, so its gradient is rounding alone; a smaller eps would make whole steps of it, other ones in every program.
    settings = dict(beta=0.1, lr=5e-4, warmup_steps=2, steps=8, batch_pairs=2, order="file order, wrapping", betas=[0.9, 0.999], eps=1e-4,
        weight_decay=0.01, decay="parameters with 2 or more dimensions", grad_clip=None, frozen="vision tower, resampler.pos_embed",
        image_aspect_ratio="squash")
    trained = model.trained()
    groups = [dict(params=[p for p in trained.values() if (p.dim() > 1) == many], weight_decay=0.01 if many else 0.0) for many in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=settings["betas"], eps=settings["eps"])
    log = []
    for step in range(settings["steps"]):
        rate = settings["lr"] * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (settings["steps"] - 2))))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        sums, losses = [], []
        for i in range(2):
            index = (2 * step + i) % len(pairs)
            pair = [logps(pairs[index], side).sum() for side in ("chosen", "rejected")]
            rewards = [0.1 * (a - b) for a, b in zip(pair, reference[index])]
            losses.append(-F.logsigmoid(rewards[0] - rewards[1]))
            sums.append([x.item() for x in pair + rewards])
        loss = sum(losses) / 2
        loss.backward()
        norm = math.sqrt(sum(p.grad.double().pow(2).sum().item() for p in trained.values()))
        if step == 0:
            save_file({k: p.grad.clone().contiguous() for k, p in trained.items()}, os.path.join(out, "expect/grad_step0.safetensors"))
        optimizer.step()
        mean = [sum(s[i] for s in sums) / 2 for i in range(4)]
        log.append({"step": step + 1, "loss": loss.item(), "learning_rate": rate, "grad_norm": norm, "rewards/chosen": mean[2],
            "rewards/rejected": mean[3], "rewards/accuracies": sum(s[2] > s[3] for s in sums) / 2, "rewards/margins": mean[2] - mean[3],
            "logps/chosen": mean[0], "logps/rejected": mean[1]})
    write_json(settings | dict(log=log), out, "expect/dpo.json")
    save_file({k: p.detach().clone().contiguous() for k, p in trained.items()}, os.path.join(out, "expect/dpo_final.safetensors"))
    write_json(dict(case="omnilmm", seed=SEED, torch=torch.__version__, transformers=transformers.__version__, timm=timm.__version__,
        image_tokens=QUERIES, params=sum(p.numel() for p in model.parameters())), out, "case.json")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "omnilmm"))
