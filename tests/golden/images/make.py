#!/usr/bin/env python3
"""Tiny image files of every kind that is read, and what Pillow makes of them: expect.json, one row a file.

    make.py              writes the fixtures beside itself (Pillow 13 and numpy)
    make.py DIR SEED N   writes N larger ones of random sizes there, for a comparison that is not checked in

A row: file, width, height, rgb (hex, rows from the top, what convert("RGB") gives); orientation, and the same of exif_transpose where there is
one; or only `refused`, a part of the message."""
import io, json, os, struct, sys, zlib
import numpy as np
from PIL import Image, ImageOps

rng = np.random.default_rng(1)


def picture(w, h, channels, most=255):
    """Smooth with some noise, so that JPEG has something to lose and palettes something to name."""
    y, x = np.mgrid[0:h, 0:w]
    planes = [np.sin(x / (2 + c) + c) + np.cos(y / (3 - c % 3) + 2 * c) for c in range(channels)]
    a = (np.stack(planes, -1) / 4 + .5) * most + rng.normal(0, most / 16, (h, w, channels))
    return np.clip(np.round(a), 0, most).astype(np.uint16)


# ---- PNG, by hand: Pillow does not write most of its kinds ----

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed(samples, bits):
    """Rows of samples (h, n) as bytes, each row with the filter byte 0."""
    out = b""
    for row in samples:
        if bits == 16: data = row.astype(">u2").tobytes()
        elif bits == 8: data = row.astype(np.uint8).tobytes()
        else:
            shifts = np.arange(bits - 1, -1, -1)
            data = np.packbits((row[:, None] >> shifts & 1).astype(np.uint8).reshape(-1)).tobytes()
        out += b"\0" + data
    return out


def png(a, colour, bits, extra=(), interlaced=False, before_data=()):
    h, w, channels = a.shape
    if interlaced:
        data = b""
        for y0, x0, dy, dx in ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)):
            part = a[y0::dy, x0::dx]
            if part.size: data += packed(part.reshape(part.shape[0], -1), bits)
    else: data = packed(a.reshape(h, -1), bits)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, int(interlaced)))
    for kind, body in before_data: out += chunk(kind, body)
    body = zlib.compress(data, 9)
    half = len(body) // 2
    out += chunk(b"IDAT", body[:half]) + chunk(b"IDAT", body[half:])
    for kind, body in extra: out += chunk(kind, body)
    return out + chunk(b"IEND", b"")


def pngs(w, h):
    palette = (b"PLTE", bytes(rng.integers(0, 256, 48, dtype=np.uint8)))
    for bits in (1, 2, 4, 8, 16):
        most = 2 ** bits - 1
        for twist in (False, True):
            name = f"{bits}{'-interlaced' if twist else ''}.png"
            yield "grey" + name, png(picture(w, h, 1, most), 0, bits, interlaced=twist)
            if bits >= 8:
                yield "grey-alpha" + name, png(picture(w, h, 2, most), 4, bits, interlaced=twist)
                yield "colour" + name, png(picture(w, h, 3, most), 2, bits, interlaced=twist)
                yield "colour-alpha" + name, png(picture(w, h, 4, most), 6, bits, interlaced=twist)
            if bits <= 8:
                few = picture(w, h, 1, min(most, 15))
                n = 3 * min(most + 1, 16)
                yield "palette" + name, png(few, 3, bits, interlaced=twist, before_data=[(palette[0], palette[1][:n])])
    yield "palette4-alpha.png", png(picture(w, h, 1, 15), 3, 4, before_data=[palette, (b"tRNS", bytes(range(0, 160, 16)))])
    yield "grey8-clear.png", png(picture(w, h, 1), 0, 8, before_data=[(b"tRNS", struct.pack(">H", 128))])
    yield "grey16-clear.png", png(picture(w, h, 1, 65535), 0, 16, before_data=[(b"tRNS", struct.pack(">H", 128))])
    yield "colour8-clear.png", png(picture(w, h, 3), 2, 8, before_data=[(b"tRNS", struct.pack(">HHH", 1, 2, 3))])
    yield "gamma.png", png(picture(w, h, 3), 2, 8, before_data=[(b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")])


# ---- JPEG ----

def jpeg(a, mode, **how):
    out = io.BytesIO()
    a = a.astype(np.uint8)
    Image.fromarray(a[..., 0] if a.shape[2] == 1 else a, mode).save(out, "JPEG", **how)
    return out.getvalue()


def without(data, marker):
    at = data.index(b"\xff" + bytes([marker]))
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]:]


def jpegs(w, h):
    colour, four = picture(w, h, 3), picture(w, h, 4)
    yield "grey.jpg", jpeg(picture(w, h, 1), "L", quality=90)
    yield "progressive-grey.jpg", jpeg(picture(w, h, 1), "L", quality=60, progressive=True)
    for s, name in enumerate(("444", "422", "420")):
        yield name + ".jpg", jpeg(colour, "RGB", quality=85, subsampling=s)
        yield name + "-progressive.jpg", jpeg(colour, "RGB", quality=70, subsampling=s, progressive=True)
    yield "optimized.jpg", jpeg(colour, "RGB", quality=30, optimize=True)
    yield "restarts.jpg", jpeg(colour, "RGB", quality=80, restart_marker_blocks=1)
    yield "rgb.jpg", jpeg(colour, "RGB", quality=90, keep_rgb=True)
    cmyk = jpeg(four, "CMYK", quality=90)
    yield "cmyk.jpg", cmyk
    yield "cmyk-no-adobe.jpg", without(cmyk, 0xee)
    at = cmyk.index(b"Adobe") + 11
    yield "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:]
    yield "stray-bytes.jpg", jpeg(colour, "RGB", quality=80).replace(b"\xff\xda", b"\0\0\0\xff\xda", 1)
    yield "after-the-end.jpg", jpeg(colour, "RGB", quality=80) + b"and more"


# ---- BMP ----

def bmp(a, bits, header=40, top_down=False, palette=b"", masks=None, colours=0):
    """a: (h, w) of pixel values of `bits` bits."""
    h, w = a.shape
    rows = b""
    for row in a if top_down else a[::-1]:
        if bits < 8: data = packed(row[None], bits)[1:]
        else: data = b"".join(int(v).to_bytes(bits // 8, "little") for v in row)
        rows += data + b"\0" * (-len(data) % 4)
    if header == 12: info = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, w, -h if top_down else h, 1, bits, 3 if masks else 0, len(rows), 2835, 2835, colours, 0)
        if masks: info += struct.pack("<4I", *masks)[:max(12, min(16, header - 40))]
        info += b"\0" * (header - len(info))
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + info + palette + rows


def bmps(w, h):
    colours = bytes(rng.integers(0, 256, 1024, dtype=np.uint8))
    one = lambda most: picture(w, h, 1, most)[..., 0]
    def deep(shifts, mosts):
        a = sum(picture(w, h, 1, m)[..., 0].astype(np.uint64) << s for s, m in zip(shifts, mosts))
        return a
    for bits in (1, 4, 8): yield f"palette{bits}.bmp", bmp(one(2 ** bits - 1), bits, palette=colours[:4 << bits])
    yield "palette8-few.bmp", bmp(one(9), 8, palette=colours[:40], colours=10)
    yield "grey8.bmp", bmp(one(255), 8, palette=b"".join(bytes((i, i, i, 0)) for i in range(256)))
    yield "os2.bmp", bmp(one(15), 4, header=12, palette=colours[:48])
    yield "os2-24.bmp", bmp(deep((0, 8, 16), (255,) * 3), 24, header=12)
    yield "24.bmp", bmp(deep((0, 8, 16), (255,) * 3), 24)
    yield "24-top-down.bmp", bmp(deep((0, 8, 16), (255,) * 3), 24, top_down=True)
    yield "32.bmp", bmp(deep((0, 8, 16, 24), (255,) * 4), 32)
    yield "16.bmp", bmp(deep((0, 5, 10), (31,) * 3), 16)
    yield "565.bmp", bmp(deep((0, 5, 11), (31, 63, 31)), 16, masks=(0xf800, 0x7e0, 0x1f, 0))
    yield "565-v5.bmp", bmp(deep((0, 5, 11), (31, 63, 31)), 16, header=124, masks=(0xf800, 0x7e0, 0x1f, 0))
    yield "rgba-v4.bmp", bmp(deep((0, 8, 16, 24), (255,) * 4), 32, header=108, masks=(0xff0000, 0xff00, 0xff, 0xff000000))
    yield "abgr-v3.bmp", bmp(deep((0, 8, 16, 24), (255,) * 4), 32, header=56, masks=(0xff000000, 0xff0000, 0xff00, 0xff))
    yield "xbgr.bmp", bmp(deep((8, 16, 24), (255,) * 3), 32, masks=(0xff000000, 0xff0000, 0xff00, 0))


# ---- PNM ----

def pnms(w, h):
    def head(kind, most): return b"%s # a comment\n%d\n# another\n%d%s\n" % (kind, w, h, b"" if most is None else b" %d" % most)
    def digits(a): return b" ".join(b"%d" % v for v in a.reshape(-1)) + b"\n"
    for most in (1, 7, 100, 255, 256, 1000, 65535):
        raw = lambda a: a.astype(">u2" if most > 255 else np.uint8).tobytes()
        yield f"{most}.pgm", head(b"P5", most) + raw(picture(w, h, 1, most))
        yield f"{most}.ppm", head(b"P6", most) + raw(picture(w, h, 3, most))
        yield f"{most}-digits.pgm", head(b"P2", most) + digits(picture(w, h, 1, most))
        yield f"{most}-digits.ppm", head(b"P3", most) + digits(picture(w, h, 3, most))
    bits = picture(w, h, 1, 1)[..., 0]
    yield "bits.pbm", head(b"P4", None) + np.packbits(bits.astype(np.uint8), axis=1).tobytes()
    yield "digits.pbm", head(b"P1", None) + b"\n".join(b"".join(b"%d" % v for v in row) for row in bits) + b"\n"


# ---- EXIF ----

def exif(orientation, big):
    e = ">" if big else "<"
    tags = struct.pack(e + "HHIHH", 0x0100, 3, 1, 77, 0) + struct.pack(e + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return (b"MM\0*" if big else b"II*\0") + struct.pack(e + "IH", 8, 2) + tags + struct.pack(e + "I", 0)


def turned(w, h):
    a = picture(w, h, 3)
    for o in range(10): # 0 and 9 are no orientations
        yield f"orientation{o}.jpg", jpeg(a, "RGB", quality=95, exif=b"Exif\0\0" + exif(o, o % 2 == 0))
    yield "orientation6.png", png(a, 2, 8, before_data=[(b"eXIf", exif(6, True))])
    yield "orientation8-last.png", png(a, 2, 8, extra=[(b"eXIf", exif(8, False))])
    yield "orientation-cut.jpg", jpeg(a, "RGB", quality=95, exif=b"Exif\0\0" + exif(6, True)[:20])


# ---- what is not read ----

def refused(w, h):
    a = picture(w, h, 3)
    whole = jpeg(a, "RGB", quality=90)
    scan = whole.index(b"\xff\xda")
    yield "no-end.jpg", whole[:-2], "ends too early"
    yield "half-a-scan.jpg", whole[:(scan + len(whole)) // 2] + b"\xff\xd9", "premature end of data segment"
    yield "bad-codes.jpg", whole[:scan + 40] + b"\x7f\x7e" * 20 + whole[scan + 80:], "Corrupt JPEG data"
    sof = whole.index(b"\xff\xc0")
    yield "huge.jpg", whole[:sof + 5] + b"\xea\x60\xea\x60" + whole[sof + 9:], "60000 x 60000 pixels"
    yield "12-bit.jpg", whole[:sof + 4] + b"\x0c" + whole[sof + 5:], "Unsupported JPEG data precision 12"
    at = whole.index(b"\xff\xdb")
    yield "no-tables.jpg", without(without(whole, 0xdb), 0xdb), "Quantization table"
    yield "lossless.jpg", whole[:sof] + b"\xff\xc3" + whole[sof + 2:], "Unsupported"
    good = bytearray(png(a, 2, 8))
    good[40] ^= 1
    yield "bad-checksum.png", bytes(good), "checksum is wrong"
    yield "huge.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"x") + chunk(b"IEND", b""), "pixels"
    yield "short-data.png", png(a, 2, 8)[:33] + chunk(b"IDAT", zlib.compress(b"\0\1\2")) + chunk(b"IEND", b""), "not enough pixels"
    rle = bytearray(bmp(picture(w, h, 1)[..., 0], 8, palette=bytes(1024)))
    rle[30] = 1
    yield "run-lengths.bmp", bytes(rle), "run-length compression"
    yield "masks.bmp", bmp(picture(w, h, 1)[..., 0], 32, masks=(0xff, 0xff, 0xff, 0)), "colour masks"
    cut = bmp(picture(w, h, 1)[..., 0], 8, palette=bytes(1024))
    yield "cut.bmp", cut[:-1], "ends too early"
    yield "huge.bmp", cut[:18] + struct.pack("<ii", 40000, 40000) + cut[26:], "40000 x 40000 pixels"
    yield "above-maximum.pgm", b"P2 2 1 7 3 8\n", "above the maximum"
    yield "letters.ppm", b"P3 1 1 7 3 x 5\n", "no number"
    yield "maximum.pgm", b"P5 1 1 70000 xx", "impossible maximum"
    yield "nothing.gif", b"GIF89a\1\0\1\0\0\0\0;", "a GIF"


def write(folder, files, rows):
    for name, data in files:
        with open(os.path.join(folder, name), "wb") as f: f.write(data)
        im = Image.open(io.BytesIO(data))
        rgb = im.convert("RGB")
        row = {"file": name, "width": rgb.width, "height": rgb.height, "rgb": rgb.tobytes().hex()}
        if name.startswith("orientation"):
            up = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            row["orientation"] = im.getexif().get(0x0112, 1)
            row["upright"] = {"width": up.width, "height": up.height, "rgb": up.tobytes().hex()}
        rows.append(row)


def main():
    rows = []
    if len(sys.argv) == 4:
        global rng
        folder, seed, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        rng = np.random.default_rng(seed)
        os.makedirs(folder, exist_ok=True)
        for i in range(n):
            w, h = int(rng.integers(1, 90)), int(rng.integers(1, 90))
            for kind in (pngs, jpegs, bmps, pnms, turned): write(folder, [(name.replace(".", f"-{i}.", 1), data) for name, data in kind(w, h)], rows)
    else:
        folder = os.path.dirname(os.path.abspath(__file__))
        for kind, size in ((pngs, (5, 4)), (jpegs, (19, 11)), (bmps, (5, 3)), (pnms, (3, 2)), (turned, (9, 5))): write(folder, kind(*size), rows)
        for name, data, says in refused(11, 7):
            with open(os.path.join(folder, "refused-" + name), "wb") as f: f.write(data)
            rows.append({"file": "refused-" + name, "refused": says})
    with open(os.path.join(folder, "expect.json"), "w") as f: f.write('{"images": [\n' + ",\n".join(json.dumps(r) for r in rows) + "\n]}\n")


main()
