"""From one node to ten million watches, on paper: what breaks first, and what joining, dying and cutting look like.

A simulation, `python -m bench.cells`. It runs nothing of the daemon: it plays its rules (`claims`, `storm`), hashes ids
over cells (`placement`) and multiplies costs (`budget`) that stand in one place with their grounds (`figures`).
"""
