"""Files and configs from elsewhere: none of them runs code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from faults import ONE_RUN, Hostile, Warm


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg_overlay"])
def test_a_config_cannot_load_a_hostile_file_through_the_models_arguments(
    warm: Warm, results: Path, tmp_path: Path, key: str
) -> None:
    file, owned = tmp_path / "weights.pth", tmp_path / "owned"
    torch.save({"state_dict": Hostile(owned)}, file)
    value = file if key == "checkpoint_path" else f"{{file: {file}}}"
    code, said = warm.run(
        *ONE_RUN, "model.pretrained=false", f"+model.kwargs.{key}={value}", results=results
    )
    assert not owned.exists()
    if key == "checkpoint_path":
        assert code == 2
        assert "model.kwargs do not fit" in said


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "albumentations.os.system", "albumentations.__import__", "albumentations."),
        *("albumentations", "albumentations.core.serialization.from_dict", "builtins.eval"),
        *("albumentations.from_dict", "albumentations.load", "torch.load"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_config_names_classes_of_albumentations_alone(target: str, nested: bool) -> None:
    from lpwd.config.errors import ConfigError
    from lpwd.inputs.augment import build_augment

    entry: dict[str, Any] = {"_target_": target, "command": "true"}
    if nested:
        entry = {"_target_": "albumentations.OneOf", "transforms": [entry]}
    with pytest.raises(ConfigError, match=r"data\.augment: "):
        _ = [transform.build() for transform in build_augment([entry])]


def test_a_pickle_names_nothing_but_arrays(tmp_path: Path) -> None:
    import pickle

    from lpwd.config.errors import ConfigError
    from lpwd.inputs import readers, sources

    names = ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "numpy.ndarray.tofile"]
    names += ["subprocess.Popen", "numpy.core.multiarray.fromfile", "torch.load", "_codecs.decode"]
    for name in names:
        module, _, attribute = name.rpartition(".")
        opcodes = b"c%s\n%s\n(S'x'\ntR." % (module.encode(), attribute.encode())
        file = tmp_path / "data_batch_1"
        file.write_bytes(opcodes)
        with pytest.raises(ConfigError, match="refused to load"):
            readers._read_pickle(sources.SOURCES["cifar10"], file)
    assert pickle.loads(b"I1\n.") == 1  # the opcodes are a pickle's
