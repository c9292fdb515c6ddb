"""The action as a Lambda function: ``partner_scan.lambda_function.lambda_handler``."""

from collections.abc import Callable

from cp_thirdparty import CustomJobClient, LambdaHandler
from cp_thirdparty.worker import ArtifactsFactory
from partner_scan.configuration import ScanConfiguration
from partner_scan.handler import handle


def make_function(
    connect: Callable[[], CustomJobClient] | None = None,
    *,
    artifacts: ArtifactsFactory | None = None,
) -> LambdaHandler[ScanConfiguration]:
    """Create the function; tests pass another service and another store."""
    return LambdaHandler(
        handle, configuration=ScanConfiguration, connect=connect, artifacts=artifacts
    )


lambda_handler = make_function()
