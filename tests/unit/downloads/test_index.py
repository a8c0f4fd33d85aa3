"""The index of released weights: every entry is complete, and nothing in it is more than its publisher states."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from paddlevideo.config import load_config
from paddlevideo.downloads.cache import _NAME
from paddlevideo.downloads.http import check_address
from paddlevideo.downloads.index import entries, file_name, matching, of_package
from paddlevideo.errors import UserError
from paddlevideo.modeling import weights
from paddlevideo.modeling.conversion import _TORCH_SUFFIXES, ORIGINS
from paddlevideo.shipped import ROOT

by_entry = pytest.mark.parametrize("entry", entries().values(), ids=lambda entry: entry.name)
STATED = re.compile(r"-([0-9a-f]{8})\.pth$")  # how torchvision and OpenMMLab name their files


@by_entry
def test_an_entry_is_complete(entry):
    assert _NAME.fullmatch(entry.name) and not PurePosixPath(entry.name).suffix
    assert entry.licence and entry.publisher and urlsplit(entry.page).scheme == "https"
    assert entry.origin in ORIGINS and (ROOT / entry.config).is_file()
    suffixes = (".pdparams",) if entry.origin == "paddle" else _TORCH_SUFFIXES
    assert PurePosixPath(entry.file).suffix in suffixes
    assert re.fullmatch(r"|[0-9a-f]{8}|[0-9a-f]{64}", entry.sha256)
    assert bool(entry.address) != bool(entry.package)


@by_entry
def test_an_address_needs_tls_and_holds_no_key(entry):
    if entry.address:
        check_address(entry.address)
        assert entry.address.startswith("https://") and file_name(entry.address) == entry.file


@by_entry
def test_what_is_known_of_a_file_is_measured_or_stands_in_its_name(entry):
    """Of files that were not fetched, the digest is what the name states, and the size is unknown."""
    stated = STATED.search(entry.address)
    if not entry.fetched:
        assert entry.sha256 == (stated[1] if stated else "") and entry.size is None
    else:
        assert len(entry.sha256) == 64 and entry.size


def test_no_two_entries_share_an_address():
    addresses = [entry.address for entry in entries().values() if entry.address]
    assert len(set(addresses)) == len(addresses) > 50


def test_files_that_shipped_configurations_start_from_have_names():
    """The error of a missing ``data/NAME.pdparams`` then names the command that gets it."""
    named = set()
    for file in sorted((ROOT / "configs").rglob("*.yaml")):
        named |= set(re.findall(r'pretrained: "data/([\w.-]+)\.pdparams"', file.read_text()))
    assert named - set(entries()) == {"vit_base_patch16_224_miil_21k_trans"}  # no address stands on a page


def test_a_pattern_finds_names_publishers_and_configurations():
    assert {entry.name for entry in matching("tsm_k400")} >= {"TSM_k400", "ResNet50_pretrain"}
    assert {entry.publisher for entry in matching("TORCHVISION")} == {"torchvision"}
    assert [entry.name for entry in matching("mobilenet_v2_imag*")] == ["mobilenet_v2_imagenet"]
    assert matching("no such thing") == []


@pytest.mark.parametrize("config", sorted({entry.config for entry in entries().values()}))
def test_the_configuration_of_an_entry_is_valid(config):
    load_config(config, uses=("test",))


def test_weights_that_cannot_be_fetched_name_those_that_pip_fetches(monkeypatch):
    assert of_package("mobilenet_v2_imagenet") is None and of_package("TSM_k400") is None and of_package("x") is None

    def offline(name):
        raise UserError("no network")

    monkeypatch.setattr(weights, "local_weights", offline)
    with pytest.raises(UserError, match="no network; or take the weights that pip fetches: .*=mobilenet_v2_imagenet"):
        weights.load_pretrained(None, "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb")
    with pytest.raises(UserError, match="no network; or start without it"):
        weights.load_pretrained(None, "TSM_k400")
