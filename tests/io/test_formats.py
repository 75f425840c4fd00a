"""The table of formats: what it lists, and a made-up format that joins from another package."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from sacbnet.errors import InputError, OutputError
from sacbnet.imaging.image import Image
from sacbnet.imaging.points import Points
from sacbnet.io import table
from sacbnet.io.format import AffineFormat, FieldFormat, ImageFormat, PointsFormat, TransformFormat
from sacbnet.io.images import load_image, save_image
from sacbnet.io.points import load_points, save_points
from sacbnet.io.transforms import is_displacement, load_transform, save_affine, save_displacement
from sacbnet.spatial.grid import Grid
from sacbnet.spatial.transforms import Affine, DisplacementField


class TextImage(ImageFormat):
    """Voxels and affine as JSON."""

    suffixes = (".txtimage",)
    written = suffixes

    def read(self, path: Path) -> Image:
        found = json.loads(path.read_text())
        data = np.array(found["voxels"])
        return Image(data, Grid(data.shape, np.array(found["affine"])), str(path))

    def write(self, path: Path, content: Image) -> None:
        found = {"voxels": content.data.tolist(), "affine": content.grid.affine.tolist()}
        path.write_text(json.dumps(found))


class FolderImage(TextImage):
    """The same in a folder, as zarr has it."""

    suffixes = (".imagefolder",)
    written = ()

    def recognises(self, path: Path) -> bool:
        return path.suffix == ".imagefolder" and path.is_dir()

    def read(self, path: Path) -> Image:
        return super().read(path / "image.txtimage")


class TextPoints(PointsFormat):
    suffixes = (".xyz",)
    written = suffixes

    def read(self, path: Path) -> Points:
        return Points(np.loadtxt(path, ndmin=2))

    def write(self, path: Path, content: Points) -> None:
        np.savetxt(path, content.xyz)


class Matrix(AffineFormat):
    suffixes = (".matrix",)
    written = suffixes

    def read(self, path: Path) -> Affine:
        return Affine(np.loadtxt(path))

    def write(self, path: Path, content: Affine) -> None:
        np.savetxt(path, content.matrix)


class ArrayField(FieldFormat):
    suffixes = (".field.npz",)
    written = suffixes

    def read(self, path: Path) -> DisplacementField:
        found = np.load(path)
        u = found["displacement"]
        return DisplacementField(Grid(u.shape[:3], found["affine"]), u)

    def write(self, path: Path, content: DisplacementField) -> None:
        np.savez(path, displacement=content.displacement_mm, affine=content.grid.affine)


class NoFormat:
    pass


CLASSES = (TextImage, FolderImage, TextPoints, Matrix, ArrayField)


@pytest.fixture
def outside(monkeypatch):
    """Install these classes, and whatever else a test names, as entry points of another package."""
    monkeypatch.setitem(sys.modules, "otherpackage", sys.modules[__name__])
    names = {kind.__name__.lower(): f"otherpackage:{kind.__name__}" for kind in CLASSES}

    def entry_points(group):
        assert group == "sacbnet.formats"
        return [EntryPoint(name, value, group) for name, value in names.items()]

    monkeypatch.setattr(table, "entry_points", entry_points)
    table.all_formats.cache_clear()
    yield names
    table.all_formats.cache_clear()


def test_the_suffixes_of_this_package():
    assert table.suffixes(ImageFormat) == (
        *(".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img", ".hdr.gz", ".img.gz"),
        *(".nrrd", ".nhdr", ".mha", ".mhd"),
    )
    assert table.written_suffixes(ImageFormat) == (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")
    assert table.written_suffixes(FieldFormat) == (".nii", ".nii.gz", ".nrrd", ".mha")
    assert table.suffixes(AffineFormat) == (".mat", ".txt", ".tfm")
    assert set(table.suffixes(TransformFormat)) == {
        *(".h5", ".hdf5", ".tfm", ".txt", ".mat", ".nii", ".nii.gz", ".lta", ".1d")
    }
    assert table.written_suffixes(AffineFormat) == (".mat", ".txt", ".tfm")
    assert table.suffixes(PointsFormat) == (".csv", ".mrk.json", ".json", ".fcsv")


def test_every_module_of_the_folder_is_in_the_table_once():
    found = table.all_formats()
    modules = {type(one).__module__.rpartition(".")[2] for one in found}
    folder = Path(table.folder.__file__).parent
    assert modules == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert len({type(one) for one in found}) == len(found)
    assert type(found[-1]).__name__ == "Dicom"  # it accepts any folder


def test_formats_of_another_package(tmp_path, outside, grids):
    grid = grids["oblique"]
    data = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    path = tmp_path / "a.txtimage"
    save_image(path, data, grid)
    image = load_image(path)
    assert np.array_equal(image.data, data) and image.grid == grid
    (tmp_path / "a.imagefolder").mkdir()
    path.rename(tmp_path / "a.imagefolder" / "image.txtimage")
    assert np.array_equal(load_image(tmp_path / "a.imagefolder").data, data)
    save_points(tmp_path / "a.xyz", Points(np.eye(3)))
    assert np.array_equal(load_points(tmp_path / "a.xyz").xyz, np.eye(3))
    save_affine(tmp_path / "a.matrix", Affine.translation([1, 2, 3]))
    found = load_transform(tmp_path / "a.matrix")
    assert isinstance(found, Affine) and found.matrix[:3, 3].tolist() == [1, 2, 3]
    field = DisplacementField(grid, np.stack([data, 2 * data, -data], -1))
    save_displacement(tmp_path / "a.field.npz", field)
    again = load_transform(tmp_path / "a.field.npz")
    assert isinstance(again, DisplacementField) and again.grid == grid
    assert np.array_equal(again.displacement_mm, field.displacement_mm)
    assert is_displacement(tmp_path / "a.field.npz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_fields_are_told_from_images_by_their_content(tmp_path, grids, suffix):
    grid = grids["las"]
    u = np.random.default_rng(0).normal(size=(*grid.shape, 3)).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    save_displacement(path, DisplacementField(grid, u))
    assert is_displacement(path)
    save_image(path, u[..., 0], grid)
    assert not is_displacement(path)
    path.write_bytes(b"damaged")
    assert not is_displacement(path) and not is_displacement(tmp_path)


def test_messages_list_the_formats_of_other_packages(tmp_path, outside):
    (tmp_path / "a.xyzt").write_text("?")
    with pytest.raises(InputError, match=r"\.mhd, .*\.txtimage, or DICOM, was expected"):
        load_image(tmp_path / "a.xyzt")
    with pytest.raises(InputError, match=r"\.fcsv, \.xyz$"):
        load_points(tmp_path / "a.xyzt")
    with pytest.raises(OutputError, match=r"\.mha, \.txtimage was expected"):
        save_image(tmp_path / "a.xyzt", np.zeros((3, 3, 3)), Grid((3, 3, 3), np.eye(4)))


def test_damaged_files_of_another_packages_format(tmp_path, outside):
    (tmp_path / "a.txtimage").write_text("{")
    with pytest.raises(InputError, match=r"a\.txtimage cannot be read: damaged"):
        load_image(tmp_path / "a.txtimage")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("otherpackage:NoFormat", "is no class derived from Format"),
        ("otherpackage:Absent", "cannot be imported"),
        ("nopackage:Format", "cannot be imported"),
    ],
)
def test_a_format_that_cannot_be_used_is_left_out(tmp_path, outside, grids, value, words):
    outside["broken"] = value
    grid = grids["las"]
    with pytest.warns(UserWarning, match=rf"the file format 'broken' .*{words}.*left out"):
        save_image(tmp_path / "a.txtimage", np.ones(grid.shape), grid)
    save_image(tmp_path / "a.nii", np.random.default_rng(0).normal(size=grid.shape), grid)
    assert load_image(tmp_path / "a.nii").grid == grid


def test_a_format_that_is_only_read():
    with pytest.raises(OutputError, match="only read"):
        ImageFormat.write(FolderImage(), Path("a.imagefolder"), None)
