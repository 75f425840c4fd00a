"""The page of the viewer: its controls and the places for the pictures; a script does the rest."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from sacbnet.environment import VERSION
from sacbnet.reporting.page import pictures as p
from sacbnet.reporting.page.deformation import scale_ticks
from sacbnet.reporting.page.figures import radios
from sacbnet.reporting.page.markup import Html, element, joined
from sacbnet.reporting.page.opinion import card, opinion_of
from sacbnet.reporting.page.scales import colour_scale

from .scene import Scene

_PLANES = {
    "3": "planes and 3-D",
    "0": "axial",
    "1": "coronal",
    "2": "sagittal",
    "4": "3-D",
}
_AXES = ("right to left", "back to front", "bottom to top")
_KEYS = (
    ("Click, or drag", "shows that point, in all pictures"),
    ("Arrow keys", "move the point right, left, forwards and backwards by one voxel"),
    ("Page up, page down", "move it up and down"),
    ("Mouse wheel", "goes through the planes"),
    ("Right mouse button, drag a box", "brightness and contrast from that box"),
    ("Double click", "the first brightness and contrast again"),
    ("C", "cuts the 3-D picture open, from another side at each press"),
)


def page_of(scene: Scene, error_end: float | None) -> str:
    """Make the page of the viewer.

    Parameters
    ----------
    scene : Scene
        What is shown.
    error_end : float or None
        The end of the scale of the expected error, mm; None without a map of it.

    Returns
    -------
    str
        HTML. It loads nothing but files that lie beside it.
    """
    shell = (files(__package__) / "static" / "viewer.html").read_text(encoding="utf-8")
    body = joined(
        [
            element(
                "header",
                element("h1", scene.title),
            ),
            element(
                "main",
                *_verdict(scene),
                *_notes(scene),
                element("p", "Loading the images …", id="state", role="status"),
                element("noscript", element("p", "The viewer needs JavaScript and WebGL 2.")),
                _controls(scene, error_end),
                _displacement(scene),
                _panes(scene),
                _position(),
                _readout(scene),
                _help(),
            ),
        ]
    )
    page = Template(shell).substitute(title=escape(scene.title), version=VERSION, body=body)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def _verdict(scene: Scene) -> list[Html]:
    if scene.report is None:
        return []
    opinion = opinion_of(scene.report)
    return [element("details", element("summary", f"Verdict: {opinion.heading}"), card(opinion))]


def _notes(scene: Scene) -> list[Html]:
    if not scene.notes:
        return []
    return [element("ul", *(element("li", note) for note in scene.notes), class_="warnings")]


def _controls(scene: Scene, error_end: float | None) -> Html:
    found = []
    if scene.second is not None:
        a, b = scene.first.name, scene.second.name
        modes = {
            "over": f"{b} over {a}",
            "checker": "checkerboard",
            "first": a,
            "second": b,
            "side": "side by side",
        }
        found += [
            radios("How the two images are shown", "Show", "mode", modes),
            _slider("share", f"{b} over {a}", 0, 100, 50, "%"),
            _slider("tile", "Side of the squares", 4, 80, 20, "mm", hidden=True),
        ]
    found.append(radios("Which planes are shown", "Planes", "planes", _PLANES))
    layers = []
    if scene.outlines:
        layers.append(_check("outlines", "outlines of labels"))
    if scene.warper is not None:
        layers.append(_check("grid", "deformed grid"))
    if scene.error is not None:
        layers.append(_check("error", "expected error"))
    if layers:
        found.append(
            element("fieldset", element("legend", "Over the images"), *layers, class_="layers")
        )
    if scene.warper is not None:
        found.append(_slider("step", "Lines of the grid, apart", 2, 60, 10, "mm", hidden=True))
    if scene.error is not None:
        found.append(_slider("veil", "Expected error, opacity", 0, 100, 60, "%", hidden=True))
    return element(
        "section",
        element("h2", "What is shown", class_="aloud"),
        element("div", *found, class_="controls"),
        element("div", *_keys_of_layers(scene, error_end), class_="legends"),
        id="controls",
    )


def _check(key: str, words: str) -> Html:
    return element("label", element("input", type="checkbox", id=key), element("span", words))


def _slider(
    key: str, words: str, low: int, high: int, value: int, unit: str, *, hidden: bool = False
) -> Html:
    return element(
        "label",
        element(
            "span",
            f"{words[0].upper()}{words[1:]}: ",
            element("output", f"{value} {unit}", id=f"{key}-value"),
        ),
        element("input", type="range", id=key, min=low, max=high, value=value, data_unit=unit),
        class_="slider",
        hidden=hidden,
    )


def _keys_of_layers(scene: Scene, error_end: float | None) -> list[Html]:
    found = []
    if scene.outlines:
        colours = dict(zip((x.name for x in scene.outlines), (p.FIRST, p.SECOND), strict=False))
        if len(colours) > 1:
            colours["both"] = p.BOTH
        swatches = (
            element("span", element("i", style=f"background:rgb({r} {g} {b})"), words)
            for words, (r, g, b) in colours.items()
        )
        found.append(element("p", *swatches, class_="key", id="outlines-key", hidden=True))
    if scene.warper is not None:
        told = (
            "Deformed grid: an even grid on the moving image, carried onto the fixed image. The"
            " affine part is left out."
        )
        found.append(element("p", told, class_="soft", id="grid-key", hidden=True))
    if error_end is not None:
        scale = colour_scale(p.SEQUENTIAL, scale_ticks(error_end), "expected error, mm")
        found.append(element("div", scale, id="error-key", hidden=True))
    return found


def _displacement(scene: Scene) -> Html:
    words = "" if scene.warper else "There is no transform: both images lie in one world."
    return element("p", words, id="displacement", aria_live="polite")


def _panes(scene: Scene) -> Html:
    panes = []
    if scene.second is None:
        panes.append(_pane("first", scene.first.name, _of(scene, 0)))
    else:
        both = f"{scene.first.name} and {scene.second.name}"
        panes.append(_pane("first", both, _of(scene, 0)))
        panes.append(_pane("second", scene.second.name, _of(scene, 0), hidden=True))
    if scene.other is not None:
        panes.append(_pane("other", scene.other.name, _of(scene, 1)))
    return element("div", *panes, class_="panes")


def _of(scene: Scene, n: int) -> str:
    return f"on the grid of the {scene.names[n]} image"


def _pane(key: str, name: str, where: str, *, hidden: bool = False) -> Html:
    words = f"{name[0].upper()}{name[1:]}"
    return element(
        "section",
        element("h2", element("span", words, id=f"{key}-name"), " ", element("small", where)),
        element(
            "div",
            element(
                "canvas",
                id=f"{key}-canvas",
                tabindex=0,
                role="application",
                aria_label=f"{words}: planes and 3-D picture; the arrow keys move the point",
            ),
            class_="screen",
        ),
        class_="pane",
        id=key,
        hidden=hidden,
    )


def _position() -> Html:
    sliders = [
        element(
            "label",
            element("span", f"{words[0].upper()}{words[1:]}"),
            element("input", type="range", class_="axis", data_axis=n, min=0, max=1, value=0),
            class_="slider",
        )
        for n, words in enumerate(_AXES)
    ]
    return element(
        "section",
        element("h2", "The point"),
        element("div", *sliders, class_="controls"),
        id="position",
    )


def _readout(scene: Scene) -> Html:
    head = (
        "",
        "mm, LPS (towards left, posterior, superior: ITK, 3D Slicer, DICOM)",
        "mm, RAS (towards right, anterior, superior: NIfTI, FreeSurfer)",
        "voxel (i, j, k from 0)",
        "intensity",
    )
    rows = []
    for role, name in zip(("first", "other"), scene.names, strict=True):
        cells = [
            element("td", "–", id=f"{role}-{what}") for what in ("lps", "ras", "voxel", "value")
        ]
        rows.append(element("tr", element("th", f"{name} image", scope="row"), *cells))
    first = element("tr", *(element("th", x, scope="col") if x else element("td") for x in head))
    caption = element("caption", "The point in both images")
    return element(
        "div",
        element("table", caption, element("thead", first), element("tbody", *rows)),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label="The point in both images",
    )


def _help() -> Html:
    rows = [
        element("tr", element("th", keys, scope="row"), element("td", what)) for keys, what in _KEYS
    ]
    convention = (
        "Radiological convention: the patient's right is at the left of axial and coronal pictures,"
        " and anterior is at the left of sagittal pictures. The planes follow the voxels of each"
        " image."
    )
    licence = element(
        "p",
        "The pictures are drawn by NiiVue (",
        element("a", "licences", href="NOTICES.txt"),
        f"). This is sacbnet {VERSION}; nothing leaves this machine.",
        class_="soft",
    )
    return element(
        "details",
        element("summary", "Mouse, keys and directions"),
        element("p", convention),
        element("table", element("tbody", *rows)),
        licence,
    )
