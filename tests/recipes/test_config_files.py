"""Rules for the shipped YAML files as such: bases, names, and what two files have in common."""

import json
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from benchmarks.resolved_configs import differences, reason
from paddlevideo.config import load_config
from paddlevideo.config.augments import LEVELS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
LEAVES = [file for file in sorted(CONFIGS.rglob("*.yaml")) if "_base_" not in file.parts]
BASES = sorted((CONFIGS / "_base_").rglob("*.yaml"))
# PaddleVideo's names, which its files share; and those of the demos, which write to folders of their own
SHARED = {
    "SlowFast": {"slowfast", "slowfast_multigrid", "slowfast_synthetic_demo"},
    "TSM": {"tsm_k400_frames", "tsm_k400_frames_nhwc", "tsm_k400_videos", "tsm_motion_demo", "tsm_ucf101_frames",
            "tsm_ucf101_frames_nhwc", "tsm_ucf101_videos"},
    "ppTSM": {"pptsm_k400_frames_dense", "pptsm_k400_frames_dense_r101", "pptsm_k400_frames_uniform",
              "pptsm_k400_videos_uniform", "pptsm_mv3_k400_frames_uniform"},
    "ppTSMv2": {f"pptsm_lcnet_k400_{frames}frames_uniform{kind}" for frames in (8, 16)
                for kind in ("", "_dml_distillation")},
    "TimeSformer": {"timesformer_k400_videos", "timesformer_motion_demo"},
    "ppTimeSformer": {"pptimesformer_k400_videos", "pptimesformer_k400_videos_swa"},
    "SlowOnly": {"slowonly_synthetic_demo", "slowonly_synthetic_long_demo", "lfb_nl_synthetic_long_demo"},
    "timesformer_spaceOnly_8x32x1_15e_kinetics400_rgb": {
        "timesformer_sapceOnly_8x32x1_15e_kinetics400_rgb", "timesformer_spaceOnly_8x32x1_15e_kinetics400_rgb"},
}  # fmt: skip


@pytest.fixture(scope="module")
def resolved():
    return {file.stem: load_config(file) for file in LEAVES}


def bases_of(file):
    named = yaml.safe_load(file.read_text()).get("_base_", [])
    return [(file.parent / base).resolve() for base in ([named] if isinstance(named, str) else named)]


def test_a_leaf_has_at_most_five_bases_and_every_base_is_used():
    used = {base for file in LEAVES for base in bases_of(file)}
    assert not [file.name for file in LEAVES if len(bases_of(file)) > 5]
    assert not [file.name for file in BASES if file not in {*used, LEVELS} or bases_of(file)]


def test_a_data_set_s_base_decides_on_the_decoder_and_nothing_else_of_a_pipeline():
    for file in BASES:
        if file.parent.name == "datasets":
            content = yaml.safe_load(file.read_text())
            assert content.keys() <= {"DATASET", "PIPELINE"}
            assert all(set(steps) == {"decode"} for steps in content.get("PIPELINE", {}).values()), file


def test_recipes_have_names_of_their_own(resolved):
    leaves = defaultdict(set)
    for stem, config in resolved.items():
        leaves[config["model_name"]].add(stem)
    assert {name: stems for name, stems in leaves.items() if len(stems) > 1} == SHARED


def test_a_row_of_mmaction2_s_pages_writes_to_its_file_name(resolved):
    for stem, config in resolved.items():
        if stem.endswith("_rgb") and "sapceOnly" not in stem:
            assert (config["model_name"], str(config.output_dir)) == (stem, f"output/{stem}")


def test_files_that_resolve_to_the_same_say_so(resolved):
    alike = defaultdict(list)
    for stem, config in resolved.items():
        content = {key: value for key, value in config.to_dict().items() if key not in ("model_name", "output_dir")}
        alike[json.dumps(content, sort_keys=True)].append(stem)
    groups = sorted(group for group in alike.values() if len(group) > 1)
    assert len(groups) == 2
    headers = {file.stem: file.read_text().split("_base_")[0] for file in LEAVES}
    for group in groups:
        assert any("same" in headers[a] and f"{b}.yaml" in headers[a] for a in group for b in group if a != b), group


def test_differences_name_the_key_and_expected_ones_their_reason():
    before = {"PIPELINE": {"test": {"decode": 1, "sample": {"n": 8}}}, "epochs": 50, "l": [{"a": 1}, 2]}
    after = {"PIPELINE": {"test": {"sample": {"n": 16}, "decode": 1}}, "epochs": 50.0, "l": [{"a": 1}, 3], "x": None}
    assert {path for path, _, _ in differences(before, after)} == {
        "PIPELINE.test (order)", "PIPELINE.test.sample.n", "epochs", "l[1]", "x",
    }  # fmt: skip
    row = "recognition/tsm/tsm_r50_1x1x16_50e_sthv1_rgb.yaml"
    assert reason(row, "model_name", Path(row).stem) and not reason(row, "model_name", "TSM")
    assert reason(row, "MODEL.runtime_cfg.test.num_seg", 16) and not reason(row, "MODEL.runtime_cfg.test.num_seg", 8)


def test_own_videos_without_mirroring_is_one_line_over_the_shipped_file(tmp_path):
    """As the README's table of files has it."""
    base = CONFIGS / "recognition" / "tsm" / "tsm_own_videos.yaml"
    file = tmp_path / "own.yaml"
    file.write_text(f"_base_: {base}\nPIPELINE: {{train: {{transform: {{RandomFlip: null}}}}}}\n")
    before, after = load_config(base).to_dict(), load_config(file).to_dict()
    assert before["PIPELINE"]["train"]["transform"].pop(1) == {"RandomFlip": None} and after == before
