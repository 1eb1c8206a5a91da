"""Damaged, incomplete and foreign files of a data set: each is named, with what is wrong."""

import pickle

import numpy as np
import pytest
from data_sets import encoded, load, write_folders, write_parquet, write_pickles

from lpwd.config.errors import ConfigError


def test_wrong_counts_are_named(small, tmp_path):
    write_folders(tmp_path / "cifar10")
    victim = next((tmp_path / "cifar10" / "train" / "cat").iterdir())
    victim.rename(tmp_path / "cifar10" / "train" / "bird" / "moved.png")
    with pytest.raises(ConfigError, match=r"train \(.*/cifar10/train\) holds 9 images of class 1"):
        load(tmp_path)
    (tmp_path / "cifar10" / "train" / "bird" / "moved.png").unlink()
    with pytest.raises(ConfigError, match="holds 23 images, not 24"):
        load(tmp_path)


def test_damaged_files_are_named(small, tmp_path):
    write_folders(tmp_path / "a")
    bad = next((tmp_path / "a" / "test" / "bird").iterdir())
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(ConfigError, match=f"{bad}: damaged"):
        load(tmp_path / "a")
    bad.write_bytes(encoded(np.zeros((32, 31, 3), np.uint8)))
    with pytest.raises(ConfigError, match="31×32 pixels, not 32×32"):
        load(tmp_path / "a")
    write_parquet(tmp_path / "b")
    bad = tmp_path / "b" / "test-00000-of-00001.parquet"
    bad.write_bytes(bad.read_bytes()[:-200])
    with pytest.raises(ConfigError, match=f"{bad} is damaged"):
        load(tmp_path / "b")
    write_pickles(tmp_path / "c", lambda batch: pickle.dumps(batch)[:-50])
    with pytest.raises(ConfigError, match="data_batch_1 is not CIFAR-10"):
        load(tmp_path / "c")


def test_unknown_columns_and_keys_are_named(small, tmp_path):
    write_parquet(tmp_path / "a", label="fine_label")
    with pytest.raises(ConfigError, match="has columns img, fine_label; CIFAR-10 has img"):
        load(tmp_path / "a")
    write_pickles(tmp_path / "b", lambda batch: pickle.dumps({"data": batch[b"data"]}))
    with pytest.raises(ConfigError, match="has keys data; wanted: data, labels"):
        load(tmp_path / "b")


def test_a_missing_split_is_named(small, tmp_path):
    write_parquet(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"train-00000-of-00001\.parquet but no test images"):
        load(tmp_path)


def test_a_link_to_nowhere_is_named(small, tmp_path):
    write_folders(tmp_path / "a")
    link = tmp_path / "a" / "test" / "cat" / "gone.png"
    link.symlink_to("/nowhere/gone.png")
    with pytest.raises(ConfigError, match=f"{link} is a link to /nowhere/gone.png, which is not"):
        load(tmp_path / "a")
    write_parquet(tmp_path / "b")
    link = tmp_path / "b" / "test-00000-of-00001.parquet"
    link.unlink()
    link.symlink_to("gone")
    with pytest.raises(ConfigError, match=f"{link} is a link to gone, which is not"):
        load(tmp_path / "b")
