from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_export import LABELS, tiny_config, write_config, write_video, write_weights


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """config, weights, folder (the export), report, videos [3], label_file."""
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export

    root: Path = tmp_path_factory.mktemp("tiny")
    label_file = root / "labels.txt"
    label_file.write_text("\n".join(LABELS), encoding="utf-8")
    config = write_config(root, tiny_config(label_names=str(label_file)))
    (root / "videos").mkdir()
    videos = [write_video(root / "videos" / f"clip {i}.mp4", seed=i) for i in range(3)]
    weights = write_weights(config, root / "tsm.pdparams", videos)
    lines: list[str] = []
    report = export(load_config(config), weights, root / "exported", say=lines.append)
    return SimpleNamespace(
        root=root,
        config=config,
        weights=weights,
        folder=root / "exported",
        report=report,
        lines=lines,
        videos=videos,
        label_file=label_file,
    )
