"""One worker of a distributed training, as `cluster.py` starts it.

It is `python -P -m darkroom.models.training_loop.worker WORK`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

from darkroom.data.dataset.dataset import open_dataset
from darkroom.data.dataset.input import Share
from darkroom.data.errors import DarkroomError, WorkError
from darkroom.data.parallel import num_cpus
from darkroom.models.training_loop.cluster import Answer, Work
from darkroom.models.training_loop.distribute import Replicas
from darkroom.models.training_loop.stage import (
    OnEpoch,
    TrainRequest,
    build_optimizer,
    epoch_feed,
    image_stage,
    run_epochs,
)
from darkroom.models.training_loop.state import keep_state, read_history, restore
from darkroom.models.training_loop.techniques.objective import objective_of


def take_part(work: Work, on_epoch: OnEpoch) -> Any:
    """Train one stage together with the other workers; returns the trained model. The chief keeps the state.

    Args:
        work: The instructions.
        on_epoch: Called with each finished epoch.

    Raises:
        WorkError: where another worker is lost.
    """
    import keras
    import tensorflow as tf

    settings, folder = work.settings, work.staging / work.stage
    share = Share(work.worker, len(work.addresses))
    try:
        strategy = _strategy(work)
        dataset = open_dataset(work.dataset)
        stage = image_stage(work.stage, dataset, settings, share, strategy.num_replicas_in_sync // share.num_readers)
        objective = objective_of(dataset, settings)
        validation = objective.feed(stage.validation)
        with strategy.scope():
            keras.utils.set_random_seed(settings.seed)
            history = read_history(folder)
            optimizer = build_optimizer(settings, stage)
            model = restore(folder, len(history), optimizer)
            model.compile(optimizer=optimizer)
        replicas = Replicas(strategy, model, optimizer, objective)

        def epoch(number: int) -> dict[str, float]:
            feed = epoch_feed(stage, objective, settings, number)
            return replicas.epoch(feed, stage.steps, validation, [settings.seed, number])

        def keep() -> None:
            if work.worker == 0:
                keep_state(folder, model, history)
            replicas.wait_for_all()  # no worker goes on, or leaves, before the state is kept

        request = TrainRequest(dataset, settings, work.staging, on_epoch=on_epoch)
        run_epochs(stage, request, history, epoch, keep)
        with suppress(tf.errors.OpError):
            replicas.wait_for_all()  # or the first to leave is missed by who still reads what it sent
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise WorkError(
            f"Worker {work.worker} of {share.num_readers} lost contact with another ({type(error).__name__}). See its "
            "log, then start all of them again: training resumes after the last complete epoch."
        ) from error
    return model


def _strategy(work: Work) -> Any:
    """The strategy of this worker, with its share of the machine's processors and GPUs."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(max(1, num_cpus() // work.num_here))
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(gpus[work.place :: work.num_here], "GPU")
    if len(work.addresses) == 1:
        return tf.distribute.MirroredStrategy()
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(work.addresses)}),
        task_type="worker",
        task_id=work.worker,
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)


def _end_with_the_one_who_started_this() -> None:
    """Its end closes the pipe, however it ends."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """Do the work that the argument describes; epochs, or what it failed with, are lines of standard output."""
    work = Work.model_validate_json(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer

    def tell(answer: Answer) -> None:
        answers.write(answer.model_dump_json() + "\n")

    threading.Thread(target=_end_with_the_one_who_started_this, daemon=True).start()
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        take_part(work, lambda log: tell(Answer(epoch=log)) if work.worker == 0 else None)
        status = 0
    except DarkroomError as error:
        tell(Answer(error=str(error)))
        status = error.exit_status
    except Exception:
        traceback.print_exc()
        status = 1
    os._exit(status)  # TensorFlow's own end waits for workers that may be gone


if __name__ == "__main__":
    main()
