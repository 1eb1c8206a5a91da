"""Both loaders: the same order, the same pixels for the same flips, and draws that never repeat."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lpwd.config.errors import ConfigError
from lpwd.inputs.albumentations_loader import AlbumentationsLoader
from lpwd.inputs.augment import build_augment
from lpwd.inputs.images import Images
from lpwd.inputs.loaders import DeviceBatches, DeviceLoader

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
FLIP = "albumentations.HorizontalFlip"


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (50, 32, 32, 3), np.uint8), np.arange(50))


def augment(*targets, **kwargs):
    return build_augment(OmegaConf.create([{"_target_": name, **kwargs} for name in targets]))


def loader(kind, images, transforms, **changes):
    common = {"batch_size": 16, "mean": MEAN, "std": STD, "device": "cpu", "seed": 3, **changes}
    if kind is AlbumentationsLoader:
        common.setdefault("workers", 0)
    return kind(images, augment=transforms, **common)


def epoch(batches):
    x, y = zip(*batches, strict=True)
    return torch.cat(x), torch.cat(y)


def reference(images, labels, flipped):
    """Normalized by the definition: the images of these labels (all unlike), some flipped."""
    pixels = images.pixels[labels.numpy()].astype(np.float64) / 255
    pixels[flipped] = np.flip(pixels[flipped], 2)
    return torch.tensor((pixels - MEAN) / STD).permute(0, 3, 1, 2).float()


def flipped(images, x, y):
    """Which images were flipped, read from the pixels."""
    plain = reference(images, y, np.zeros(len(y), bool))
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(x, plain, strict=True)]
    return ~np.array(same)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [DeviceLoader, AlbumentationsLoader])
def test_batches_are_the_definition(images, kind, p):
    x, y = epoch(loader(kind, images, augment(FLIP, p=p)).epoch(1))
    which = flipped(images, x, y)
    assert x.dtype == torch.float32
    assert y.dtype == torch.int64
    assert which.mean() == p if p in (0, 1) else 0.2 < which.mean() < 0.8
    torch.testing.assert_close(x, reference(images, y, which), rtol=1e-5, atol=2e-6)


def test_the_device_twin_flips_as_albumentations_did(images, monkeypatch):
    x, y = epoch(loader(AlbumentationsLoader, images, augment(FLIP, p=0.5)).epoch(1))
    which = torch.from_numpy(flipped(images, x, y))
    twin = loader(DeviceLoader, images, augment(FLIP, p=0.5))
    monkeypatch.setattr(twin, "draw_flips", lambda epoch: [which])
    twin_x, twin_y = epoch(twin.epoch(1))
    assert torch.equal(x, twin_x)
    assert torch.equal(y, twin_y)


@pytest.mark.parametrize("kind", [DeviceLoader, AlbumentationsLoader])
def test_two_flips_are_drawn_apart(images, kind):
    """Seeding albumentations' Compose would give both flips the same draws."""
    transforms = augment(FLIP, "albumentations.VerticalFlip", p=0.5)
    x, y = epoch(loader(kind, images, transforms, batch_size=50).epoch(1))
    kinds = set()
    for image, label in zip(x, y, strict=True):
        plain = reference(images, label[None], np.array([False]))[0]
        turned = {(h, v): plain for h in (0, 1) for v in (0, 1)}
        turned = {
            (h, v): plain.flip([axis for axis, on in ((2, h), (1, v)) if on]) for h, v in turned
        }
        (found,) = [k for k, t in turned.items() if torch.allclose(image, t, atol=1e-5)]
        kinds.add(found)
    assert kinds == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_draws_do_not_depend_on_the_number_of_workers_and_never_repeat(images):
    """albumentations 2.0.8 draws alike in every forked worker and every epoch: ours must not."""
    runs = []
    for workers in (0, 1, 2):
        made = loader(AlbumentationsLoader, images, augment(FLIP), workers=workers)
        runs.append([list(made.epoch(number)) for number in (1, 2)])
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            for (x, y), (other_x, other_y) in zip(first, second, strict=True):
                assert torch.equal(x, other_x)
                assert torch.equal(y, other_y)
    batches = [batch for number in runs[0] for batch in number if len(batch[1]) == 16]
    streams = {flipped(images, x, y).tobytes() for x, y in batches}
    assert len(batches) == 6
    assert len(streams) == 6


@pytest.mark.parametrize("kind", [DeviceLoader, AlbumentationsLoader])
def test_an_epoch_is_its_own_and_can_be_begun_in_the_middle(images, kind):
    made = loader(kind, images, augment(FLIP))
    whole = list(made.epoch(5))
    assert sorted(torch.cat([y for _, y in whole]).tolist()) == list(range(50))
    rest = list(loader(kind, images, augment(FLIP)).epoch(5, start=2))
    assert len(rest) == 2
    for (x, y), (other_x, other_y) in zip(whole[2:], rest, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    assert not torch.equal(epoch(whole)[1], epoch(made.epoch(6))[1])
    other = loader(kind, images, augment(FLIP), seed=4)
    assert not torch.equal(epoch(whole)[1], epoch(other.epoch(5))[1])


@pytest.mark.parametrize("kind", [DeviceLoader, AlbumentationsLoader])
def test_loaders_leave_torchs_own_random_stream_alone(images, kind):
    before = torch.get_rng_state()
    list(loader(kind, images, augment(FLIP)).epoch(1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [16, 16, 16, 2]), (True, [16] * 3)])
def test_steps_and_the_last_batch(images, drop_last, sizes):
    for kind in (DeviceLoader, AlbumentationsLoader):
        made = loader(kind, images, augment(FLIP), drop_last=drop_last)
        assert [len(y) for _, y in made.epoch(1)] == sizes
        assert len(made) == len(sizes)


@pytest.mark.parametrize("channels_last", [True, False])
def test_layouts(images, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for kind in (DeviceLoader, AlbumentationsLoader):
        made = loader(kind, images, augment(FLIP), channels_last=channels_last)
        assert all(x.is_contiguous(memory_format=layout) for x, _ in made.epoch(1))


def test_batches_to_measure_on_keep_the_order(images):
    batches = list(DeviceBatches(images, batch_size=20, mean=MEAN, std=STD, device="cpu"))
    assert [len(y) for _, y in batches] == [20, 20, 10]
    x, y = epoch(batches)
    assert y.tolist() == images.labels.tolist()
    torch.testing.assert_close(x, reference(images, y, np.zeros(50, bool)), rtol=1e-5, atol=2e-6)


# -- wrong input ----------------------------------------------------------------------------------


def test_the_device_loader_says_what_it_cannot_do(images):
    for transforms, fault in (
        (augment("albumentations.RandomCrop", height=28, width=28), "use scale.loader=album"),
        (augment(FLIP, p=0.5, border=1), "use scale.loader=albumentations"),
        (augment(FLIP, p=1.5), "p=1.5 is not within 0…1"),
        (augment(FLIP, p="half"), "p=half is not within 0…1"),
    ):
        with pytest.raises(ConfigError, match=fault):
            loader(DeviceLoader, images, transforms)


def test_a_batch_larger_than_the_data(images):
    for kind in (DeviceLoader, AlbumentationsLoader):
        with pytest.raises(ConfigError, match="batch_size=51 is more than the 50 training images"):
            loader(kind, images, augment(FLIP), batch_size=51, drop_last=True)
        assert len(loader(kind, images, augment(FLIP), batch_size=51)) == 1
