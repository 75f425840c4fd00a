"""Whether a result may be delivered (contract 5)."""

from __future__ import annotations

from sacbnet.errors import RegistrationError

from .report import Likeness, Steps

TOLERANCE = 5e-3  # of either measure: interpolation alone may cost so much


def refuse_worse(similarity: Steps[Likeness], tolerance: float = TOLERANCE) -> None:
    """Refuse a result that is less like the fixed image than the start.

    A good result may lose in one of the two measures, so both must have fallen.

    Parameters
    ----------
    similarity : Steps[Likeness]
        Likeness at the start and at the end.
    tolerance : float, default 0.005
        How far a measure may fall.

    Raises
    ------
    RegistrationError
        If both measures fell by more than the tolerance, or are not finite.
    """
    start, final = similarity.start, similarity.final
    names = ("local_correlation", "mutual_information")
    pairs = {name: (getattr(start, name), getattr(final, name)) for name in names}
    if all(not after >= before - tolerance for before, after in pairs.values()):
        values = ", ".join(
            f"{name.replace('_', ' ')} {before:.3f} -> {after:.3f}"
            for name, (before, after) in pairs.items()
        )
        raise RegistrationError(
            f"the result is less like the fixed image than the start ({values}), so nothing was"
            " written: check that both images show the same anatomy, give masks, or try another"
            " --affine, --refine or --weights"
        )
