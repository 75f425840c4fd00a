"""What the comparison networks are made of; the defaults are the sizes that were published. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sacbnet.errors import InputError

from .network import NetworkOptions


@dataclass(frozen=True)
class VoxelMorphOptions(NetworkOptions):
    """VoxelMorph (Balakrishnan et al., IEEE TMI 2019).

    encoder: widths of the stride-2 convolutions. decoder: widths of the convolutions before each up-sampling, as many
    as the encoder has, and of the further ones at full resolution. The defaults are VXM-2; VXM-1 has encoder 8 32 32
    32, decoder 32 32 32 32 32 8 8. sacb: a SACB with so many clusters after each encoder convolution; 0 is none.
    """

    architecture: ClassVar[str] = "voxelmorph"
    implementation: ClassVar[str] = "sacbnet.networks.voxelmorph:VoxelMorph"

    encoder: tuple[int, ...] = (16, 32, 32, 32)
    decoder: tuple[int, ...] = (32, 32, 32, 32, 32, 16, 16)
    sacb: int = 0

    def __post_init__(self) -> None:
        self._wholes(encoder=1, decoder=1)
        self._whole(sacb=0)
        if not self.encoder or len(self.decoder) < len(self.encoder):
            raise InputError(
                f"encoder is {self.encoder}, decoder {self.decoder}; at least one width, and no fewer in the decoder,"
                " were expected"
            )


@dataclass(frozen=True)
class TransMorphOptions(NetworkOptions):
    """TransMorph (Chen et al., Medical Image Analysis 2022).

    embedding: channels after the patch embedding. depths, heads: of the four Swin stages. window: of attention, voxels
    of a stage. last: channels of the last decoder block. drop_path: largest rate of stochastic depth, in training.
    Published sizes (embedding; depths; heads; last): 96; 2 2 4 2; 4 4 8 8; 16, the default; large 128; 2 2 12 2;
    4 4 8 16; 16; small 48; 2 2 4 2; 4 4 4 4; 16; tiny 6; 2 2 4 2; 2 2 4 4; 16.
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
        self._whole(embedding=2, last=1)
        self._wholes(depths=1, heads=1, window=1)
        if len(self.depths) != 4 or len(self.heads) != 4 or len(self.window) != 3:
            raise InputError(
                f"depths is {self.depths}, heads {self.heads}, window {self.window}; 4, 4 and 3 numbers were expected"
            )
        if any(self.embedding * 2**stage % heads for stage, heads in enumerate(self.heads)):
            raise InputError(
                f"embedding is {self.embedding}, heads {self.heads}; each must divide its stage's width"
            )
        if not isinstance(self.drop_path, int | float) or not 0 <= self.drop_path < 1:
            raise InputError(
                f"drop_path is {self.drop_path!r}; a rate from 0 to below 1 was expected"
            )


@dataclass(frozen=True)
class ModeTOptions(NetworkOptions):
    """ModeT (Wang et al., MICCAI 2023). channels: width c of the encoder; version: 1, the paper's, with competitive
    weighting of the heads, or 2, the authors' later one with a registration head at each level."""

    architecture: ClassVar[str] = "modet"
    implementation: ClassVar[str] = "sacbnet.networks.modet:ModeT"

    channels: int = 4
    version: int = 1

    def __post_init__(self) -> None:
        self._whole(channels=1)
        self._one_of(version=(1, 2))


@dataclass(frozen=True)
class LKUNetOptions(NetworkOptions):
    """LKU-Net (Jia et al., MLMI 2022). channels: of the first level. diffeomorphic: the output is a velocity,
    integrated by scaling and squaring."""

    architecture: ClassVar[str] = "lkunet"
    implementation: ClassVar[str] = "sacbnet.networks.lkunet:LKUNet"

    channels: int = 8
    diffeomorphic: bool = False

    def __post_init__(self) -> None:
        self._whole(channels=1)
        self._one_of(diffeomorphic=(False, True))


@dataclass(frozen=True)
class LapIRNOptions(NetworkOptions):
    """LapIRN (Mok and Chung, MICCAI 2020). channels: of all its convolutions. levels: how many there are, the coarsest
    first: 1 works at a quarter of the resolution, 3 at all of it. diffeomorphic: the levels give velocities, integrated
    by scaling and squaring."""

    architecture: ClassVar[str] = "lapirn"
    implementation: ClassVar[str] = "sacbnet.networks.lapirn:LapIRN"

    channels: int = 28
    levels: int = 3
    diffeomorphic: bool = False

    def __post_init__(self) -> None:
        self._whole(channels=1)
        self._one_of(levels=(1, 2, 3), diffeomorphic=(False, True))


@dataclass(frozen=True)
class FourierNetOptions(NetworkOptions):
    """Fourier-Net (Jia et al., AAAI 2023). channels: of the first level."""

    architecture: ClassVar[str] = "fouriernet"
    implementation: ClassVar[str] = "sacbnet.networks.fouriernet:FourierNet"

    channels: int = 8

    def __post_init__(self) -> None:
        self._whole(channels=1)
