#!/usr/bin/env python3
"""peer_models.py PROGRAM FOLDER - full-size shapes against PyTorch: every width, head, feed-forward and image size as published, but one block of each stack,
with random weights. Writes two checkpoints below FOLDER, has PROGRAM score a row with each, and compares tower features, image rows and log-probs.

    llava     CLIP-L/14-336, two-layer projector, Llama-7B's block            against Transformers' LlavaForConditionalGeneration
    omnilmm   EVA-02-enormous at 448 pixels, resampler of 256 queries, Mistral-7B's block    against timm, torch.nn.MultiheadAttention, MistralForCausalLM

Needs about 8 GB of memory and what make_omnilmm.py needs. Exits 1 when something is further off than the bounds of tests/golden allow."""
import gc
import importlib
import json
import os
import subprocess
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
omni = importlib.import_module("make_omnilmm")
ROW = {"image": "image.png", "question": "What is in the picture?", "chosen": "There is a green cup next to the car.", "rejected": "A dog."}
VOCAB = 32000
RANGE, LOGP = 2e-5, 5e-5  # bounds of a right fp32 implementation, as in tests/golden
BF16 = 1.3e-4  # of mean squares: what tests/model/golden_test.c allows a tower, a projector and a decoder that round to bf16


def fill(model, seed):
    """Products keep the size of what they multiply; nothing is zero or one."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("resampler.pos_embed"):
                continue
            scale = 0.02 if "lm_head" in name or "pos" in name else 0.1 if p.dim() == 1 else (p[0].numel()) ** -0.5
            p.normal_(0, 0.5 if "embed_tokens" in name else scale, generator=g)
            if p.dim() == 1 and ("norm" in name or "ln" in name) and name.endswith("weight"):
                p.add_(1)


def picture(path):
    rng = np.random.default_rng(5)
    small = Image.fromarray(rng.integers(0, 256, (12, 9, 3), dtype=np.uint8).astype(np.uint8))
    small.resize((360, 480), Image.BICUBIC).save(path)


def prompt_ids(image_rows, image_id, sp):
    """vicuna_v1: both sides of the image are tokenised by themselves."""
    head = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the"
        " user's questions. USER: ")
    return [1] + sp.encode(head) + [image_id] * image_rows + sp.encode(f"\n{ROW['question']} ASSISTANT:")


def run(program, folder, dtype):
    """What the program says: features, image rows, log-probs of both answers."""
    out = {}
    for name in ("vision_features", "projected"):
        subprocess.run([program, "score", "--strict", "--dtype", dtype, "--template", "vicuna_v1", "--model", folder, "--data", os.path.join(folder, "row.jsonl"),
            "--out", os.path.join(folder, "score.jsonl"), "--dump", name, "--dump-to", os.path.join(folder, "dump.safetensors")], check=True, stderr=subprocess.DEVNULL)
        out[name] = load_file(os.path.join(folder, "dump.safetensors"))[name]
    row = json.loads(open(os.path.join(folder, "score.jsonl")).readline())
    out["logps"] = torch.tensor([x for side in ("chosen", "rejected") for x in row[side]["logps"]])
    return out


def compare(case, want, program, folder):
    bad = 0
    for dtype in ("fp32", "bf16"):
        got = run(program, folder, dtype)
        for name, w in want.items():
            w, g = w.float(), got[name].float().reshape(w.shape)
            gap, size = (g - w).abs().max().item(), (w.max() - w.min()).item()
            nmse = ((g - w).pow(2).sum() / w.pow(2).sum()).item()
            fine = (gap <= LOGP if name == "logps" else gap / size <= RANGE) if dtype == "fp32" else nmse <= BF16
            bad |= not fine
            print(f"{'ok' if fine else 'FAILED'}: {case} {dtype} {name}: largest difference {gap:.2g} in a range of {size:.3g}, NMSE {nmse:.2g}")
    return bad


def logps(logits, ids, answer):
    rows = torch.log_softmax(logits[len(ids) - 1 : len(ids) - 1 + len(answer)].double(), -1)
    return rows.gather(1, torch.tensor(answer)[:, None])[:, 0]


def answers(sp):
    return [sp.encode(ROW[side]) + [2] for side in ("chosen", "rejected")]


def prepare(folder):
    import shutil
    import sentencepiece
    os.makedirs(os.path.join(folder, "vision"), exist_ok=True)
    picture(os.path.join(folder, "image.png"))
    shutil.copy(os.path.join(omni.SOURCE, "model", "tokenizer.model"), folder)
    omni.write_json([ROW], folder, "row.jsonl", lines=True)
    return sentencepiece.SentencePieceProcessor(os.path.join(folder, "tokenizer.model"))


@torch.no_grad()
def llava(folder):
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
    sp = prepare(folder)
    config = LlavaConfig(image_token_index=VOCAB - 1, vision_feature_layer=-2, image_seq_length=576,
        vision_config=CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=2, num_attention_heads=16, image_size=336, patch_size=14),
        text_config=LlamaConfig(vocab_size=VOCAB, hidden_size=4096, intermediate_size=11008, num_hidden_layers=1, num_attention_heads=32, rms_norm_eps=1e-5,
            max_position_embeddings=4096))
    model = LlavaForConditionalGeneration(config).float().eval()
    fill(model, 1)
    model.save_pretrained(folder)
    image = Image.open(os.path.join(folder, "image.png"))
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(255 * m) for m in omni.MEAN))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    pixels = omni.normalised(square.resize((336, 336), Image.BICUBIC))[None]
    tower = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    out = dict(vision_features=tower[0], projected=model.model.multi_modal_projector(tower)[0])
    ids, rows = prompt_ids(576, VOCAB - 1, sp), []
    for answer in answers(sp):
        rows.append(logps(model(input_ids=torch.tensor([ids + answer]), pixel_values=pixels).logits[0], ids, answer))
    return out | dict(logps=torch.cat(rows))


@torch.no_grad()
def omnilmm(folder):
    from transformers import MistralConfig
    sp = prepare(folder)
    omni.TOWER = dict(img_size=224, patch_size=14, embed_dim=1792, depth=2, num_heads=16, mlp_ratio=15360 / 1792)
    omni.QUERIES, omni.RESAMPLER_HEADS, omni.WIDTH, omni.SIDE, omni.IM_PATCH = 256, 32, 4096, 448, VOCAB - 1
    sizes = dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=1, num_attention_heads=32, num_key_value_heads=8, vocab_size=VOCAB,
        max_position_embeddings=32768, sliding_window=4096, rms_norm_eps=1e-5, rope_theta=1e4, bos_token_id=1, eos_token_id=2, pad_token_id=2)
    omni.decoder_config = lambda vocab: MistralConfig(**sizes, tie_word_embeddings=False, attn_implementation="eager")
    model = omni.Model(VOCAB).float().eval()
    fill(model, 2)
    save_file(model.state(), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    omni.write_json(dict(model_type="omnilmm", **sizes, mm_vision_tower="./vision", mm_use_im_start_end=True, num_query=256, image_size=448), folder,
        "config.json")
    omni.write_json(dict(architecture="eva02_enormous_patch14_clip_224", model_args=omni.TOWER), folder, "vision/config.json")
    features = model.features(omni.squashed(os.path.join(folder, "image.png"))[None])
    out = dict(vision_features=features[0], projected=model.resampler(features)[0])
    ids = prompt_ids(256, VOCAB - 1, sp)
    return out | dict(logps=torch.cat([logps(model.logits(features, ids + answer), ids, answer) for answer in answers(sp)]))


def main(program, folder):
    bad = 0
    for case in (llava, omnilmm):
        place = os.path.join(folder, "peer-" + case.__name__)
        want = case(place)
        gc.collect()
        bad |= compare(case.__name__, want, program, place)
        for name in os.listdir(place):
            if name.endswith(".safetensors"):
                os.remove(os.path.join(place, name))
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
