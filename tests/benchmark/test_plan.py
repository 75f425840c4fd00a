"""Plans as TOML: errors name the option; the recipes of a method; the plans of the package."""

from __future__ import annotations

import pytest

from sacbnet.benchmark.plan import find_plan, plan_from_dict, read_plan
from sacbnet.errors import InputError

OURS = {"name": "ours", "train": []}
SHIPPED = sorted(path.stem for path in find_plan("hippocampus").parent.glob("*.toml"))


def toy(*methods, **more):
    return {
        "name": "toy",
        "recipe": "hippocampus",
        "steps": 7,
        "method": list(methods) or [OURS],
    } | more


def test_what_a_plan_means():
    plan = plan_from_dict(
        toy(
            OURS,
            {"name": "No SACB!", "train": ["model.sacb_levels=[]"], "seeds": [3, 4]},
            {"name": "t", "tool": "syn"},
            changes=["optimiser.clip=1"], seeds=[1],
        )
    )  # fmt: skip
    ours, bare, tool = plan.methods
    assert bare.slug == "no-sacb" and [plan.seeds_of(m) for m in plan.methods] == [
        (1,),
        (3, 4),
        (None,),
    ]
    (recipe,) = plan.recipes(bare, 3)
    assert (
        recipe.model.sacb_levels == ()
        and recipe.optimiser.clip == 1
        and recipe.name == "toy: No SACB!"
    )
    assert (recipe.run.steps, recipe.run.validate_every, recipe.run.seed) == (7, 7, 3)
    assert plan.recipes(ours, 1)[0].model.sacb_levels == (2, 3, 4, 5) and tool.train is None
    assert plan.data().validation == "160:200" and plan.data().validation_pairs == "cyclic"
    other = plan_from_dict(toy(subset="0:3", pairs="all", keep="best", steps=0))
    assert (
        other.data().validation == "0:3"
        and other.data().validation_pairs == "all"
        and other.data().labels == (1, 2)
    )
    (whole,) = other.recipes(other.methods[0], 0)
    assert whole.run.steps == 4000 and whole.run.validate_every == 250  # the recipe's own


def test_stages_share_the_steps():
    stages = [{"train": ["model.base_channels=1"]}, {}, {"share": 2}]
    plan = plan_from_dict(
        toy({"name": "s", "train": ["model.clusters=2"], "stage": stages}, steps=10)
    )
    found = plan.recipes(plan.methods[0], 0)
    assert [r.run.steps for r in found] == [2, 3, 5] and [r.model.base_channels for r in found] == [
        1,
        4,
        4,
    ]
    assert all(r.model.clusters == (2, 2, 2, 2) for r in found)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        (toy(stepz=3), "no option stepz; known are name"),
        (toy(steps="7"), "steps is '7'; a whole number was expected"),
        (toy(steps=-1), "steps is -1"),
        (toy(keep="first"), "keep is 'first'; last or best was expected"),
        (toy(pairs="some"), "pairs is 'some'"),
        (toy(seeds=[]), "no seeds"),
        ({"name": "toy"}, r"no \[\[method\]\]"),
        (toy(method=[3]), r"method is \[3\]; a list of tables was expected"),
        (toy({"name": "a"}), "'a' has none of train, weights, tool; exactly one"),
        (toy({"name": "a", "tool": "syn", "train": []}), "has train and tool of"),
        (toy({"train": []}), r"lacks the option method\[0\]\.name"),
        (toy({"name": "?", "train": []}), r"method\['\?'\]\.name is"),
        (
            toy({"name": "a", "tool": "flirt"}),
            r"method\['a'\]\.tool is 'flirt'; syn, greedy or elastix was",
        ),
        (
            toy({"name": "a", "tool": "syn", "refine": 3}),
            "preset, refine or repair, which are options of our networks",
        ),
        (
            toy({"name": "a", "tool": "syn", "affine": "rigid"}),
            r"method\['a'\]\.affine is 'rigid'; none or affine was",
        ),
        (
            toy({"name": "a", "weights": "none", "preset": "slow"}),
            r"method\['a'\]\.preset is 'slow'",
        ),
        (
            toy({"name": "a", "weights": "none", "refine": "3"}),
            r"method\['a'\]\.refine is '3'; a whole number",
        ),
        (
            toy({"name": "a", "weights": "none", "seeds": [1]}),
            "has stages or seeds, but is not trained",
        ),
        (
            toy({"name": "a", "train": [], "stage": [{"share": 0}]}),
            r"method\['a'\]\.stage\[0\]\.share is 0",
        ),
        (
            toy({"name": "a", "train": [], "stage": [{"shares": 1}]}),
            r"no option method\['a'\]\.stage\[0\]\.shares",
        ),
        (toy(OURS, OURS), "two methods have the name 'ours'"),
        (toy(OURS, {"name": "Ours", "train": []}), "two methods have the slug 'ours'"),
    ],
)
def test_errors_name_the_option(tree, told):
    with pytest.raises(InputError, match=told):
        plan_from_dict(tree)


def test_a_file_is_checked_as_a_whole(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(
        'recipe = "hippocampus"\n[[method]]\nname = "a"\ntrain = ["model.nonsense=3"]\n'
    )
    with pytest.raises(InputError, match=r"model.nonsense=3"):
        read_plan(path)
    path.write_text('[[method]]\nname = "a"\ntrain = []\n')
    with pytest.raises(InputError, match="trains, but has no recipe"):
        read_plan(path)
    path.write_text("[[method]\n")
    with pytest.raises(InputError, match="is no TOML"):
        read_plan(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "gone.toml")
    with pytest.raises(
        InputError, match=r"the benchmark 'gone' is no file, and none of .*hippocampus"
    ):
        find_plan("gone")


@pytest.mark.parametrize("name", SHIPPED)
def test_those_that_come_with_the_package(name):
    """Every override fits its network; the steps of all trainings are the same."""
    plan = read_plan(find_plan(name))
    assert plan.name == name and plan.about
    trained = [
        plan.recipes(m, seed)
        for m in plan.methods
        if m.train is not None
        for seed in plan.seeds_of(m)
    ]
    assert len({sum(recipe.run.steps for recipe in stages) for stages in trained}) <= 1


def test_the_papers_tables_have_all_their_rows():
    assert {"hippocampus", "paper-main-lpba40", "paper-main-ixi", "paper-ablation-lpba40"} <= set(
        SHIPPED
    )
    main = {m.name for m in read_plan(find_plan("paper-main-ixi")).methods}
    assert {"SACB-Net", "ModeT", "LKU-Net", "TransMorph", "affine only"} <= main
    ablation = read_plan(find_plan("paper-ablation-lpba40"))
    found = {
        (m.sacb_levels, m.clusters[0])
        for r in ablation.methods
        for m in [ablation.recipes(r, 0)[0].model]
    }
    assert {
        ((), 7),
        ((5,), 7),
        ((4, 5), 7),
        ((3, 4, 5), 7),
        ((2, 3, 4, 5), 5),
        ((2, 3, 4, 5), 11),
    } <= found
    assert ((2, 3, 4, 5), 7) in found and ablation.recipes(ablation.methods[0], 0)[
        0
    ].run.steps == 261000
