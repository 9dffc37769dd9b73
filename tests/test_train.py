"""Training as an evaluator: data, recipe, engine, and every way in which a candidate can end."""

from __future__ import annotations

import contextlib
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

import pytest
import torch
from training_parts import SPACE, SPLIT, builds, cells, on_cpu

from vitruvius.errors import UserError
from vitruvius.generator.evaluation.engine import train_networks
from vitruvius.generator.evaluation.images import load_images
from vitruvius.generator.evaluation.recipe import Recipe
from vitruvius.generator.evaluation.task import Status, Task
from vitruvius.generator.evaluation.train import Train
from vitruvius.generator.evaluation.train_bench import Limits, TrainBench
from vitruvius.generator.space import Architecture

EXCEPTION, HANG, EXIT, ONE_OOM, ALWAYS_OOM, TELL, NOISE, GREEDY, HANG_LATER, DIVERGE = range(1, 11)
PACK_OOM, PACK_EXIT, PACK_HANG, ONE_OF_PACK, KILLED_ONCE, STICKY, STICKY_PACK = range(11, 18)
TINY = Recipe(epochs=1, width=2, batch=100)


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
        (ALWAYS_OOM, Status.OUT_OF_MEMORY, "Out of memory, with batches in halves of 50 images too."),
        (EXIT, Status.FAILED, "The training process died (exit status 7: last words)."),
        (ONE_OOM, Status.OK, "Memory was short: each batch was computed in halves of 50 images."),
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


@pytest.fixture(scope="module")
def packed(notes: Path) -> Iterator[TrainBench]:
    it = bench(notes, pack=3)
    yield it
    it.close()


def test_a_pack_ends_as_its_members_would_alone(packed: TrainBench, faulty: TrainBench):
    together = {m.key: m for m in packed.measure(cells(3), seed=0)}
    for alone in faulty.measure(cells(3), seed=0):
        assert (alone.status, alone.score) == (Status.OK, together[alone.key].score)


@pytest.mark.parametrize(
    ("seed", "status"), [(PACK_OOM, Status.OK), (EXCEPTION, Status.FAILED), (PACK_EXIT, Status.OK)]
)
def test_what_befalls_a_pack_is_put_to_each_member_alone(packed: TrainBench, seed: int, status: Status):
    found = list(packed.measure(cells(3), seed=seed))
    assert sorted(m.key for m in found) == sorted(cell.key for cell in cells(3))
    assert {m.status for m in found} == {status}


def test_a_fault_that_stays_in_a_process_is_that_of_one_candidate(packed: TrainBench, faulty: TrainBench):
    (spoilt,) = faulty.measure(cells(1), seed=STICKY)
    (after,) = faulty.measure(cells(1), seed=0)
    assert (spoilt.status, after.status) == (Status.FAILED, Status.OK)
    assert {m.status for m in packed.measure(cells(3), seed=STICKY_PACK)} == {Status.OK}


def test_a_process_that_was_killed_while_idle_costs_no_candidate(faulty: TrainBench):
    list(faulty.measure(cells(1), seed=0))
    (child,) = faulty._idle  # pyright: ignore[reportPrivateUsage]
    os.kill(child._process.pid, signal.SIGKILL)  # pyright: ignore[reportPrivateUsage]
    child._process.wait()  # pyright: ignore[reportPrivateUsage]
    while not child.ended:
        time.sleep(0.01)
    child.ended = False  # as long as nobody has heard of it
    (found,) = faulty.measure(cells(1), seed=0)
    assert found.ok


def test_one_of_a_pack_diverges_and_the_others_go_on(packed: TrainBench):
    found = {m.key: m.status for m in packed.measure(cells(3), seed=ONE_OF_PACK)}
    first, *others = (cell.key for cell in cells(3))
    assert found[first] is Status.DIVERGED
    assert all(found[key] is Status.OK for key in others)


def test_a_pack_that_hangs_is_killed_and_taken_apart(notes: Path):
    limited = bench(notes, pack=2, time_limit=4.0)
    found = list(limited.measure(cells(2), seed=PACK_HANG))
    assert len(found) == 2 and all(m.ok for m in found)
    limited.close()


def test_processes_draw_when_they_are_free_and_a_lost_one_costs_one_measurement(notes: Path):
    crew, rest, asked = bench(notes, workers=2), cells(5), list[int]()

    def draw(places: int) -> list[Architecture]:
        asked.append(places)
        taken = rest[:places]
        del rest[:places]
        return taken

    found = list(crew.stream(draw, seed=KILLED_ONCE))
    assert sorted(m.status for m in found) == [Status.FAILED, *[Status.OK] * 4]
    assert "signal 9" in next(m.reason for m in found if not m.ok)
    assert asked[0] == 2 and set(asked[1:]) <= {1, 2}
    crew.close()


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


def test_a_process_that_is_killed_while_it_starts_is_started_again(notes: Path):
    unlucky, starts = bench(notes), notes.with_suffix(".starts")
    begin = f'echo >> {starts}; test $(wc -l < {starts}) -lt {{}} && kill -9 $$; exec "$@"'
    command = list(unlucky._command)  # pyright: ignore[reportPrivateUsage]
    unlucky._command = ["sh", "-c", begin.format(3), "sh", *command]  # pyright: ignore[reportPrivateUsage]
    (found,) = unlucky.measure(cells(1))
    assert found.ok
    assert len(starts.read_text()) == 3
    unlucky.close()
    unlucky._command = ["sh", "-c", "kill -9 $$"]  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(UserError, match=r"did not start \(signal 9\)"):
        list(unlucky.measure(cells(1)))


# ---- the real thing ------------------------------------------------------------------------


def test_children_train_as_this_process_does():
    recipe = Recipe(epochs=3, width=4, batch=64)
    train = Train(recipe=recipe, device="cpu", workers=2)
    task = Task("nasbench201", evaluator=train, metric="accuracy", maximize=True)
    assert (task.name, task.metric.name, task.metric.unit) == ("nasbench201/digits", "accuracy", "%")
    found = {m.key: m for m in task.bench.measure(cells(3), seed=1)}
    images, threads = on_cpu(load_images("digits", None, SPLIT), recipe), torch.get_num_threads()
    torch.set_num_threads(1)
    for cell in cells(3):
        (trained,) = train_networks(builds([cell], 4), images, recipe, 1)
        assert found[cell.key].score == trained.score
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
