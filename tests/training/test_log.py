import csv

import pytest

from sacbnet.errors import InputError
from sacbnet.training.log import COLUMNS, METRICS, Log, read_metrics
from sacbnet.training.pairs import stored_pair


def test_rows_and_what_a_resumed_run_drops(tmp_path):
    log = Log(tmp_path, 0, print)
    for step in (1, 2, 3):
        log.row(step, {"loss": step / 3, "seconds": 1.0})
    log.row(3, {"validation_dice": 0.5})
    log.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write("4,1.0,")  # a line that a killed process did not finish
    Log(tmp_path, 2, print).close()
    rows = list(csv.DictReader((tmp_path / METRICS).open()))
    assert [row["step"] for row in rows] == ["1", "2"] and tuple(rows[0]) == COLUMNS
    assert float(rows[1]["loss"]) == 0.6666667


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\xff\xfe\n1\n", b"step\n" + b"1" * 200_000])
def test_damaged_tables_are_named(tmp_path, content):
    (tmp_path / METRICS).write_bytes(content)
    with pytest.raises(InputError, match="is no table of a training"):
        read_metrics(tmp_path / METRICS)


def test_tensorboard_has_scalars_and_slices(tmp_path, pack):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from sacbnet.config.recipe import LossOptions
    from sacbnet.training.team import Team
    from sacbnet.training.validate import validate

    log = Log(tmp_path, 0, print)
    log.row(5, {"loss": 0.25, "validation_dice": 0.5})
    log.picture(
        5, validate(None, lambda n: stored_pair(pack, 0, 1), 1, (1, 2), LossOptions(), Team())[1]
    )
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"training/loss", "validation/dice"} <= set(events.Tags()["scalars"])
    assert events.Scalars("validation/dice")[0].value == 0.5 and len(events.Tags()["images"]) == 3
    assert read_metrics(tmp_path / METRICS)[0]["validation_dice"] == "0.5"
