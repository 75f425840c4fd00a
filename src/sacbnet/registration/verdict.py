"""TODO-DOC sacbnet.registration.verdict."""

from __future__ import annotations

from sacbnet.errors import RegistrationError


def refuse_worse(similarity: dict[str, dict[str, float]], tolerance: float = 5e-3) -> None:
    """RegistrationError where both measures fell below the start's (contract 5): a good result may lose one."""
    start, final = similarity["start"], similarity["final"]
    if all(not final[key] >= start[key] - tolerance for key in start):
        values = ", ".join(
            f"{key.replace('_', ' ')} {start[key]:.3f} -> {final[key]:.3f}" for key in start
        )
        raise RegistrationError(
            f"the result is less like the fixed image than the start ({values}), so nothing was written: check that"
            " both images show the same anatomy, give masks, or try another --affine, --refine or --weights"
        )
