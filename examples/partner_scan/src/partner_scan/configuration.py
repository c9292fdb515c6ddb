"""What the customer enters for the action."""

from typing import Literal

import attrs

from cp_thirdparty import SecretStr


@attrs.frozen
class ScanConfiguration:
    """
    The properties of the action type, by their names in PascalCase.

    Attributes:
        project_name: The customer's project at ExampleScan.

        api_key: The customer's key at ExampleScan.

        fail_on: Minimum severity that counts.

        max_findings: How many findings are let through.
    """

    project_name: str
    api_key: SecretStr
    fail_on: Literal["low", "high"] = "high"
    max_findings: int = 0
