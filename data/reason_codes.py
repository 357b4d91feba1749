"""Reason codes: why a file is quarantined. Manifests, prediction tables, cards and reports hold these words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

ReasonCode = Literal[
    "empty",
    "not_an_image",
    "truncated",
    "corrupt",
    "too_large",
    "too_costly",
    "decoder_crashed",
    "unsupported",
    "needs_extra",
    "unreadable",
    "broken_link",
    "link_outside",
    "link_to_folder",
    "not_a_file",
    "stray_file",
    "unlabelled",
    "excluded",
    "mask",
    "merged_copy",
    "copy_of_test",
    "copy_of_validation",
    "conflicting_label",
    "not_finite",
    "no_answer",
]

REASON_CODES: Mapping[ReasonCode, str] = MappingProxyType(
    {
        # Decoding: decode.py, decoder_process.py and formats/ in data/images/
        "empty": "the file has no bytes",
        "not_an_image": "no decoder recognises the file",
        "truncated": "the file ends before the image does",
        "corrupt": "the header or the pixels are damaged",
        "too_large": "the file or the image exceeds a limit of the decode policy",
        "too_costly": "built so that decoding would take far more time or memory than its image is worth",
        "decoder_crashed": "the decoder died of it, and of no other file",
        "unsupported": "an image in a format or a mode that is not decoded, such as JPEG 2000",
        "needs_extra": "needs pip install 'darkroom-flows[dicom]' (DICOM) or 'darkroom-flows[raw]' (camera RAW)",
        # Listing and reading: data/stores/listing.py, data/stores/
        "unreadable": "the file or folder is gone, or may not be read",
        "broken_link": "a symbolic link to nothing",
        "link_outside": "a symbolic link that leads out of the source",
        "link_to_folder": "a symbolic link to a folder",
        "not_a_file": "a FIFO, a socket, a device, or a folder where a file was expected",
        "stray_file": "not meant as an image: a text or table, or what an operating system leaves behind",
        # Labels and leaks, in ingest only: data/ingest/parts.py, data/quality/duplicates.py
        "unlabelled": "the source gives the file no label",
        "excluded": "--exclude names the file",
        "mask": "the mask of another image, or other ground truth of it",
        "merged_copy": "a copy of an image in another class folder, which has the label of both (multi-label)",
        "copy_of_test": "a duplicate or near-duplicate of a test image",
        "copy_of_validation": "a duplicate or near-duplicate of a validation image",
        "conflicting_label": "a duplicate or near-duplicate of an image with another label",
        # Scoring only: models/scoring/rows.py
        "not_finite": "the network gives NaN or infinity for the image",
        # models/cloud/scoring.py
        "no_answer": "the recognition service refuses the image, or its answer cannot be read",
    }
)
# The file itself is not at fault: these do not count against the quarantine limit.
HARMLESS_REASONS: frozenset[ReasonCode] = frozenset(
    {
        "stray_file",
        "unlabelled",
        "excluded",
        "mask",
        "merged_copy",
        "copy_of_test",
        "copy_of_validation",
        "conflicting_label",
    }
)
