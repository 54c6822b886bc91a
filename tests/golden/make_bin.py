"""Makes the .bin files of tests/golden by torch.save: `python3 tests/golden/make_bin.py` in the repository's root, with torch and safetensors.

llava15-bin is llava15-orig as LLaVA-1.5 is published: the decoder in two shards with an index and with rotary buffers, the projector in
mm_projector.bin, and the tower in a folder beside the checkpoint, which holds a whole CLIP. pickle/ holds small files of every sort that
torch.save writes, and some that must be refused; torch_file_test.c says what is in them. safetensors/ is what the fuzzer starts from.
"""

import collections
import io
import json
import os
import pathlib
import shutil
import zipfile

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
FROM = HERE / "llava15-orig" / "model"


def weights():
    return {name: t for path in sorted(FROM.glob("*.safetensors")) for name, t in load_file(path).items()}


def llava15(out):
    shutil.rmtree(out, ignore_errors=True)
    model, clip = out / "model", out / "clip-tiny"
    model.mkdir(parents=True)
    clip.mkdir()
    tower, projector, decoder = {}, {}, {}
    lead = "model.vision_tower.vision_tower."
    for name, t in weights().items():
        if name.startswith(lead):
            tower[name[len(lead):]] = t
        else:
            (projector if "mm_projector" in name else decoder)[name] = t
    for i in range(2):
        decoder[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)

    names = sorted(decoder)
    files = [f"pytorch_model-0000{i + 1}-of-00002.bin" for i in range(2)]
    shards = [names[: len(names) // 2], names[len(names) // 2 :]]
    for file, part in zip(files, shards):
        torch.save({name: decoder[name] for name in part}, model / file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in decoder.values())}, "weight_map": {n: f for f, part in zip(files, shards) for n in part}}
    (model / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1))
    torch.save(projector, model / "mm_projector.bin")
    config = json.loads((FROM / "config.json").read_text())
    config["mm_vision_tower"] = "openai/clip-tiny"
    (model / "config.json").write_text(json.dumps(config, indent=1))

    # A module's state_dict() is an OrderedDict with the attribute _metadata.
    whole = collections.OrderedDict((name, torch.nn.Parameter(t)) for name, t in tower.items())
    whole["vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    whole["text_model.embeddings.position_ids"] = torch.arange(4)[None]
    whole["text_model.embeddings.token_embedding.weight"] = torch.ones(3, 4)
    for name in ("visual_projection.weight", "text_projection.weight"):
        whole[name] = torch.ones(2, 4)
    whole["logit_scale"] = torch.tensor(2.6592)
    whole._metadata = collections.OrderedDict({"": {"version": 1}})
    torch.save(whole, clip / "pytorch_model.bin")
    tower_config = json.loads((FROM / "vision" / "config.json").read_text())
    (clip / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": {}, "vision_config": tower_config}, indent=1))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def rewritten(source, change=lambda name, data: data, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return out.getvalue()


def kinds():
    whole = torch.arange(24, dtype=torch.float32)
    few = torch.tensor([1.5, -2.0, 3.0])
    return {
        "whole": whole.view(2, 3, 4),
        "row": whole.view(6, 4)[2],  # shares the storage, at offset 8
        "scalar": torch.tensor(7.0),
        "empty": torch.empty(0, 5),
        "one_wide": whole.view(24, 1)[:3].t(),  # (1, 3), whose strides are those of a transposed view
        "parameter": torch.nn.Parameter(few.clone()),
        **{str(d).split(".")[1]: few.to(d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)},
        "uint8": torch.tensor([1, 254], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "epoch": 3,
        "large": 2**40,
        "rate": 0.5,
        "note": "made by make_bin.py",
        "nothing": None,
        "flag": True,
    }


def pickles(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    small = {"a": torch.arange(6, dtype=torch.float32).view(2, 3)}
    for protocol in range(2, 6):
        torch.save(kinds(), out / f"kinds-{protocol}.bin", pickle_protocol=protocol)
    with zipfile.ZipFile(out / "kinds-2.bin") as z:
        (out / "kinds-2.pkl").write_bytes(z.read("kinds-2/data.pkl"))  # for the fuzzer to start from

    module = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(module.weight, 0.5), torch.nn.init.constant_(module.bias, 0.25)
    torch.save(module.state_dict(), out / "module.bin")
    optimizer = torch.optim.AdamW(module.parameters())
    torch.save({"state_dict": module.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, out / "nested.bin")
    stream = io.BytesIO()
    torch.save(small, stream)
    (out / "stream.bin").write_bytes(stream.getvalue())  # its root is called archive

    torch.save(small, out / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"a": small["a"].t()}, out / "transposed.bin")
    torch.save({"a": torch.ones(1).expand(4)}, out / "expanded.bin")
    torch.save({"a": torch.complex(torch.ones(2), torch.ones(2))}, out / "complex.bin")
    torch.save({"a": torch.complex(torch.ones(2), torch.ones(2)).conj().imag}, out / "negated.bin")
    torch.save({"a": small["a"].to_sparse()}, out / "sparse.bin")
    torch.save({**small, "b": Call(os.system, "echo ran > /tmp/rlaifv-pickle-ran")}, out / "system.bin")
    torch.save({**small, "b": Call(eval, "1 + 1")}, out / "eval.bin")
    torch.save({**small, "b": Call(torch.load, "other.bin")}, out / "load.bin")
    torch.save(module, out / "whole-module.bin")
    torch.save({**small, "b": {"c": torch.ones(2)}}, out / "beside.bin")
    torch.save([small["a"]], out / "list.bin")
    torch.jit.save(torch.jit.script(module), out / "script.bin")
    (out / "deflated.bin").write_bytes(rewritten(out / "stream.bin", compression=zipfile.ZIP_DEFLATED))
    (out / "big-endian.bin").write_bytes(rewritten(out / "stream.bin", lambda name, data: b"big" if name.endswith("byteorder") else data))
    (out / "rewritten.bin").write_bytes(rewritten(out / "stream.bin"))


def safetensors(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    tensors = {name: t.detach().clone() for name, t in kinds().items() if isinstance(t, torch.Tensor)}
    save_file({name: t.contiguous() for name, t in tensors.items()}, out / "kinds.safetensors")
    save_file({"a": torch.ones(2)}, out / "one.safetensors", {"format": "pt"})


if __name__ == "__main__":
    llava15(HERE / "llava15-bin")
    pickles(HERE / "pickle")
    safetensors(HERE / "safetensors")
