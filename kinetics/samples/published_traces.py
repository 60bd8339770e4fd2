"""The traces that the paper's authors publish on the Hugging Face hub, fetched file by file.

Needs a network and the extra `law`. What arrives is read like any other trace file.
"""

from pathlib import Path
from typing import Final

from kinetics.specs.distribution import install_command

DATASET: Final = "InfiniAILab/Kinetics-generations"


def fetch_published_traces(*, task: str, cache_dir: Path | None = None) -> list[Path]:
    """Paths of the task's trace files in the local cache, downloaded where missing.

    The files keep their names, which say model and attention, and are not parsed on the way: their first line has
    other columns than the rest, which table loaders reject.

    Raises: RuntimeError without the Hugging Face client, if the hub cannot be reached, or if it has no such file.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise RuntimeError(f"fetching traces needs the Hugging Face client; {install_command('law')}") from error
    try:
        folder = snapshot_download(DATASET, repo_type="dataset", allow_patterns=f"*{task}_*.jsonl", cache_dir=cache_dir)
    except Exception as error:  # the hub's client raises many kinds; all mean that nothing can be read
        raise RuntimeError(f"{DATASET} cannot be fetched ({type(error).__name__}); give trace files instead") from error
    files = sorted(Path(folder).rglob(f"{task}_*.jsonl"))
    if not files:
        raise RuntimeError(f"{DATASET} must hold files named {task}_*.jsonl, got none; give trace files instead")
    return files
