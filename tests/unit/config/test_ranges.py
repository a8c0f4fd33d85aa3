"""Values that cannot be meant are refused by --check, and by the constructors, from one place: the annotation."""

import random
from pathlib import Path
from typing import Annotated

import pytest
import yaml

from paddlevideo.build import load_run_config
from paddlevideo.config import load_config
from paddlevideo.config.merging import read_with_bases
from paddlevideo.errors import ConfigError
from paddlevideo.ranges import Divides, PositiveInt, Probability, limited, mistakes
from paddlevideo.registry import BACKBONES, DATASETS, FRAMEWORKS, HEADS, LOSSES, METRICS, TRANSFORMS, Registry

ROOT = Path(__file__).resolve().parents[3]
LEAVES = [p for p in sorted((ROOT / "configs").rglob("*.yaml")) if "_base_" not in p.parts]
TSM = ROOT / "configs" / "recognition" / "tsm" / "tsm_k400_frames.yaml"
TIMESFORMER = ROOT / "configs" / "recognition" / "timesformer" / "timesformer_k400_videos.yaml"


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("OPTIMIZER.momentum=9", "OPTIMIZER.momentum: expected 0 to below 1, got 9"),
        ("OPTIMIZER.momentum=-0.9", "OPTIMIZER.momentum: expected 0 to below 1, got -0.9"),
        ("checkpoint_steps=-5", "checkpoint_steps: expected at least 0, got -5"),
        ("GRADIENT_ACCUMULATION.num_iters=0", "GRADIENT_ACCUMULATION.num_iters: expected at least 1, got 0"),
        ("MODEL.head.drop_ratio=1.5", "MODEL.head.drop_ratio: expected 0 to below 1, got 1.5"),
        ("DATASET.num_workers=-2", "DATASET.num_workers: expected at least 0, got -2"),
        ("MODEL.runtime_cfg={tests: {avg_type: prob}}", "MODEL.runtime_cfg.tests: unknown key; did you mean 'test'?"),
        ("MODEL.runtime_cfg={test: {avg_type: probs}}", "avg_type: expected one of score, prob, none, got 'probs'"),
        ("MODEL.head.num_classes=1", "MODEL.head.num_classes: expected at least 2, got 1"),
        ("MODEL.head.num_classes=0", "MODEL.head.num_classes: expected at least 2, got 0"),
        ("MODEL.framework=Recognizer3D", "feeds volumes or tokens, ResNetTSM takes frames; take Recognizer2D"),
        ("MODEL.head.loss_cfg={name: HingeLoss}", "MODEL.head.loss_cfg.name: there is no loss 'HingeLoss'"),
        ("MODEL.backbone.depth=51", "MODEL.backbone.depth: expected one of 18, 34, 50, 101, got 51"),
        ("log_level=LOUD", "log_level: expected one of DEBUG, INFO, WARNING, ERROR, got 'LOUD'"),
        ("EMA.decay=2", "EMA.decay: expected 0 to below 1, got 2"),
        ("log_sinks=[csvv]", "log_sinks[0]: expected one of csv, mlflow, tensorboard, visualdl, wandb, got 'csvv'"),
        ("LOGGING=[{wandb: {projekt: x}}]", "LOGGING[0].wandb.projekt: unknown key; did you mean 'project'?"),
        ("LOGGING=[{WandB: {mode: on}}]", "LOGGING[0].WandB.mode: expected one of offline, online, disabled, got True"),
        ("LOGGING=[csv, {CSV: null}]", "LOGGING: csv is named 2 times; expected once"),
        ("METRIC.topk=[]", "METRIC.topk: expected at least one element, got []"),
        ("METRIC.topk=[1, 0]", "METRIC.topk[1]: expected at least 1, got 0"),
        ("LOGGING=cvs", "LOGGING: expected one of csv, mlflow, tensorboard, visualdl, wandb, or a list of them, got"),
        ("LOGGING=[3]", "LOGGING[0]: expected one of csv, mlflow, tensorboard, visualdl, wandb, got 3"),
        ("LOGGING={csv: {x: 1}}", "LOGGING.csv: has no options, got {'x': 1}"),
        ("LOGGING={wandb: {x: 1}}", "LOGGING.wandb.x: unknown key; there are: entity, group, mode, name, project"),
        ("LOGGING={csv: null, wandb: null}", "LOGGING: expected one name per entry, as in [csv, wandb], got {'csv'"),
        ("OPTIMIZER.weight_decay.value=-1", "OPTIMIZER.weight_decay.value: expected at least 0, got -1"),
        ("PIPELINE.train.transform.0.MultiScaleCrop.target_size=0", "target_size: expected at least 1, got 0"),
        ("MIX={name: Mixup, alpha: -1}", "MIX.alpha: expected above 0, got -1"),
        ("MODEL.backbone.non_local={mde: gaussian}", "MODEL.backbone.non_local.mde: unknown key; did you mean 'mode'?"),
        ("MODEL.backbone.non_local={mode: gausian}", "non_local.mode: expected one of embedded_gaussian, gaussian,"),
        ("MODEL.backbone.non_local={sub_sample: 3}", "MODEL.backbone.non_local.sub_sample: expected bool, got 3"),
        ("MODEL.backbone.non_local={blocks: [[2]]}", "non_local.blocks[0][0]: expected one of 0, 1, got 2"),
        ("MODEL.backbone.shift_div=1", "MODEL.backbone.shift_div: expected at least 2, got 1"),
        ("num_seg=1", "MODEL.backbone.num_seg: 1 is not possible with shift_div None, shift True, shift_direction"),
        ("PIPELINE.train.decode={name: VideoDecoder, backend: pyva}", "decode.backend: expected one of pyav, pyav_seq"),
        ("MODEL.freeze=[backbone, bakbone]", "MODEL.freeze[1]: expected backbone or head, or a part of one"),
        ("PIPELINE.test.transform.3.Normalization.std=[0.4, 0.4, 0.4]", "0.406] std [0.4, 0.4, 0.4])"),
        ("PIPELINE.test.transform.3.Normalization.mean=[0.4]", "mean and std are those of three channels"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused(assignment, words):
    with pytest.raises(ConfigError) as caught:
        load_run_config(TSM, [assignment])
    assert len(caught.value.problems) == 1 and words in caught.value.problems[0], caught.value


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("MODEL.backbone.num_heads=7", "MODEL.backbone.num_heads: expected a divisor of embed_dim (768), got 7"),
        ("MODEL.backbone.drop_path_rate=-1", "MODEL.backbone.drop_path_rate: expected 0 to below 1, got -1"),
        (
            "MODEL.framework=Recognizer2D",
            "Recognizer2D feeds frames, VisionTransformer takes tokens; take",
        ),
        ("MODEL.framework=FastRCNN", "FastRCNN feeds volumes, VisionTransformer takes tokens"),
    ],
)
def test_values_that_only_another_argument_limits(assignment, words):
    with pytest.raises(ConfigError, match="mistake") as caught:
        load_run_config(TIMESFORMER, [assignment])
    assert any(words in problem for problem in caught.value.problems), caught.value


@pytest.mark.parametrize(
    "value, annotation, words",
    [
        (1, "PositiveInt | None", None),
        (None, "PositiveInt | None", None),
        (0, "PositiveInt | None", "K: expected at least 1, got 0"),
        ("x", "PositiveInt | None", "K: expected int | None, got 'x'"),
        (True, "PositiveInt", "K: expected int, got True"),
        (float("nan"), "Positive", "K: expected above 0, got nan"),
        ("auto", "NumClasses | Literal['auto']", None),
        (1, "NumClasses | Literal['auto']", "K: expected at least 2, got 1"),
        ([3, 0], "PositiveInt | list[PositiveInt]", "K[1]: expected at least 1, got 0"),
        (7, "Annotated[int, Divides('embed_dim')]", "K: expected a divisor of embed_dim (24), got 7"),
        (11, "typing.Annotated[int, Range(0, 10)]", "K: expected 0 to 10, got 11"),
        (object(), "Any", None),
        (3, "SomeClass", None),
    ],
)
def test_annotations_as_the_source_has_them(value, annotation, words):
    assert mistakes(value, annotation, "K", {"embed_dim": 24}) == ([] if words is None else [words])


def test_a_class_built_from_python_refuses_the_same_values():
    registry = Registry("thing", "nowhere")

    @registry.register
    class Thing:
        def __init__(self, width: PositiveInt, heads: Annotated[int, Divides("width")] = 1, drop: Probability = 0.0):
            self.width = width

    @registry.register
    class Wider(Thing):
        pass

    assert Thing(4, heads=2).width == 4
    for cls in (Thing, Wider):
        with pytest.raises(ValueError) as caught:
            cls(4, 3, drop=2)
        heads = "heads: expected a divisor of width (4), got 3"
        assert caught.value.problems == [heads, "drop: expected 0 to 1, got 2"]
    with pytest.raises(ConfigError, match="T .Thing.: width: expected at least 1, got 0"):
        registry.build({"name": "Thing", "width": 0}, "T")
    with pytest.raises(ConfigError, match="MODEL.head .TSMHead.: drop_ratio: expected 0 to below 1"):
        HEADS.build({"name": "TSMHead", "num_classes": 2, "in_channels": 8, "drop_ratio": 1.5}, "MODEL.head")


def test_numbers_of_registered_classes_have_a_range_or_a_reason():
    """A new argument says which numbers it takes; those without limits are listed, with what they may be."""
    free = {
        "BBoxHeadAVA.focal_alpha", "AVAMetric.score_threshold", "RandomSampler.neg_pos_ub",
        "AugMix.depth",
        "AVADataset.num_classes", "FrameDataset.num_classes", "ShardDataset.num_classes",
        "SFVideoDataset.num_classes", "SpanDataset.num_classes", "VideoDataset.num_classes",
    }  # fmt: skip
    found = set()
    for registry in (FRAMEWORKS, BACKBONES, HEADS, LOSSES, DATASETS, TRANSFORMS, METRICS):
        for name in registry.names():
            entry = registry.entry(name)
            for parameter in entry.parameters or ():
                words = set((parameter.annotation or "").replace("|", " ").split())
                if words & {"int", "float"} and not words & {"bool"} and not limited(parameter.annotation):
                    found.add(f"{entry.class_name}.{parameter.name}")
    assert found == free


# --- typos -----------------------------------------------------------------------------------------------------------


def keys(node, path=()):
    """Every key of a configuration: the mapping it stands in, the key, and its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield node, key, path
            yield from keys(value, (*path, key))
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from keys(item, (*path, i))


def misspelt(word, rng):
    """One letter dropped, doubled, exchanged with its neighbour, or replaced."""
    i = rng.randrange(len(word) - 1)
    letters = rng.choice(
        [word[i + 1], word[i] * 2 + word[i + 1], word[i + 1] + word[i], rng.choice("abcdefghij") + word[i + 1]]
    )
    typo = word[:i] + letters + word[i + 2 :]
    return typo if typo != word else misspelt(word, rng)


def is_free(path):
    """Names of a pipeline's steps and of protocols are anybody's choice, and INFERENCE is read past."""
    if path[0] == "PROTOCOLS":
        return len(path) <= 3
    return path[0] == "INFERENCE" or (path[0] == "PIPELINE" and len(path) == 3)


@pytest.mark.scorecard(35, times=60)
def test_sixty_random_typos_are_refused_and_the_right_key_is_named(tmp_path):
    rng = random.Random(11)
    named = refused = free = 0
    missed = []
    while refused + free < 60:
        file = rng.choice(LEAVES)
        data, _ = read_with_bases(file)
        owner, key, path = rng.choice([found for found in keys(data) if len(found[1]) > 2])
        typo = misspelt(key, rng)
        if typo in owner:
            continue
        items = [(typo if other == key else other, value) for other, value in owner.items()]
        owner.clear()
        owner.update(items)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        where = (*path, key)
        try:
            load_run_config(tmp_path / "c.yaml")
        except ConfigError as error:
            refused += 1
            lines = error.problems
            if any(f"did you mean {key!r}" in line or f"mean it by {typo!r}" in line for line in lines):
                named += 1
            else:
                missed.append((file.stem, ".".join(map(str, where)), typo, lines))
        else:
            assert is_free(where), (file.stem, where, typo)
            free += 1
    assert named >= 55 - free, "\n".join(map(str, missed))


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("format", "formaat", "DATASET.train.format: is missing; did you mean it by 'formaat'?"),
        ("file_path", "filepath", "DATASET.train.file_path: is missing; FrameDataset needs it; did you mean it by"),
    ],
)  # fmt: skip
def test_a_misspelt_required_key_is_named_where_it_is_missed(tmp_path, old, new, words):
    data, _ = read_with_bases(TSM)
    data["DATASET"]["train"][new] = data["DATASET"]["train"].pop(old)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_run_config(tmp_path / "c.yaml")
    assert any(problem.startswith(words) for problem in caught.value.problems), caught.value


def test_lists_of_names_are_sorted():
    with pytest.raises(ConfigError) as caught:
        load_run_config(TSM, ["OPTIMIZER.learning_rate.name=Qqqq", "METRIC.name=Zzzz"])
    for problem in caught.value.problems:
        names = problem.partition("there are: ")[2].partition("  (")[0].split(", ")
        assert len(names) > 1 and names == sorted(names), problem


def test_a_layout_that_no_framework_feeds_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "own.py").write_text(
        "from paddlevideo.modeling.backbones.resnet_tsm import ResNetTSM\n"
        "from paddlevideo.registry import BACKBONES\n\n\n"
        '@BACKBONES.register\nclass OneFrame(ResNetTSM):\n    layout = "frame"\n'
    )
    with pytest.raises(ConfigError, match="OneFrame takes frame; did you mean 'frames'"):
        load_config("tsm_own_videos", ["MODEL.backbone.name=OneFrame"], imports=str(tmp_path / "own.py"))


def test_the_list_of_sinks_has_two_names_and_one_of_them_is_given():
    with pytest.raises(ConfigError) as caught:
        load_run_config(TSM, ["LOGGING=[csv]", "log_sinks=[TensorBoard]"])
    (problem,) = caught.value.problems
    assert problem.startswith("log_sinks: another name of LOGGING, and both are given; keep LOGGING")
    for key in ("LOGGING", "log_sinks"):
        assert load_run_config(TSM, [f"{key}=[CSV]"]).settings.sinks == {"csv": {}}
        assert load_run_config(TSM, [f"{key}=CSV"]).settings.sinks == {"csv": {}}
        one = load_run_config(TSM, [f"{key}={{WandB: {{project: x}}}}"])
        assert one.settings.sinks == {"wandb": {"project": "x"}}
