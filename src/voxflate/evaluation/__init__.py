"""Compares generated with real volumes: quickly at snapshots, the whole suite on request, the audit."""

from voxflate.evaluation.assessment import Assessment, Metric
from voxflate.evaluation.audit import Audit, Auditor
from voxflate.evaluation.evaluator import Evaluator
from voxflate.evaluation.suite import Suite, SuiteSettings

__all__ = ["Assessment", "Audit", "Auditor", "Evaluator", "Metric", "Suite", "SuiteSettings"]
