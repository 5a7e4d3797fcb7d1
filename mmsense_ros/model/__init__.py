"""PyTorch MMSense: training and export only; nothing that runs live imports it."""
