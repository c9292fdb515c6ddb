"""What partners test with: the pytest plugin, the samples and the strategies."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_thirdparty import models
from cp_thirdparty.converter import structure, unstructure
from cp_thirdparty.enums import ArtifactLocationType, EncryptionKeyType
from cp_thirdparty.testing import LocalCodePipeline, samples
from cp_thirdparty.testing.strategies import instances

_PLUGIN = "cp_thirdparty.testing.plugin"
_CLIENT_ID, _TOKEN = "client-1", "xMARKERx-token"


def test_pytest_finds_the_plugin() -> None:
    """An installed library registers its plugin, under the name by which `-p` would load it."""
    found = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    assert found[_PLUGIN] == _PLUGIN


def test_loading_the_plugin_costs_next_to_nothing() -> None:
    """Beyond pytest, the plugin loads the two packages that it is in, and what loads their names at the first use."""
    program = f"import sys, pytest; before = set(sys.modules); import {_PLUGIN}; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {
        "cp_thirdparty",
        "cp_thirdparty._base",
        "cp_thirdparty._base.lazy",
        "cp_thirdparty.testing",
        _PLUGIN,
    }


def test_the_fixture_is_a_running_service(local_codepipeline: LocalCodePipeline) -> None:
    """The fixture listens, and a client reaches it."""
    local_codepipeline.register_client(_CLIENT_ID, _TOKEN)
    action = local_codepipeline.start_action(samples.action_type_id(), client_id=_CLIENT_ID)
    with local_codepipeline.client() as client:
        (job,) = client.poll_for_third_party_jobs(samples.action_type_id())
    assert job.job_id == action.jobs[0].id


def test_each_test_has_a_service_of_its_own_with_its_settings(pytester: pytest.Pytester) -> None:
    """Settings come from a fixture that a module overrides, and a service ends with its test."""
    pytester.makepyfile(
        """
        import pytest

        seen = []

        @pytest.fixture
        def local_codepipeline_settings():
            return {"region_name": "eu-central-1"}

        @pytest.mark.parametrize("turn", [1, 2])
        def test_one(local_codepipeline, turn):
            assert local_codepipeline.environment()["AWS_REGION"] == "eu-central-1"
            assert local_codepipeline not in seen
            seen.append(local_codepipeline)

        def test_they_have_ended():
            assert len(seen) == 2
            for service in seen:
                with pytest.raises(RuntimeError, match="not running"):
                    service.endpoint_url
        """
    )
    pytester.runpytest_subprocess("-p", _PLUGIN).assert_outcomes(passed=3)


def test_strategies_without_hypothesis_name_the_extra() -> None:
    """Without hypothesis, the error names what to install."""
    program = "import sys; sys.modules['hypothesis'] = None; import cp_thirdparty.testing.strategies"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.endswith(
        "ImportError: cp_thirdparty.testing.strategies needs hypothesis: pip install 'cp-thirdparty[testing]'\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", [getattr(models, name) for name in models.__all__], ids=lambda model: model.__name__)
@given(data=st.data())
def test_there_is_a_strategy_for_each_model(model: type[Any], data: st.DataObject) -> None:
    """`instances` makes valid instances of every model."""
    assert type(data.draw(instances(model))) is model


def test_a_strategy_is_for_models_only() -> None:
    """What is not a model is refused."""
    with pytest.raises(TypeError, match="must be a class"):
        instances(int)


def test_samples_are_complete() -> None:
    """A sample has what a third-party job has, and makes the round trip through the wire's document."""
    details = samples.job_details(
        configuration={"ProjectName": "demo"}, output_artifacts=[samples.artifact("Report", object_key="a/b")]
    )
    document = unstructure(details, secrets="reveal")
    assert structure(document, models.JobDetails) == details
    absent = {"pipeline_arn", "pipeline_execution_id", "continuation_token", "encryption_key", "revision"}
    assert absent == {name for name, value in _fields(details) if value is None}


def _fields(value: Any) -> list[tuple[str, Any]]:
    """Return all fields of a model and of the models in it."""
    found: list[tuple[str, Any]] = []
    for field in attrs.fields(type(value)):
        member = getattr(value, field.name)
        found.append((field.name, member))
        for each in member if isinstance(member, tuple) else (member,):
            found += _fields(each) if attrs.has(type(each)) else []
    return found


def test_samples_take_what_a_test_is_about() -> None:
    """Each argument of a sample takes the place of a made-up value."""
    action_type = samples.action_type_id(category="Build", owner="AWS", provider="Other", version="2")
    context = samples.pipeline_context(pipeline_name="p", stage_name="s", action_name="a")
    credentials = samples.artifact_credentials(access_key_id="k", secret_access_key="s", session_token="t")
    key = models.EncryptionKey(id="key", type=EncryptionKeyType.KMS)
    source = samples.artifact("In", bucket_name="b", revision="r")
    details = samples.job_details(
        id="job",
        nonce="9",
        action_type=action_type,
        context=context,
        input_artifacts=[source],
        credentials=credentials,
        continuation_token="run-1",
        encryption_key=key,
    )
    assert details == models.JobDetails(
        id="job",
        nonce="9",
        data=models.JobData(
            action_type_id=models.ActionTypeId(category="Build", owner="AWS", provider="Other", version="2"),
            action_configuration=models.ActionConfiguration(configuration={}),
            pipeline_context=context,
            input_artifacts=[
                models.Artifact(
                    name="In",
                    revision="r",
                    location=models.ArtifactLocation(
                        type=ArtifactLocationType.S3,
                        s3_location=models.S3Location(bucket_name="b", object_key="example-pipeline/In/EXAMPLE"),
                    ),
                )
            ],
            artifact_credentials=models.ArtifactCredentials(
                access_key_id="k", secret_access_key="s", session_token="t"
            ),
            continuation_token="run-1",
            encryption_key=key,
        ),
    )
    assert (context.pipeline_name, context.stage, context.action) == (
        "p",
        models.StageContext(name="s"),
        models.ActionContext(
            name="a", action_execution_id=context.action.action_execution_id if context.action else ""
        ),
    )


def test_samples_belong_together() -> None:
    """The sample of a poll's job and that of its details have one id."""
    assert samples.third_party_job().job_id == samples.job_details().id
    custom = samples.custom_job()
    assert (custom.id, custom.nonce) == (samples.job_details().id, samples.job_details().nonce)
    assert custom.data.action_type_id == samples.action_type_id(owner="Custom")
    details = samples.job_details(id="j", configuration={"Key": "value"})
    assert samples.custom_job(details=details, account_id=None) == models.CustomJob(
        id="j", data=details.data, nonce=details.nonce, account_id=None
    )
    assert samples.third_party_job(client_id="c", job_id="j") == models.ThirdPartyJob(client_id="c", job_id="j")
