"""The pictures of the page: planes side by side, to one scale, with the sides of the body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from . import pictures as p
from .cuts import STEPS, Cut
from .markup import Html, element

_FEWEST = 256  # pixels along the longest side: fewer would make outlines coarse
STEP_NAMES = {
    "moved": "moved (the result)",
    "affine": "after the affine alone",
    "start": "before (headers alone)",
}
_MODES = {
    "slider": "slider",
    "flicker": "flicker",
    "checker": "checkerboard",
    "edges": "edges over fixed",
    "fixed": "fixed",
    "moving": "moving",
}


@dataclass(frozen=True, eq=False)
class Panel:
    """One plane as pictures of a certain size.

    Parameters
    ----------
    cut : Cut
        The slices.
    pixel_mm : float
        Side of a pixel, mm.
    """

    cut: Cut
    pixel_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the pictures."""
        width, height = self.cut.size_mm
        rows, columns = (max(1, round(mm / self.pixel_mm)) for mm in (height, width))
        return rows, columns

    @cached_property
    def fixed(self) -> str:
        """The fixed image, as a data URI."""
        return p.photo(p.stretched(self.cut.fixed, self.shape))

    @cached_property
    def steps(self) -> dict[str, str]:
        """The moving image at the three steps, as data URIs."""
        return {n: p.photo(p.stretched(x, self.shape)) for n, x in self.cut.steps.items()}

    @cached_property
    def outline(self) -> str:
        """The edges of the fixed image in black, as a data URI."""
        return self.edges(self.cut.fixed, (0, 0, 0))

    def edges(self, grey: p.Grey, colour: p.Colour) -> str:
        """Draw the edges of an image.

        Parameters
        ----------
        grey : ndarray, shape (rows, columns) of the voxels
            The image in [0, 1].
        colour : (red, green, blue)
            The colour.

        Returns
        -------
        str
            A data URI.
        """
        voxel_mm = self.cut.size_mm[1] / grey.shape[0], self.cut.size_mm[0] / grey.shape[1]
        sigma = 1.2 * max(1.0, min(voxel_mm) / self.pixel_mm)
        return p.drawn(p.edges(p.stretched(grey, self.shape), sigma), colour).uri()

    def grid(self, step_mm: float) -> str:
        """Draw the deformed grid.

        Parameters
        ----------
        step_mm : float
            Distance between its lines, mm.

        Returns
        -------
        str
            A data URI.
        """
        across, up = (p.stretched(x, self.shape) for x in self.cut.coordinates)
        return p.drawn(p.lines(across, up, step_mm), p.GRID).uri()

    def labels(self, step: str) -> str:
        """Draw the outlines of both label maps.

        Parameters
        ----------
        step : {"moved", "affine", "start"}
            Which labels of the moving image.

        Returns
        -------
        str
            A data URI.
        """
        assert self.cut.fixed_labels is not None
        first, second = (
            p.outlines(p.repeated(x, self.shape))
            for x in (self.cut.fixed_labels, self.cut.labels[step])
        )
        return p.two_outlines(first, second).uri()


def panels_of(cuts: Iterable[Cut], most_pixels: int) -> list[Panel]:
    """Choose one size of pixels for all planes.

    Parameters
    ----------
    cuts : iterable of Cut
        The planes.
    most_pixels : int
        Largest number of pixels along the longest side.

    Returns
    -------
    list of Panel
        The planes, in their order.
    """
    cuts = list(cuts)
    longest = max(max(cut.size_mm) for cut in cuts)
    voxels = max(max(cut.fixed.shape) for cut in cuts)
    pixels = min(max(voxels, _FEWEST), most_pixels)
    return [Panel(cut, longest / pixels) for cut in cuts]


def figure(panel: Panel, *layers: Html, name: str = "") -> Html:
    """Put pictures of one plane on top of each other, with the sides of the body around them.

    Parameters
    ----------
    panel : Panel
        The plane.
    *layers : Html
        Images, the lowest first.
    name : str, default ""
        Words below it; "": the name of the plane.

    Returns
    -------
    Html
        A figure.
    """
    width, height = panel.cut.size_mm
    places = ("left", "right", "top", "bottom")
    sides = [
        element("span", letter, class_=f"side {place}", aria_hidden="true")
        for place, letter in zip(places, panel.cut.plane.sides, strict=True)
    ]
    return element(
        "figure",
        element("div", *layers, *sides, class_="stage"),
        element("figcaption", name or panel.cut.plane.name),
        style=f"--w:{width:.4g};--h:{height:.4g}",
    )


def img(uri: str, alt: str, class_: str = "") -> Html:
    """One image.

    Parameters
    ----------
    uri : str
        The picture, as a data URI.
    alt : str
        What it shows, in words.
    class_ : str, default ""
        Its class.

    Returns
    -------
    Html
        The image.
    """
    return element("img", src=uri, alt=alt, class_=class_ or None)


def planes(figures: Iterable[Html]) -> Html:
    """Put figures side by side.

    Parameters
    ----------
    figures : iterable of Html
        The figures.

    Returns
    -------
    Html
        A row.
    """
    return element("div", *figures, class_="planes")


def viewer(panels: Sequence[Panel], key: str, title: str) -> Html:
    """Compare the fixed image with the moving image: slider, flicker, checkerboard and edges.

    Parameters
    ----------
    panels : sequence of Panel
        The planes.
    key : str
        A name that no other viewer of the page has.
    title : str
        What the planes go through, for programs that read the page aloud.

    Returns
    -------
    Html
        Controls and planes.
    """
    choice = f"{title}: how the two images are shown"
    controls = element(
        "div",
        radios(choice, "Show", f"mode-{key}", _MODES),
        radios(f"{title}: which moving image", "Moving image", f"step-{key}", STEP_NAMES),
        element(
            "label",
            "Slider: fixed at the left, moving at the right",
            element("input", type="range", min=0, max=100, value=50, class_="cut"),
            class_="slider",
            hidden=True,
        ),
        class_="controls",
    )
    return element("div", controls, planes(map(_compared, panels)), class_="viewer")


def radios(group: str, legend: str, name: str, choices: dict[str, str]) -> Html:
    """Buttons of which one is chosen; the first one at the start.

    Parameters
    ----------
    group : str
        What is chosen, for programs that read the page aloud.
    legend : str
        The words above the buttons.
    name : str
        A name that no other group of the page has.
    choices : dict of str to str
        The words on each button, by its value.

    Returns
    -------
    Html
        A group of buttons, each with its value, and with the class "is-" and its value.
    """
    buttons = [
        element(
            "label",
            element(
                "input",
                type="radio",
                name=name,
                value=value,
                class_=f"is-{value}",
                checked=n == 0,
            ),
            element("span", text),
        )
        for n, (value, text) in enumerate(choices.items())
    ]
    return element("fieldset", element("legend", legend), *buttons, aria_label=group)


def _compared(panel: Panel) -> Html:
    name = panel.cut.plane.name
    layers = [img(panel.fixed, f"Fixed image, {name} plane", "fixed")]
    for step in STEPS:
        words = f"Moving image, {STEP_NAMES[step]}, {name} plane"
        layers.append(img(panel.steps[step], words, f"movable {step}"))
        edges = panel.edges(panel.cut.steps[step], p.SECOND)
        layers.append(img(edges, f"Edges of the moving image, {STEP_NAMES[step]}", f"edge {step}"))
    return figure(panel, *layers)
