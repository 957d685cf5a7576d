"""Readers of the official on-disk formats, crops and batches.

Readers write nothing into a dataset's folder but ``.msff-cache``, the index of a large InterHand2.6M split.
"""
