"""make peer-parquet: pairs of this program through RLAIF-V-Dataset's Parquet form and back, with and without cached references, and what parquet.py
refuses. Argument: the program."""
import glob
import json
import os
import subprocess
import sys
import tempfile

import pyarrow.parquet as pq

program = os.path.abspath(sys.argv[1])
golden = "tests/golden/llava15-hub"
script = "configs/data/parquet.py"


def run(*arguments):
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def convert(source, target):
    return subprocess.run([sys.executable, script, source, *target], capture_output=True, text=True)


def rows(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def refused(folder, row, said):
    path = os.path.join(folder, "bad.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        f.write(row + "\n")
    got = convert("to", [path, os.path.join(folder, "never")])
    assert got.returncode == 1 and said in got.stderr and got.stderr.count("\n") == 1, (row, got.stderr)
    assert not glob.glob(os.path.join(folder, "never", "*.parquet"))


with tempfile.TemporaryDirectory() as t:
    ours, set_, back, scored = (os.path.join(t, n) for n in ("ours.jsonl", "set.jsonl", "back.jsonl", "scored.jsonl"))
    with open(ours, "w", encoding="utf-8") as f:
        for i, row in enumerate(rows(f"{golden}/pairs.jsonl")):
            row["image"] = os.path.abspath(f"{golden}/{row['image']}")
            row["chosen"] += " caf\u00e9 \u2014 \"quoted\"\n" * (i % 2)
            f.write(json.dumps(row) + "\n")
    run(program, "convert", "--from", "rlaifv", "--to", "dataset", "--split", '{"model": "golden"}', ours, set_)
    assert convert("to", [set_, f"{t}/plain", "--rows", "3"]).returncode == 0
    shards = sorted(glob.glob(f"{t}/plain/*"))
    assert [os.path.basename(s) for s in shards] == [f"RLAIF-V-Dataset_00{i}.parquet" for i in range(3)], shards
    schema = pq.read_schema(shards[0])
    published = ["ds_name", "image", "question", "chosen", "rejected", "origin_dataset", "origin_split", "idx", "image_path"]
    assert schema.names == published
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>" and str(schema.field("idx").type) == "int64"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == published and features["image"] == {"_type": "Image"}
    assert [pq.read_metadata(s).num_rows for s in shards] == [3, 3, 2]
    with open(f"{golden}/images/0.png", "rb") as f:
        assert pq.read_table(shards[0]).to_pylist()[0]["image"] == {"bytes": f.read(), "path": "0.png"}
    assert convert("from", [*shards, back]).returncode == 0
    assert rows(back) == rows(set_)

    again = os.path.join(t, "again.jsonl")
    run(program, "convert", "--from", "dataset", "--to", "rlaifv", back, again)
    for a, b in zip(rows(ours), rows(again), strict=True):
        assert all(a[k] == b[k] for k in ("question", "chosen", "rejected"))
        with open(a["image"], "rb") as f, open(b["image"], "rb") as g:
            assert f.read() == g.read()

    # a cache of references, by the name and in the column that upstream looks for
    run(program, "score", "--model", f"{golden}/model", "--data", back, "--out", scored, "--logps", "upstream")
    run(program, "convert", "--from", "rlaifv", "--to", "dataset", scored, set_)
    assert convert("to", [set_, f"{t}/logps"]).returncode == 0
    (shard,) = glob.glob(f"{t}/logps/*")
    assert os.path.basename(shard) == "RLAIF-V-Dataset-withlogp_000-8.parquet"
    for row in pq.read_table(shard).to_pylist():
        logps = json.loads(row["logps"])["logps"]
        assert len(logps) == 6 and abs(sum(logps[2]) - logps[0]) < 1e-3 and abs(sum(logps[5]) - logps[3]) < 1e-3

    whole = rows(set_)[0]
    refused(t, "{", "bad JSON")
    refused(t, "[]", "expected an object")
    refused(t, "", "no rows")
    for key in published:
        refused(t, json.dumps({k: v for k, v in whole.items() if k != key}), f'field "{key}"')
    refused(t, json.dumps(dict(whole, idx="7")), 'field "idx"')
    refused(t, json.dumps(dict(whole, idx=True)), 'field "idx"')
    refused(t, json.dumps(dict(whole, image={"bytes": "!", "path": "x"})), "no base64")
    refused(t, json.dumps(whole) + "\n" + json.dumps({k: v for k, v in whole.items() if k != "logps"}), 'bad.jsonl:2: field "logps"')
    got = convert("from", [f"{t}/absent.parquet", back])
    assert got.returncode == 1 and got.stderr.startswith("parquet.py: "), got.stderr
print("RLAIF-V-Dataset's Parquet form: there and back, with references, and 17 refusals")
