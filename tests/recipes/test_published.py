"""The published recipes: every value of published.yaml is what our configuration of that name says."""

from fnmatch import fnmatch
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.solver.lengths import Run, in_numbers
from paddlevideo.solver.lr import build_lr
from paddlevideo.solver.optimizer import parameter_groups
from tests.recipes.leaves import (
    CONFIGS,
    DETECTION,
    LEAVES,
    RECOGNITION,
    ROOT,
    SMALL_TIMESFORMER,
    clip_of,
    name_of,
    step_names,
)

FILES = {file.stem: file for file in LEAVES}


def published() -> dict[str, dict[str, Any]]:
    """File name -> key -> value, from the groups of the table; two values for one key are a mistake in it."""
    table: dict[str, dict[str, Any]] = {}
    for group in yaml.safe_load((Path(__file__).parent / "published.yaml").read_text()):
        if "rows" in group:
            rows = {name: dict(zip(group["columns"], values, strict=True)) for name, values in group["rows"].items()}
        else:
            rows = {}
            for pattern in group["files"]:
                names = [
                    file.stem for file in LEAVES if fnmatch(name_of(file) if "/" in pattern else file.stem, pattern)
                ]
                assert names, f"published.yaml: no file is called {pattern}"
                rows |= dict.fromkeys(names, group["values"])
        for name, values in rows.items():
            own = table.setdefault(name, {})
            for key, value in values.items():
                assert own.setdefault(key, value) == value, f"published.yaml: {name} has two values for {key}"
    return table


PUBLISHED = published()
MMACTION2 = {
    "recognition/tsm": 34, "recognition/timesformer": 4, "recognition/slowonly": 5, "recognition/slowfast": 2,
    "detection/ava": 15, "detection/acrn": 2,
}  # fmt: skip


def test_every_row_has_its_file_and_every_file_of_mmaction2_its_row():
    files = {folder: {file.stem for file in (CONFIGS / folder).glob("*_rgb*.yaml")} for folder in MMACTION2}
    assert {folder: len(names) for folder, names in files.items()} == MMACTION2
    assert set().union(*files.values()) <= PUBLISHED.keys() <= FILES.keys()


def figures(config: Config, file: Path, keys: list[str]) -> dict[str, Any]:
    """What each key of the table stands for in a configuration."""
    pipelines, built = config.section("PIPELINE"), None
    found: dict[str, Any] = {}
    for key in keys:
        name, _, split = key.removesuffix(")").partition("(")
        if name in ("parameters", "network") or name.startswith("network."):
            if built is None:
                with paddle.LazyGuard():  # shapes alone: drawing 1.4e9 start weights takes eight times as long
                    built = network(config, pretrained=False)
            found[key] = num_parameters(built) if name == "parameters" else attrgetter(name.partition(".")[2])(built)
        elif name == "views":
            views, frames, *side, channels = clip_of(pipelines[split]).shape
            found[key] = [views, frames, side[0]] if (side[0], channels) == (side[1], 3) else [views, frames, side]
        elif name == "steps":
            found[key] = " ".join(step_names(pipelines[split]["transform"]))
        elif name == "normalizes":
            found[key] = all(Pipeline(own, split).normalization is not None for split, own in pipelines.items())
        elif name == "label_lines":
            found[key] = len((ROOT / config["DATASET"]["label_names"]).read_text().splitlines())
        elif name == "learning_rate":
            found[key] = in_numbers(config.section("OPTIMIZER")["learning_rate"], Run(config["epochs"]), False)
        elif name == "output_dir":
            found[key] = str(config.output_dir).replace(file.stem, "(name)")
        else:
            found[key] = value_at(config.to_dict(), key)
    return found


def num_parameters(framework: Any) -> int:
    """Without the running statistics, which Paddle counts as parameters."""
    own = [p for key, p in framework.named_parameters() if not key.endswith(("._mean", "._variance"))]
    return sum(int(p.size) for p in own)


def value_at(section: Any, key: str) -> Any:
    """The value at a key path, None where there is none; a transform is found by its name."""
    for part in key.split("."):
        if isinstance(section, list):
            section = next((item[part] for item in section if not isinstance(item, str) and part in item), None)
        else:
            section = None if section is None else section.get(part)
    return section


def mismatches(config: Config, file: Path) -> list[str]:
    wanted = dict(PUBLISHED[file.stem])
    reported, rates = wanted.pop("file_says", []), wanted.pop("rates", None)
    found = figures(config, file, list(wanted))
    wrong = [f"{key}: {found[key]!r}, published {value!r}" for key, value in wanted.items() if found[key] != value]
    wrong += [f"the file does not say {text}" for text in reported if text not in file.read_text()]
    return wrong + (wrong_rates(config, **rates) if rates else [])


def wrong_rates(config, base, steps=(), cosine=False, warmup_epochs=0, warmup_iters=0, ratio=0.0):
    """The first iteration whose rate is not the formula's: steps of a tenth or a half cosine, a warm-up in front."""
    epochs, per_epoch = config["epochs"], 400 if warmup_iters else 10
    warmup = warmup_epochs * per_epoch + warmup_iters
    schedule = build_lr(config.section("OPTIMIZER")["learning_rate"], per_epoch, epochs)
    for i in range(epochs * per_epoch):
        rate = base * 0.1 ** sum(i // per_epoch >= step for step in steps)
        if cosine:
            rate *= 0.5 * (1 + np.cos(np.pi * i / (epochs * per_epoch)))
        if i < warmup:
            rate *= 1 - (1 - i / warmup) * (1 - ratio)
        ours = schedule.rate(*divmod(i, per_epoch))
        if abs(ours - rate) > 1e-9 * rate + 1e-12:
            return [f"rate of iteration {i} of {per_epoch} per epoch: {ours}, published {rate}"]
    return []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    assert mismatches(load_run_config(FILES[name]), FILES[name]) == []


def test_a_wrong_value_of_every_kind_is_noticed():
    """All at once: a value, one that should not be there, a step, a view, the rate, a text."""
    file = FILES["slowonly_r50_8x8x1_256e_kinetics400_rgb"]
    assert mismatches(load_config(file), file) == []
    changes = ("OPTIMIZER.learning_rate.base_lr=0.02", "DATASET.batch_size=9", "MODEL.backbone.depth=18",
        "MODEL.head.in_channels=512", "PIPELINE.test.sample.num_clips=9")  # fmt: skip
    broken = load_config(file, changes)
    wrong = mismatches(broken, file)
    keys = [line.partition(":")[0] for line in wrong]
    assert keys == ["DATASET.batch_size", "PIPELINE.test.sample.num_clips", "parameters",
        "rate of iteration 0 of 10 per epoch"]  # fmt: skip
    assert wrong[0] == "DATASET.batch_size: 9, published 8"


# --- rules that no row holds -----------------------------------------------------------------------------------------

TSM = [name for name in PUBLISHED if FILES[name].parent.name == "tsm"]
# protocol -> views and pixels of the side
PROTOCOLS = {
    "efficient": (1, 224), "accurate": (6, 256), "ten_crop": (10, 224), "dense": (100, 224), "dense_three": (30, 256),
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_tsm_file_can_be_tested_with_every_protocol(protocol):
    for name in TSM:
        config = load_run_config(FILES[name], [f"protocol={protocol}"])
        assert "PROTOCOLS" not in config and "protocol" not in config
        frames = config["MODEL"]["backbone"]["num_seg"]
        if name == TSM[0] or (protocol == "accurate" and frames == 16):
            count, side = PROTOCOLS[protocol]
            assert clip_of(config.section("PIPELINE")["test"]).shape == (count, frames, side, side, 3)


def test_only_fine_tuning_begins_with_weights_of_kinetics():
    for name in TSM:
        weights = load_config(FILES[name])["MODEL"]["backbone"]["pretrained"]
        assert ("k400_pretrained" in name) == ("kinetics400" in weights), name


def test_the_misspelt_name_is_the_same_configuration():
    ours, theirs = (FILES[f"timesformer_{kind}_8x32x1_15e_kinetics400_rgb"] for kind in ("spaceOnly", "sapceOnly"))
    assert load_config(ours).to_dict() == load_config(theirs).to_dict()


@pytest.mark.parametrize("kind", ["divST", "jointST", "spaceOnly"])
def test_with_no_names_every_parameter_decays_as_in_mmaction2_s_training(kind):
    """Its files exclude the embeddings under names with a leading dot, which no parameter has."""
    file = FILES[f"timesformer_{kind}_8x32x1_15e_kinetics400_rgb"]
    config = load_run_config(file, [*SMALL_TIMESFORMER, 'OPTIMIZER.no_weight_decay_name=""'])
    groups = parameter_groups(config.section("OPTIMIZER"), network(config, pretrained=False))
    assert [(group.lr_mult, group.decay_mult) for group in groups] == [(1.0, 1.0)]
    for page in ("README.md", "README_zh-CN.md"):
        assert '`OPTIMIZER.no_weight_decay_name: ""`' in (file.parent / page).read_text()


def test_paddlevideos_ava_schedule_never_falls():
    optimizer = load_config(FILES["ava"]).section("OPTIMIZER")
    schedule = build_lr(optimizer["learning_rate"], 10, 10)
    rates = [schedule.rate(*divmod(step, 10)) for step in range(100)]
    assert rates[0] == 0.0075 and rates[-1] == pytest.approx(0.075) and rates == sorted(rates)


@pytest.mark.parametrize("file", RECOGNITION + DETECTION, ids=name_of)
def test_a_leaf_opens_with_what_it_is(file):
    """Paper, launch command, hardware and published result stand in comment lines at the top."""
    lines = file.read_text().splitlines()
    opening = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert len(opening) >= 2 and any("main.py" in line for line in opening)
    if file in DETECTION:
        reported = "\n".join(opening)
        assert "Paper: " in reported and "Written for: " in reported and file.stem in reported
        assert "_demo" in file.stem or "Published" in reported
