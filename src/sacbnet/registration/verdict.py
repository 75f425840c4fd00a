"""Whether a result may be delivered (contract 5)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sacbnet.errors import RegistrationError

from .report import Likeness, Steps

TOLERANCE = 5e-3  # of either measure: interpolation alone may cost so much


def refuse_worse(
    similarity: Steps[Likeness],
    calm: Callable[[], Steps[Likeness]] | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Refuse a result that is less like the fixed image than the start.

    A good result may lose in one of the two measures, so both must have fallen. Interpolation
    smooths noise, which alone can make a result less like the fixed image. So the smoothed images
    must agree that it is worse.

    Parameters
    ----------
    similarity : Steps[Likeness]
        Likeness at the start and at the end.
    calm : callable, or None, default None
        Measures the likeness of the smoothed images; called only where the result looks worse.
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
        finite = all(np.isfinite(after) for _, after in pairs.values())
        if calm is not None and finite:
            smooth = calm()
            a, b = (getattr(smooth, step).local_correlation for step in ("start", "final"))
            if b >= a - 2 * tolerance:
                return
        values = ", ".join(
            f"{name.replace('_', ' ')} {before:.3f} -> {after:.3f}"
            for name, (before, after) in pairs.items()
        )
        raise RegistrationError(
            f"the result is less like the fixed image than the start ({values}), so nothing was"
            " written: check that both images show the same anatomy, give masks, or try another"
            " --affine, --refine or --weights"
        )
