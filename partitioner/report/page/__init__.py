"""The page that shows plans: one offline HTML file with sliders, computed by the browser exactly as ``Planner.at``."""

from partitioner.report.page.document import render
from partitioner.report.page.facts import SCHEMA

__all__ = ["SCHEMA", "render"]
