"""Class-conditional pictures behind the interface that users of diffusers know.

Names and meanings are those of its ``DiTPipeline``, as far as they say something here; diffusers is not needed.
"""

from __future__ import annotations

import operator
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from refine.capabilities import Pictures
from refine.drawing.asking import class_number
from refine.errors import RefineError, not_accepted, require
from refine.models.model import Model
from refine.models.refiner import Refiner
from refine.noise import Noise
from refine.settings.compose import to_yaml
from refine.settings.config import Config, SamplerConfig
from refine.storage import hub
from refine.storage.files import write_text
from refine.storage.runs import CONFIG, load_run_config
from refine.types import Condition

OUTPUT_TYPES = ("pil", "np", "pt")

VARIANTS = (None, "fp16", "bf16")

KINDS = "accepted: numbers, names or None"  # of labels

Label = int | str | None
Generators = torch.Generator | list[torch.Generator] | tuple[torch.Generator, ...] | None


@dataclass
class ImagePipelineOutput:
    """What a pipeline gives.

    Attributes:
        images: a list of B images of Pillow, an array (B, H, W, C) or a tensor (B, C, H, W), both in [0, 1].
    """

    images: Any


class NextScalePipeline:
    """Draws pictures from a model of images.

    Args:
        model: a :class:`refine.Refiner` of a domain with pictures.
        sampler: what holds where a call says nothing.

    Attributes:
        model, sampler: as given; the sampler may be replaced.

    Raises:
        RefineError: the model is none or draws no pictures, or the sampler is none.

    Example:
        >>> import refine, torch
        >>> from refine.pipelines import NextScalePipeline
        >>> pipe = NextScalePipeline.from_pretrained(refine.starter("image"))
        >>> images = pipe(class_labels=[3, 7], generator=torch.manual_seed(0)).images
        >>> [image.size for image in images]
        [(28, 28), (28, 28)]
    """

    def __init__(self, model: Refiner, sampler: SamplerConfig | None = None) -> None:
        accepted = "accepted: a refine.Refiner; of a folder, NextScalePipeline.from_pretrained(folder)"
        require(isinstance(model, Model), f"model is of type {type(model).__name__}; {accepted}")
        kind = type(sampler).__name__
        good = sampler is None or isinstance(sampler, SamplerConfig)
        require(good, f"sampler is of type {kind}; accepted: refine.SamplerConfig")
        name = model.domain.name
        require(
            isinstance(model, Refiner) and isinstance(model.domain, Pictures), f"domain {name!r} {Pictures.lacking}"
        )
        self.model, self.sampler = model, sampler or SamplerConfig()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | torch.device = "cpu",
        torch_dtype: torch.dtype | str | None = None,
        *,
        dtype: torch.dtype | str | None = None,
        revision: str | None = None,
        token: str | None = None,
        local_files_only: bool = False,
        use_safetensors: bool | None = None,
        variant: str | None = None,
        **others: Any,
    ) -> Self:
        """Load a run or another checkpoint folder, or a repository ``owner/name`` of the hub; with the sampler of its
        ``config.yaml``, where there is one.

        Args:
            folder: what to load.
            device: where to put it.
            torch_dtype: of what predicts, as in :meth:`to`, or its name; None or ``"auto"`` for float32.
            dtype: the same.
            revision: of a repository: a branch, a tag or a commit.
            token: for a private repository.
            local_files_only: take of a repository what was downloaded before, and ask nobody.
            use_safetensors: nothing else is ever read; False is refused.
            variant: ``fp16`` or ``bf16``, as scripts have it. There is one file of weights for all variants;
                ``torch_dtype`` says in which type they are held.
            others: none; a name that is not known is refused.

        Raises:
            RefineError: not a checkpoint, a damaged one, one of another domain, a type that is none, or an argument
                that is not known.
        """
        for name in others:
            accepted = "device, torch_dtype, dtype, revision, token, local_files_only, use_safetensors, variant"
            raise RefineError(f"{name!r} is not an argument of from_pretrained; accepted: {accepted}")
        require(use_safetensors is not False, "use_safetensors=False is not accepted: nothing else is read")
        if variant not in VARIANTS:
            raise not_accepted("variant", variant, VARIANTS)
        held = _dtype(torch_dtype if dtype is None else dtype, "torch_dtype" if dtype is None else "dtype")
        path = hub.locate(folder, revision, token, local_files_only)
        model: Any = Model.from_pretrained(path, device, held)
        return cls(model, load_run_config(path).sampler)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the checkpoint and the sampler; ``refine sample run=FOLDER`` draws with the same one."""
        self.model.save_pretrained(folder)
        domain = self.model.domain
        config = Config(domain.config, domain.name, self.model.config, sampler=self.sampler)
        write_text(Path(folder) / CONFIG, to_yaml(config))

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face hub, and return its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return hub.upload(Path(folder), repo_id, self.model.domain.name, private, token)

    @property
    def components(self) -> dict[str, Any]:
        """What the pipeline is made of: ``NextScalePipeline(**pipe.components)`` is another one of the same model."""
        return {"model": self.model, "sampler": self.sampler}

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: str | torch.device = "cuda") -> None:
        """Move the model to the accelerator, where all of it stays: it is one network, with no parts to take turns.

        Args:
            gpu_id: number of the accelerator.
            device: its kind.

        Raises:
            RefineError: there is none.
        """
        kind = torch.device(device).type
        good = kind == "cpu" or bool(getattr(torch, kind).is_available())
        require(good, f"device={str(device)!r} is not available here")
        self.to(torch.device(device) if gpu_id is None else torch.device(kind, gpu_id))

    def set_progress_bar_config(self, **options: Any) -> None:
        """Nothing: pictures are drawn in so few steps that no bar is shown."""

    def to(self, *where: str | torch.device | torch.dtype) -> Self:
        """Move to a device, or hold the weights of what predicts in another type (what decodes stays in float32)."""
        for target in where:
            if isinstance(target, torch.dtype):
                self.model.hold(target)
            else:
                self.model.to(target)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights of what predicts."""
        return next(self.model.predictor.parameters()).dtype

    @property
    def labels(self) -> dict[str, int]:
        """The number of each class by its name."""
        return {name: number for number, name in enumerate(self.model.domain.class_names())}

    def get_label_ids(self, label: str | Sequence[str]) -> list[int]:
        """The numbers of classes.

        Raises:
            RefineError: no such class.
        """
        names, known = [label] if isinstance(label, str) else list(label), self.labels
        for name in names:
            if name not in known:
                raise not_accepted("class_labels", name, known)
        return [known[name] for name in names]

    def __call__(
        self,
        class_labels: Label | Sequence[Label] | Tensor = None,
        guidance_scale: float | None = None,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        **sampler: Any,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw one picture for each label.

        Args:
            class_labels: names or numbers of classes (:func:`refine.drawing.asking.class_number`). None, or a negative
                number, is a picture of no class in particular: ``[None] * 4`` draws four.
            guidance_scale: classifier-free guidance, where 1 is none; it says what :attr:`SamplerConfig.guidance` says.
                VAR's ``cfg`` is ``guidance_scale - 1`` with ``schedule="linear"``. None is the sampler's.
            generator: one for all pictures, or a list with one for each. Each picture takes a single number from its
                generator, and depends on that number, its label and the sampler alone: not on the others of the call.
                None takes the numbers from torch's own.
            output_type: ``pil``, ``np`` (B, H, W, C) or ``pt`` (B, C, H, W); the last two are in [0, 1].
            return_dict: False for a tuple with the images alone.
            sampler: other fields of :class:`refine.SamplerConfig` (``top_k``, ``top_p``, ``temperature``, ...).

        Raises:
            RefineError: no such class, something else than generators or another number of them, or a setting that is
                not accepted.
        """
        if output_type not in OUTPUT_TYPES:
            raise not_accepted("output_type", output_type, OUTPUT_TYPES)
        labels = self._labels(class_labels)
        numbers = _numbers(generator, len(labels))
        settings = self._settings(guidance_scale, sampler)
        classes = [i for i, label in enumerate(labels) if label is not None]
        others = [i for i, label in enumerate(labels) if label is None]
        parts = []
        for rows in filter(None, (classes, others)):
            given = None if rows is others else Condition(label=torch.tensor([labels[i] for i in rows]))
            parts.append(self.model.generate(Noise(0, [numbers[i] for i in rows]), given, settings).items)
        items = torch.cat(parts)[torch.tensor(classes + others).argsort()]
        images = self.model.domain.pictures(items, output_type)
        return ImagePipelineOutput(images) if return_dict else (images,)

    def _labels(self, given: Label | Sequence[Label] | Tensor) -> list[int | None]:
        if isinstance(given, Tensor | np.ndarray):
            given = given.flatten().tolist()
        listed = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        require(bool(listed), "class_labels=[] is not accepted; accepted: a class for each image")
        num = self.model.domain.condition.num_classes
        return [self._label(label, num) for label in listed]

    def _label(self, label: Any, num_classes: int) -> int | None:
        if label is None:
            return None
        names = self.model.domain.class_names()
        if isinstance(label, str):
            return class_number(label, names, "class_labels")
        try:
            number = operator.index(label)
            require(not isinstance(label, bool), f"class_labels={label} is not accepted; {KINDS}")
        except TypeError:
            raise RefineError(f"class_labels={label!r} is not accepted; {KINDS}") from None
        if number < 0:
            return None
        require(num_classes > 0, f"class_labels={label!r} is not accepted: this model is not conditioned on classes")
        accepted = f"accepted: 0 to {num_classes - 1}, their names, or None (or -1) for none"
        known = number < num_classes or any(name.isdecimal() and int(name) == number for name in names)
        require(known, f"class_labels={number} is not accepted; {accepted}")
        return class_number(number, names, "class_labels")

    def _settings(self, guidance_scale: float | None, given: dict[str, Any]) -> SamplerConfig:
        accepted = [f.name for f in fields(SamplerConfig) if f.name != "guidance"]
        for name in given:
            if name not in accepted:
                raise RefineError(f"{name!r} is not an argument; accepted: guidance_scale, {', '.join(accepted)}")
        return replace(self.sampler, **given if guidance_scale is None else {**given, "guidance": guidance_scale})


def _dtype(given: torch.dtype | str | None, key: str) -> torch.dtype | None:
    """A floating point type, by itself or by its name."""
    found = getattr(torch, given.removeprefix("torch."), None) if isinstance(given, str) else given
    if given is None or given == "auto":
        return None
    accepted = "accepted: torch.bfloat16 or another floating point type of torch, or its name"
    require(isinstance(found, torch.dtype) and found.is_floating_point, f"{key}={given!r} is not accepted; {accepted}")
    return found


def _numbers(generator: Generators, num: int) -> list[int]:
    """A number for the noise of each of ``num`` pictures."""
    if isinstance(generator, list | tuple):
        found = len(generator)
        require(found == num, f"generator has {found} entries; expected one for each of {num} class_labels, or one")
        return [n for g in generator for n in _numbers(g, 1)]
    good = generator is None or isinstance(generator, torch.Generator)
    require(good, f"generator={generator!r} is not accepted; accepted: a torch.Generator, a list of them, or None")
    device = torch.device("cpu") if generator is None else generator.device
    return torch.randint(2**63 - 1, (num,), generator=generator, device=device).tolist()
