"""Batches and splits: every image once an epoch, the same with workers or without."""

import pickle
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.data.augment import Augmentation
from labkit.data.loading import Batches, Preprocessing, Rows, Split, channel_statistics, stratified


def split(n: int, side: int = 6) -> Split:
    """n images, each of one grey value, labels 0, 1, 2, 0, …"""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, side, side).contiguous()
    return Split(images, torch.arange(n) % 3, np.arange(n))


def batches(n: int, batch_size: int, **options: object) -> Batches:
    return Batches(split(n), batch_size, **{"preprocessing": Preprocessing(6, (0.0,), (1 / 255,))} | options)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 30), st.booleans())
def test_every_image_comes_once_an_epoch(n: int, batch_size: int, shuffle: bool) -> None:
    seen = [x[:, 0, 0, 0].round().long() for x, _ in batches(n, batch_size, shuffle=shuffle).from_step(0)]
    assert sorted(torch.cat(seen).tolist()) == list(range(n))


def test_a_lone_last_image_joins_the_batch_before() -> None:
    assert [len(y) for _, y in batches(9, 4).from_step(0)] == [4, 5]
    assert [len(y) for _, y in batches(1, 4).from_step(0)] == [1]
    assert [len(y) for _, y in batches(3, 1).from_step(0)] == [1, 1, 1]  # who asks for single images gets them


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        torch.cat([y for _, y in batches(50, 8, shuffle=True, seed=seed).from_step(epoch)]).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_starting_midway_change_nothing(workers: int) -> None:
    augment = Augmentation(20, 0.2, (0.8, 1.2), True)
    whole = list(batches(40, 8, shuffle=True, augmentation=augment).from_step(2))
    part = list(batches(40, 8, shuffle=True, augmentation=augment, workers=workers).from_step(2, step=3))
    assert len(part) == 2
    for (x, y), (u, v) in zip(whole[3:], part, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_workers_leave_a_stop_to_the_process_that_trains() -> None:
    others = set(psutil.Process().children())
    found = batches(80, 2, workers=1).from_step(0)
    next(found)
    for worker in set(psutil.Process().children()) - others:
        worker.send_signal(signal.SIGINT)  # as a terminal does to all its processes, and a batch system
        worker.send_signal(signal.SIGTERM)
    assert len(list(found)) == 39


def test_images_are_normalised_after_scaling_to_one() -> None:
    x, _ = next(batches(3, 3, preprocessing=Preprocessing(6, (0.5,), (0.25,))).from_step(0))
    torch.testing.assert_close(x[2], torch.full((1, 6, 6), (2 / 255 - 0.5) / 0.25))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.data(), st.integers(0, 9))
def test_a_stratified_choice_keeps_each_classes_share(labels: list[int], data: st.DataObject, seed: int) -> None:
    count = data.draw(st.integers(0, len(labels)))
    chosen, rest = stratified(torch.tensor(labels), count, seed)
    assert len(chosen) == count
    assert sorted([*chosen, *rest]) == list(range(len(labels)))
    for c in set(labels):
        share = labels.count(c) * count / len(labels)
        assert abs(sum(labels[i] == c for i in chosen) - share) < 1


def test_a_stratified_choice_follows_from_the_seed() -> None:
    labels = torch.arange(100) % 10
    assert np.array_equal(stratified(labels, 30, 1)[0], stratified(labels, 30, 1)[0])
    assert not np.array_equal(stratified(labels, 30, 1)[0], stratified(labels, 30, 2)[0])
    assert [len(part) for part in stratified(labels[:0], 0, 1)] == [0, 0]


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_channel_statistics_are_those_of_all_pixels(chunk: int) -> None:
    images = torch.randint(0, 256, (50, 3, 9, 5), dtype=torch.uint8)
    mean, std = channel_statistics(images, chunk)
    pixels = images.double() / 255
    assert np.allclose(mean, pixels.mean(dim=(0, 2, 3)), atol=1e-12)
    assert np.allclose(std, pixels.std(dim=(0, 2, 3), unbiased=False), atol=1e-12)


def test_rows_on_disk_act_like_a_tensor_in_memory(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), dtype=np.uint8)
    np.save(tmp_path / "images.npy", array)
    rows = Rows(np.lib.format.open_memmap(tmp_path / "images.npy", "c"), np.arange(20))
    memory = Split(torch.from_numpy(array), torch.arange(20), np.arange(20))
    disk = Split(rows, torch.arange(20), np.arange(20))
    index = np.array([3, 19, 4])
    assert torch.equal(disk.subset(index).subset(np.array([1])).images[np.array([0])], memory.images[[19]])
    assert disk.subset(index).images.shape == (3, 3, 4, 4)
    two = Rows(rows.array, index, slice(1, 3))
    assert two.shape == (3, 2, 4, 4)
    sent = pickle.loads(pickle.dumps(two))  # as to a process that prepares batches
    assert all(torch.equal(r[:], memory.images[index][:, 1:3]) for r in (two, sent, sent.take(np.arange(3))))
    big = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.uint8, (1000, 3, 4, 4))
    assert len(pickle.dumps(Rows(big, index))) < 1000
    assert channel_statistics(disk.images) == channel_statistics(memory.images)
    preprocessing = Preprocessing(4, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    for (x, y), (u, v) in zip(*(Batches(s, 6, preprocessing).from_step(0) for s in (disk, memory)), strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)
