"""Conversations with images that can be taken back, branched, saved and gone on with."""
