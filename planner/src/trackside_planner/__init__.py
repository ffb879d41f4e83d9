"""The planner: detects what a source tree is and writes the build plan that turns it into an image. Plain Python, pure.

Words: tree (a read-only view of a source), provider (knows one kind of app), decision, build plan.
"""

from trackside_planner.commands import process_arguments
from trackside_planner.dockerfile import (
    EXCLUDED,
    VARIABLES_DIGEST,
    VARIABLES_FILE,
    VARIABLES_SECRET,
    render_dockerfile,
)
from trackside_planner.errors import PlanError
from trackside_planner.model import SHARED_CACHE, BuildPlan, Decision, PlanSettings
from trackside_planner.plan import plan_build
from trackside_planner.procfile import read_processes
from trackside_planner.tree import DirectoryTree, MemoryTree, Tree

__all__ = [
    "EXCLUDED",
    "SHARED_CACHE",
    "VARIABLES_DIGEST",
    "VARIABLES_FILE",
    "VARIABLES_SECRET",
    "BuildPlan",
    "Decision",
    "DirectoryTree",
    "MemoryTree",
    "PlanError",
    "PlanSettings",
    "Tree",
    "plan_build",
    "process_arguments",
    "read_processes",
    "render_dockerfile",
]
