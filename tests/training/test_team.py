import pytest

from sacbnet.errors import InputError
from sacbnet.training.team import Team, team_variables

TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "here",
    "MASTER_PORT": "1",
}
SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_JOB_ID": "7",
}


def test_a_process_on_its_own():
    assert team_variables({}) is None
    assert team_variables(TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert team_variables({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None
    # a batch script, without srun
    assert team_variables({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
    assert Team().leads and Team().gather(3) == [3] and Team().largest(2.0) == 2.0


def test_torchrun():
    assert team_variables(TORCHRUN | {"HOME": "/"}) == TORCHRUN
    with pytest.raises(InputError, match="MASTER_PORT"):
        team_variables({k: v for k, v in TORCHRUN.items() if k != "MASTER_PORT"})


def test_slurm():
    found = team_variables(SLURM | {"SLURM_JOB_NODELIST": "node7,node9"})
    assert found == {
        "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4",
        "MASTER_ADDR": "node7", "MASTER_PORT": "20007",
    }  # fmt: skip
    assert team_variables(SLURM | {"MASTER_ADDR": "a", "MASTER_PORT": "9"})["MASTER_ADDR"] == "a"


def test_torchruns_variables_come_before_slurms():
    assert team_variables(TORCHRUN | SLURM)["RANK"] == "1"
