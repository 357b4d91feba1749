"""What single formats need: which are accepted, what a file may cost, why one is refused, DICOM and camera RAW."""
