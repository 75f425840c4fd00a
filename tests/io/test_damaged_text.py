"""Headers and landmarks that lie: one sentence, whatever the parser behind makes of them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from sacbnet.errors import InputError
from sacbnet.io.images import load_image, save_image
from sacbnet.io.points import load_points
from sacbnet.io.transforms import load_affine, load_transform
from sacbnet.spatial.grid import Grid

HEADER = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\n{}\n"
    "kinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
)
GOOD = "space directions: (1,0,0) (0,2,0) (0,0,3)"


def _nrrd(path, line):
    voxels = np.arange(64, dtype="<i2").tobytes()
    path.write_bytes(HEADER.format(line).encode() + voxels)
    return path


@pytest.mark.parametrize(
    "line",
    [
        "x" * 200_000,
        "space directions: (1,0,0) (0,2,0) (0," + "1" * 5000 + ",3)",
        GOOD + "\nfoo: " + "v" * 60_000,
        GOOD + "\n" + "f" * 60_000 + ": v",
        GOOD + "\ndata file: " + "v" * 60_000,
        GOOD + "\nkey:=" + "v" * 70_000,
        "\n".join(f"k{n}:=" + "v" * 60_000 for n in range(100)),
    ],
    ids=["no field", "digits", "field", "name", "file", "value", "many"],
)
def test_a_long_line_of_nrrd_is_refused_before_itk_reads_it(tmp_path, line):
    """In another process, because ITK would end this one."""
    file = _nrrd(tmp_path / "a.nrrd", line)
    command = [sys.executable, "-m", "sacbnet", "info", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "has a header with a line" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("start", ["# a\r", "key:=a\r", "# \r\r"])
def test_a_line_of_nrrd_that_itk_would_split(tmp_path, start):
    """A carriage return ends a line for ITK: what follows would end the process."""
    file = _nrrd(tmp_path / "a.nrrd", f"{GOOD}\n{start}" + "b" * 4500)
    command = [sys.executable, "-c", "import sys, sacbnet; sacbnet.load_image(sys.argv[1])", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "carriage return inside a line" in done.stderr


def test_lines_that_end_as_on_windows(tmp_path):
    file = _nrrd(tmp_path / "a.nrrd", GOOD)
    head, voxels = file.read_bytes()[:-128], file.read_bytes()[-128:]
    file.write_bytes(head.replace(b"\n", b"\r\n") + voxels)
    assert load_image(file).grid.spacing.tolist() == [1, 2, 3]


def test_long_values_of_other_programs_are_read(tmp_path):
    more = GOOD + "\n# " + "c" * 2000 + "\nConversionParameters:=" + "v" * 60_000
    assert load_image(_nrrd(tmp_path / "a.nrrd", more)).grid.spacing.tolist() == [1, 2, 3]


@pytest.mark.parametrize("load", [load_transform, load_image])
def test_a_damaged_stream(tmp_path, load):
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[10:40] = b"\xff" * 30
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "a.nii.gz")


def _markups(points):
    return json.dumps({"markups": [{"controlPoints": points}]})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mrk.json", _markups([1])),
        ("a.mrk.json", _markups([None])),
        ("a.mrk.json", _markups("abc")),
        ("a.mrk.json", _markups(5)),
        ("a.mrk.json", _markups({"position": [1, 2, 3]})),
        ("a.mrk.json", _markups([{"position": [10**400, 0, 0]}])),
        ("a.mrk.json", _markups([{"position": ["9" * 5000, 0, 0]}])),
        ("a.mrk.json", _markups([{"position": [[1], 0, 0]}])),
        ("a.mrk.json", '{"markups":' + "[" * 200_000 + "]" * 200_000 + "}"),
        ("a.mrk.json", '{"markups": ' + "9" * 5000 + "}"),
        ("a.csv", 'x,y,z,label\n1,2,3,"' + "a" * 200_000 + '"\n'),
        ("a.csv", "x,y,z\n1,2," + "9" * 500 + "\n"),
        ("a.csv", "x" * 100_000 + "\n1\n"),
        ("a.fcsv", "1,2,3," + "a" * 200_000 + "\n"),
        ("a.fcsv", "# CoordinateSystem = " + "L" * 5000 + "\n1,2,3\n"),
    ],
)
def test_landmarks(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as raised:
        load_points(tmp_path / name)
    assert name in str(raised.value) and len(str(raised.value)) <= 300


@pytest.mark.parametrize("content", [b"\0" * 50, b"#Insight Transform File V1.0\n" * 3, b"\x89HDF"])
@pytest.mark.parametrize("suffix", [".mat", ".txt", ".tfm", ".h5"])
def test_affines(tmp_path, content, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError):
        load_affine(tmp_path / f"a{suffix}")


def test_messages_keep_their_start_and_their_end(tmp_path):
    grid = Grid((2, 2, 2), np.eye(4))
    with pytest.raises(InputError) as raised:
        save_image(tmp_path / "a.nii", np.full((2, 2, 2), np.nan), grid)
    assert "NaN" in str(raised.value)
    text = str(InputError("the value is " + "9" * 1000 + "; a number was expected"))
    assert text.startswith("the value is 999") and text.endswith("9; a number was expected")
    assert len(str(InputError("word " * 1000))) == 300
    assert str(InputError("a short one")) == "a short one"
    assert str(InputError("a \x1b[31mred\x07\nline\x9b, a µ")) == "a ?[31mred? line?, a µ"


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"NDims = 3", b"NDims =-3"), (b"LOCAL\n", b"LOCAL\xff\xff\xff"), (b"LOCAL", b"L" * 5000)],
)
def test_a_damaged_header_of_metaimage(tmp_path, before, after):
    file = tmp_path / "a.mha"
    save_image(file, np.arange(8.0).reshape(2, 2, 2), Grid((2, 2, 2), np.eye(4)))
    file.write_bytes(file.read_bytes().replace(before, after))
    with pytest.raises(InputError, match="damaged header"):
        load_image(file)
