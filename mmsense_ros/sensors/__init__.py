"""One file a modality: from a reading to its vision-compatible map."""
