"""`vitruvius generator`: the code model of a space; train it, draw from it, judge it, serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel

app = typer.Typer(no_args_is_help=True)

_Space = Annotated[str, typer.Argument(help="Name of the space, as in `vitruvius spaces list`.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the model's training.")]


@app.command()
def train(space: _Space, seed: _Seed = 0) -> None:
    """Train the VQ-VAE and the code language model of a space, unless they are there already."""
    model = _model(space, seed)
    held, whole, language = (model.card[name] for name in ("held_out", "codec", "language_model"))
    typer.echo(f"folder           {model.folder}")
    typer.echo(
        f"held-out ids     {held['exact']:.3%} of {held['architectures']} architectures reconstructed exactly"
    )
    typer.echo(f"in use           {whole['exact']:.3%} of {whole['architectures']}")
    typer.echo(_codes_line(whole))
    ideal = language.get("ideal_nats")
    typer.echo(
        f"language model   {language['nats']} nats an architecture" + (f", ideal {ideal}" if ideal else "")
    )


@app.command()
def sample(
    space: _Space,
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Sequences to draw.")] = 10,
    engine: Annotated[
        str, typer.Option(help="uniform, ngram, transformers, vllm or vllm-server.")
    ] = "transformers",
    temperature: Annotated[float, typer.Option(help="Sampling temperature, above 0.")] = 1.0,
    quantile: Annotated[
        int | None,
        typer.Option(help="Score band, 0 (worst tenth) to 9 (best); it means something after fine-tuning."),
    ] = None,
    url: Annotated[str | None, typer.Option(help="For vllm-server: a server that runs already.")] = None,
    draw_seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    seed: _Seed = 0,
) -> None:
    """Draw codes and print them with the architectures that they decode to."""
    from vitruvius.generator.codes import format_codes
    from vitruvius.generator.pool import fill_pool
    from vitruvius.generator.proposers import Request, make_proposer

    model = _model(space, seed)
    proposer = make_proposer(engine, model, url=url)
    try:
        request = Request(n=n, seed=draw_seed, temperature=temperature, quantile=quantile)
        pool = fill_pool(proposer, model.codec, request, inside=None, known_ids=set())
    finally:
        proposer.close()
    for codes, row in zip(pool.codes, pool.choices, strict=True):
        typer.echo(
            f"{format_codes(codes):<{5 * model.codec.length}} {model.codec.space.format(row.tolist())}"
        )
    typer.echo(pool.describe(), err=True)


@app.command()
def score(
    space: _Space,
    n: Annotated[
        int, typer.Option("-n", min=1, max=100_000, help="Sequences to draw for validity.")
    ] = 10_000,
    seed: _Seed = 0,
) -> None:
    """Measure the models again: reconstruction, codes, validity and uniqueness of what is drawn."""
    import numpy as np

    from vitruvius.generator.proposers import Request, make_proposer
    from vitruvius.generator.training import architectures_of, codec_metrics

    model = _model(space, seed)
    codec = model.codec
    rows = architectures_of(codec.space, 50_000, np.random.default_rng(seed))
    figures = codec_metrics(codec, rows)
    typer.echo(
        f"reconstruction   {figures['exact']:.3%} of {figures['architectures']} architectures, exactly"
    )
    typer.echo(f"held-out ids     {model.card['held_out']['exact']:.3%} (when it was trained)")
    typer.echo(_codes_line(figures))
    for engine in ("transformers", "ngram", "uniform"):
        proposer = make_proposer(engine, model)
        proposer.draw(Request(n=1, seed=1))  # what is done only once is not timed
        drawn = proposer.draw(Request(n=n, seed=0))
        proposer.close()
        decoded = codec.decode(drawn.codes)
        valid = codec.space.valid(decoded)
        normal = codec.space.normalise(decoded[valid])
        keys = len(np.unique(codec.space.numbers(normal)))
        typer.echo(
            f"{engine:<16} {valid.sum() / n:.2%} of {n} draws valid, "
            f"{keys / max(1, valid.sum()):.2%} of these distinct, {n / drawn.seconds:,.0f} sequences a second"
        )


@app.command()
def serve(space: _Space, seed: _Seed = 0) -> None:
    """Serve the code language model with vLLM on the loopback interface, until interrupted."""
    import time

    from vitruvius.generator.proposers.vllm_server import KEY_VARIABLE, code_server

    server = code_server(_model(space, seed).language_model)
    typer.echo("starting vLLM (about 40 seconds)", err=True)
    with server:
        typer.echo(f"url  {server.url}")
        typer.echo(f"key  {server.key}  (set {KEY_VARIABLE} to it where you connect from)")
        try:
            while server.running:
                time.sleep(0.5)
        except KeyboardInterrupt:
            typer.echo("stopping", err=True)


def _codes_line(figures: dict[str, Any]) -> str:
    used = f"{figures['used']} of {figures['codebook']} used"
    return f"codes            {used}, perplexity {figures['perplexity']}"


def _model(space: str, seed: int) -> CodeModel:
    from vitruvius.generator.library import load_or_train
    from vitruvius.generator.space import get_space

    return load_or_train(get_space(space), seed=seed, progress=lambda line: typer.echo(line, err=True))
