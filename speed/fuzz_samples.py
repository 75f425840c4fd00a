"""Small valid files of every format, and what reads them: what `fuzz.py` damages."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset

REPOSITORY = Path(__file__).parents[1]
NOISE = np.random.default_rng(0).random((6, 7, 8, 3)).astype(np.float32)


def samples(folder: Path) -> None:
    """Write one or more small valid files of each format; the name up to the dot is the kind."""
    _images(folder)
    _dicom(folder)
    _points_and_transforms(folder)
    _pickles(folder)
    _lists(folder)
    _weights(folder)


def _images(folder: Path) -> None:
    from sacbnet.io.images import save_image
    from sacbnet.io.transforms import save_displacement
    from sacbnet.spatial.grid import Grid
    from sacbnet.spatial.transforms import DisplacementField

    grid = Grid((6, 7, 8), np.diag([1.0, 2, 3, 1]))
    for suffix in (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha"):
        save_image(folder / f"image{suffix}", NOISE[..., 0], grid)
    nib.save(nib.Nifti2Image((NOISE[..., 0] * 99).astype("i2"), grid.affine), folder / "image2.nii")
    nib.save(nib.MGHImage(NOISE[..., 0], grid.affine), folder / "image.mgh")
    nib.save(nib.AnalyzeImage(NOISE[..., 0], grid.affine), folder / "image.hdr")
    packed = sitk.GetImageFromArray(NOISE[..., 1])
    sitk.WriteImage(packed, str(folder / "image-gz.nrrd"), useCompression=True)
    for suffix in (".mhd", ".nhdr"):
        sitk.WriteImage(packed, str(folder / f"image-{suffix[1:]}{suffix}"))
    for suffix in (".nii", ".nrrd", ".mha"):
        save_displacement(folder / f"field{suffix}", DisplacementField(grid, NOISE))


def _item(**values: Any) -> Dataset:
    out = Dataset()
    for name, value in values.items():
        setattr(out, name, value)
    return out


def save_dicom(path: Path, pixels: np.ndarray, **values: Any) -> None:
    """Write a DICOM file: pixels (rows, columns) or (frames, rows, columns), uint16."""
    data = _item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
        SOPInstanceUID="1.2.3.4",
        SeriesInstanceUID="1.2.3.7",
        Modality="MR",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=pixels.shape[-2],
        Columns=pixels.shape[-1],
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        PixelData=pixels.tobytes(),
    )
    for key, value in values.items():
        setattr(data, key, value)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    data.save_as(path, enforce_file_format=True)


def _dicom(folder: Path) -> None:
    """A slice of a series, an enhanced file, and a compressed one."""
    pixels = (NOISE[..., 0] * 900).astype(np.uint16)
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1.5, 0.8]}
    for n in range(3):
        save_dicom(
            folder / f"series{n}.dcm",
            pixels[n],
            SOPInstanceUID=f"1.2.3.4.{n}",
            ImagePositionPatient=[0, 0, 2 * n],
            RescaleSlope=1 + n / 10,
            RescaleIntercept=-n,
            InstanceNumber=n + 1,
            **place,
        )
    frames = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, 2 * n])],
            PixelValueTransformationSequence=[_item(RescaleSlope=n + 1, RescaleIntercept=0)],
        )
        for n in range(6)
    ]
    shared = _item(
        PixelMeasuresSequence=[_item(PixelSpacing=[1.5, 0.8], SliceThickness=2)],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    save_dicom(
        folder / "frames.dcm",
        pixels,
        NumberOfFrames=6,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(folder / "frames-jpeg.dcm"))
    large = np.random.default_rng(0).integers(0, 900, (3, 32, 40)).astype(np.uint16)
    writer.Execute(sitk.GetImageFromArray(large))
    data = pydicom.dcmread(folder / "frames-jpeg.dcm")
    data.PixelSpacing, data.SliceThickness = [1, 1], 2
    data.save_as(folder / "frames-jpeg.dcm")


def _points_and_transforms(folder: Path) -> None:
    from sacbnet.imaging.points import Points
    from sacbnet.io.points import save_points
    from sacbnet.io.transforms import save_affine
    from sacbnet.spatial.transforms import Affine

    for suffix in (".mat", ".tfm"):
        save_affine(folder / f"affine{suffix}", Affine())
    shutil.copy(folder / "affine.tfm", folder / "affine.txt")
    sitk.WriteTransform(sitk.AffineTransform(3), str(folder / "affine.h5"))
    for suffix in (".csv", ".mrk.json"):
        save_points(folder / f"points{suffix}", Points(NOISE.reshape(-1, 3)[:9]))
    (folder / "points.fcsv").write_text("# CoordinateSystem = LPS\nid,1,2,3,0,0,0,1,1,1,0,a,b,c\n")


def _pickles(folder: Path) -> None:
    for protocol in (0, 2, 4, 5):
        content = pickle.dumps((NOISE[..., 0], NOISE[..., 1] > 0), protocol)
        (folder / f"array{protocol}.pkl").write_bytes(content)


def _lists(folder: Path) -> None:
    """Recipes, plans of benchmarks, datasets as CSV and JSON, and a run.json."""
    import sacbnet

    shutil.copy(REPOSITORY / "recipes" / "hippocampus-semi.toml", folder / "recipe.toml")
    plans = REPOSITORY / "src" / "sacbnet" / "benchmark" / "plans"
    shutil.copy(plans / "hippocampus.toml", folder / "plan.toml")
    (folder / "dataset.csv").write_text(
        "fixed,moving,fixed_labels,moving_labels\nimage.nii,image2.nii,image.nii,image2.nii\n"
        "image2.nii,image-gz.nrrd,image2.nii,\n"
    )
    (folder / "dataset2.csv").write_text("name,image,labels\na,image.nii,image.nii\nb,image.mha,\n")
    lists = {"training": [{"image": "./image.nii", "label": "./image.nii"}]}
    lists["registration_val"] = [{"fixed": "./image.nii", "moving": "./image2.nii"}]
    (folder / "dataset.json").write_text(json.dumps(lists, indent=1))
    large = NOISE[..., 0].repeat(4, 0).repeat(4, 1).repeat(4, 2)
    fixed, moving = ((np.roll(large, n, 0), np.eye(4)) for n in (0, 1))
    options = {"weights": "none", "affine": "none", "preset": "fast"}
    result = sacbnet.register(fixed=fixed, moving=moving, **options)
    (folder / "report.json").write_text(json.dumps(result.report.to_json()))


def _weights(folder: Path) -> None:
    """Weights, a checkpoint of the published code, a checkpoint of a training, and a pack."""
    import torch

    from sacbnet.config.sacbnet import SACBNetConfig
    from sacbnet.data.cases import Case
    from sacbnet.data.packing import build_pack
    from sacbnet.networks.sacbnet.network import SACBNet
    from sacbnet.networks.weights.load import save_weights
    from sacbnet.training.checkpoint import FORMAT_VERSION

    facts = dict.fromkeys(("licence", "trained_on", "intensity", "source"), "a test")
    config = SACBNetConfig(base_channels=1, clusters=(2, 2, 2, 2), sacb_levels=(5,))
    network = SACBNet(config)
    save_weights(folder / "weights.safetensors", network, facts | {"spacing_mm": 1})
    torch.save({"state_dict": {"conv1.1.conv.weight": torch.zeros(2, 2)}}, folder / "published.pth")
    content = {"format_version": FORMAT_VERSION, "recipe": {}, "state": {"step": 3}, "data": "a"}
    torch.save(content | {"network": {"w": torch.zeros(3)}}, folder / "training.pt")
    case = Case("a", folder / "image.nii", folder / "image.nii")
    labels = replace(case, labels=None)
    build_pack([labels, replace(labels, name="b")], folder / "pack.safetensors")


def readers(folder: Path) -> dict[str, list[Callable[[Path], object]]]:
    """What reads each kind of file: as the verbs of the program do."""
    from sacbnet.benchmark.plan import read_plan
    from sacbnet.config.recipe import read_recipe
    from sacbnet.data.pack import is_pack, open_pack
    from sacbnet.data.pickles import read_pickle
    from sacbnet.data.source import read_cases
    from sacbnet.io.images import load_image, load_reference
    from sacbnet.io.points import load_points
    from sacbnet.io.transforms import is_displacement, load_transform
    from sacbnet.networks.weights.convert import convert_checkpoint
    from sacbnet.networks.weights.load import check_weights, describe_weights, load_weights
    from sacbnet.registration.apply import load_report
    from sacbnet.training.checkpoint import read_checkpoint

    def pack(path: Path) -> None:
        is_pack(path)
        found = open_pack(path)
        for n in range(len(found)):
            found.image(n), found.labels(n), found.inside(n)
        found.changed_sources()

    def convert(path: Path) -> None:
        convert_checkpoint(path, folder / "converted.safetensors")

    def whole_series(path: Path) -> None:
        place = folder / "series"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for file in (folder / "valid").glob("series*.dcm"):
            shutil.copy(file, place)
        shutil.copy(path, place / path.name.removeprefix("damaged-"))
        load_image(place)
        load_reference(place)

    return {
        "image": [load_image, load_reference, is_displacement],
        "field": [load_transform, load_image],
        "frames": [load_image, load_reference],
        "series": [whole_series],
        "affine": [load_transform],
        "points": [load_points],
        "array": [read_pickle],
        "recipe": [read_recipe],
        "plan": [read_plan],
        "dataset": [read_cases],
        "report": [load_report],
        "weights": [check_weights, describe_weights, load_weights],
        "published": [convert],
        "training": [read_checkpoint],
        "pack": [pack],
    }
