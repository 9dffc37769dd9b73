"""What writes candidates in a session: the code model and the engine that serves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvius.agents.options import Options
from vitruvius.errors import CheckpointError, MissingPartError, ModelError
from vitruvius.generator.space import SearchSpace

if TYPE_CHECKING:
    from vitruvius.generator.library import CodeModel
    from vitruvius.generator.proposers.base import Proposer


class Engine:
    """Loads or trains the code model, starts the proposer when it is first needed.

    Attributes:
        space: The space that codes are decoded to.
        weights: Folder of the language model in use; changes with fine-tuning.
    """

    def __init__(
        self,
        space: SearchSpace,
        options: Options,
        *,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        """Nothing is loaded yet.

        Args:
            space: The search space.
            options: Proposer, its URL, and the seed.
            say: Takes one line of progress.
            warn: Takes one warning, which will stand in the report.
        """
        self.space = space
        self.weights: Path | None = None
        self._options = options
        self._say = say
        self._warn = warn
        self._model: CodeModel | None = None
        self._proposer: Proposer | None = None

    @property
    def writes(self) -> bool:
        """Whether a code model writes candidates; else they are drawn uniformly, and none is needed."""
        return self._options.proposer != "uniform"

    @property
    def model(self) -> CodeModel:
        """The VQ-VAE and its code language model, trained now if they never were."""
        if self._model is None:
            self._say("loading the code model")  # seconds, for torch has to be imported first
            from vitruvius.generator.library import load_or_train, model_folder

            if not model_folder(self.space, 0).exists():
                long = "a minute or two" if self.space.size is not None else "some minutes on a CPU"
                self._say(
                    f"{self.space.name} has none yet: it is trained now, once, which takes {long}; a search "
                    "with --proposer uniform needs none"
                )

            self._model = load_or_train(self.space, progress=self._say)
            self.weights = self.weights or self._model.language_model
        return self._model

    @property
    def proposer(self) -> Proposer:
        """The engine, started when first asked for."""
        if self._proposer is None:
            self._proposer = self._start()
            if self.weights is not None and self.weights != self.model.language_model:
                self._proposer.reload(self.weights)
        return self._proposer

    def _start(self) -> Proposer:
        from vitruvius.generator.proposers import make_proposer

        name, model = self._options.proposer, self.model
        if name != "auto":
            self._say(f"starting the {name} proposer")
            return make_proposer(name, model, url=self._options.proposer_url)
        try:
            self._say("starting vLLM in this process")
            return make_proposer("vllm", model)
        except (MissingPartError, ModelError) as error:
            self._warn(f"vLLM is not used, transformers writes the codes instead: {error}")
            return make_proposer("transformers", model)

    def reload(self, folder: Path) -> None:
        """Continue with other weights.

        Raises:
            CheckpointError: The folder is not there.
        """
        if not folder.is_dir():
            raise CheckpointError(
                f"The fine-tuned model {folder} is missing: restore it, or start the session in a new folder."
            )
        self.weights = folder
        if self._proposer is not None:
            self._proposer.reload(folder)

    def close(self) -> None:
        """Stop the engine."""
        if self._proposer is not None:
            self._proposer.close()
            self._proposer = None
