"""`vitruvius generator sample`: architectures by what they should be like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvius.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vitruvius.generator.codes import Codec
    from vitruvius.generator.pool import Pool
    from vitruvius.generator.space import SearchSpace
    from vitruvius.knowledge.predicate import Predicate

    Costs = Callable[[NDArray[np.int8]], Mapping[str, NDArray[np.float64]]]

_SHARE = re.compile(r"top\s*(\d+(?:\.\d+)?)\s*%")
_ENDINGS = (".csv", ".jsonl", ".parquet")
_OTHERS = 2000  # architectures of the space that say how far apart two of it are


def sample(
    space: Annotated[str, typer.Argument(help="Name of the space, as in `vitruvius spaces list`.")],
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Sequences to draw.")] = 10,
    where: Annotated[
        str | None, typer.Option(help='What should hold, for example "conv3x3 >= 2 and depth >= 3".')
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="How good they should be, for example top10%, by what --run has measured."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder: it says what is good, and what that costs; not drawn again."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this .csv, .jsonl or .parquet file instead of printing.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="uniform, ngram, transformers, vllm or vllm-server.")
    ] = "transformers",
    temperature: Annotated[float, typer.Option(help="Sampling temperature, above 0, at most 2.")] = 1.0,
    url: Annotated[str | None, typer.Option(help="For vllm-server: a server that runs already.")] = None,
    draw_seed: Annotated[int, typer.Option(min=0, help="Seed of the draw: another one draws others.")] = 0,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the model's training: another one is another model.")
    ] = 0,
) -> None:
    """Draw codes and print them with the architectures that they decode to."""
    from vitruvius.generator.files import check_out
    from vitruvius.generator.library import load_or_train, model_folder
    from vitruvius.generator.pool import fill_pool
    from vitruvius.generator.proposers import Request, check_proposer, make_proposer
    from vitruvius.generator.proposers.checks import check_temperature
    from vitruvius.generator.space import get_space
    from vitruvius.knowledge.run_folder import know_spaces

    check_proposer(engine, url)
    check_temperature(temperature)
    check_out(out, _ENDINGS)
    if run is not None:
        know_spaces(run)
    wish = _wish(get_space(space), where, score, run)
    if seed and not model_folder(wish.space, seed).exists():
        note = f"No model of {wish.space.name} has seed {seed} yet: one is trained first"
        typer.echo(f"{note}. Other draws of a model that is there: --draw-seed {seed}.", err=True)
    model = load_or_train(wish.space, seed=seed, progress=lambda line: typer.echo(line, err=True))
    typer.echo(f"starting the engine {engine}", err=True)  # seconds, and more of them where it is vLLM
    guide = wish.guide(model.codec)
    proposer = make_proposer(engine, model, url=url)
    try:
        request = Request(n=n, seed=draw_seed, temperature=temperature, guide=guide)
        pool = fill_pool(proposer, model.codec, request, inside=wish.holds, known_ids=wish.known)
    finally:
        proposer.close()
    _show(wish, pool, model.codec, out)


def _show(wish: _Wish, pool: Pool, codec: Codec, out: Path | None) -> None:
    """Write what was drawn, the best first where there is one, and say what became of the rest.

    Raises:
        UserError: Nothing is left.
    """
    if wish.good is not None:
        order = wish.good.best_first(pool.choices)
        pool = replace(pool, choices=pool.choices[order], codes=pool.codes[order])
    _write(pool, codec, out)
    for line in [*wish.lines(pool), pool.describe()]:
        typer.echo(line, err=True)
    if not len(pool.choices):
        raise UserError(
            "Nothing that was drawn is wanted: draw more with -n, or use an engine of this process."
        )


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for.

    Attributes:
        space: The space.
        where: What should hold.
        wanted: (N,) how much each of the space's `all_rows` is wanted; None wants all alike.
        good: What a run measured, where it is asked for by score.
        notes: Sentences for the reader.
        costs: What tells the costs that `where` bounds.
    """

    space: SearchSpace
    where: Predicate | None
    wanted: NDArray[np.float64] | None
    good: _Measured | None = None
    notes: tuple[str, ...] = ()
    costs: Costs | None = None

    @property
    def known(self) -> frozenset[str]:
        """Ids that were measured: these are not drawn."""
        return frozenset() if self.good is None else self.good.known

    def holds(self, choices: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Where the predicate holds, for rows (n, D): (n,)."""
        import numpy as np

        from vitruvius.knowledge.population import Population

        if self.where is None:
            return np.ones(len(choices), dtype=np.bool_)
        return self.where.holds(Population(self.space, choices, self.costs))

    def guide(self, codec: Codec) -> Any:
        """What leads there, None where all is wanted alike."""
        from vitruvius.knowledge.steering import guide_towards

        return None if self.wanted is None else guide_towards(codec, self.space, self.wanted)

    def lines(self, pool: Pool) -> list[str]:
        """What became of it."""
        if self.where is None:
            return list(self.notes)
        valid = pool.asked - pool.unfinished - pool.invalid
        share = (valid - pool.outside) / pool.asked
        return [*self.notes, f"{share:.2%} of the draws satisfied {self.where.text()!r} before any rejection"]


def _wish(space: SearchSpace, where: str | None, score: str | None, run: Path | None) -> _Wish:
    """Read the options.

    Raises:
        UserError: One that cannot be read, that nothing satisfies, or that lacks another.
    """
    from vitruvius.knowledge.population import Population
    from vitruvius.knowledge.predicate import Predicate, costs_in
    from vitruvius.knowledge.steering import all_rows

    if score is not None and run is None:
        raise UserError(
            f"--score {score} needs measurements to tell what is good: name a run with --run FOLDER "
            f"(`vitruvius run --task {space.name}/...` makes one)."
        )
    predicate = None if where is None else Predicate.parse(where)
    bounds = () if predicate is None else costs_in(predicate)
    if run is not None and score is None and not bounds:
        raise UserError("--run says what is good, but nothing asks for it: give --score, for example top10%.")
    if bounds and run is None:
        raise UserError(f"--where bounds {bounds[0]}: name a run with --run whose table or networks tell it.")
    if predicate is None and score is None:
        return _Wish(space, None, None)
    wanted, notes, good = None, list[str](), None
    costs = _costs(space, run) if bounds and run is not None else None
    known = () if costs is None else tuple(costs(all_rows(space)[:1]))
    predicate = None if predicate is None else predicate.check(space, known)
    if predicate is not None:
        wanted = predicate.holds(Population(space, all_rows(space), costs)).astype(float)
        about = "" if space.size is not None else "about "
        notes.append(f"{about}{wanted.mean():.2%} of {space.name} satisfies {predicate.text()!r}")
        if not wanted.any():
            none = f"Nothing in {space.name} satisfies"
            if space.size is None:
                none = f"None of {len(wanted):,} architectures drawn from {space.name} satisfies"
            raise UserError(f"{none} {predicate.text()!r}: ask for less at once.")
    if score is not None and run is not None:
        share, good = _share(score), _measured(space, run)
        notes.append(good.note(share))
        promising = good.wanted(share)
        wanted = promising if wanted is None else wanted * promising
    return _Wish(space, predicate, wanted, good, tuple(notes), costs)


def _costs(space: SearchSpace, run: Path) -> Costs:
    """What tells the costs of architectures: the table, networks or function of a run.

    Raises:
        UserError: The run searched another space, or the settings of its task are not there.
    """
    from vitruvius.building import build_task
    from vitruvius.config import load_settings
    from vitruvius.knowledge.run_folder import SETTINGS_FILE

    if not (run / SETTINGS_FILE).is_file():
        raise UserError(
            f"{run} holds no {SETTINGS_FILE}, so it tells no costs: name a run of `vitruvius run`."
        )
    task = build_task(load_settings(run / SETTINGS_FILE, {}))
    if task.space.name != space.name:
        raise UserError(f"{run} searched {task.space.name}, which tells no costs of {space.name}.")
    return task.bench.costs


def _share(text: str) -> float:
    """`top10%` as a number."""
    found = _SHARE.fullmatch(text.strip())
    share = float(found[1]) / 100 if found else 0.0
    if not 0 < share < 1:
        raise UserError(f"--score {text!r} cannot be read: it looks like top10% or top1%.")
    return share


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a run measured, and what follows for all that it did not.

    Attributes:
        task: What was measured.
        rows: (m, D) architectures with a score.
        scores: (m,) their scores, larger is better.
        known: Ids of all that was measured.
    """

    space: SearchSpace
    task: str
    rows: NDArray[np.int8]
    scores: NDArray[np.float64]
    known: frozenset[str]

    def note(self, share: float) -> str:
        """One line about what is asked for."""
        told = f"{len(self.scores)} measurements of {self.task}"
        return f"the best {100 * share:g} % as far as {told} tell, best first; these are left out"

    def wanted(self, share: float) -> NDArray[np.float64]:
        """How much each of the space's `all_rows` is wanted: (N,)."""
        import numpy as np

        from vitruvius.agents.posterior import predict
        from vitruvius.knowledge.steering import all_rows

        everything = all_rows(self.space)
        wanted = predict(self.space, self.rows, self.scores, everything).wanted(share)
        wanted[np.isin(np.array(self.space.ids(everything)), list(self.known))] = 0.0
        return wanted

    def best_first(self, choices: NDArray[np.int8]) -> NDArray[np.intp]:
        """Positions of rows (n, D), those that are expected to score best in front: (n,)."""
        import numpy as np

        from vitruvius.agents.posterior import predict
        from vitruvius.knowledge.steering import all_rows

        others = all_rows(self.space)
        others = others[:: max(1, len(others) // _OTHERS)]
        both = np.concatenate([choices, others])
        mean = predict(self.space, self.rows, self.scores, both).mean[: len(choices)]
        return np.argsort(-mean, kind="stable")


def _measured(space: SearchSpace, run: Path) -> _Measured:
    """What a run measured.

    Raises:
        UserError: Nothing, or in another space.
    """
    import numpy as np

    from vitruvius.agents.opening import session_id
    from vitruvius.knowledge.run_folder import open_ledger

    with open_ledger(run) as ledger:
        sessions = ledger.sessions()
        if not sessions:
            raise UserError(f"The ledger of {run} holds no session yet.")
        record = next((one for one in sessions if one.id == session_id(run)), sessions[-1])
        learned = [one.measurement for one in ledger.learned(record.id, record.task) if one.counted]
    if record.task.split("/")[0] != space.name:
        raise UserError(f"{run} measured {record.task}, which says nothing about {space.name}.")
    scored = [one for one in learned if one.ok]
    sign = 1.0 if record.settings.get("maximize", True) else -1.0
    scores = sign * np.array([one.score for one in scored], dtype=np.float64)
    rows = space.parse_many([one.key for one in scored])
    return _Measured(space, record.task, rows, scores, frozenset(one.id for one in learned))


def _write(pool: Pool, codec: Codec, out: Path | None) -> None:
    """One architecture on each line: printed, or as a table in a file."""
    from vitruvius.generator.code_text import format_codes
    from vitruvius.generator.evaluation.columns import write_columns
    from vitruvius.generator.files import write_whole

    space = codec.space
    codes, keys, ids = format_codes(pool.codes), space.keys(pool.choices), space.ids(pool.choices)
    if out is None:
        for code, key in zip(codes, keys, strict=True):
            typer.echo(f"{code:<{5 * codec.length}} {key}")
        return
    columns = {"codes": codes, "architecture": keys, "id": ids}
    if out.suffix == ".jsonl":
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        write_whole(out, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        write_columns(out, columns)
    typer.echo(f"{len(pool.choices)} architectures written to {out}", err=True)
