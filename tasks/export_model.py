"""Tasks of the export-model flow."""

from __future__ import annotations

from darkroom.models.exporting import export
from darkroom.models.exporting.card import ExportCard
from darkroom.models.exporting.export import ModelExportRequest
from darkroom.tasks.decorators import task
from darkroom.tasks.progress import one_step


@task()
def export_model(request: ModelExportRequest) -> ExportCard:
    """Write a model in another form, and keep it where it answers as the model does."""
    with one_step("export"):
        return export.export_model(request)
