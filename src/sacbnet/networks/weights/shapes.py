"""Names and shapes of the parameters of a SACB-Net, from its options alone.

With these, files of weights are checked without torch.

The network itself (`sacbnet.networks.sacbnet`) is the definition; tests hold this module to it.
"""

from __future__ import annotations

from sacbnet.config.sacbnet import SACBNetConfig

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(config: SACBNetConfig) -> Shapes:
    """List the parameters of ``SACBNet(config)``.

    Parameters
    ----------
    config : SACBNetConfig
        Options of the network.

    Returns
    -------
    dict[str, tuple[int, ...]]
        Shape of each parameter by its name in ``state_dict()``.
    """
    base, c = config.base_channels, [config.channels(level) for level in range(1, 6)]
    found = _conv("encoder.level1.0.0", 1, base)
    found |= _conv("encoder.level1.1.0", base, c[0]) | _conv("encoder.level1.2.0", c[0], c[0])
    for level in range(2, 6):
        before, here = c[level - 2], c[level - 1]
        found |= _conv(f"encoder.level{level}.1.0", before, here) | _conv(
            f"encoder.level{level}.2.0", here, here
        )
    for level in config.sacb_levels:
        found |= _sacb(f"sacb{level}", config.channels(level), config.descriptor)
        if config.assignment == "soft":
            found[f"sacb{level}.log_temperature"] = ()
    found |= _conv("refine.0.0", c[0], c[0]) | _conv("refine.1.0", c[0], c[0])
    if config.level1 == "matching":
        return found
    return (
        found
        | _conv("head.0.0", 2 * c[0], c[0])
        | _conv("head.1.0", c[0], c[0])
        | _conv("head.2", c[0], 3)
    )


def _sacb(name: str, c: int, descriptor: str) -> Shapes:
    d = {"spatial": c, "channel": 27, "both": c + 27}[descriptor]
    taps, bias = _mlp(f"{name}.to_taps", d, 128, 27), _mlp(f"{name}.to_bias", d, 64, c)
    return {f"{name}.kernel": (c, c, 27)} | _conv(f"{name}.project.0", c, c) | taps | bias


def _conv(name: str, c_in: int, c_out: int) -> Shapes:
    return {f"{name}.weight": (c_out, c_in, 3, 3, 3), f"{name}.bias": (c_out,)}


def _mlp(name: str, d_in: int, hidden: int, d_out: int) -> Shapes:
    found: Shapes = {}
    for n, (before, after) in zip(
        (0, 2, 4), ((d_in, hidden), (hidden, hidden), (hidden, d_out)), strict=True
    ):
        found |= {f"{name}.{n}.weight": (after, before), f"{name}.{n}.bias": (after,)}
    return found
