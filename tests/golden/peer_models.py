#!/usr/bin/env python3
"""peer_models.py PROGRAM FOLDER - full-size shapes against PyTorch: every width, head, feed-forward and image size as published, but one block of each stack,
with random weights. Writes checkpoints below FOLDER, has PROGRAM score a row with each, and compares log-probs and what --dump writes on the way: products of
attention and feed-forward before they are added to the stream, the projector's or resampler's inside, tower features, image rows.

    llava         CLIP-L/14-336, two-layer projector, Llama-7B's block            against Transformers' LlavaForConditionalGeneration
    omnilmm       EVA-02-enormous at 448 pixels, resampler of 256 queries, Mistral-7B's block    against timm, torch.nn.MultiheadAttention, MistralForCausalLM
    vicuna_13b, yi_34b, llama3_8b    decoders alone with their whole vocabularies    against LlamaForCausalLM
    qwen2_7b      the same                                                        against Qwen2ForCausalLM

PROGRAM FOLDER [CASE ...]: those cases alone. Needs about 16 GB of memory and what make_omnilmm.py needs. Exits 1 when something is further off than the
bounds of tests/golden allow."""
import gc
import importlib
import json
import os
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
omni = importlib.import_module("make_omnilmm")
DECODER = ("decoder.0.attention", "decoder.0.mlp")
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


HEAD = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the"
    " user's questions. USER: ")


def prompt_ids(image_rows, image_id, sp):
    """vicuna_v1: both sides of the image are tokenised by themselves."""
    return [1] + sp.encode(HEAD) + [image_id] * image_rows + sp.encode(f"\n{ROW['question']} ASSISTANT:")


def keep(kept, name, module):
    """What a module returns, under the name of the dump that it is compared with."""
    module.register_forward_hook(lambda _, __, y: kept.__setitem__(name, (y[0] if isinstance(y, tuple) else y)))


def keep_block(kept, block):
    for name, module in zip(DECODER, (block.self_attn, block.mlp)):
        keep(kept, name, module)


def run(program, folder, dtype, names):
    """What the program says: activations, log-probs of both answers."""
    out = {}
    for name in names:
        subprocess.run([program, "score", "--strict", "--dtype", dtype, "--template", "vicuna_v1", "--model", folder, "--data", os.path.join(folder, "row.jsonl"),
            "--out", os.path.join(folder, "score.jsonl"), "--dump", name, "--dump-to", os.path.join(folder, "dump.safetensors")], check=True, stderr=subprocess.DEVNULL)
        out[name] = load_file(os.path.join(folder, "dump.safetensors"))[name]
    row = json.loads(open(os.path.join(folder, "score.jsonl")).readline())
    out["logps"] = torch.tensor([x for side in ("chosen", "rejected") for x in row[side]["logps"]])
    return out


def compare(case, want, program, folder):
    bad = 0
    for dtype in ("fp32", "bf16"):
        got = run(program, folder, dtype, [name for name in want if name != "logps"])
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


def scored(logits_of, kept, ids, sp):
    """Log-probs of both answers, and of what was kept of the decoder's only block the rows that predict them, as the program computes no others behind its
    attention: the prompt's last row, once, and the answers' without their last."""
    out = {name: [] for name in ("logps", *DECODER)}
    for n, answer in enumerate(answers(sp)):
        out["logps"].append(logps(logits_of(ids + answer), ids, answer))
        for name in DECODER:
            out[name].append(kept[name][0, len(ids) - 1 + (n > 0) : len(ids) - 1 + len(answer)])
    return {name: torch.cat(rows) for name, rows in out.items()}


def answers(sp):
    return [sp.encode(ROW[side]) + [2] for side in ("chosen", "rejected")]


def prepare(folder, row=ROW):
    import shutil
    import sentencepiece
    os.makedirs(os.path.join(folder, "vision"), exist_ok=True)
    picture(os.path.join(folder, "image.png"))
    shutil.copy(os.path.join(omni.SOURCE, "model", "tokenizer.model"), folder)
    omni.write_json([row], folder, "row.jsonl", lines=True)
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
    kept, block, projector = {}, [m for m in model.model.vision_tower.modules() if type(m).__name__ == "CLIPEncoderLayer"][0], model.model.multi_modal_projector
    keep(kept, "vision.0.attention", block.self_attn)
    keep(kept, "vision.0.mlp", block.mlp)
    keep(kept, "projector.hidden", projector.linear_1)
    keep(kept, "projector.activated", projector.act)
    tower = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    out = dict(vision_features=tower[0], projected=projector(tower)[0])
    out |= {name: value[0] for name, value in kept.items()}
    keep_block(kept, model.model.language_model.layers[0])
    ids = prompt_ids(576, VOCAB - 1, sp)
    return out | scored(lambda row: model(input_ids=torch.tensor([row]), pixel_values=pixels).logits[0], kept, ids, sp)


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
    kept, r = {}, model.resampler
    keep(kept, "vision.0.attention", model.tower.blocks[0].attn)
    keep(kept, "vision.0.mlp", model.tower.blocks[0].mlp)
    keep(kept, "resampler.values", r.ln_kv)
    keep(kept, "resampler.attention", r.attn)
    keep(kept, "resampler.normed", r.ln_post)
    features = model.features(omni.squashed(os.path.join(folder, "image.png"))[None])
    out = dict(vision_features=features[0], projected=r(features)[0])
    out |= {name: value[0] for name, value in kept.items()}
    # What no module returns: the sums of norms and positions, and attention before its last product.
    out["resampler.asked"] = r.ln_q(r.query) + r.pos_embed
    out["resampler.keys"] = out["resampler.values"] + omni.table_resized(r.pos_embed, 32)
    parts = [F.linear(x, w, b).unflatten(-1, (omni.RESAMPLER_HEADS, -1)).transpose(0, 1) for x, w, b in zip(
        (out["resampler.asked"], out["resampler.keys"], out["resampler.values"]), r.attn.in_proj_weight.chunk(3), r.attn.in_proj_bias.chunk(3))]
    out["resampler.attended"] = F.scaled_dot_product_attention(*parts).transpose(0, 1).flatten(1)
    keep_block(kept, model.decoder.model.layers[0])
    ids = prompt_ids(256, VOCAB - 1, sp)
    return out | scored(lambda row: model.logits(features, row), kept, ids, sp)


@torch.no_grad()
def decoder(folder, kind, seed, rope_theta, **sizes):
    import transformers
    sp = prepare(folder, {key: value for key, value in ROW.items() if key != "image"})
    config = getattr(transformers, kind + "Config")(num_hidden_layers=1, bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=rope_theta), **sizes)
    model = getattr(transformers, kind + "ForCausalLM")(config).float().eval()
    fill(model, seed)
    model.save_pretrained(folder)
    kept = {}
    keep_block(kept, model.model.layers[0])
    ids = [1] + sp.encode(HEAD + ROW["question"] + " ASSISTANT:")
    return scored(lambda row: model(input_ids=torch.tensor([row])).logits[0], kept, ids, sp)


def vicuna_13b(folder):
    return decoder(folder, "Llama", 3, 1e4, vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_attention_heads=40, num_key_value_heads=40,
        rms_norm_eps=1e-5, max_position_embeddings=4096)


def yi_34b(folder):
    return decoder(folder, "Llama", 4, 5e6, vocab_size=64000, hidden_size=7168, intermediate_size=20480, num_attention_heads=56, num_key_value_heads=8,
        rms_norm_eps=1e-5, max_position_embeddings=4096)


def llama3_8b(folder):
    return decoder(folder, "Llama", 5, 5e5, vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8,
        rms_norm_eps=1e-5, max_position_embeddings=8192)


def qwen2_7b(folder):
    return decoder(folder, "Qwen2", 6, 1e6, vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_attention_heads=28, num_key_value_heads=4,
        rms_norm_eps=1e-6, max_position_embeddings=32768)


def main(program, folder, *chosen):
    bad = 0
    for case in (llava, omnilmm, vicuna_13b, yi_34b, llama3_8b, qwen2_7b):
        if chosen and case.__name__ not in chosen:
            continue
        place = os.path.join(folder, "peer-" + case.__name__)
        want = case(place)
        gc.collect()
        bad |= compare(case.__name__, want, program, place)
        for name in os.listdir(place):
            if ".safetensors" in name:
                os.remove(os.path.join(place, name))
    return bad


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
