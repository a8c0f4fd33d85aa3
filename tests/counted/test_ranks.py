"""What an optimizer step of two ranks costs: one exchange of flags, and no request to the job's store."""

import json
from pathlib import Path

import pytest

from tests.tiny import save, tsm_config
from tests.unit.engine.test_distributed import launch

pytestmark = pytest.mark.xdist_group("distributed")

# over gloo a barrier before the gradients' all_reduce, and the flags; over NCCL the flags are summed on the device
_COST = {
    "GLOO": {"exchanges": 2, "collectives": 0, "reads": 1, "store bytes": 0},
    "NCCL": {"exchanges": 0, "collectives": 1, "reads": 1, "store bytes": 0},
}


@pytest.mark.parametrize("backend", ["GLOO", pytest.param("NCCL", marks=pytest.mark.slow)])
def test_a_step_of_two_ranks_reads_once_exchanges_once_and_uses_no_store(clips, tmp_path, backend):
    config = tsm_config(clips, tmp_path / "run") | {"epochs": 2, "GRADIENT_ACCUMULATION": {"num_iters": 2}}
    file = save(config, tmp_path / "config.yaml")
    script = (str(Path(__file__).with_name("two_ranks.py")),)
    done = launch(2, file, tmp_path / "log", *([backend] if backend == "NCCL" else []), script=script)
    lines = [line for line in done.stdout.splitlines() if line.startswith("steps: ")]
    assert len(lines) == 2, done.stdout[-2000:]
    for line in lines:
        steps = json.loads(line.removeprefix("steps: "))
        assert steps == [_COST[backend]] * 2
