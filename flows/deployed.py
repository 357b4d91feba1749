"""The flows as Prefect's own objects, which the deployments in `prefect.yaml` name.

To import them is to import Prefect and all that the flows stand on. All else calls a flow by its name in its own file.
"""

from __future__ import annotations

from darkroom.flows import clean_runs as _clean_runs
from darkroom.flows import compare as _compare
from darkroom.flows import evaluate as _evaluate
from darkroom.flows import explain as _explain
from darkroom.flows import export_model as _export_model
from darkroom.flows import ingest as _ingest
from darkroom.flows import inspect_source as _inspect_source
from darkroom.flows import inventory as _inventory
from darkroom.flows import label_next as _label_next
from darkroom.flows import promote as _promote
from darkroom.flows import retrain as _retrain
from darkroom.flows import rollback as _rollback
from darkroom.flows import run as _run
from darkroom.flows import score as _score
from darkroom.flows import score_cloud as _score_cloud
from darkroom.flows import score_inbox as _score_inbox
from darkroom.flows import train as _train
from darkroom.flows import versus as _versus
from darkroom.flows.quiet import hide_tensorflow_messages

# A worker's log keeps what runs have to say.
hide_tensorflow_messages()

clean = _inventory.clean.prefect
clean_runs = _clean_runs.clean_runs.prefect
compare = _compare.compare.prefect
evaluate = _evaluate.evaluate.prefect
explain = _explain.explain.prefect
export_model = _export_model.export_model.prefect
ingest = _ingest.ingest.prefect
inspect = _inspect_source.inspect.prefect
label_next = _label_next.label_next.prefect
promote = _promote.promote.prefect
retrain = _retrain.retrain.prefect
rollback = _rollback.rollback.prefect
run = _run.run.prefect
score = _score.score.prefect
score_cloud = _score_cloud.score_cloud.prefect
score_inbox = _score_inbox.score_inbox.prefect
train = _train.train.prefect
versus = _versus.versus.prefect
