"""peer_export.py PROGRAM - what the program exports, Transformers loads: every golden case in a layout of Transformers is trained for two steps, and its
model/ is opened by from_pretrained. Its log-probs are those of `rlaifv score`, tokenizer.json (where there is one) and image processor load, and the model can be saved again.
Needs torch and transformers; `make peer-export` installs them into build/venv."""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

GOLDEN = pathlib.Path(__file__).parent
CASES = [p.parent.name for p in sorted(GOLDEN.glob("*/pairs.jsonl"))]
BOUND = 5e-5  # of a log-prob, as in the golden cases


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAILED: {' '.join(map(str, arguments))}\n{done.stderr[-2000:]}")


def rows(path):
    return [json.loads(line) for line in open(path)]


def train(program, case, folder):
    config = folder / "train.ini"
    config.write_text(
        f"[run]\ndir = {folder}/run\nquiet = true\n[model]\ndir = {GOLDEN}/{case}/model\n[chat]\ntemplate = vicuna_v1\n"
        f"[data]\ntrain = {GOLDEN}/{case}/pairs.jsonl\n"
        "[train]\nlr = 5e-4\nsteps = 2\nbatch_pairs = 2\norder = file\nfreeze = vision\n"
    )
    run(program, "train", config)
    return folder / "run" / "model"


def expected(model, images, row, has_images):
    """Log-probs of the row's answers by Transformers."""
    out = []
    for side in ("chosen", "rejected"):
        prompt, answer = row[side]["prompt_ids"], row[side]["response_ids"]
        extra = dict(images[row["image"]]) if has_images else {}
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + answer]), **extra).logits[0].double()
        logps = torch.log_softmax(logits, -1)
        out += [logps[len(prompt) + i - 1, t].item() for i, t in enumerate(answer)]
    return out


def check(program, case):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        exported = train(program, case, folder)
        config = json.load(open(exported / "config.json"))
        if config["model_type"] in ("llava_llama", "omnilmm"):
            return f"skipped: {case}: Transformers has no class for {config['model_type']}"
        sees, tiled = "vision_config" in config, config["model_type"] == "llava_next"
        model = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_pretrained(exported, dtype=torch.float32)
        model.eval()
        if (exported / "tokenizer.json").exists():  # cases of decoders alone have SentencePiece's model only
            AutoTokenizer.from_pretrained(exported)
        images = {}
        if sees:
            AutoImageProcessor.from_pretrained(exported)
            paths = sorted((GOLDEN / case / "images").glob("*.png"))
            run(program, "preprocess", "--model", exported, "--aspect", "anyres" if tiled else "pad", "--out", folder / "pixels.safetensors", *paths)
            pixels = load_file(folder / "pixels.safetensors")
            for i, path in enumerate(paths):
                from PIL import Image

                width, height = Image.open(path).size
                images[f"images/{path.name}"] = {"pixel_values": pixels[str(i)][None], **({"image_sizes": torch.tensor([[height, width]])} if tiled else {})}
        run(program, "score", "--strict", "--template", "vicuna_v1", "--model", exported, "--data", GOLDEN / case / "pairs.jsonl", "--out", folder / "score.jsonl")
        worst = 0.0
        for ours, ids in zip(rows(folder / "score.jsonl"), rows(GOLDEN / case / "expect" / "score.jsonl")):
            found = ours["chosen"]["logps"] + ours["rejected"]["logps"]
            wanted = expected(model, images, ids, sees)
            worst = max(worst, max(abs(a - b) for a, b in zip(found, wanted, strict=True)))
        model.save_pretrained(folder / "again")
        if worst > BOUND:
            sys.exit(f"FAILED: {case}: log-probs differ by {worst:.2g}")
        return f"ok: {case}: {config['model_type']} loads; largest difference of a log-prob {worst:.2g}; saves again"


for name in CASES:
    print(check(pathlib.Path(sys.argv[1]).resolve(), name), flush=True)
