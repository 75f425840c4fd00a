"""Options of the networks that SACB-Net is compared with; the defaults are the published sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .network import NetworkOptions
from .validation import OptionError, at_least, one_of


@dataclass(frozen=True)
class VoxelMorphOptions(NetworkOptions):
    """Options of VoxelMorph. The defaults are the network VXM-2.

    VXM-1 has encoder (8, 32, 32, 32) and decoder (32, 32, 32, 32, 32, 8, 8).

    Parameters
    ----------
    encoder : tuple of int, default (16, 32, 32, 32)
        Widths of the convolutions with stride 2.
    decoder : tuple of int, default (32, 32, 32, 32, 32, 16, 16)
        Widths of the convolutions before each up-sampling, as many as the encoder has, and then
        of the further convolutions at full resolution.
    sacb : int, default 0
        Number of clusters of a SACB after each convolution of the encoder; 0 means no SACB.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Balakrishnan et al., "VoxelMorph: a learning framework for deformable medical image
    registration", IEEE TMI 2019.
    """

    architecture: ClassVar[str] = "voxelmorph"
    implementation: ClassVar[str] = "sacbnet.networks.voxelmorph:VoxelMorph"

    encoder: tuple[int, ...] = (16, 32, 32, 32)
    decoder: tuple[int, ...] = (32, 32, 32, 32, 32, 16, 16)
    sacb: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, encoder=1, decoder=1, sacb=0)
        if not self.encoder:
            raise OptionError("encoder", self.encoder, "a list of at least one width")
        if len(self.decoder) < len(self.encoder):
            raise OptionError("decoder", self.decoder, f"a list of at least {len(self.encoder)}")


@dataclass(frozen=True)
class TransMorphOptions(NetworkOptions):
    """Options of TransMorph.

    Published sizes, as embedding; depths; heads; last:
    the default 96; 2 2 4 2; 4 4 8 8; 16, large 128; 2 2 12 2; 4 4 8 16; 16,
    small 48; 2 2 4 2; 4 4 4 4; 16, tiny 6; 2 2 4 2; 2 2 4 4; 16.

    Parameters
    ----------
    embedding : int, default 96
        Channels after the patch embedding.
    depths : tuple of 4 int, default (2, 2, 4, 2)
        Number of blocks in each of the four Swin stages.
    heads : tuple of 4 int, default (4, 4, 8, 8)
        Number of attention heads in each stage; each divides the width of its stage.
    window : tuple of 3 int, default (5, 6, 7)
        Size of the attention window, in voxels of a stage.
    last : int, default 16
        Channels of the last block of the decoder.
    drop_path : float, default 0.3
        Largest rate of stochastic depth, in training.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Chen et al., "TransMorph: transformer for unsupervised medical image registration", Medical
    Image Analysis 2022.
    """

    architecture: ClassVar[str] = "transmorph"
    implementation: ClassVar[str] = "sacbnet.networks.transmorph:TransMorph"

    embedding: int = 96
    depths: tuple[int, ...] = (2, 2, 4, 2)
    heads: tuple[int, ...] = (4, 4, 8, 8)
    window: tuple[int, ...] = (5, 6, 7)
    last: int = 16
    drop_path: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, embedding=2, last=1, depths=1, heads=1, window=1)
        for name, count in (("depths", 4), ("heads", 4), ("window", 3)):
            if len(value := getattr(self, name)) != count:
                raise OptionError(name, value, f"a list of {count} numbers")
        widths = [self.embedding * 2**stage for stage in range(4)]
        if any(width % heads for width, heads in zip(widths, self.heads, strict=True)):
            raise OptionError("heads", self.heads, f"a divisor of each stage's width {widths}")
        if not 0 <= self.drop_path < 1:
            raise OptionError("drop_path", self.drop_path, "a rate from 0 to below 1")


@dataclass(frozen=True)
class ModeTOptions(NetworkOptions):
    """Options of ModeT.

    Parameters
    ----------
    channels : int, default 4
        Width c of the encoder.
    version : {1, 2}, default 1
        1 is the paper's network, with competitive weighting of the heads. 2 is the authors' later
        network, with a registration head at each level.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Wang et al., "ModeT: learning deformable image registration via motion decomposition
    transformer", MICCAI 2023.
    """

    architecture: ClassVar[str] = "modet"
    implementation: ClassVar[str] = "sacbnet.networks.modet:ModeT"

    channels: int = 4
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, channels=1)
        one_of(self, version=(1, 2))


@dataclass(frozen=True)
class LKUNetOptions(NetworkOptions):
    """Options of LKU-Net.

    Parameters
    ----------
    channels : int, default 8
        Channels of the first level.
    diffeomorphic : bool, default False
        The output is a velocity, which scaling and squaring integrates.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Jia et al., "U-Net vs Transformer: is U-Net outdated in medical image registration?", MLMI 2022.
    """

    architecture: ClassVar[str] = "lkunet"
    implementation: ClassVar[str] = "sacbnet.networks.lkunet:LKUNet"

    channels: int = 8
    diffeomorphic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, channels=1)


@dataclass(frozen=True)
class LapIRNOptions(NetworkOptions):
    """Options of LapIRN.

    Parameters
    ----------
    channels : int, default 28
        Channels of all its convolutions.
    levels : {1, 2, 3}, default 3
        Number of levels, counted from the coarsest: 1 works at a quarter of the resolution, 3 at
        full resolution.
    diffeomorphic : bool, default False
        The levels give velocities, which scaling and squaring integrates.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Mok and Chung, "Large deformation diffeomorphic image registration with Laplacian pyramid
    networks", MICCAI 2020.
    """

    architecture: ClassVar[str] = "lapirn"
    implementation: ClassVar[str] = "sacbnet.networks.lapirn:LapIRN"

    channels: int = 28
    levels: int = 3
    diffeomorphic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, channels=1)
        one_of(self, levels=(1, 2, 3))


@dataclass(frozen=True)
class FourierNetOptions(NetworkOptions):
    """Options of Fourier-Net.

    Parameters
    ----------
    channels : int, default 8
        Channels of the first level.

    Raises
    ------
    OptionError
        For a value that is not valid.

    References
    ----------
    Jia et al., "Fourier-Net: fast image registration with band-limited deformation", AAAI 2023.
    """

    architecture: ClassVar[str] = "fouriernet"
    implementation: ClassVar[str] = "sacbnet.networks.fouriernet:FourierNet"

    channels: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, channels=1)
