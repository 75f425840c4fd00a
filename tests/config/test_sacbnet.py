import json

import pytest

from sacbnet.config.sacbnet import SACBNetConfig
from sacbnet.errors import InputError


def test_round_trip_through_json():
    config = SACBNetConfig(8, (3, 5, 7, 9), (5, 2), "both", 50, 3)
    assert SACBNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.sacb_levels == (2, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_channels", 0), ("base_channels", 2.0), ("base_channels", True),
        ("clusters", (7, 7, 7)), ("clusters", 7), ("clusters", (7, 7, 7, 0)),
        ("clusters", (7, 7, 7, "7")), ("sacb_levels", (1, 2)), ("sacb_levels", (2, 2)),
        ("descriptor", "spacial"), ("assignment", "warm"), ("number", 7), ("window", 4),
        ("iterations", 0), ("scores", "soft"), ("level1", "conv"), ("diffeomorphic", 1.5),
        ("symmetric", "yes"), ("least_share", 0),
        ("least_share", 1.0), ("kmeans_rounds", 0), ("kmeans_seed", -1),
    ],
)  # fmt: skip
def test_errors_name_the_option_and_the_value(name, value):
    with pytest.raises(InputError, match=name) as caught:
        SACBNetConfig(**{name: value})
    assert str(value).strip("()") in str(caught.value)


def test_unknown_options_are_named():
    with pytest.raises(InputError, match="num_k"):
        SACBNetConfig.from_dict({"num_k": 7})
