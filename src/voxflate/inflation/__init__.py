"""Weight inflation: start a 3D network from a trained 2D one (Sec. 3.2)."""

from voxflate.inflation.strategies import STRATEGIES, Strategy
from voxflate.inflation.transfer import TransferReport, inflate

__all__ = ["STRATEGIES", "Strategy", "TransferReport", "inflate"]
