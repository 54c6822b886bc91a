"""Writes tests/golden/anyres.txt: how Transformers lays out images of many sizes in LLaVA-NeXT, for tests/model/anyres_test.c.

A line holds width, height, tiles down and across, rows in the decoder, and a sum over those rows: of (place + 1) times the number of the row that stands
there, modulo 2^31 - 1. Rows are numbered over the tiles in order; the learned row counts as 0, the first row of the first tile as 1.
Needs torch and transformers."""
import random
import torch
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel, get_anyres_image_grid_shape, image_size_to_num_patches

SIDE, PATCH = 336, 14
GRIDS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


class Vision:
    image_size, patch_size = SIDE, PATCH


class Config:
    vision_config, image_grid_pinpoints = Vision, GRIDS


class Stub:
    config = Config


def rows(width, height):
    tiles = image_size_to_num_patches([height, width], GRIDS, SIDE)
    each = (SIDE // PATCH) ** 2
    features = torch.arange(1, tiles * each + 1, dtype=torch.float64).reshape(tiles, each, 1)
    packed, _ = LlavaNextModel.pack_image_features(Stub(), [features], torch.tensor([[height, width]]), "default", image_newline=torch.zeros(1, dtype=torch.float64))
    packed = packed[0] if isinstance(packed, (list, tuple)) else packed
    return [int(x) for x in packed.reshape(-1)]


def main():
    rng = random.Random(7)
    sizes = [(1, 1), (336, 336), (672, 672), (336, 672), (672, 336), (1008, 336), (336, 1008), (640, 480), (480, 640), (1920, 1080), (2000, 100), (100, 2000), (500, 333)]
    sizes += [(rng.randint(1, 3000), rng.randint(1, 3000)) for _ in range(150)]
    sizes += [(w, h) for w, h in ((rng.randint(20, 4000), rng.randint(20, 4000)) for _ in range(400)) if 1 / 12 < w / h < 12][:80]
    with open(__file__.rsplit("/", 1)[0] + "/anyres.txt", "w") as out:
        for width, height in sizes:
            if max(width, height) / min(width, height) > 40:
                continue  # nothing is left of so thin an image there, and reshaping fails
            down, across = get_anyres_image_grid_shape((height, width), GRIDS, SIDE)
            order = rows(width, height)
            total = 0
            for place, row in enumerate(order):
                total = (total + (place + 1) * row) % (2**31 - 1)
            print(width, height, down, across, len(order), total, file=out)


main()
