"""One training in several processes, one a GPU: ``torchrun --nproc-per-node N -m lrface.training
config.json``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import torch.distributed
from pydantic import ValidationError

from lrface import data
from lrface.errors import LrfaceError, UsageError
from lrface.training import distributed, runs
from lrface.training.runs import Config, Run
from lrface.training.sweep import exit_with_parent


def fit(file: Path) -> Run:
    """Train, or find, the run of a config stored as JSON, with all processes that torchrun started.

    The run has the key that it has in one process, and is the same but for the order in which
    gradients are added. Killed, the same line goes on. Raises one sentence for a file that is no
    config (:class:`UsageError`) or a training that several processes cannot share.
    """
    try:
        config = Config.model_validate_json(file.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{file} is no config: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        ) from None
    distributed.check_batch(config.batch, config.label)
    with distributed.rank0_first():
        faces = data.load(config.data, "train", config.n_train, config.split_seed)
    return runs.fit(config, faces)


def main() -> int:
    """Exit codes as the command line's; the first process speaks for all."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    code, said = 0, ""
    try:
        if len(sys.argv) != 2:
            raise UsageError(
                "give one config: torchrun --nproc-per-node 2 -m lrface.training config.json"
            )
        run = fit(Path(sys.argv[1]))
        said = f"{run.config.label}: {run.source}, {run.folder}"
    except LrfaceError as error:
        code, said = (2 if isinstance(error, UsageError) else 1), f"lrface: {error}"
    if os.environ.get("RANK", "0") == "0":
        print(said, file=sys.stderr if code else sys.stdout, flush=True)
    if torch.distributed.is_initialized() and not code:
        torch.distributed.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
