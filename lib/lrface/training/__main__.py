"""One training in several processes, one a GPU.

``torchrun --nproc-per-node N -m lrface.training config.json``
"""

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
    """The run of a config that is stored as JSON, trained by all processes that torchrun started.

    It has the key that it has in one process, and the same weights but for the order in which
    gradients are added. After a kill the same command goes on from the last checkpoint.

    Raises
    ------
    UsageError
        For a file that cannot be read or is no config.
    LrfaceError
        For a training that several processes cannot share.
    """
    try:
        config = Config.model_validate_json(file.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field, why = ".".join(map(str, first["loc"])), first["msg"].lower()
        raise UsageError(f"{file} is no config: {field}: {why}") from None
    distributed.check_batch(config.batch, config.label)
    with distributed.rank0_first():
        faces = data.load(config.data, "train", config.n_train, config.split_seed)
    return runs.fit(config, faces)


def main() -> int:
    """The command; its exit codes are those of ``lrface``. Rank 0 prints for all processes."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    code = 0
    try:
        if len(sys.argv) != 2:
            usage = "torchrun --nproc-per-node 2 -m lrface.training config.json"
            raise UsageError(f"give one config: {usage}")
        run = fit(Path(sys.argv[1]))
        message = f"{run.config.label}: {run.source}, {run.folder}"
    except LrfaceError as error:
        code, message = (2 if isinstance(error, UsageError) else 1), f"lrface: {error}"
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr if code else sys.stdout, flush=True)
    if torch.distributed.is_initialized() and not code:
        torch.distributed.destroy_process_group()
    return code


if __name__ == "__main__":
    sys.exit(main())
