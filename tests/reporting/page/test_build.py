"""The page stands alone, is valid and accessible, and says what run.json says."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as Pillow

import sacbnet
from sacbnet.registration.result import CLUSTERS
from sacbnet.registration.uncertainty import ErrorMap
from sacbnet.reporting.page import build

from .conftest import Page

EVIL = "<script>alert(1)</script>\"'&.nii.gz"


# -- one file, and nothing from elsewhere ----------------------------------------------------------
def test_nothing_comes_from_outside(page) -> None:
    """No address but data URIs and places of the page itself; the policy forbids the rest."""
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if (value := attributes.get(name)) is not None:
                assert value.startswith(("data:", "#")), (name, value[:80])
    assert not re.search(r"https?://|file:|url\(|@import|\bfetch\(|XMLHttp", page.source)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert {a["href"] for a in page.all("a")} <= {
        f"#{x['id']}" for x in page.all("section") if "id" in x
    }


def test_the_policy_lets_only_the_script_of_the_page_run(page) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert f"script-src 'sha256-{digest}'" in policy
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


def test_a_page_of_noise_is_small_enough(registered) -> None:
    """Noise cannot be compressed: fewer pixels are taken, until the page is small enough."""
    rng = np.random.default_rng(0)
    shape = (384, 384, 6)
    grid = type(registered.fixed_grid)(shape, np.eye(4))
    noise = rng.integers(1, 1000, shape).astype(np.float32)
    image = replace(registered.moved, data=noise, grid=grid)
    labels = replace(image, data=rng.integers(0, 5, shape).astype(np.int16))
    field = type(registered.transform)(grid, rng.normal(0, 0.3, (*shape, 3)).astype(np.float32))
    inputs = replace(
        registered.inputs, fixed=image, moving=image, fixed_labels=labels, moving_labels=labels
    )
    found = replace(
        registered,
        moved=image,
        moved_labels=labels,
        transform=field,
        fixed_grid=grid,
        moving_grid=grid,
        inputs=inputs,
        errors=ErrorMap(noise, grid, noise > 0),
    )
    text = sacbnet.report(found)
    assert 1_000_000 < len(text.encode()) < 3_000_000


# -- valid and accessible --------------------------------------------------------------------------
def test_the_html_is_valid(page) -> None:
    assert page.source.startswith("<!doctype html>") and not page.faults
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    assert page.all("html") == [{"lang": "en"}] and len(page.all("main")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )


def test_headings_go_down_one_by_one(page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_pictures_have_words_and_controls_have_names(page) -> None:
    images = page.all("img")
    assert len(images) > 40 and all(image["alt"] for image in images)
    for group in page.all("fieldset"):
        assert group["aria-label"]
    radios = [x for x in page.all("input") if x["type"] == "radio"]
    groups = {x["name"] for x in radios}
    assert len(groups) == 4  # two viewers: how, and which moving image
    assert sum("checked" in x for x in radios) == len(groups)
    sliders = [x for x in page.all("input") if x["type"] == "range"]
    assert len(sliders) == 2
    # shown by the script: without it they would do nothing
    assert sum("hidden" in x for x in page.all("label")) == 2


def test_the_sides_of_the_body_are_marked(page) -> None:
    sides = [a["class"].split()[-1] for a in page.all("span") if "side" in a.get("class", "")]
    assert len(sides) == 4 * len(page.all("figure"))
    assert "patient's right is at the left" in page.text


# -- pictures --------------------------------------------------------------------------------------
def test_the_aspect_follows_the_spacing(registered, page) -> None:
    """The rectangle of each figure is that of the picture in it, in mm."""
    styles = [a["style"] for a in page.all("figure")]
    sizes = [tuple(map(float, re.findall(r"[\d.]+", style))) for style in styles]
    pictures = [a["src"] for a in page.all("img") if a.get("class") == "fixed"]
    assert len(pictures) == 6
    for (width, height), uri in zip(sizes, pictures, strict=False):
        pixels = Pillow.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size
        assert pixels[0] / pixels[1] == pytest.approx(width / height, rel=0.02)


def test_another_order_of_the_voxels_gives_the_same_pictures(registered, page) -> None:
    """The fixed image with its first axis reversed, and a header that says so."""

    def turned(image):
        affine = image.grid.affine.copy()
        affine[:3, 3] += affine[:3, 0] * (image.grid.shape[0] - 1)
        affine[:3, 0] *= -1
        grid = type(image.grid)(image.grid.shape, affine)
        return replace(image, data=np.ascontiguousarray(image.data[::-1]), grid=grid)

    inputs = registered.inputs
    fixed = turned(inputs.fixed)
    u = registered.transform.displacement_mm[::-1]
    other = replace(
        registered,
        moved=turned(registered.moved),
        moved_labels=turned(registered.moved_labels),
        transform=type(registered.transform)(fixed.grid, u),
        fixed_grid=fixed.grid,
        inputs=replace(inputs, fixed=fixed, fixed_labels=turned(inputs.fixed_labels)),
    )
    kinds = {None: 0, "fixed": 0, "movable moved": 0}
    both = (page, Page(sacbnet.report(other)))
    for kind in kinds:
        a, b = ([i["src"] for i in p.all("img") if i.get("class") == kind] for p in both)
        assert len(a) == len(b) > 0
        for x, y in zip(a, b, strict=True):
            first, second = (
                np.asarray(
                    Pillow.open(io.BytesIO(base64.b64decode(u.partition(",")[2]))).convert("L")
                )
                for u in (x, y)
            )
            assert np.abs(first.astype(float) - second).mean() < 0.5


def test_maps_and_clusters_are_shown_where_they_are(registered, page) -> None:
    assert "Expected error" in page.text and "expected error, mm" in page.text
    assert "Clusters" not in page.text
    fixed = registered.inputs.fixed
    regions = replace(fixed, data=(fixed.data > fixed.data.mean()).astype(np.int16) + 1)
    maps = {CLUSTERS.format(side="moving", level=3): regions}
    found = Page(sacbnet.report(replace(registered, maps=maps, errors=None)))
    assert "Expected error" not in found.text
    assert "Clusters of level 3, moving" in [a["alt"] for a in found.all("img")]
    assert not found.faults


# -- words and numbers -----------------------------------------------------------------------------
def test_dice_is_that_of_run_json(registered, page) -> None:
    dice = registered.report.to_json()["dice"]
    rows = {row[0]: row[1:] for row in page.cells if row}
    labels = dice["final"]["nearest_per_label"]
    assert len(labels) > 3
    for label in labels:
        expected = [dice[s]["nearest_per_label"][label] for s in ("start", "affine", "final")]
        expected.append(dice["final"]["onehot_per_label"][label])
        assert rows[label] == [f"{x:.3f}" for x in expected]
    means = [f"{dice[s]['nearest']:.3f}" for s in ("start", "affine", "final")]
    assert rows["mean"][:3] == rows["Dice, nearest"] == means


def test_without_labels_there_is_no_dice(near) -> None:
    found = Page(sacbnet.report(near))
    assert "Dice" not in found.text and not found.faults


def test_the_verdict_comes_first_and_sentences_are_there(registered) -> None:
    told = replace(registered.report, warnings=("Beware of <this>.",), notes=("So be it.",))
    found = Page(sacbnet.report(replace(registered, report=told)))
    titles = re.findall(r"<h2>(?:<span.*?</span>)?(.*?)</h2>", found.source)
    assert titles[0] == "Good" and titles[1:3] == ["Warnings", "Notes"]
    assert "Beware of <this>." in found.text and "So be it." in found.text
    assert "There is one warning (below)." in found.text


def test_names_and_commands_are_escaped(registered) -> None:
    image = replace(registered.report.fixed, name=f"/data/{EVIL}")
    told = replace(
        registered.report,
        fixed=image,
        moving=image,
        companions={EVIL: image},
        command=("sacbnet", "register", "--fixed", EVIL),
        warnings=(EVIL,),
        started=EVIL,
        environment=registered.report.environment | {EVIL: EVIL},
        seconds={EVIL: 1.0},
    )
    found = Page(sacbnet.report(replace(registered, report=told)))
    assert not found.faults and len(found.all("script")) == 1
    # in the title, the heading, the tables, the warning, the command, the time
    assert found.text.count("<script>alert(1)</script>") >= 10
    assert "<script>alert" not in found.source


def test_a_name_that_is_no_text_is_written_all_the_same(registered) -> None:
    """A path may hold bytes that are no UTF-8; Python gives them as surrogates."""
    image = replace(registered.report.fixed, name="/data/\udcff.nii")
    text = sacbnet.report(replace(registered, report=replace(registered.report, fixed=image)))
    assert r"\udcff.nii" in text and text.encode("utf-8")


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((24, 26, 3), np.diag([1.0, 1.0, 9.0])),
        ((24, 2, 26), np.diag([1.0, 5.0, 1.0])),
        ((24, 20, 22), np.array([[1.0, 0.2, 0], [0, 1, 0], [0, 0, 1]])),  # sheared
        ((24, 20, 22), np.diag([1e-3, -1e-3, 1e-3])),  # a micrometre
    ],
    ids=["few slices", "two slices", "sheared", "small"],
)
def test_odd_grids_have_pages(shape, columns) -> None:
    affine = np.eye(4)
    affine[:3, :3] = columns
    at = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    radius = np.linalg.norm(at, axis=-1)
    ball, small = ((100 * (radius < r) + at[..., 0]).astype(np.float32) for r in (9, 8))
    result = sacbnet.register(
        fixed=(ball, affine), moving=(small, affine), weights="none", affine="none", refine=1
    )
    found = Page(sacbnet.report(result))
    assert not found.faults and len(found.all("figure")) == 30
    assert not re.search(r"\bnan\b|\binf\b", found.text)


def test_without_images_the_numbers_remain(registered) -> None:
    found = Page(sacbnet.report(replace(registered, inputs=None)))
    assert not found.faults and not found.all("img")
    assert "local correlation 0 to 1" in found.text


def test_the_limit_is_below_three_megabytes() -> None:
    assert build.LARGEST < 3_000_000
