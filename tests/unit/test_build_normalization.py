"""Which normalisation a network has: said by the pipelines, one rule for training, testing, export and prediction."""

import numpy as np
import paddle
import pytest

from paddlevideo.build import deployed_network, network, normalization_of, pipelines_of
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.inference.export import export
from paddlevideo.inference.exported import Export, read_description
from paddlevideo.loader.pipelines.base import Transform
from paddlevideo.registry import TRANSFORMS
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from tests.tiny import run_test, tsm_config


def normalization(config):
    return normalization_of(pipelines_of(config), config.source)


OTHER = {"Normalization": {"mean": [0.5] * 3, "std": [0.5] * 3}}


@pytest.fixture
def own(monkeypatch):
    """Registers an operator of a user's, which makes of the clip what ``function`` gives."""

    def register(function, **attributes):
        def call(self, sample, rng):
            return {**sample, "imgs": function(sample["imgs"])}

        cls = type("OwnTransform", (Transform,), {"__call__": call, **attributes})
        monkeypatch.setitem(TRANSFORMS._classes, "OwnTransform", cls)

    return register


def config_of(clips, folder, **transforms):
    """The tiny TSM, with other operators behind the crop of some splits."""
    config = tsm_config(clips, folder) | {"epochs": 1}
    for split, steps in transforms.items():
        config["PIPELINE"][split]["transform"][1:] = steps
    return Config(config)


def weights_of(config, folder):
    path = folder / "tsm.pdparams"
    write_pickle(path, {name: value.numpy() for name, value in deployed_network(config).state_dict().items()})
    return path


def ways(config, weights, folder):
    """Everything that builds the network."""
    yield lambda: network(config)
    yield lambda: train(config, Options(max_iters=1))
    yield lambda: run_test(config, Options(weights=str(weights), max_iters=1))
    yield lambda: export(config, weights, folder / "exported", say=lambda line: None)


ON_WORKER = {"Normalization": {"mean": [0.45] * 3, "std": [0.225] * 3, "device": False}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": [OTHER]}, "Normalization differs between pipelines"),
        ({"train": [OTHER], "valid": [OTHER]}, "Normalization differs between pipelines"),
        ({"test": [ON_WORKER]}, "test normalises by itself .* train, valid does not"),
        (
            {"train": [ON_WORKER], "valid": [ON_WORKER], "test": []},
            "train, valid normalises .* test does not",
        ),
    ],
)
def test_pipelines_that_do_not_agree_are_refused_everywhere(clips, tmp_path, changes, message):
    weights = weights_of(config_of(clips, tmp_path), tmp_path)
    config = config_of(clips, tmp_path / "run", **changes)
    for build in ways(config, weights, tmp_path):
        with pytest.raises(ConfigError, match=message):
            build()


def test_a_pipeline_without_normalization_gets_the_others(clips, tmp_path):
    mean, std = normalization(config_of(clips, tmp_path, test=[]))
    np.testing.assert_allclose([mean, std], [[0.45] * 3, [0.225] * 3], rtol=1e-6)
    everywhere = {split: [ON_WORKER] for split in ("train", "valid", "test")}
    assert normalization(config_of(clips, tmp_path, **everywhere)) is None


def seen_by_the_backbone(config, weights, folder):
    """Mean and deviation of what reaches the backbone in a test."""
    from paddlevideo.modeling.backbones.resnet_tsm import ResNetTSM

    figures, forward = [], ResNetTSM.forward

    def spy(self, x, *more):
        figures.append((float(x.mean()), float(x.std())))
        return forward(self, x, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResNetTSM, "forward", spy)
        run_test(config, Options(weights=str(weights), max_iters=1))
    return figures[0]


def levels(imgs):
    return imgs.astype(np.float32)


@pytest.mark.parametrize("give", [levels, lambda imgs: levels(imgs) / 255, lambda imgs: imgs.astype(np.int16)])
def test_pixels_that_are_no_levels_and_not_called_normalised_are_refused_by_name(clips, tmp_path, own, give):
    own(give)
    plain = config_of(clips, tmp_path / "plain")
    steps = ["OwnTransform", plain.section("PIPELINE")["test"]["transform"][1]]
    config = config_of(clips, tmp_path / "own", **dict.fromkeys(("train", "valid", "test"), steps))
    weights = weights_of(plain, tmp_path)
    for build in list(ways(config, weights, tmp_path))[1:]:
        with pytest.raises(UserError, match=r"transform\[1\] \(OwnTransform\): gives (float32|int16) pixels.*np.rint"):
            build()


def test_an_own_operator_gives_levels_or_reports_that_it_normalises(clips, tmp_path, own):
    plain = config_of(clips, tmp_path / "plain")
    weights = weights_of(plain, tmp_path)
    expected = seen_by_the_backbone(plain, weights, tmp_path)
    own(lambda imgs: np.clip(np.rint(levels(imgs)), 0, 255).astype(np.uint8))
    steps = ["OwnTransform", plain.section("PIPELINE")["test"]["transform"][1]]
    rounded = config_of(clips, tmp_path / "rounded", test=steps)
    np.testing.assert_allclose(seen_by_the_backbone(rounded, weights, tmp_path), expected, rtol=1e-5)
    own(lambda imgs: ((imgs / 255 - 0.45) / 0.225).astype(np.float32), normalizes=True)
    with pytest.raises(ConfigError, match="a second Normalization"):
        normalization(config_of(clips, tmp_path, test=steps))
    everywhere = {split: ["OwnTransform"] for split in ("train", "valid", "test")}
    floats = config_of(clips, tmp_path / "floats", **everywhere)
    np.testing.assert_allclose(seen_by_the_backbone(floats, weights, tmp_path), expected, rtol=1e-5)
    report = export(floats, weights, tmp_path / "exported", say=lambda line: None)
    assert read_description(report.program.parent).input["dtype"] == "float32"


def test_another_pipeline_for_an_export_must_leave_it_the_same_normalization(clips, tmp_path):
    config = config_of(clips, tmp_path)
    export(config, weights_of(config, tmp_path), tmp_path / "exported", say=lambda line: None)
    exported = Export.find(tmp_path / "exported", None, print)
    assert exported.pipeline(config.section("PIPELINE")["test"]).where == "PIPELINE.test"
    for steps in ([OTHER], [ON_WORKER]):
        other = config_of(clips, tmp_path, test=steps).section("PIPELINE")["test"]
        with pytest.raises(ConfigError, match="Normalization differs|normalises by itself"):
            exported.pipeline(other)


def test_floats_do_not_switch_a_networks_normalization_off(clips, tmp_path):
    built = network(config_of(clips, tmp_path))
    with pytest.raises(UserError, match="imgs are float32"):
        built.view_logits(paddle.zeros([1, 1, 4, 32, 32, 3]))
