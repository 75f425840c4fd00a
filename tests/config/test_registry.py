import json

import pytest

from sacbnet.config.comparison import TransMorphOptions, VoxelMorphOptions
from sacbnet.config.registry import BUILT_IN, options_from_dict, options_of
from sacbnet.errors import InputError


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_options_survive_json(architecture):
    options = options_of(architecture)()
    assert options_from_dict(architecture, json.loads(json.dumps(options.to_dict()))) == options


def test_networks_and_options_that_are_not_known_are_told():
    with pytest.raises(InputError, match=r"'unet'.*sacbnet.*voxelmorph"):
        options_of("unet")
    with pytest.raises(InputError, match=r"width.*known are channels"):
        options_from_dict("fouriernet", {"width": 8})


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (VoxelMorphOptions, {"encoder": (16, 0)}, "encoder"),
        (VoxelMorphOptions, {"encoder": (16, 16), "decoder": (16,)}, "decoder"),
        (TransMorphOptions, {"heads": (5, 4, 8, 8)}, "heads"),
        (TransMorphOptions, {"depths": (2, 2)}, "depths"),
        (TransMorphOptions, {"drop_path": 1}, "drop_path"),
    ],
)
def test_sizes_that_make_no_network(kind, values, told):
    with pytest.raises(InputError, match=told):
        kind(**values)
