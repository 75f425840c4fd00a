"""Packs: the voxels that `sacbnet register` shows the network, on one grid, in one file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors import safe_open

from sacbnet.data.cases import Case
from sacbnet.data.pack import PackOptions, open_pack
from sacbnet.data.packing import build_pack
from sacbnet.data.stamps import changed, stamp
from sacbnet.errors import GridError, InputError, OutputError
from sacbnet.imaging.intensities import to_unit
from sacbnet.io.images import save_image
from sacbnet.registration.inputs import read_inputs
from sacbnet.registration.prepare import prepare
from sacbnet.spatial.grid import Grid

SHAPE = (12, 10, 8)


def smooth(shape=SHAPE, seed: int = 0) -> np.ndarray:
    """A blurred noise, -100 to 900: nothing in it is symmetric."""
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5)
    return (1000 * (values - values.min()) / np.ptp(values) - 100).astype(np.float32)


def regions(shape=SHAPE, highest: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, highest + 1, shape)


@pytest.fixture
def write(tmp_path):
    """Write an image (and labels) of a case; `affine`: 4x4, or spacings."""

    def case(name: str, data=None, affine=(1, 1, 1), labels=None, labels_affine=None) -> Case:
        def file(kind: str, values: np.ndarray, where) -> Path:
            matrix = np.diag([*where, 1.0]) if np.ndim(where) == 1 else where
            path = tmp_path / f"{name}_{kind}.nii.gz"
            save_image(path, values, Grid(values.shape, matrix), labels=kind == "labels")
            return path

        image = file("image", smooth() if data is None else data, affine)
        affine = affine if labels_affine is None else labels_affine
        return Case(name, image, None if labels is None else file("labels", labels, affine))

    return case


def values(tensor: torch.Tensor) -> np.ndarray:
    assert tensor.shape[:2] == (1, 1)
    return tensor[0, 0].numpy()


def oriented(codes: str, spacing=(1.0, 1.0, 1.0), origin=(-5.3, 7.1, 2.9)) -> np.ndarray:
    """4x4 with the voxel axes along these directions ("LPS": towards left, posterior, superior)."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        affine["RLAPSI".index(code) // 2, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    affine[:3, 3] = origin
    return affine


# -- what is stored --------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_a_case_on_its_own_lattice_is_not_interpolated(write, tmp_path, codes, bits) -> None:
    case = write("a", affine=oriented(codes, (1.0, 1.5, 2.0)), labels=regions())
    pack = build_pack([case], tmp_path / "p", PackOptions(bits=bits))
    image, labels = (nib.as_closest_canonical(nib.load(path)) for path in (case.image, case.labels))
    unit = to_unit(np.asarray(image.dataobj))
    highest = np.float32(2**bits - 1)
    assert np.array_equal(values(pack.image(0)), np.rint(unit * highest) / highest)
    assert pack.image(0).dtype == torch.float32
    assert np.array_equal(values(pack.labels(0)), np.asarray(labels.dataobj))
    assert pack.shape == image.shape and np.allclose(pack.affine, image.affine, atol=1e-6)
    assert pack.grid.matches(Grid(image.shape, image.affine))
    assert sorted(pack.spacing_mm) == pytest.approx([1, 1.5, 2])


@pytest.mark.parametrize("spacing", [1.0, 2.0, 1.3])
def test_the_network_sees_in_training_what_register_shows_it(write, tmp_path, spacing) -> None:
    data = smooth((24, 20, 16))
    bright = 650 + smooth((24, 20, 16), 1) / 10  # on the faces: nothing is cut off as background
    for face in (np.s_[[0, -1]], np.s_[:, [0, -1]], np.s_[..., [0, -1]]):
        data[face] = bright[face]
    case = write("a", data, oriented("LIP", (1.0, 1.0, 1.0)))
    pack = build_pack([case], tmp_path / "p", PackOptions(spacing))
    shown = prepare(read_inputs(fixed=case.image, moving=case.image).canonical(), spacing=spacing)
    offset = np.rint(shown.grid.voxels(pack.grid.world([0, 0, 0]))).astype(int)
    within = tuple(slice(o, o + n) for o, n in zip(offset, pack.shape, strict=True))
    assert pack.grid.matches(shown.grid.cropped(offset, offset + pack.shape))
    assert np.abs(values(pack.image(0)) - shown.fixed.data[within]).max() < 1 / 65535


@pytest.mark.parametrize("mm", [1.0, 0.7, 1.1])
def test_half_the_resolution(write, tmp_path, mm) -> None:
    """Half as many voxels per axis; all labels from the same side, wherever the origin lies."""
    for origin in ((0, 0, 0), (-89.7, 31.3, 1 / 3), (1e3 + 0.1, -7e2 - 0.7, 0.3)):
        labels = regions((16, 20, 12))
        case = write("a", smooth((16, 20, 12)), oriented("RAS", (mm,) * 3, origin), labels)
        pack = build_pack([case], tmp_path / "p", PackOptions(2 * mm))
        assert pack.shape == (8, 10, 6) and pack.spacing_mm == pytest.approx((2 * mm,) * 3)
        # NIfTI has single precision
        assert np.allclose(pack.grid.world([0, 0, 0]) - origin, mm / 2, atol=1e-3)
        assert np.array_equal(values(pack.labels(0)), labels[1::2, 1::2, 1::2])


def test_images_keep_their_places_in_the_world(write, tmp_path, turn) -> None:
    """A plane wave in the world, seen by grids that are turned, shifted and of other spacing."""

    def wave(grid: Grid) -> np.ndarray:
        return np.sin(grid.world(np.stack(np.indices(grid.shape), -1)) @ [0.11, 0.07, -0.09])

    grid = Grid((30, 30, 30), oriented("RAS"))
    about = turn.copy()
    about[:3, 3] = grid.centre - turn[:3, :3] @ grid.centre
    others = (
        Grid((50, 60, 52), about @ oriented("RAS", (0.9, 0.8, 0.9), grid.centre - (22, 24, 23))),
        Grid((44, 44, 44), oriented("LPI", origin=grid.centre + np.array([21.25, 22, 20.5]))),
    )
    cases = [
        write(f"c{n}", wave(g).astype(np.float32), g.affine) for n, g in enumerate((grid, *others))
    ]
    pack = build_pack(cases, tmp_path / "p", PackOptions(1.0))
    inner = (slice(3, -3),) * 3
    for n in range(3):
        found, expected = values(pack.image(n))[inner].ravel(), wave(pack.grid)[inner].ravel()
        middle = (found > 0.02) & (found < 0.98)  # the brightest 0.1% are clipped
        fit = np.polyfit(expected[middle], found[middle], 1)
        assert np.abs(np.polyval(fit, expected[middle]) - found[middle]).max() < 5e-3


def test_whole_voxels_apart_is_the_same_lattice(write, tmp_path) -> None:
    data, labels = smooth((20, 18, 16)), regions((20, 18, 16))
    data[0, 0, 0], data[4, 5, 6] = data.min(), data.max()
    low, high = (1, 2, 3), (15, 17, 13)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    whole = write("a", data, oriented("RAS", origin=(0, 0, 0)), labels)
    cut = write("b", data[part], oriented("RAS", origin=low), labels[part])
    pack = build_pack([whole, cut], tmp_path / "p")
    expected, expected_labels = np.zeros_like(data), np.zeros_like(labels)
    expected[part], expected_labels[part] = to_unit(data[part]), labels[part]
    assert np.abs(values(pack.image(1)) - expected).max() <= 0.5 / 65535 + 1e-7
    assert np.array_equal(values(pack.labels(1)), expected_labels)
    # and by the centres, whatever the headers say: half voxels are rounded
    far = write("c", data[part], oriented("LAS", origin=(500, 0, 0)), labels[part])
    pack = build_pack([whole, far], tmp_path / "p", PackOptions(align="centre"))
    centred = np.zeros_like(labels)
    centred[3:17, 1:16, 3:13] = labels[part][::-1]
    shifts = [np.roll(centred, shift, axis=1) for shift in (0, 1)]
    assert any(np.array_equal(values(pack.labels(1)), shifted) for shifted in shifts)


def test_a_box_of_another_shape_keeps_the_lattice(write, tmp_path) -> None:
    labels = regions()
    case = write("a", labels=labels, affine=oriented("RAS"))
    pack = build_pack([case], tmp_path / "p", PackOptions(shape=(8, 13, 8)))
    found = values(pack.labels(0))
    assert found.shape == pack.shape == (8, 13, 8)
    at = np.rint(Grid(SHAPE, oriented("RAS")).voxels(pack.grid.world([0, 0, 0])))
    assert at.tolist() == [2, -2, 0]
    assert (
        np.array_equal(found[:, 2:12], labels[2:10])
        and not found[:, :2].any()
        and not found[:, 12:].any()
    )


# -- labels ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("highest", "stored", "given"),
    [
        (255, "U8", torch.uint8),
        (256, "U16", torch.int32),
        (65535, "U16", torch.int32),
        (65536, "I32", torch.int32),
    ],
)
def test_labels_in_the_smallest_type(write, tmp_path, highest, stored, given, bits) -> None:
    shape = (5, 7, 3)  # an odd number of bytes lies before the labels
    labels = regions(shape)
    labels[0, 0, 0], labels[0, 0, 1], labels[4, 6, 2] = highest, -2, 0
    pack = build_pack(
        [write("a", smooth(shape), labels=labels)], tmp_path / "p", PackOptions(bits=bits)
    )
    assert pack.labels(0).dtype == given
    assert np.array_equal(values(pack.labels(0)), np.maximum(labels, 0))
    assert pack.label_values == (1, 2, 3, 4, 5, highest)
    for framework in ("numpy", "pt"):  # others read it, too
        with safe_open(tmp_path / "p", framework) as file:
            assert file.get_slice("labels").get_dtype() == stored
            assert np.array_equal(
                np.asarray(file.get_tensor("labels")), np.maximum(labels, 0)[None]
            )


def test_cases_without_labels(write, tmp_path) -> None:
    pack = build_pack([write("a"), write("b", smooth(seed=1), labels=regions())], tmp_path / "p")
    assert pack.labels(0) is None and np.array_equal(values(pack.labels(1)), regions())
    pack = build_pack([write("a")], tmp_path / "p")
    assert pack.labels(0) is None and pack.label_values == ()


def test_label_values_without_end(write, tmp_path) -> None:
    labels = np.arange(20**3).reshape(20, 20, 20)
    with pytest.raises(InputError, match="a brings the label values to more than 4096"):
        build_pack([write("a", smooth((20, 20, 20)), labels=labels)], tmp_path / "p")


def test_room_for_as_many_as_are_allowed(write, tmp_path) -> None:
    labels = 2**31 - 1 - np.arange(16**3).reshape(16, 16, 16)
    pack = build_pack([write("a", smooth((16, 16, 16)), labels=labels)], tmp_path / "p")
    assert np.array_equal(values(pack.labels(0)), labels) and len(pack.label_values) == 4096


# -- pickles ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_pickles_within_0_and_1_are_not_rescaled(tmp_path, scale) -> None:
    unit = to_unit(smooth()) * np.float32(0.7) + np.float32(0.1)
    (tmp_path / "s.pkl").write_bytes(
        pickle.dumps((unit * np.float32(scale), regions(highest=2035).astype(np.int16)))
    )
    pack = build_pack([Case("s", tmp_path / "s.pkl")], tmp_path / "p")
    expected = unit if scale == 1 else to_unit(unit * np.float32(scale))
    assert np.abs(values(pack.image(0)) - expected).max() <= 0.5 / 65535 + 1e-7
    assert np.array_equal(values(pack.labels(0)), regions(highest=2035))
    assert np.array_equal(pack.affine, np.eye(4))


# -- the file --------------------------------------------------------------------------------------
@pytest.fixture
def small(write, tmp_path):
    cases = [write(f"s{n}", smooth(seed=n), labels=regions(seed=n)) for n in range(3)]
    return build_pack(cases, tmp_path / "small.pack", pairs=((0, 1), (2, 0)))


def test_what_a_pack_says(small) -> None:
    assert len(small) == 3 and small.names == ("s0", "s1", "s2") and small.pairs == ((0, 1), (2, 0))
    assert small.label_values == (1, 2, 3, 4, 5)
    options = {
        "spacing_mm": None,
        "shape": None,
        "align": "header",
        "bits": 16,
        "label_maps": False,
        "noise_maps": 0,
    }
    assert json.loads(small.metadata["options"]) == options
    assert torch.equal(small.image(-1), small.image(2)) and torch.equal(
        small.labels(-3), small.labels(0)
    )
    for tensor in (small.image(0), small.labels(0)):
        tensor += 1  # the caller's own: the file is not written to
    assert small.image(0).max() <= 1
    for beyond in (3, -4):
        with pytest.raises(IndexError):
            small.image(beyond)


def test_the_same_set_gives_the_same_bytes(write, tmp_path) -> None:
    case = write("a", labels=regions())
    for name in ("p", "q"):
        build_pack([case], tmp_path / name)
    assert (tmp_path / "p").read_bytes() == (tmp_path / "q").read_bytes()


def test_it_can_be_pickled(small) -> None:
    small.image(0)
    again = pickle.loads(pickle.dumps(small))
    assert torch.equal(again.image(1), small.image(1)) and again.names == small.names


def test_it_is_read_where_no_reader_of_images_is(small) -> None:
    script = f"""
import sys
sys.modules["nibabel"] = sys.modules["SimpleITK"] = None
from sacbnet.data.cases import pair_up, select
from sacbnet.data.pack import open_pack
pack = open_pack({str(small.path)!r})
pairs = pair_up(pack.names, select(pack.names, ":2"), "all")
print(float(pack.image(1).double().sum()), int(pack.labels(1).sum()), pairs)
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    sums = f"{float(small.image(1).double().sum())} {int(small.labels(1).sum())}"
    assert found == f"{sums} ((1, 0), (0, 1))\n"


def test_sources_thatchanged(small, write) -> None:
    assert small.changed_sources() == ()
    image = Path(next(name for name in small.sources if "s1_image" in name))
    later = image.stat().st_mtime_ns + 10**9
    os.utime(image, ns=(0, later))
    assert small.changed_sources() == ()  # as a copy of the set has other times
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert small.changed_sources() == (str(image),)
    image.write_bytes(content + b" ")
    assert small.changed_sources() == (str(image),)
    image.unlink()  # a pack is used where its sources are not
    assert small.changed_sources() == ()


def test_a_dicom_folder_is_a_source_that_may_change(write, tmp_path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(SHAPE[2]):
        image = sitk.GetImageFromArray(np.rint(smooth()[..., k].T[None]).astype(np.int16))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.3",
            "0020|000d": "1.2",
            "0008|0018": f"1.2.3.{k + 1}",
        }
        tags |= {"0020|0032": rf"0\0\{k}", "0020|0037": r"1\0\0\0\1\0", "0020|0013": str(k + 1)}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(image)
    pack = build_pack(
        [Case("s", folder), write("a", affine=oriented("LPS", origin=(0, 0, 0)))], tmp_path / "p"
    )
    assert str(folder) in pack.sources and pack.changed_sources() == ()
    (folder / ".DS_Store").write_bytes(b"looked at")
    assert pack.changed_sources() == ()
    first, last = folder / "0.dcm", folder / "7.dcm"
    os.utime(first, ns=(0, last.stat().st_mtime_ns + 10**9))
    assert pack.changed_sources() == ()
    contents = first.read_bytes(), last.read_bytes()
    first.write_bytes(contents[1])  # two slices of one size exchanged
    last.write_bytes(contents[0])
    os.utime(first, ns=(0, last.stat().st_mtime_ns + 10**10))
    assert pack.changed_sources() == (str(folder),)
    first.write_bytes(contents[0])
    last.write_bytes(contents[1])
    assert pack.changed_sources() == ()
    first.unlink()
    assert pack.changed_sources() == (str(folder),)
    shutil.rmtree(folder)  # a pack is used where its sources are not
    assert pack.changed_sources() == ()


def test_the_set_is_never_in_memory(write, tmp_path) -> None:
    cases = [
        write(f"s{n}", smooth((40, 40, 40), n), labels=regions((40, 40, 40), seed=n))
        for n in range(12)
    ]

    def peak(count: int) -> int:
        tracemalloc.start()
        build_pack(cases[:count], tmp_path / "p")
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)  # whatever is imported or cached at first
    assert peak(12) - peak(2) < 40**3 * 2  # less than one of the ten images more


def test_progress(write, tmp_path) -> None:
    told: list[tuple[str, float]] = []
    build_pack([write("a"), write("b")], tmp_path / "p", progress=lambda *what: told.append(what))
    assert told == [("a", 0.0), ("b", 0.5)]


# -- what cannot be packed, or read ----------------------------------------------------------------
def test_a_case_that_cannot_be_used_leaves_the_old_pack(write, tmp_path, small) -> None:
    before = small.path.read_bytes()
    shifted = oriented("RAS", origin=(3, 0, 0))
    bad = {
        "the labels .* lie on another grid": write("b", labels=regions(), labels_affine=shifted),
        "is constant": Case("b", tmp_path / "flat.nii"),
        r"has the spacing \[2.0, 1.0, 1.0\] mm, the first case": write("d", affine=(2, 1, 1)),
        "nothing of .* lies in the common box .*--align centre": write(
            "e", affine=oriented("RAS", origin=(99, 0, 0))
        ),
    }
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), np.eye(4)), tmp_path / "flat.nii")
    for sentence, case in bad.items():
        with pytest.raises(InputError, match=sentence):
            build_pack([write("a"), case], small.path)
    with pytest.raises(InputError, match="no cases"):
        build_pack([], small.path)
    assert small.path.read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".sacbnet")]
    with pytest.raises(OutputError):
        build_pack([write("a")], tmp_path / "nowhere" / "p")
    assert issubclass(GridError, InputError)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"spacing_mm": 0.0}, "spacing of a pack is 0.0"),
        ({"shape": (8, 8)}, r"shape of a pack is \(8, 8\)"),
        ({"align": "none"}, "alignment of a pack is 'none'"),
        ({"bits": 12}, "pack of 12 bits"),
    ],
)
def test_options(wrong, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        PackOptions(**wrong)


def test_files_that_are_no_packs(small, tmp_path) -> None:
    raw = small.path.read_bytes()
    newer = raw.replace(b'"format_version": "1"', b'"format_version": "9"')
    other = raw.replace(b"sacbnet-pack", b"sacbnet-song")
    for content, sentence in (
        (newer, "version 9"),
        (other, "is no pack"),
        (raw[:-5], "cannot be read as a pack"),
    ):
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(InputError, match=sentence):
            open_pack(tmp_path / "p")
    for content in (b"", b"nonsense" * 9):
        (tmp_path / "p").write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as a pack"):
            open_pack(tmp_path / "p")
    with pytest.raises(InputError, match="does not exist"):
        open_pack(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"bits": "1000000000"}, "bits an intensity"),
        ({"bits": "null"}, "bits an intensity"),
        ({"names": '["a", "b", "c", "d", "e", "f", "g"]'}, "states 7 cases"),
        ({"names": "3"}, "cannot be read as a pack"),
        ({"names": "[" * 100_000}, "cannot be read as a pack"),
        ({"pairs": "[[0, 99]]"}, "pairs of cases that it does not hold"),
        ({"pairs": "[[0]]"}, "cannot be read as a pack"),
        ({"labelled": "[]"}, "does not hold the labels"),
        ({"label_values": "[1, 1e300]"}, "no whole numbers"),
        ({"affine": "[[1, 2], [3, 4]]"}, "cannot be read as a pack|affine"),
        ({"affine": "{}"}, "cannot be read as a pack|affine"),
        ({"options": "[]"}, "cannot be read as a pack"),
        ({"options": '{"bits": 7}'}, "bits was asked"),
        ({"sources": "[]"}, "or no sources"),
        ({"format_version": "x"}, "cannot be read as a pack"),
    ],
)
def test_packs_whose_metadata_lie(small, tmp_path, facts, sentence) -> None:
    raw = small.path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    assert facts.keys() <= header["__metadata__"].keys()
    header["__metadata__"] |= facts
    text = json.dumps(header).encode()
    (tmp_path / "p").write_bytes(len(text).to_bytes(8, "little") + text + raw[end:])
    with pytest.raises(InputError, match=sentence):
        open_pack(tmp_path / "p")


@pytest.mark.parametrize("folder", [False, True])
def test_packs_without_digests_are_told_by_time(tmp_path, folder) -> None:
    """Marks of sources in older packs: size and time of files; number, sizes, time of folders."""
    path = tmp_path / "source"
    file = path / "slice" if folder else path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"values")
    recorded = stamp(path) if folder else stamp(path)[1:]
    assert not changed(path, recorded)
    os.utime(file, ns=(0, recorded[-1] + 10**9))
    assert changed(path, recorded)
