"""Ground floor: configuration, checkpoints, devices, processes, logs; it knows nothing of images or language."""
