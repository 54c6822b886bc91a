"""peer_export.py PROGRAM [CASE ...] - what the program exports, others load: every golden case is trained for two steps, and its model/ is opened by
Transformers' from_pretrained, or, where Transformers has no class for the layout, by the classes that are the same model:

    llava_llama   the original names are renamed as Transformers' own script for such checkpoints does it, into LlavaForConditionalGeneration, strictly
    omnilmm       tensors go by their published names into timm's Eva, torch.nn.MultiheadAttention between LayerNorms, and MistralForCausalLM, strictly

Their log-probs are those of `rlaifv score`. The tokenizer loads and says the same ids, tokenizer.json or tokenizer.model, and where from_pretrained opened the
model, the image processor loads and the model can be saved again. Needs torch, transformers, timm, sentencepiece, protobuf; `make peer-export` installs them into build/venv."""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

import make_omnilmm as omni

GOLDEN = pathlib.Path(__file__).parent
CASES = [p.parent.name for p in sorted(GOLDEN.glob("*/pairs.jsonl"))]
BOUND = 5e-5  # of a log-prob, as in the golden cases
IMAGE_ID = 476  # the golden rows' in the original layout, which has no id of its own


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAILED: {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")
    return done.stdout


def rows(path):
    return [json.loads(line) for line in open(path)]


def read_json(path):
    return json.loads(path.read_text())


def train(program, case, template, folder):
    config = folder / "train.ini"
    config.write_text(
        f"[run]\ndir = {folder}/run\nquiet = true\n[model]\ndir = {GOLDEN}/{case}/model\n[chat]\ntemplate = {template}\n"
        f"[data]\ntrain = {GOLDEN}/{case}/pairs.jsonl\n"
        "[train]\nlr = 5e-4\nsteps = 2\nbatch_pairs = 2\norder = file\nfreeze = vision\n"
    )
    run(program, "train", config)
    return folder / "run" / "model"


def tensors(exported):
    out = {}
    for path in exported.glob("*.safetensors"):
        out |= load_file(path)
    return out


def fitted(program, case, exported, folder, aspect):
    """The case's pictures as the program fits them: by path, pixels and (height, width)."""
    paths = sorted((GOLDEN / case / "images").glob("*.png"))
    run(program, "preprocess", "--model", exported, "--aspect", aspect, "--out", folder / "pixels.safetensors", *paths)
    pixels = load_file(folder / "pixels.safetensors")
    return {f"images/{path.name}": (pixels[str(i)][None], Image.open(path).size[::-1]) for i, path in enumerate(paths)}


# ---- the models, each as a function of ids and of the picture's path that returns the logits, (T, V) ----


def by_transformers(program, case, exported, folder, config):
    sees, tiled = "vision_config" in config, config["model_type"] == "llava_next"
    model = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_pretrained(exported, dtype=torch.float32).eval()
    model.save_pretrained(folder / "again")
    if not sees:
        return lambda ids, _: model(input_ids=torch.tensor([ids])).logits[0], "from_pretrained opens it and saves it again"
    AutoImageProcessor.from_pretrained(exported)
    images = fitted(program, case, exported, folder, "anyres" if tiled else "pad")

    def logits(ids, path):
        pixels, size = images[path]
        return model(input_ids=torch.tensor([ids]), pixel_values=pixels, **({"image_sizes": torch.tensor([size])} if tiled else {})).logits[0]

    return logits, "from_pretrained opens it and saves it again"


def by_new_names(program, case, exported, folder, config):
    """A checkpoint of the original layout in Transformers' class; nothing is left over on either side."""
    keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps",
        "max_position_embeddings", "bos_token_id", "eos_token_id", "tie_word_embeddings")
    text = LlamaConfig(**{key: config[key] for key in keys}, rope_parameters=dict(rope_type="default", rope_theta=config["rope_theta"]))
    sizes = read_json(exported / config["mm_vision_tower"] / "config.json")
    tower = CLIPVisionConfig(**{key: sizes[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size",
        "patch_size", "hidden_act", "layer_norm_eps")})
    model = LlavaForConditionalGeneration(LlavaConfig(text_config=text, vision_config=tower, image_token_index=IMAGE_ID,
        vision_feature_layer=config["mm_vision_select_layer"], vision_feature_select_strategy="default"))
    own = model.state_dict()
    inner = any(".vision_model." in name for name in own)

    def renamed(name):
        for old, new in (("model.vision_tower.vision_tower.vision_model.", "model.vision_tower." + ("vision_model." if inner else "")),
                ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."), ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
                ("model.", "model.language_model.")):
            if name.startswith(old):
                return new + name[len(old) :]
        return name

    model.load_state_dict({renamed(name): value.float() for name, value in tensors(exported).items()}, strict=True)
    model.eval()
    images = fitted(program, case, exported, folder, "pad")
    return lambda ids, path: model(input_ids=torch.tensor([ids]), pixel_values=images[path][0]).logits[0], f"its {len(own)} tensors, renamed, are LlavaForConditionalGeneration's"


def by_published_names(program, case, exported, folder, config):
    """OmniLMM put together from others' parts; the pictures too are fitted by Pillow, not by the program."""
    omni.IM_PATCH = read_json(exported / "added_tokens.json")["<im_patch>"]
    model, found = omni.Model(config["vocab_size"]).eval(), tensors(exported)
    if missing := set(model.state()) ^ set(found):
        sys.exit(f"FAILED: {case}: names that only one side has: {sorted(missing)}")
    for part, prefix in ((model.tower, "model.vision_tower."), (model.resampler, "model.resampler.")):
        part.load_state_dict({name[len(prefix) :]: value.float() for name, value in found.items() if name.startswith(prefix)}, strict=True)
    model.decoder.load_state_dict({name: found[name].float() for name in model.decoder.state_dict()}, strict=True)
    features = {path: model.features(omni.squashed(str(GOLDEN / case / path))[None]) for path in (f"images/{i}.png" for i in range(4))}
    return lambda ids, path: model.logits(features[path], ids), f"its {len(found)} tensors are timm's, MultiheadAttention's and MistralForCausalLM's"


# ---- what is compared ----


def log_probs(logits_of, row):
    out = []
    for side in ("chosen", "rejected"):
        prompt, answer = row[side]["prompt_ids"], row[side]["response_ids"]
        with torch.no_grad():
            logps = torch.log_softmax(logits_of(prompt + answer, row.get("image")).double(), -1)
        out += [logps[len(prompt) + i - 1, t].item() for i, t in enumerate(answer)]
    return out


def tokenizer_check(program, case, exported, folder):
    """Whichever file the folder has loads, and says of every text of the case what the program says. A tokenizer.model alone is given to the class that reads
    it: Transformers' choice goes by the kind of model, and Qwen2's own reads no such file."""
    whole = (exported / "tokenizer.json").exists()
    tokenizer = (AutoTokenizer if whole else LlamaTokenizer).from_pretrained(exported)
    words = [row[side] for row in rows(GOLDEN / case / "pairs.jsonl") for side in ("question", "chosen", "rejected")]
    (folder / "words.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in words))
    run(program, "tokenize", "--model", exported, "--data", folder / "words.jsonl", "--out", folder / "ids.jsonl")
    for text, ours in zip(words, rows(folder / "ids.jsonl"), strict=True):
        theirs = tokenizer.encode(text, add_special_tokens=False)
        if theirs != ours["ids_plain"]:
            sys.exit(f"FAILED: {case}: {text!r} is {ours['ids_plain']}, to Transformers {theirs}")
    return f"tokenizer.{'json' if whole else 'model'} loads, {len(words)} texts have the same ids"


def check(program, case):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        kind = read_json(GOLDEN / case / "model" / "config.json")["model_type"]
        template = "omnilmm" if kind == "omnilmm" else "vicuna_v1"
        exported = train(program, case, template, folder)
        opened = {"llava_llama": by_new_names, "omnilmm": by_published_names}.get(kind, by_transformers)
        logits_of, said = opened(program, case, exported, folder, read_json(exported / "config.json"))
        words = tokenizer_check(program, case, exported, folder)
        run(program, "score", "--strict", "--template", template, "--model", exported, "--data", GOLDEN / case / "pairs.jsonl", "--out", folder / "score.jsonl")
        worst = 0.0
        for ours, ids in zip(rows(folder / "score.jsonl"), rows(GOLDEN / case / "expect" / "score.jsonl"), strict=True):
            found = ours["chosen"]["logps"] + ours["rejected"]["logps"]
            worst = max(worst, max(abs(a - b) for a, b in zip(found, log_probs(logits_of, ids), strict=True)))
        if worst > BOUND:
            sys.exit(f"FAILED: {case}: log-probs differ by {worst:.2g}")
        return f"ok: {case} ({kind}): {said}; {words}; largest difference of a log-prob {worst:.2g}"


if __name__ == "__main__":
    for name in sys.argv[2:] or CASES:
        print(check(pathlib.Path(sys.argv[1]).resolve(), name), flush=True)
