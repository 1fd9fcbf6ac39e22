"""Generated volumes against real ones: quick at snapshots, the whole suite on request."""

from voxflate.evaluation.evaluator import Evaluator

__all__ = ["Evaluator"]
