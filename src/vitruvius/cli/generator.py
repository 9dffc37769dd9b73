"""`vitruvius generator`: the code model of a space; train it, draw from it, judge it, serve it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitruvius.cli.generator_sample import sample

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel

app = typer.Typer(no_args_is_help=True)
app.command()(sample)

_Space = Annotated[str, typer.Argument(help="Name of the space, as in `vitruvius spaces list`.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the model's training.")]


@app.command()
def train(space: _Space, seed: _Seed = 0) -> None:
    """Train the VQ-VAE and the code language model of a space, unless they are there, and judge them."""
    model = _judged(_model(space, seed))
    held, whole, language = (model.card[name] for name in ("held_out", "codec", "language_model"))
    typer.echo(f"folder           {model.folder}")
    told = "none: the space has too few to hold some out"
    if held["architectures"]:
        told = f"{held['exact']:.3%} of {held['architectures']} architectures reconstructed exactly"
    typer.echo(f"held-out ids     {told}")
    typer.echo(f"in use           {whole['exact']:.3%} of {whole['architectures']}")
    typer.echo(_codes_line(whole))
    ideal = language.get("ideal_nats")
    typer.echo(
        f"language model   {language['nats']} nats an architecture" + (f", ideal {ideal}" if ideal else "")
    )
    figures = model.card["figures"]
    (drawn,), perfect = figures["engines"].values(), figures["ceilings"]
    typer.echo(
        f"{figures['draws']:,} draws     {_percent(drawn['strict'])} valid as they stand, "
        f"{_percent(drawn['unique'])} of these distinct (by chance {_percent(perfect['unique'])})"
    )


@app.command()
def score(
    model: Annotated[
        str,
        typer.Argument(
            help="A space, a folder that `train` wrote, or a language model checkpoint (with --codec)."
        ),
    ],
    codec: Annotated[
        Path | None, typer.Option(help="The codec whose codes the checkpoint writes, or its code model.")
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="What draws; may be given more than once: uniform, ngram, transformers, vllm."),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", "-n", min=1, max=100_000, help="Sequences that each engine draws.")
    ] = 10_000,
    temperature: Annotated[float, typer.Option(help="Sampling temperature, above 0, at most 2.")] = 1.0,
    masks: Annotated[
        bool, typer.Option("--masks", help="Draw again, held to the codes seen at each position.")
    ] = False,
    draw_seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    seed: _Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print plain data.")] = False,
) -> None:
    """Judge a model: reconstruction, codes, and what it draws beside the best that a perfect sampler gets."""
    from vitruvius.generator.scoring import find_model
    from vitruvius.generator.scoring import score as figures_of

    found = figures_of(
        find_model(model, codec=codec, seed=seed, progress=_say),
        engine or ["transformers", "ngram", "uniform"],
        draws=draws, temperature=temperature, masks=masks, seed=draw_seed, progress=_say,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print_score(found)


@app.command()
def serve(space: _Space, seed: _Seed = 0) -> None:
    """Serve the code language model with vLLM on the loopback interface, until interrupted."""
    import time

    from vitruvius.generator.proposers.guide_files import FOLDER, guide_folder
    from vitruvius.generator.proposers.vllm_server import KEY_VARIABLE, code_server

    model = _model(space, seed)
    server = code_server(model.language_model, model.codec.length)
    typer.echo("starting vLLM (about 40 seconds)", err=True)
    with server:
        typer.echo(f"url  {server.url}")
        typer.echo(f"key  {server.key}  (set {KEY_VARIABLE} to it where you connect from)")
        typer.echo(
            f"guides  {guide_folder()}  (on this machine set {FOLDER} to it: --where is followed in full)"
        )
        try:
            while server.running:
                time.sleep(0.5)
        except KeyboardInterrupt:
            typer.echo("stopping", err=True)
            return
        raise server.failure("ended by itself")


def _codes_line(figures: dict[str, Any]) -> str:
    used = f"{figures['used']} of {figures['codebook']} used"
    return f"codes            {used}, perplexity {figures['perplexity']}"


_ROWS = {
    "strict": "valid, nothing repaired",
    "valid": "valid, once pruned",
    "unique": "distinct ids, of the valid",
    "unique_keys": "distinct texts, of the valid",
    "unique_written": "distinct decoded, of the valid",
    "novel": "new ids, of the distinct",
    "novel_keys": "new texts, of the distinct",
    "novel_repeats": "new as decoded, of the valid",
    "valid_unique": "distinct valid ids, of all draws",
    "valid_unique_keys": "distinct valid texts, of all draws",
    "coverage": "ids of the space reached",
    "coverage_keys": "texts of the space reached",
    "operations_distance": "distance of operation counts",
    "edges_distance": "distance of edge counts",
}
"""What the figures are called in the table; `generator/quality.py` says exactly what each is."""


def _print_score(found: dict[str, Any]) -> None:
    """The codec in lines, the engines side by side, the ceilings last."""
    codes, engines = found["codec"], found["engines"]
    typer.echo(f"reconstruction   {codes['exact']:.3%} of {codes['architectures']} architectures, exactly")
    if codes["held_out_exact"] is not None:
        typer.echo(f"held-out ids     {codes['held_out_exact']:.3%} (when it was trained)")
    typer.echo(_codes_line(codes))
    nearest = f"{codes['relabelling']:.3f}"
    typer.echo(f"code = decision  {nearest} (largest mutual information, 1: another name of one decision)")
    typer.echo(f"trained on       {found['trained_ids']} ids")
    typer.echo(found["generated"])
    typer.echo(f"\n{found['draws']} draws at temperature {found['temperature']:g}\n")
    widths = [max(10, len(name)) for name in engines]
    typer.echo(
        f"{'':36}" + "  ".join(f"{n:>{w}}" for n, w in zip(engines, widths, strict=True)) + "     perfect"
    )
    for row, title in _ROWS.items():
        cells = [_percent(figures.get(row)) for figures in engines.values()]
        line = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        typer.echo(f"{title:36}{line}  {_percent(found['ceilings'].get(row)):>10}")
    speeds = [f"{figures['per_second'] or 0:,.0f}" for figures in engines.values()]
    line = "  ".join(f"{cell:>{width}}" for cell, width in zip(speeds, widths, strict=True))
    typer.echo(f"{'sequences a second':36}{line}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def _model(space: str, seed: int) -> CodeModel:
    from vitruvius.generator.library import load_or_train
    from vitruvius.generator.space import get_space

    return load_or_train(get_space(space), seed=seed, progress=_say)


def _judged(model: CodeModel) -> CodeModel:
    """The same with all figures in its card, found now where it has none."""
    from vitruvius.generator.library import add_to_card, with_held_out
    from vitruvius.generator.scoring import score as figures_of

    model = with_held_out(model, progress=_say)
    if "figures" in model.card:
        return model
    return add_to_card(model, figures=figures_of(model, ["transformers"], progress=_say))


def _say(line: str) -> None:
    typer.echo(line, err=True)
