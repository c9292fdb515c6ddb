"""A local CodePipeline: what a partner develops and tests against, offline, with real HTTP and real botocore."""

from cp_thirdparty.testing.server import LocalCodePipeline
from cp_thirdparty.testing.states import Action, Job, Success

__all__ = ["Action", "Job", "LocalCodePipeline", "Success"]
