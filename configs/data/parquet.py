#!/usr/bin/env python3
"""RLAIF-V-Dataset's Parquet files to JSONL rows and back (docs/paper.md).

    parquet.py from SHARD.parquet... OUT.jsonl      rows that `rlaifv train` and `rlaifv convert --from dataset` read
    parquet.py to IN.jsonl OUT_FOLDER [--name NAME] [--rows N]

`from` takes the shards in the order given, keeps every column, and writes image bytes as base64. RLHF-V's files, whose pair stands in a column
`text`, go the same way. `to` takes what `rlaifv convert --to dataset` writes: shards of at most N rows (5000, as upstream) named
NAME_000.parquet, and where rows have `logps` NAME-withlogp_000-ROWS.parquet, the name by which upstream's trainer knows a cache.

Needs pyarrow. Holds a few hundred rows in memory at a time. Refuses rows without the published columns, or with others' types.
"""
import argparse
import base64
import binascii
import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 200  # rows of a row group, and in memory
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = {
    "ds_name": pa.string(),
    "image": IMAGE,
    "question": pa.string(),
    "chosen": pa.string(),
    "rejected": pa.string(),
    "origin_dataset": pa.string(),
    "origin_split": pa.string(),
    "idx": pa.int64(),
    "image_path": pa.string(),
}
KINDS = {pa.string(): str, pa.int64(): int}


class Refused(Exception):
    pass


def schema(logps):
    """The published columns, with the note by which the hub's readers know that `image` is one."""
    columns = dict(COLUMNS, **({"logps": pa.string()} if logps else {}))
    features = {k: {"_type": "Image"} if k == "image" else {"dtype": str(t), "_type": "Value"} for k, t in columns.items()}
    return pa.schema(list(columns.items()), metadata={"huggingface": json.dumps({"info": {"features": features}})})


def row_from(row):
    image = row.get("image")
    if isinstance(image, dict) and image.get("bytes") is not None:
        row["image"] = dict(image, bytes=base64.b64encode(image["bytes"]).decode("ascii"))
    return row


def read_shards(shards, out):
    n = 0
    part = out + ".partial"
    with open(part, "w", encoding="utf-8") as f:
        for shard in shards:
            for batch in pq.ParquetFile(shard).iter_batches(batch_size=GROUP):
                for row in batch.to_pylist():
                    f.write(json.dumps(row_from(row), ensure_ascii=False, separators=(",", ":")) + "\n")
                    n += 1
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, out)
    print(f"{out}: {n} rows of {len(shards)} shards")


def row_to(row, columns, where):
    out = {}
    for name, kind in columns.items():
        value = row.get(name)
        if name == "image":
            if not isinstance(value, dict) or not isinstance(value.get("bytes"), str):
                raise Refused(f"{where}: field \"image\"; expected an object with bytes (rlaifv convert --to dataset)")
            try:
                value = {"bytes": base64.b64decode(value["bytes"], validate=True), "path": value.get("path")}
            except binascii.Error:
                raise Refused(f"{where}: field \"image\": its bytes are no base64") from None
        elif type(value) is not KINDS[kind]:
            raise Refused(f"{where}: field \"{name}\"; found {type(value).__name__}; expected {KINDS[kind].__name__}")
        out[name] = value
    return out


class Shards:
    """Row groups into shards; a shard appears under its name once it is whole, as the name may hold its number of rows."""

    def __init__(self, folder, name, rows, logps):
        self.folder, self.name, self.rows, self.logps = folder, name, rows, logps
        self.schema, self.writer, self.in_shard, self.done = schema(logps), None, 0, []
        self.partial = os.path.join(folder, f"{name}.partial")

    def put(self, group):
        while group:
            if not self.writer:
                self.writer = pq.ParquetWriter(self.partial, self.schema)
            some, group = group[: self.rows - self.in_shard], group[self.rows - self.in_shard :]
            self.writer.write_table(pa.Table.from_pylist(some, schema=self.schema))
            self.in_shard += len(some)
            if self.in_shard == self.rows:
                self.close()

    def close(self):
        if not self.writer:
            return
        self.writer.close()
        number = len(self.done)
        name = f"{self.name}-withlogp_{number:03}-{self.in_shard}.parquet" if self.logps else f"{self.name}_{number:03}.parquet"
        os.replace(self.partial, os.path.join(self.folder, name))
        self.done.append(name)
        self.writer, self.in_shard = None, 0

    def abandon(self):
        if self.writer:
            self.writer.close()
            os.remove(self.partial)


def rows_checked(source):
    with open(source, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            where = f"{source}:{number}"
            try:
                row = json.loads(line)
            except ValueError as bad:
                raise Refused(f"{where}: bad JSON: {bad}") from None
            if not isinstance(row, dict):
                raise Refused(f"{where}: expected an object")
            yield row, where


def write_shards(source, folder, name, rows):
    os.makedirs(folder, exist_ok=True)
    shards, group, n = None, [], 0
    try:
        for row, where in rows_checked(source):
            shards = shards or Shards(folder, name, rows, "logps" in row)
            if ("logps" in row) != shards.logps:
                raise Refused(f"{where}: field \"logps\"; expected all rows to have it, or none")
            group.append(row_to(row, dict(zip(shards.schema.names, shards.schema.types)), where))
            n += 1
            if len(group) == GROUP:
                shards.put(group)
                group = []
        if not shards:
            raise Refused(f"{source}: no rows")
        shards.put(group)
        shards.close()
    except BaseException:
        if shards:
            shards.abandon()
        raise
    print(f"{folder}: {n} rows in {len(shards.done)} shards: {', '.join(shards.done)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    way = ways.add_parser("from", help="Parquet to JSONL")
    way.add_argument("shards", nargs="+")
    way.add_argument("out")
    way = ways.add_parser("to", help="JSONL to Parquet")
    way.add_argument("source")
    way.add_argument("folder")
    way.add_argument("--name", default="RLAIF-V-Dataset")
    way.add_argument("--rows", type=int, default=5000, help="of a shard")
    a = parser.parse_args()
    try:
        if a.way == "from":
            read_shards(a.shards, a.out)
        elif a.rows < 1:
            raise Refused("--rows: expected 1 or more")
        else:
            write_shards(a.source, a.folder, a.name, a.rows)
    except (Refused, OSError, pa.ArrowException) as bad:
        sys.exit(f"parquet.py: {bad}")


if __name__ == "__main__":
    main()
