"""Trained parts of `generator.py`, kept in a work folder so that an interrupted run goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _decisions import DecisionCodec
from _record import settings_hash

from vitruvius.generator.adapters import adapt_checkpoint
from vitruvius.generator.codes import Codec
from vitruvius.generator.corpus_training import LanguageModelSettings
from vitruvius.generator.language_model import train_language_model
from vitruvius.generator.space import Choices, SearchSpace
from vitruvius.generator.training import CodecSettings, architectures_of, split_by_id, train_codec

REPRESENTATIONS = ("codes", "decisions")


class Work:
    """A folder of results and models, each under the hash of what it depends on."""

    def __init__(
        self, folder: Path, space: SearchSpace, codec: CodecSettings, language: LanguageModelSettings
    ) -> None:
        self.folder, self.space = folder, space
        self.codec_settings, self.language_settings = codec, language
        folder.mkdir(parents=True, exist_ok=True)

    def once(self, what: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Plain data: read where it was computed before, else computed now."""
        file = self.folder / f"{settings_hash(self._full(what))}.json"
        if not file.exists():
            draft = file.with_suffix(".part")
            draft.write_text(json.dumps(compute()), encoding="utf-8")
            os.replace(draft, file)
        return json.loads(file.read_text(encoding="utf-8"))

    def split(self, seed: int, fraction: float) -> tuple[Choices, Choices]:
        """Architectures that are trained on and those that are not: the split of `train_codec`."""
        rng = np.random.default_rng(seed)
        rows = architectures_of(self.space, self.codec_settings.sample, rng)
        seen = split_by_id(self.space, rows, fraction, rng)
        return rows[seen], rows[~seen]

    def codec(self, representation: str, seed: int, fraction: float) -> tuple[Codec, dict[str, Any]]:
        """The codec of a representation, and its metrics on what it was not trained on."""
        if representation == "decisions":
            return DecisionCodec(self.space), {}
        folder = self._place({"codec": True, "seed": seed, "fraction": fraction}, language=False)
        if not (folder / "metrics.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            codec, metrics = train_codec(
                self.space,
                seed=seed,
                fraction=fraction,
                progress=say,
                settings=self.codec_settings,
                state=folder / "state",
            )
            codec.save(folder / "codec")
            (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return Codec.load(folder / "codec", self.space), metrics

    def transformer(self, codec: Codec, rows: Choices, seed: int, steps: int | None = None) -> Path:
        """A small transformer from nothing, trained on the codes of rows; `steps` replaces its own plan."""
        settings = self.language_settings
        if steps is not None:
            settings = replace(settings, steps=steps, large=10**9, enough=0.0, partial=0.0)
        what = {"transformer": codec.hash, "rows": _digest(rows), "seed": seed, "steps": steps}
        return self._checkpoint(
            what,
            lambda out: train_language_model(
                codec, out, seed=seed, rows=rows, progress=say, settings=settings
            ),
        )

    def smollm2(self, codec: Codec, rows: Choices, seed: int, steps: int, batch: int) -> Path:
        """SmolLM2-135M, all weights fine-tuned on the codes of rows as text."""
        from vitruvius.agents.smollm2 import model_folder

        what = {"smollm2": codec.hash, "rows": _digest(rows), "seed": seed, "steps": steps, "batch": batch}

        def train(out: Path) -> Path:
            return adapt_checkpoint(
                model_folder(say),
                codec,
                out,
                lora=False,
                seed=seed,
                steps=steps,
                batch=batch,
                rows=rows,
                progress=say,
            )

        return self._checkpoint(what, train)

    def seconds(self, checkpoint: Path) -> float:
        """How long a checkpoint's training took on this machine."""
        return json.loads((checkpoint.parent / "done.json").read_text(encoding="utf-8"))["seconds"]

    def _checkpoint(self, what: dict[str, Any], train: Callable[[Path], Path]) -> Path:
        folder = self._place(what)
        done = folder / "done.json"
        if not done.exists():
            begin = time.perf_counter()
            name = train(folder).name
            seconds = round(time.perf_counter() - begin, 1)
            done.write_text(json.dumps({"checkpoint": name, "seconds": seconds}), encoding="utf-8")
        return folder / json.loads(done.read_text(encoding="utf-8"))["checkpoint"]

    def _place(self, what: dict[str, Any], *, language: bool = True) -> Path:
        return self.folder / "models" / settings_hash(self._full(what, language=language))

    def _full(self, what: dict[str, Any], *, language: bool = True) -> dict[str, Any]:
        """With everything that it depends on; a codec does not depend on the language model's settings."""
        full = {**what, "space": self.space.name, "codec_settings": repr(self.codec_settings)}
        return full | ({"language": repr(self.language_settings)} if language else {})


def say(line: str) -> None:
    """A line of progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _digest(rows: Choices) -> str:
    return settings_hash({"rows": rows.tobytes().hex()})
