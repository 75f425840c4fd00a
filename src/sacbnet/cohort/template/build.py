"""Build a template: register all images to the mean so far, average, and begin again.

References
----------
S. Joshi et al., "Unbiased diffeomorphic atlas construction for computational anatomy", NeuroImage
2004.
B. Avants et al., "The optimal template effect in hippocampus studies of diseased populations",
NeuroImage 2010.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sacbnet.cohort.crew import Crew
from sacbnet.cohort.members import Member
from sacbnet.cohort.pairs import CohortPair
from sacbnet.cohort.run import register_pairs
from sacbnet.cohort.summary import Cohort
from sacbnet.config.choices import AUTO, NONE
from sacbnet.config.registration import Options
from sacbnet.environment import VERSION
from sacbnet.errors import InputError
from sacbnet.files import atomic_file, locked, sweep, writing
from sacbnet.io.images import load_image
from sacbnet.registration.account import Progress, silent
from sacbnet.registration.registrar import Registrar
from sacbnet.registration.result import FILES

from .mean import look_at, template_grid
from .plan import FORMAT_VERSION, ROUNDS, TemplateOptions, keep_plan
from .rounds import LEAST, Round, Site, run_round

TEMPLATE, ACCOUNT, SUBJECTS = "template.nii.gz", "template.json", "subjects"
AFFINE_MEAN, CONTRAST = "affine_mean.nii.gz", "template_{name}.nii.gz"


@dataclass(frozen=True)
class Template:
    """A template that was built.

    Parameters
    ----------
    path : Path
        The mean image.
    cohort : Cohort
        The registration of every image to it.
    rounds : tuple[Round, ...]
        What each round did.
    """

    path: Path
    cohort: Cohort = field(repr=False)
    rounds: tuple[Round, ...]


def build_template(
    members: Sequence[Member],
    options: Options,
    out: str | Path,
    *,
    how: TemplateOptions | None = None,
    crew: Crew | None = None,
    overwrite: bool = False,
    command: tuple[str, ...] = (),
    progress: Progress = silent,
) -> Template:
    """Build an unbiased template of a group, and register every image to it.

    The first mean is that of the images brought together by their centres. In each round all images
    are registered to the mean; their maps are averaged (the affine parts by their logarithms), and
    the inverse of this average moves the template. So neither an image nor the first guess gives it
    its shape. Each image is interpolated once into the new mean. The same call goes on where an
    earlier one stopped.

    Parameters
    ----------
    members : sequence of Member
        The images, two at least. One that cannot be read or registered is left out of the mean.
    options : Options
        How images are registered. "rigid" for `affine` keeps their sizes; "none" says that they lie
        in one space already.
    out : str or Path
        The folder. It gets template.nii.gz, a mean for each further contrast, affine_mean.nii.gz,
        template.json, and in ``subjects`` the registration of each image to the template.
    how : TemplateOptions or None, default None
        Rounds, symmetry and spacing. None: the defaults.
    crew : Crew or None, default None
        Worker processes. None: this process does the work.
    overwrite : bool, default False
        Whether a template of other images or options is replaced.
    command : tuple[str, ...], default ()
        The command line, for the accounts.
    progress : callable (str, float), default silent
        Called with what is at hand and the fraction of all rounds that is done.

    Returns
    -------
    Template
        The template.

    Raises
    ------
    InputError
        If fewer than two images can be read.
    OutputError
        If the folder holds a template of other images or options, or a file cannot be written.
    RegistrationError
        If fewer than two images could be registered to the mean.
    """
    how, out = how or TemplateOptions(), Path(out)
    if options.affine == AUTO:
        options = replace(options, affine="affine")
    if options.affine == NONE:
        how = replace(how, affine_rounds=0)
    with writing(out):
        (out / ROUNDS).mkdir(parents=True, exist_ok=True)
    busy = f"another process builds a template in {out}; wait for it, or choose another --out"
    with locked(out / ".lock", busy):
        for folder in (out, out / ROUNDS):
            sweep(folder)
        keep_plan(members, options, how, out, overwrite)
        work = _Work(options, crew, overwrite, command, progress, how.affine_rounds + how.rounds)
        site = _site(members, options, how, out, work)
        for number in range(site.last + 1):
            if not site.mean(number).is_file():
                work.number = number
                progress(f"round {number} of {site.last}", work.fraction(0.0))
                run_round(site, number)
        for made, name in _delivered(site):
            with atomic_file(out / name) as path:
                shutil.copyfile(made, path)
        rounds = tuple(
            Round(**json.loads(site.account(n).read_text(encoding="utf-8")))
            for n in range(site.last + 1)
        )
        _write_account(out / ACCOUNT, rounds, members, options, how)
        work.number = site.last + 1
        cohort = work.register(_to_template(members, out), out / SUBJECTS, pictures=True)
    return Template(out / TEMPLATE, cohort, rounds)


def written_files(members: Sequence[Member], out: Path) -> list[Path]:
    """List the files that a template will have, but for its rounds.

    Parameters
    ----------
    members : sequence of Member
        The images.
    out : Path
        The folder.

    Returns
    -------
    list[Path]
        The files.
    """
    contrasts = {name for member in members for name in member.contrasts}
    names = (TEMPLATE, AFFINE_MEAN, ACCOUNT, *(CONTRAST.format(name=c) for c in contrasts))
    below = [out / SUBJECTS / member.name / name for member in members for name in FILES]
    return [*(out / name for name in names), *below]


@dataclass
class _Work:
    """Registers the pairs of a round, and tells how far all rounds are."""

    options: Options
    crew: Crew | None
    overwrite: bool
    command: tuple[str, ...]
    progress: Progress
    last: int
    number: int = 0

    def fraction(self, of_round: float) -> float:
        return max(self.number - 1 + of_round, 0.0) / (self.last + 1)

    def register(
        self,
        pairs: Sequence[CohortPair],
        folder: Path,
        affine_only: bool = False,
        pictures: bool = False,
    ) -> Cohort:
        options = self.options
        if affine_only:
            # a blurred mean is unlike every image: the verdict on it is none on the alignment
            options = replace(
                options,
                weights=NONE,
                preset="balanced",
                refine=0,
                metric="lncc",
                accept=True,
                smoothness=None,
            )
        device = options.device
        if self.crew is not None:  # the workers have the device
            options = replace(options, device="cpu")
        what = f"round {self.number} of {self.last}" if not pictures else "to the template"
        return register_pairs(
            pairs,
            Registrar.of(options),
            folder,
            # means of this round are replaced if the round before has changed
            overwrite=self.overwrite or not pictures,
            command=self.command,
            progress=lambda name, done: self.progress(f"{what}: {name}", self.fraction(done)),
            crew=self.crew,
            device=device,
            pictures=pictures,
        )


def _site(
    members: Sequence[Member], options: Options, how: TemplateOptions, out: Path, work: _Work
) -> Site:
    looks, why = {}, ""
    for member in members:
        try:
            looks[member.name] = look_at(load_image(member.image))
        except InputError as error:  # its registration to the template says so again
            why = str(error)
    if len(looks) < LEAST:
        raise InputError(
            f"{len(looks)} of {len(members)} images can be read; {LEAST} at least were expected"
            + (f" ({why})" if why else "")
        )
    return Site(
        members=[member for member in members if member.name in looks],
        looks=looks,
        grid=template_grid(list(looks.values()), how.spacing),
        folder=out / ROUNDS,
        affine_rounds=how.affine_rounds,
        last=how.affine_rounds + how.rounds,
        centred=options.affine != NONE,
        symmetric=how.symmetric,
        sharpen=how.sharpen,
        register=work.register,
    )


def _delivered(site: Site) -> list[tuple[Path, str]]:
    """The files of the rounds that are the result, and their names there."""
    contrasts = [(site.mean(site.last, c), CONTRAST.format(name=c)) for c in site.contrasts]
    return [
        (site.mean(site.affine_rounds), AFFINE_MEAN),
        *contrasts,
        (site.mean(site.last), TEMPLATE),
    ]


def _to_template(members: Sequence[Member], out: Path) -> list[CohortPair]:
    return [
        CohortPair(
            name=member.name,
            fixed=out / TEMPLATE,
            moving=member.image,
            moving_mask=member.mask,
            moving_labels=member.labels,
        )
        for member in members
    ]


def _write_account(
    path: Path,
    rounds: Sequence[Round],
    members: Sequence[Member],
    options: Options,
    how: TemplateOptions,
) -> None:
    values = {
        "format_version": FORMAT_VERSION,
        "sacbnet": VERSION,
        "options": asdict(options),
        "template": asdict(how),
        "images": {member.name: str(member.image) for member in members},
        "rounds": [asdict(x) for x in rounds],
    }
    with atomic_file(path) as file:
        file.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
