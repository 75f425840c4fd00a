"""Ways to damage a file: its bytes, its numbers, its lines, and what it holds compressed."""

from __future__ import annotations

import gzip
import io
import re
import zipfile

import numpy as np

NUMBERS = [
    *(b"-1", b"0", b"1", b"2", b"3", b"7", b"255", b"256", b"32768", b"65536", b"1e400", b"nan"),
    *(b"-inf", b"1e-300", b"0.5", b"-2147483649", b"4294967296", b"18446744073709551616"),
    *(b"9" * 30, b"9" * 400, b"", b"x", b"1,5", b"0x10", b"null", b"true", b"[]", b"{}", b'""'),
]
WORDS = [
    b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\0\0\0\1",
    b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\0\x80", b"\xff\x7f",
]  # fmt: skip


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one to four places, inside its compression half of the time."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.6:
        return gzip.compress(damaged(gzip.decompress(content), rng), 1)
    if content[:2] == b"PK" and rng.random() < 0.7:
        return _zip(content, rng)
    if content[8:9] == b"{" and rng.random() < 0.6:
        return _safetensors(content, rng)
    out = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        kind = rng.integers(0, 10)
        if kind < 6:
            _bytes(out, rng, int(kind))
        elif kind == 6:
            _number(out, rng)
        elif kind == 7:
            _line(out, rng)
        elif kind == 8 and len(out) > 4:
            at = int(rng.integers(0, min(len(out), 600)))
            word = WORDS[int(rng.integers(0, len(WORDS)))]
            out[at : at + len(word)] = word
        else:
            _nest(out, rng)
    return bytes(out)


def _bytes(out: bytearray, rng: np.random.Generator, kind: int) -> None:
    end = max(1, min(len(out), 400) if rng.random() < 0.5 else len(out))
    at, length = int(rng.integers(0, end)), int(2 ** rng.uniform(0, 5))
    if kind == 0:
        out[at : at + length] = rng.bytes(length)
    elif kind == 1:
        del out[at : at + length]
    elif kind == 2:
        out[at:at] = out[at : at + length] * int(2 ** rng.uniform(0, 9))
    elif kind == 3 and rng.random() < 0.5:
        del out[at:]
    elif kind == 4:
        out[at : at + length] = bytes([rng.choice([0, 255, 57, 45])]) * length
    elif out:
        out[min(at, len(out) - 1)] ^= 1 << int(rng.integers(0, 8))


def _number(out: bytearray, rng: np.random.Generator) -> None:
    """Put another number, or what is none, in the place of a number that is written as text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", bytes(out[:20000])))
    if found:
        place = found[int(rng.integers(0, len(found)))]
        number = NUMBERS[int(rng.integers(0, len(NUMBERS)))]
        if rng.random() < 0.5:  # formats that state the length of a text stay readable
            number = number[: len(place[0])].ljust(len(place[0]), b"0")
        out[place.start() : place.end()] = number


def _line(out: bytearray, rng: np.random.Generator) -> None:
    """Remove, repeat or swap lines of text."""
    lines = bytes(out[:20000]).split(b"\n")
    rest = bytes(out[20000:])
    a, b = rng.integers(0, len(lines), 2)
    kind = rng.integers(0, 3)
    if kind == 0:
        del lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    else:
        lines[a], lines[b] = lines[b], lines[a]
    out[:] = b"\n".join(lines) + rest


def _nest(out: bytearray, rng: np.random.Generator) -> None:
    """Insert many brackets, quotes or letters."""
    at = int(rng.integers(0, max(1, min(len(out), 2000))))
    letter = [b"[", b"{", b'"', b"a.", b"(", b",", b"\n", b"'", b'{"a":'][int(rng.integers(0, 9))]
    out[at:at] = letter * int(2 ** rng.uniform(0, 14))


def _zip(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage one member of a zip file, whose checksums then fit."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        pickles = [name for name in names if name.endswith(".pkl")]
        chosen = pickles[0] if pickles and rng.random() < 0.8 else rng.choice(names)
        for name in names:
            data = old.read(name)
            new.writestr(name, damaged(data, rng) if name == chosen else data)
    return out.getvalue()


def _safetensors(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage the header of a safetensors file, whose length then fits."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = damaged(content[8:end], rng)
    return len(header).to_bytes(8, "little") + header + content[end:]
