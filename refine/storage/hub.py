"""Checkpoints on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refine.errors import RefineError
from refine.extras import DISTRIBUTION
from refine.kinds import DOMAINS

FILES = ["config.json", "model.safetensors", "config.yaml"]  # the last has the sampler
CARD = """---
library_name: refine
tags: [refine, next-scale-generation, {domain}]
---
A {domain} model of `refine` (`pip install '{package}'`).

```python
import refine

model = refine.Refiner.from_pretrained("{repo_id}")
samples = model.sample(16, seed=0)
```
"""


def locate(
    name: str | Path, revision: str | None = None, token: str | None = None, local_files_only: bool = False
) -> Path:
    """The folder called ``name``; if there is none and it reads like ``owner/name``, the downloaded repository.

    Args:
        name: of a folder or a repository.
        revision: a branch, a tag or a commit of the repository; None for its newest state.
        token: for a private repository; None for the one that the machine is logged in with.
        local_files_only: take what was downloaded before, and ask nobody.

    Raises:
        RefineError: the hub has no such repository, or cannot be reached.
    """
    path, text = Path(name), str(name)
    if path.exists() or text.count("/") != 1 or text.startswith((".", "/", "~")):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        options: Any = {"revision": revision, "token": token, "local_files_only": local_files_only}
        return Path(snapshot_download(text, allow_patterns=FILES, **options))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise RefineError(f"{text!r} is neither a folder here nor a repository of the hub: {error}") from error


def upload(folder: Path, repo_id: str, domain: str, private: bool, token: str | None) -> str:
    """Create the repository if needed, upload a checkpoint folder with a model card, and return its address."""
    from huggingface_hub import HfApi

    text = CARD.format(domain=domain, repo_id=repo_id, package=_package(domain))
    (folder / "README.md").write_text(text, encoding="utf-8")
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload with refine"))


def _package(domain: str) -> str:
    """What to install for a domain: its distribution, with the extra of its name if it has one."""
    announced = DOMAINS.announced().get(domain)
    if announced is None or announced.dist is None:
        return DISTRIBUTION
    extras = announced.dist.metadata.get_all("Provides-Extra") or []
    return f"{announced.dist.name}[{domain}]" if domain in extras else announced.dist.name
