"""Do generated volumes help? Networks train on real, generated or both, and are tested on real volumes.

examples.py   scans with their masks and labels, real or generated
tasks.py      what the networks learn: a mask, a class, a number; to add one, a class and a line in `tasks_of`
networks.py   the segmenter (MONAI's U-Net) and the network that predicts a label from a scan
fitting.py    trains one network
cells.py      the networks to train, each measured once and kept
summary.py    cells to metrics with intervals, paired by subject
"""
