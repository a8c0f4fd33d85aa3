"""The table of actions, and a line that the head takes."""

import yaml

CONFIG = """
model_name: ava
MODEL:
    framework: FastRCNN
    backbone: {name: ResNet3dSlowOnly}
    head:
        name: AVARoIHead
        bbox_roi_extractor: {name: SingleRoIExtractor3D}
        bbox_head: {name: BBoxHeadAVA, in_channels: 2048, num_classes: 4}
DATASET:
    train: {format: AVADataset, file_path: FOLDER/a.csv, label_file: FOLDER/l.txt, timestamp_start: 0}
"""


def test_the_line_is_a_list_for_the_head(tmp_path, run_tool):
    (tmp_path / "a.csv").write_text("a,2,0,0,1,1,1,0\n" * 2 + "".join(f"a,{i},0,0,1,1,2,0\n" for i in range(4)))
    (tmp_path / "l.txt").write_text("1: walk\n2: run\n3: fly\n")
    (tmp_path / "c.yaml").write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    out = run_tool("ava_class_weights", "-c", tmp_path / "c.yaml", "--power", 1).out
    assert "     1         1   1.600  walk" in out and "     3         0   0.000  fly" in out
    assert yaml.safe_load(out.splitlines()[-1]) == {"class_weights": [0, 1.6, 0.4, 0]}
    (tmp_path / "c.yaml").write_text(CONFIG.partition("DATASET")[0] + "DATASET: {batch_size: 1}")
    refused = run_tool("ava_class_weights", "-c", tmp_path / "c.yaml")
    assert refused.code == 2 and "no DATASET.train" in refused.err
