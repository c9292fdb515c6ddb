"""Create sample inputs and outputs of an operation from botocore's model."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.utils import ArgumentGenerator


def input_skeleton(operation_name: str, *, as_yaml: bool) -> str:
    """Return a sample input as JSON or YAML."""
    sample: Any = ArgumentGenerator().generate_skeleton(_model(operation_name).input_shape)
    plain = json.loads(json.dumps(sample, default=datetime.isoformat))
    if not as_yaml:
        return json.dumps(plain, indent=4) + "\n"
    import yaml  # noqa: PLC0415 - few calls need it

    text: str = yaml.safe_dump(plain, sort_keys=False)
    return text


def output_skeleton(operation_name: str) -> dict[str, Any]:
    """Return a sample output, which has the names of the members instead of values."""
    shape = _model(operation_name).output_shape
    if shape is None:
        return {}
    sample: dict[str, Any] = ArgumentGenerator(use_member_names=True).generate_skeleton(shape)
    return sample


def _model(operation_name: str) -> Any:
    return ServiceModel(Loader().load_service_model("codepipeline", "service-2"), "codepipeline").operation_model(
        operation_name
    )
