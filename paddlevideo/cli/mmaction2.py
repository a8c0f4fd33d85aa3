"""MMAction2's command lines in this suite's terms: its options as file, values and device."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paddlevideo.cli import options
from paddlevideo.environment import is_main, world_size
from paddlevideo.errors import ConfigError, UserError

if TYPE_CHECKING:
    from paddlevideo.config import Config

# MMAction2 0.x path -> ours; the longest beginning counts, and what follows it is kept
_SECTIONS = {
    "model": "MODEL",
    "model.cls_head": "MODEL.head",
    # TimeSformer's
    "model.backbone.num_frames": "MODEL.backbone.num_seg",
    "model.backbone.embed_dims": "MODEL.backbone.embed_dim",
    "model.backbone.num_transformer_layers": "MODEL.backbone.depth",
    "model.backbone.dropout_ratio": "MODEL.backbone.drop_rate",
    "model.test_cfg.average_clips": "MODEL.runtime_cfg.test.avg_type",
    "model.train_cfg.blending": "MIX",
    "data.videos_per_gpu": "DATASET.batch_size",
    "data.workers_per_gpu": "DATASET.num_workers",
    "data.train_dataloader.videos_per_gpu": "DATASET.batch_size",
    "data.val_dataloader.videos_per_gpu": "DATASET.valid_batch_size",
    "data.test_dataloader.videos_per_gpu": "DATASET.test_batch_size",
    "data": "DATASET",
    "data.val": "DATASET.valid",
    "train_pipeline": "PIPELINE.train",
    "val_pipeline": "PIPELINE.valid",
    "test_pipeline": "PIPELINE.test",
    "optimizer": "OPTIMIZER",
    "optimizer.lr": "OPTIMIZER.learning_rate.base_lr",
    "optimizer.weight_decay": "OPTIMIZER.weight_decay.value",
    "optimizer_config.grad_clip.max_norm": "OPTIMIZER.grad_clip.value",
    "lr_config": "OPTIMIZER.learning_rate",
    "lr_config.step": "OPTIMIZER.learning_rate.milestones",
    "total_epochs": "epochs",
    "evaluation.interval": "val_interval",
    "checkpoint_config.interval": "save_interval",
    "log_config.interval": "log_interval",
    "work_dir": "output_dir",
    "load_from": "MODEL.backbone.pretrained",
    "resume_from": "--resume-from, an option of its own",
}
_WORDS = {
    "num_segments": "num_seg",
    "dropout_ratio": "drop_ratio",
    "init_std": "std",
    "ann_file": "file_path",
    "filename_tmpl": "suffix",
    "type": "name",
}


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """The options that both commands have."""
    add = parser.add_argument
    add("config", help="YAML file; a .py path stands for the .yaml file beside it")
    add("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE",
        help="values of the configuration by this suite's key paths, e.g. DATASET.batch_size=4")  # fmt: skip
    options.add_imports(parser)
    add("--launcher", choices=("none", "pytorch", "slurm"), default="none",
        help="accepted; several ranks are always started by python -m paddle.distributed.launch")  # fmt: skip
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    options.add_device(parser)


def yaml_path(config: str) -> Path:
    """The YAML file of CONFIG; prints its path if a ``.py`` was named.

    Raises:
        UserError: there is no such file; the nearest name is suggested.
    """
    from paddlevideo.config.finding import find_config

    path = Path(config)
    file = find_config(path.with_suffix(".yaml") if path.suffix == ".py" else path)
    if path.suffix == ".py" and is_main():
        print(f"{path}: configurations are YAML here; using {file}")
    return file


def overrides(cfg_options: Sequence[str]) -> list[str]:
    """``--cfg-options`` as overrides; ``a=1,2`` is a list, as in MMAction2.

    Raises:
        ConfigError: a path is MMAction2's; ours is named.
    """
    problems, found = [], []
    for option in cfg_options:
        path, equals, value = option.partition("=")
        if not equals:
            problems.append(f"{option}: expected KEY=VALUE")
        elif ours := _ours(path):
            problems.append(f"{path}: is MMAction2's path; here it is {ours}")
        found.append(f"{path}=[{value}]" if "," in value and value[0] not in "[({'\"" else option)
    if problems:
        raise ConfigError("--cfg-options", problems)
    return found


def _ours(path: str) -> str | None:
    """Our key path for one of MMAction2's, or None if it is not one."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        ours = _SECTIONS.get(".".join(parts[:count]))
        if ours:
            return ".".join([ours, *(_WORDS.get(part, part) for part in parts[count:])])
    return None


def with_average(config: Config, how: str) -> Config:
    """The configuration with ``--average-clips``; also where it has no ``runtime_cfg`` yet.

    Args:
        how: prob, score or none.
    """
    from paddlevideo.config import Config

    data = config.to_dict()
    runtime = data["MODEL"].get("runtime_cfg") or {}
    data["MODEL"]["runtime_cfg"] = {**runtime, "test": {**(runtime.get("test") or {}), "avg_type": how}}
    return Config(data, config.source)


def note_launcher(launcher: str) -> None:
    """Warns that a launcher was named but one process runs."""
    if launcher != "none" and world_size() == 1:
        print(
            f"--launcher {launcher}: this is one process; several ranks are started by python -m "
            'paddle.distributed.launch --gpus="0,1,..." before the name of this script'
        )


def device_of(device: str, gpus: int | None, gpu_ids: Sequence[int] | None) -> str:
    """The device of ``--gpus`` or ``--gpu-ids``; several GPUs need the launcher.

    Raises:
        UserError: several GPUs for one process, or a number that is not the number of ranks.
    """
    ranks = world_size()
    if gpu_ids is not None:
        gpus = len(gpu_ids)
    if gpus is None:
        return device
    if ranks == 1 and gpus <= 1:
        return "cpu" if gpus == 0 else f"gpu:{gpu_ids[0]}" if gpu_ids else "gpu"
    if gpus != ranks:
        ids = ",".join(map(str, gpu_ids or range(gpus)))
        raise UserError(
            f"{gpus} GPUs are given, and {ranks} process(es) run: one drives one GPU; start with "
            f'python -m paddle.distributed.launch --gpus="{ids}" tools/train.py ...'
        )
    return device
