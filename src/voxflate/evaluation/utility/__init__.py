"""Do generated volumes help? Networks are trained on real, on generated and on both, and judged on real ones.

examples.py   scans with their masks and labels, real or generated
tasks.py      what the networks learn: a mask, a class, a number; to add one, a class and a line in `tasks_of`
networks.py   the segmenter (MONAI's U-Net) and the network that reads a label off a scan
fitting.py    one training
cells.py      which trainings there are, each measured once and kept
summary.py    cells to metrics with intervals, paired by subject
"""
