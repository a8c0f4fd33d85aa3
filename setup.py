"""Package metadata.  PaddlePaddle is an extra, since its CPU and GPU wheels have different names."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "paddlevideo/__init__.py").read_text()).group(1)
README = HERE / "README.md"

STUDIO = "applications/studio"
SHIPPED = ("configs/**/*.yaml", "data/*/labels.txt")  # below paddlevideo/ in an installed package; see shipped.py


class BuildWithShipped(build_py):
    """The package with copies of the YAML files and label lists; an editable install reads the checkout's."""

    def run(self):
        if not self.editable_mode:  # modules that are gone do not come back from an earlier build
            for package in ("paddlevideo", "paddlevideo_studio"):
                shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()
        for source, target in self._shipped():
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(source), target)

    def get_outputs(self, include_bytecode=1):
        return [*super().get_outputs(include_bytecode), *(target for _, target in self._shipped())]

    def _shipped(self):
        if self.editable_mode:
            return []
        files = [file for pattern in SHIPPED for file in sorted(HERE.glob(pattern))]
        return [(file, str(Path(self.build_lib, "paddlevideo", file.relative_to(HERE)))) for file in files]


EXTRAS = {
    "cpu": ["paddlepaddle>=3.3,<3.4"],
    "gpu": ["paddlepaddle-gpu>=3.3,<3.4"],  # from Paddle's own index; see the README
    "tensorboard": ["tensorboardX>=2.6"],
    "visualdl": ["visualdl>=2.5"],
    "wandb": ["wandb>=0.17"],
    "mlflow": ["mlflow>=2.14"],
    # person detectors in ONNX; exports; ml_dtypes: of its quantisation, which does not require it
    "onnx": ["onnxruntime>=1.17", "paddle2onnx>=2.1", "ml_dtypes>=0.4"],
    "openvino": ["openvino>=2024.4", "paddle2onnx>=2.1"],  # exports
    "remote": ["fsspec>=2024.2", "aiohttp>=3.9"],  # shards at addresses; s3fs, gcsfs, adlfs for those stores
    "ray": ["ray[data]>=2.9"],  # predict --ray
    "jpeg": ["simplejpeg>=1.8"],  # folders of JPEG files, faster
    "decord": ["decord>=0.6"],  # YAML files that name it; x86-64 Linux and Windows; pip check fails with its wheel
    "parquet": ["pyarrow>=14"],  # features as .parquet
    "test": [
        "pytest>=8",
        "pytest-xdist>=3",
        "ruff==0.17.5",
        "import-linter>=2.1",
        "scikit-learn>=1.4",
        "onnx>=1.15",
        "onnxruntime>=1.17",
        "paddle2onnx>=2.1",
        "ml_dtypes>=0.4",
        "fsspec>=2024.2",
        "aiohttp>=3.9",
        "simplejpeg>=1.8",
        "pyarrow>=14",
        "fastapi>=0.110",
        "uvicorn>=0.27",
        "httpx>=0.27",
        "tensorboardX>=2.6",
    ],
    "studio": ["fastapi>=0.110", "uvicorn>=0.27"],  # the page of applications/studio
    "browser": ["playwright>=1.48", "axe-playwright-python>=0.1.4"],  # tests of its pages, in Debian's chromium
    "demo": ["scikit-learn>=1.4"],  # its hand-written digits
}

setup(
    name="paddlevideo-suite",
    version=VERSION,
    description="Video understanding on PaddlePaddle 3: train, test, export and predict from one YAML file",
    long_description=README.read_text(encoding="utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=[*find_packages(include=["paddlevideo", "paddlevideo.*"]), *find_packages(STUDIO)],
    package_dir={"paddlevideo_studio": f"{STUDIO}/paddlevideo_studio"},
    package_data={"paddlevideo_studio": ["static/*", "static/*/*"]},
    cmdclass={"build_py": BuildWithShipped},
    entry_points={
        "console_scripts": ["paddlevideo = paddlevideo.cli.main:main"],
        "paddlevideo.commands": ["studio = paddlevideo_studio.command"],
    },
    python_requires=">=3.11",
    install_requires=[
        "numpy>=1.26",
        # contrib: version 5 keeps the HOG person detector there
        "opencv-contrib-python-headless>=4.8",
        "av>=17",
        "pillow>=10",  # PaddleVideo's resizing; Paddle needs it anyway
        "PyYAML>=6",
        "safetensors>=0.4",
        "tqdm>=4.60",
    ],
    extras_require=EXTRAS,
)
