"""Training as an evaluator: data, recipe, engine, and every way in which a candidate can end."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from vitruvius.errors import UnknownNameError, UserError
from vitruvius.generator.evaluation.engine import augment, standardise, train_and_score
from vitruvius.generator.evaluation.images import load_images, split_rows
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Status, Task
from vitruvius.generator.evaluation.train import Limits, Train, TrainBench
from vitruvius.generator.networks import build_network
from vitruvius.generator.space import Architecture, get_space

EXCEPTION, HANG, EXIT, ONE_OOM, ALWAYS_OOM, TELL, NOISE, GREEDY, HANG_LATER, DIVERGE = range(1, 11)
SPACE = get_space("nasbench201")
CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
TINY = Recipe(epochs=1, width=2, batch=128)
SPLIT = (0.4, 0.4, 0.2)


def cells(n: int) -> list[Architecture]:
    drawn = SPACE.architectures(SPACE.sample(n, np.random.default_rng(5)))
    return [SPACE.parse(cell.id) for cell in drawn]  # the first of their class, which are measured


def bench(notes: Path, **changes: Any) -> TrainBench:
    limits: dict[str, Any] = {"device": "cpu", "time_limit": 60.0, "memory": None, "workers": 1, "threads": 1}
    command = [sys.executable, str(Path(__file__).with_name("faulty_worker.py")), str(notes)]
    images = load_images("digits", None, SPLIT)
    return TrainBench(SPACE, images, TINY, Limits(**{**limits, **changes}), command)


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within some time; a zombie that nobody reaped has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "notes.json"


@pytest.fixture(scope="module")
def faulty(notes: Path) -> Iterator[TrainBench]:
    os.environ["SOME_API_KEY"] = os.environ["HF_TOKEN"] = os.environ["MY_SECRET"] = "do-not-tell"
    it = bench(notes)
    yield it
    it.close()
    for name in ("SOME_API_KEY", "HF_TOKEN", "MY_SECRET"):
        del os.environ[name]


# ---- how a candidate can end -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "status", "reason"),
    [
        (0, Status.OK, ""),
        (EXCEPTION, Status.FAILED, "ValueError: the layer is on fire"),
        (ALWAYS_OOM, Status.OUT_OF_MEMORY, "Out of memory, with batches in halves of 64 images too."),
        (EXIT, Status.FAILED, "The training process died (exit status 7: last words)."),
        (ONE_OOM, Status.OK, "Memory was short: each batch was computed in halves of 64 images."),
        (NOISE, Status.OK, ""),
        (DIVERGE, Status.DIVERGED, "Diverged: the training loss was not finite in epoch 1 of 1."),
    ],
)  # fmt: skip
def test_each_end_is_a_measurement_and_the_next_one_goes_on(
    faulty: TrainBench, seed: int, status: Status, reason: str
):
    cell = cells(1)[0]
    (found,) = faulty.measure([cell], seed=seed)
    assert (found.status, found.reason, found.key, found.seed) == (status, reason, cell.key, seed)
    assert (found.score is not None) == (status is Status.OK)
    assert found.device.startswith("cpu")
    assert found.params is not None and found.params > 0


def test_the_child_sees_no_keys_and_one_thread(faulty: TrainBench, notes: Path):
    list(faulty.measure(cells(1), seed=TELL))
    environment, threads = json.loads(notes.read_text())
    assert os.environ["HF_TOKEN"] == "do-not-tell"
    assert "do-not-tell" not in environment.values()
    assert "PATH" in environment
    assert threads == 1


def test_a_stuck_child_is_killed_with_its_children_and_replaced(notes: Path):
    limited = bench(notes, time_limit=5.0)
    (found,) = limited.measure(cells(1), seed=HANG)
    assert found.status is Status.TIMED_OUT
    assert found.reason == "Took longer than the limit of 5 s."
    assert 5.0 <= found.seconds < 30.0, "killed at the limit, however busy the machine"
    assert all(gone(pid) for pid in json.loads(notes.read_text()))
    (after,) = limited.measure(cells(1), seed=0)
    assert after.ok
    limited.close()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own answer to SIGINT, also where the suite was started in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_was_measured_and_kills_what_trains(notes: Path):
    interrupted = bench(notes)
    notes.unlink(missing_ok=True)

    def interrupt() -> None:
        while not notes.exists() or not notes.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    measured = []
    with pytest.raises(KeyboardInterrupt):
        for measurement in interrupted.measure(cells(2), seed=HANG_LATER):
            measured.append(measurement)
    assert [m.ok for m in measured] == [True]
    assert all(gone(pid) for pid in json.loads(notes.read_text()))
    interrupted.close()


def test_no_child_outlives_a_parent_that_was_killed(notes: Path):
    notes.unlink(missing_ok=True)
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_train as t\n"
        "list(t.bench(pathlib.Path(sys.argv[2])).measure(t.cells(1), seed=t.HANG))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent), str(notes)])
    while not notes.exists() or not notes.read_text():
        assert parent.poll() is None
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child, helper = json.loads(notes.read_text())
    assert gone(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(helper, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory on the CPU need Linux")
def test_the_memory_limit_holds(notes: Path):
    limited = bench(notes, memory=2.0)
    (found,) = limited.measure(cells(1), seed=GREEDY)
    assert found.status is Status.OUT_OF_MEMORY
    limited.close()


def test_a_device_that_is_not_there_is_said_before_anything_is_measured(notes: Path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="'cuda' is not there"):
        list(bench(notes, device="cuda").measure(cells(1)))


def test_a_process_that_cannot_start_is_an_error_not_a_measurement(notes: Path):
    broken = bench(notes)
    broken._command = [sys.executable, "-c", "raise ImportError('no torch')"]  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(UserError, match=r"did not start.*no torch"):
        list(broken.measure(cells(1)))


# ---- the real thing ------------------------------------------------------------------------


def test_children_train_as_this_process_does():
    recipe = Recipe(epochs=3, width=4, batch=64)
    train = Train(recipe=recipe, device="cpu", workers=2)
    task = Task("nasbench201", evaluator=train, metric="accuracy", maximize=True)
    assert (task.name, task.metric.name, task.metric.unit) == ("nasbench201/digits", "accuracy", "%")
    found = {m.key: m for m in task.bench.measure(cells(3), seed=1)}
    images, threads = load_images("digits", None, SPLIT), torch.get_num_threads()
    arrays = (images.train_x, images.train_y, images.valid_x, images.valid_y)
    x, y, valid_x, valid_y = map(torch.from_numpy, arrays)
    data = standardise(x, y, valid_x, valid_y, "cpu")
    torch.set_num_threads(1)
    for cell in cells(3):
        build = functools.partial(build_network, cell, classes=10, in_channels=1, width=4, cells=1)
        assert found[cell.key].score == train_and_score(build, data, recipe, 1, 1)
    torch.set_num_threads(threads)
    assert all(m.score is not None and 8 < m.score <= 100 for m in found.values())
    assert len({m.score for m in found.values()}) > 1
    assert {m.fidelity for m in found.values()} == {"3 epochs"}
    train.close()


class Squares(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Bright left half or bright right half."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        x = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(index))
        x[:, :, 4 * (index % 2) : 4 * (index % 2) + 4] += 3
        return x, index % 2


def test_one_s_own_dataset_is_learnt():
    train = Train(Squares(), recipe=Recipe(epochs=6, width=4, batch=16, augment="none"), device="cpu")
    task = Task("nasbench201", evaluator=train)
    assert task.name == f"nasbench201/data-{task.bench.fingerprint[:8]}"
    (found,) = task.bench.measure(
        [SPACE.parse("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")]
    )
    assert found.score is not None and found.score > 90
    train.close()


def test_the_representative_is_the_first_of_its_class():
    opened = Train().open(SPACE, "digits")
    everything = SPACE.architectures(SPACE.enumerate())
    cell = next(a for a in reversed(everything) if a.id != a.key)
    first = opened.representative(cell)
    members = [a for a in everything if a.id == cell.id]
    assert first == members[0] and len(members) > 1
    assert opened.representative(first) == first


# ---- the engine ------------------------------------------------------------------------------


def test_a_batch_in_halves_takes_the_same_steps():
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(96, 1, 4, 4))), torch.from_numpy(rng.integers(0, 3, 96))
    data = standardise(x, y, x, y, "cpu")
    recipe = Recipe(epochs=2, batch=32, augment="none", lr=0.05)
    weights: list[torch.Tensor] = []
    for pieces in (1, 2):
        linear = nn.Linear(16, 3)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        network = nn.Sequential(nn.Flatten(), linear)
        train_and_score(lambda: network, data, recipe, 0, pieces)  # noqa: B023
        weights.append(linear.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])
    assert weights[0].abs().sum() > 0


@pytest.mark.parametrize(
    "changes",
    [{"precision": "bf16"}, {"optimiser": "adamw", "lr": 0.01}, {"schedule": "constant"}, {"augment": "shift+flip"}],
)  # fmt: skip
def test_every_choice_of_a_recipe_learns(changes: dict[str, Any]):
    rng = np.random.default_rng(0)
    y = torch.arange(120) % 3
    x = torch.from_numpy(rng.normal(size=(120, 1, 8, 8))) + 2 * y[:, None, None, None]
    settings: dict[str, Any] = {"epochs": 8, "width": 4, "batch": 30, **changes}
    recipe = Recipe(**settings)
    build = functools.partial(build_network, SPACE.parse(CHAIN), classes=3, in_channels=1, width=4, cells=1)
    assert train_and_score(build, standardise(x, y, x, y, "cpu"), recipe, 0, 1) > 60


def test_augmentation_shifts_and_flips():
    x = torch.arange(64 * 16.0).view(16, 1, 8, 8)
    rng = torch.Generator().manual_seed(0)
    assert augment(x, Recipe(augment="none"), rng) is x
    shifted = augment(x, Recipe(augment="shift"), rng)
    assert shifted.shape == x.shape
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    for image, source in zip(shifted, padded, strict=True):
        windows = [source[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.equal(image, window) for window in windows)
    flipped = augment(x, Recipe(augment="shift+flip"), rng)
    rising = (flipped[:, 0, 4, 4] > flipped[:, 0, 4, 3]).tolist()
    assert 0 < sum(rising) < 16


# ---- data and settings -----------------------------------------------------------------------


def test_the_split_is_fixed_balanced_and_disjoint():
    y = np.repeat(np.arange(3), 100)
    train, valid, test = split_rows(y, SPLIT)
    assert sorted(np.concatenate([train, valid, test])) == list(range(300))
    assert [np.bincount(y[part]).tolist() for part in (train, valid, test)] == [[40] * 3, [40] * 3, [20] * 3]
    assert all(np.array_equal(a, b) for a, b in zip(split_rows(y, SPLIT), (train, valid, test), strict=True))


def test_digits_leave_a_test_part_aside():
    images = load_images("digits", None, SPLIT)
    assert len(images.train_y) + len(images.valid_y) + images.set_aside == 1797
    assert images.set_aside == 359
    assert (images.classes, images.size, images.name) == (10, (1, 8, 8), "digits")


def test_the_fingerprint_knows_every_pixel_label_and_the_split():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (40, 8, 8)).astype(np.uint8), np.arange(40) % 4
    prints = [load_images((x, y), None, SPLIT).fingerprint]
    assert load_images((x.copy(), y.copy()), "other name", SPLIT).fingerprint == prints[0]
    changed, relabelled = x.copy(), y.copy()
    changed[7, 3, 3] ^= 1
    relabelled[0] = 3
    prints += [load_images(pair, None, SPLIT).fingerprint for pair in ((changed, y), (x, relabelled))]
    prints.append(load_images((x, y), None, (0.5, 0.3, 0.2)).fingerprint)
    assert len(set(prints)) == 4


X, Y = np.zeros((20, 8, 8)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnist2", "Unknown embedded data set 'mnist2'.*digits"),
        ((X[:, 0], Y), r"must be \(n, H, W\)"),
        ((np.zeros((20, 32, 32, 3)), Y), "channels-last"),
        ((np.zeros((20, 3, 3)), Y), "too small"),
        ((X, Y[:-1]), "one for each of the 20 images"),
        ((X, Y.astype(float)), "whole numbers"),
        ((np.full_like(X, np.nan), Y), "finite"),
        ((X, np.zeros(20, int)), "at least two classes"),
        ((X, Y, Y), "pair"),
        ([(np.zeros((8, 8)), 0), (np.zeros((9, 9)), 1)], "one shape"),
        ([1, 2], "must have a length and give"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_refused_with_a_sentence(source: Any, message: str):
    with pytest.raises(UserError, match=message):
        load_images(source, None, SPLIT)


def test_values_that_cannot_be_used_are_refused():
    with pytest.raises(UserError, match="Unknown device 'tpu'"):
        Train(device="tpu")
    with pytest.raises(UserError, match="time_limit=0"):
        Train(time_limit=0)
    with pytest.raises(UserError, match="sum 1"):
        _ = Train(split=(0.9, 0.9, 0.2)).images
    with pytest.raises(UserError, match="no image to train or to validate"):
        _ = Train((X, Y), split=(0.0, 0.8, 0.2)).images
    with pytest.raises(UserError, match="hold '/'"):
        Train(name="a/b")
    with pytest.raises(UnknownNameError, match=r"data set 'cifar10'.*digits"):
        Task("nasbench201/cifar10", evaluator=Train())
    with pytest.raises(UserError, match="nasbench-graph cannot be built"):
        Task("nasbench-graph", evaluator=Train())
    with pytest.raises(ValidationError, match="epoch"):
        Recipe(epoch=3)  # type: ignore[call-arg]


def test_the_recipe_names_the_evaluator():
    names = {
        Train(recipe=r).open(SPACE, "digits").evaluator for r in (Recipe(), Recipe(epochs=5), Recipe(lr=0.3))
    }
    assert len(names) == 3 and all(name.startswith("train:") for name in names)
    assert Recipe(epochs=5).fidelity == "5 epochs"
