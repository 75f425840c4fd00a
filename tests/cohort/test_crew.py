"""Worker processes: each item once, whatever is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sacbnet.cohort.crew import Crew, Lost, cores, crew_of, workers_here
from sacbnet.errors import InputError


@pytest.fixture(scope="module")
def crew():
    """Two processes, which find `work_for_crew`."""
    before = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [before])])
    sys.path.insert(0, here)
    environment = dict(os.environ)
    try:
        with crew_of(2) as found:
            yield found
        assert dict(os.environ) == environment  # Dask's own settings are taken back
    finally:
        sys.path.remove(here)
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def test_each_item_is_done_once_and_a_killed_process_costs_none(crew, tmp_path):
    from work_for_crew import double

    items = [(n, None) for n in range(6)]
    items[2] = (2, tmp_path / "once")
    items[4] = (4, tmp_path / "always")
    found = dict(crew.results(double, items))
    assert sorted(found) == list(range(6))
    assert [found[n][0] for n in (0, 1, 2, 3, 5)] == [0, 2, 4, 6, 10]
    assert isinstance(found[4], Lost) and "were killed each time" in found[4].sentence
    pids = {found[n][1] for n in (0, 1, 2, 3, 5)}
    assert os.getpid() not in pids and len(pids) >= 2


def test_an_error_of_the_work_ends_it(crew):
    from work_for_crew import double

    with pytest.raises(ValueError, match="-3 is negative"):
        list(crew.results(double, [(1, None), (-3, None)]))


def test_a_scheduler_elsewhere_does_the_work(crew):
    """By its address, as in another process; its workers stay when the client goes."""
    from work_for_crew import double

    with crew_of(1, crew.client.scheduler.address) as other:
        assert isinstance(other, Crew) and other.threads is None
        assert dict(other.results(double, [(5, None)]))[0][0] == 10
    assert dict(crew.results(double, [(7, None)]))[0][0] == 14


def test_an_address_without_a_scheduler_is_told(monkeypatch):
    monkeypatch.setattr("sacbnet.cohort.crew._PATIENCE", 0.3)
    with pytest.raises(InputError, match="no scheduler of Dask answers at tcp://"):  # noqa: SIM117
        with crew_of(1, "tcp://127.0.0.1:9"):
            pass
    with pytest.raises(InputError, match="no scheduler of Dask answers at nonsense"):  # noqa: SIM117
        with crew_of(1, "nonsense://x"):
            pass


def test_one_worker_is_this_process():
    with crew_of(1) as none:
        assert none is None


def test_workers_do_not_fight_for_cores(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cores() == 16 and workers_here(gpus=3) == 3
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 64 * 2**30}))
    assert workers_here() == 4
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 7 * 2**30}))
    assert workers_here() == 2
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 2**30}))
    assert workers_here() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert cores() == 6
