"""The embedded data set: generated scenes with exact ground truth."""
