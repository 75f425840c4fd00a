"""What headers of NRRD, MetaImage and MGH leave out is told, and their units are converted."""

from __future__ import annotations

import gzip
import json
import locale
import os
import re
import shutil
import subprocess
import sys
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacbnet.errors import InputError
from sacbnet.io.images import load_image, load_reference, save_image
from sacbnet.io.transforms import load_affine, load_displacement, save_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField

VOXELS = np.arange(120, dtype="<i2")
DIRECTIONS = "space directions: (1,0,0) (0,2,0) (0,0,3)\n"
FULL = f"space: left-posterior-superior\n{DIRECTIONS}space origin: (4,5,6)\n"
NO_ORIENTATION, NO_SIZE = "no orientation, so left and right", "no voxel size; 1 mm is assumed"


def _nrrd(path, fields):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nendian: little\nencoding: raw\n"
    path.write_bytes((head + fields + "\n").encode() + VOXELS.tobytes())
    return path


def _mha(path, fields):
    head = "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\n"
    path.write_bytes(f"{head}{fields}ElementDataFile = LOCAL\n".encode() + VOXELS.tobytes())
    return path


@pytest.mark.parametrize(
    ("fields", "spacing", "told"),
    [
        (FULL, (1, 2, 3), []),
        ("", (1, 1, 1), [NO_SIZE, NO_ORIENTATION]),
        ("spacings: 1.5 2 3\n", (1.5, 2, 3), [NO_ORIENTATION]),
        (f"space dimension: 3\n{DIRECTIONS}", (1, 2, 3), [NO_ORIENTATION]),
        (f'{FULL}space units: "mm" "mm" "mm"\n', (1, 2, 3), []),
        (f'{FULL}space units: "um" "um" "um"\n', (0.001, 0.002, 0.003), ["converted to mm"]),
        (f'{FULL}space units: "microns" "microns" "microns"\n', (0.001, 0.002, 0.003), ["mm"]),
        (f'{FULL}space units: "m" "m" "m"\n', (1000, 2000, 3000), ["converted to mm"]),
        ('spacings: 5 2 3\nunits: "cm" "cm" "cm"\n', (50, 20, 30), ["to mm", NO_ORIENTATION]),
    ],
)
def test_nrrd(tmp_path, fields, spacing, told):
    path = _nrrd(tmp_path / "a.nrrd", fields)
    for image in (load_image(path), load_reference(path)):
        assert np.allclose(image.grid.spacing, spacing)
        assert len(image.warnings) == len(told)
        assert all(words in found for words, found in zip(told, image.warnings, strict=True))
        if "space origin" in fields:
            assert np.allclose(image.grid.affine[:3, 3] / image.grid.spacing, [-4, -2.5, 2])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (f'{FULL}space units: "parsec" "parsec" "parsec"\n', "gives its geometry in 'parsec"),
        ("spacings: nan 2 3\n", "voxel size of only 2 of its 3 axes"),
        ("space: LPS\nspace directions: (1,0,0) (0,2,0) none\n", "only 2 of its 3 axes"),
        (f"{FULL}data file: absent.raw\n", "absent.raw for its voxels, which does not exist"),
    ],
)
def test_nrrd_that_is_refused(tmp_path, fields, words):
    with pytest.raises(InputError, match=words):
        load_image(_nrrd(tmp_path / "a.nrrd", fields))


@pytest.mark.parametrize(
    ("fields", "spacing", "told"),
    [
        ("", (1, 1, 1), [NO_SIZE, NO_ORIENTATION]),
        ("ElementSpacing = 1 2 3\n", (1, 2, 3), [NO_ORIENTATION]),
        ("ElementSize = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n", (1, 2, 3), []),
        (
            "DistanceUnits = um\nElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n",
            (0.001, 0.002, 0.003),
            ["converted to mm"],
        ),
    ],
)
def test_metaimage(tmp_path, fields, spacing, told):
    image = load_image(_mha(tmp_path / "a.mha", fields))
    assert np.allclose(image.grid.spacing, spacing) and len(image.warnings) == len(told)
    assert all(words in found for words, found in zip(told, image.warnings, strict=True))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mgz", ".nii"])
def test_what_this_program_writes_states_all(tmp_path, volume, grids, suffix):
    save_image(tmp_path / f"a{suffix}", volume, grids["oblique"])
    image = load_image(tmp_path / f"a{suffix}")
    assert image.warnings == () and image.grid.matches(grids["oblique"], 1e-4)


def test_mgh_without_geometry(tmp_path, volume):
    nib.save(nib.MGHImage(volume, np.diag([1, 2, 3, 1])), tmp_path / "a.mgh")
    raw = bytearray((tmp_path / "a.mgh").read_bytes())
    assert raw[28:30] == b"\0\1"
    raw[28:30] = b"\0\0"
    (tmp_path / "a.mgz").write_bytes(gzip.compress(raw))
    assert "states neither voxel size nor orientation" in load_image(tmp_path / "a.mgz").warnings[0]


def test_a_field_in_other_units(tmp_path):
    grid = Grid((4, 5, 6), np.eye(4))
    field = DisplacementField(grid, np.zeros((4, 5, 6, 3), np.float32))
    save_displacement(tmp_path / "a.nrrd", field)
    raw = (tmp_path / "a.nrrd").read_bytes()
    units = b'space units: "um" "um" "um"\nkinds:'
    (tmp_path / "a.nrrd").write_bytes(raw.replace(b"kinds:", units, 1))
    with pytest.raises(InputError, match="not in mm"):
        load_displacement(tmp_path / "a.nrrd")


# -- locales --------------------------------------------------------------------------------------
def test_itk_reads_and_writes_in_the_plain_locale(tmp_path, monkeypatch, volume, grids):
    """ "C.UTF-8" exists everywhere; inside, numbers must follow "C"."""
    seen = []
    for name in ("ReadImage", "WriteImage", "ReadTransform"):
        inner = getattr(sitk, name)

        def spy(*arguments, inner=inner, name=name, **more):
            seen.append((name, locale.setlocale(locale.LC_NUMERIC)))
            return inner(*arguments, **more)

        monkeypatch.setattr(sitk, name, spy)
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        for suffix in (".nrrd", ".mha"):
            save_image(tmp_path / f"a{suffix}", volume, grids["lps"])
            load_image(tmp_path / f"a{suffix}")
            load_reference(tmp_path / f"a{suffix}")
        sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.tfm"))
        load_affine(tmp_path / "a.tfm")
        assert locale.setlocale(locale.LC_NUMERIC) == "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_ALL, before)
    assert {name for name, _ in seen} == {"ReadImage", "WriteImage", "ReadTransform"}
    assert {place for _, place in seen} == {"C"}


COMMA = """
import json, locale, sys
locale.setlocale(locale.LC_ALL, sys.argv[2])
assert locale.localeconv()["decimal_point"] == ","
import numpy as np
from sacbnet.io.images import load_image, save_image
from sacbnet.spatial.grid import Grid
affine = np.array([[1.7, 0, 0, 0.25], [0, 1.8, 0, -3.5], [0, 0, 2.25, 7.75], [0, 0, 0, 1]])
grids = []
for suffix in (".nrrd", ".mha", ".nii"):
    save_image(sys.argv[1] + suffix, np.arange(60.0).reshape(3, 4, 5), Grid((3, 4, 5), affine))
    grids.append(load_image(sys.argv[1] + suffix).grid.affine.tolist())
print(json.dumps(grids))
assert locale.localeconv()["decimal_point"] == ","
"""


def test_a_locale_with_a_decimal_comma(tmp_path):
    name = "de_DE.UTF-8"
    if shutil.which("localedef") is None:
        pytest.skip("localedef, which makes a locale with a decimal comma, is not installed")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / name],
        capture_output=True,
        check=False,
    )
    if made.returncode > 1 or not (tmp_path / name).exists():
        pytest.skip("the definition of the locale de_DE is not installed")
    environment = os.environ | {"LOCPATH": str(tmp_path)}
    command = [sys.executable, "-c", COMMA, str(tmp_path / "a"), name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    expected = [[1.7, 0, 0, 0.25], [0, 1.8, 0, -3.5], [0, 0, 2.25, 7.75], [0, 0, 0, 1]]
    for found in json.loads(done.stdout):
        assert np.allclose(found, expected, atol=1e-5)


# -- promises -------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz", ".nrrd", ".mha"])
@pytest.mark.parametrize("sizes", [(30000, 30000, 30000), (1200, 1200, 1200)])
def test_a_header_that_promises_more_than_the_file_holds(tmp_path, suffix, sizes):
    """Refused before anything is allocated, compressed or not."""
    path = tmp_path / f"a{suffix}"
    save_image(path, np.arange(120.0).reshape(4, 5, 6), Grid((4, 5, 6), np.eye(4)))
    raw = path.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    raw = gzip.decompress(raw) if packed else raw
    sized = " ".join(map(str, sizes)).encode()
    if suffix in (".nrrd", ".mha"):
        raw = raw.replace(b"sizes: 4 5 6", b"sizes: " + sized)
        raw = raw.replace(b"DimSize = 4 5 6", b"DimSize = " + sized)
    elif suffix == ".mgz":
        raw = raw.replace(np.array([4, 5, 6], ">i4").tobytes(), np.array(sizes, ">i4").tobytes())
    else:
        raw = raw.replace(np.array([4, 5, 6], "<i2").tobytes(), np.array(sizes, "<i2").tobytes())
    path.write_bytes(gzip.compress(raw) if packed else raw)
    with pytest.raises(InputError, match=r"its header promises \d+ bytes of voxels"):
        load_image(path)


def test_voxels_that_do_not_fit_into_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("sacbnet.io.bounds.free_memory_bytes", lambda: 1000)
    path = tmp_path / "a.nii"
    save_image(path, np.arange(120.0).reshape(4, 5, 6), Grid((4, 5, 6), np.eye(4)))
    with pytest.raises(InputError, match=r"its voxels need 0\.0 GiB, 0\.0 GiB are free"):
        load_image(path)


def test_extensions_that_are_too_long(tmp_path):
    path = tmp_path / "a.nii"
    save_image(path, np.arange(120.0).reshape(4, 5, 6), Grid((4, 5, 6), np.eye(4)))
    raw = bytearray(path.read_bytes())
    raw[108:112] = np.array(1e9, "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(InputError, match="its voxels start at byte 1e"):
        load_image(path)


# -- transforms -----------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".tfm", ".mat", ".h5"])
def test_linear_transforms_map_points_as_simpleitk_does(tmp_path, suffix):
    euler = sitk.Euler3DTransform((10, 20, 30), 0.1, -0.2, 0.3, (4, 5, 6))
    free = sitk.AffineTransform(euler.GetMatrix(), (1, 2, 3), (7, 8, 9))
    free.Scale((1.1, 0.9, 1.2))
    for n, transform in enumerate((euler, free)):
        sitk.WriteTransform(transform, str(tmp_path / f"{n}{suffix}"))
        ours = load_affine(tmp_path / f"{n}{suffix}")
        assert isinstance(ours, Affine)
        for p in np.random.default_rng(0).normal(scale=80, size=(5, 3)):
            theirs = np.array(transform.TransformPoint((p * [-1, -1, 1]).tolist())) * [-1, -1, 1]
            np.testing.assert_allclose(ours(p), theirs, atol=1e-9)


def test_hdf5_that_ends_its_reader_does_not_end_this_process(tmp_path, monkeypatch):
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "a.h5"))
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(content[:100] + b"\xff" * 800 + content[900:])
    with pytest.raises(InputError, match=r"the transform .*b\.h5 cannot be read by ITK"):
        load_affine(tmp_path / "b.h5")
    monkeypatch.setattr("sacbnet.io.itk_process._SECONDS", 0)
    with pytest.raises(InputError, match="cannot be read within 0 seconds"):
        load_affine(tmp_path / "a.h5")


BOMB = """
import sys
import zlib
from pathlib import Path
from sacbnet.io.images import load_image
from sacbnet.io.transforms import load_transform
load_image(sys.argv[1])
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
before = peak()
for file in sys.argv[2:]:
    assert load_image(file).data.shape == (4, 5, 6)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
def test_bombs_are_not_unpacked(tmp_path):
    """Behind the voxels lie 100 MB of zeros, compressed to 100 kB."""
    grid, zeros = Grid((4, 5, 6), np.eye(4)), bytes(100_000_000)
    values = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    files = [tmp_path / name for name in ("a.nii", "b.nii.gz", "b.mgz", "b.nrrd", "b.mha")]
    save_image(files[0], values, grid)
    files[1].write_bytes(gzip.compress(files[0].read_bytes() + zeros, 1))
    save_image(files[2], values, grid)
    files[2].write_bytes(gzip.compress(gzip.decompress(files[2].read_bytes()) + zeros, 1))
    save_image(files[3], values, grid)
    head = files[3].read_bytes().partition(b"\n\n")[0].replace(b"raw", b"gzip") + b"\n\n"
    files[3].write_bytes(head + gzip.compress(values.T.tobytes() + zeros, 1))
    save_image(files[4], values, grid)
    head, local, _ = files[4].read_bytes().partition(b"LOCAL\n")
    body = zlib.compress(values.T.tobytes() + zeros, 1)
    head = re.sub(rb"CompressedDataSize = \d+", b"CompressedDataSize = %d" % len(body), head)
    files[4].write_bytes(head + local + body)
    command = [sys.executable, "-c", BOMB, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) < 50
