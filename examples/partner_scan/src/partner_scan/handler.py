"""One job: artifacts in, scan, report out, result."""

import json
from pathlib import Path

import attrs

from cp_thirdparty import ExecutionDetails, FailureType, Job, JobFailedError, Succeeded
from partner_scan.configuration import ScanConfiguration
from partner_scan.scanner import Finding, scan


def handle(job: Job[ScanConfiguration]) -> Succeeded:
    """
    Scan the input artifact, and store a report when the action has an output artifact.

    Raises:
        JobFailedError: There is no input artifact, or there are too many findings.
    """
    name = next(iter(job.artifacts.inputs), None)
    if name is None:
        raise JobFailedError(
            FailureType.CONFIGURATION_ERROR, "the action needs an input artifact"
        )
    source = job.artifacts.extract(name, to=job.workspace / "source")
    findings = list(scan(source))
    job.logger.info("%d findings", len(findings))
    for output in job.artifacts.outputs:
        job.artifacts.archive(output, _report(findings, job.workspace / "report"))
    counted = [
        each
        for each in findings
        if each.severity == "high" or job.configuration.fail_on == "low"
    ]
    if len(counted) > job.configuration.max_findings:
        first = counted[0]
        raise JobFailedError(
            FailureType.JOB_FAILED,
            f"{len(counted)} findings, {job.configuration.max_findings} allowed; "
            f"the first is {first.rule} in {first.path}, line {first.line}",
        )
    return Succeeded(
        execution_details=ExecutionDetails(
            summary=f"{len(findings)} findings", percent_complete=100
        )
    )


def _report(findings: list[Finding], directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    document = [attrs.asdict(finding) for finding in findings]
    (directory / "findings.json").write_text(
        json.dumps(document, indent=2), encoding="utf-8"
    )
    return directory
