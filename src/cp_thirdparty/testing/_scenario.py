"""A scenario for ``python -m cp_thirdparty.testing``: a JSON file of settings, clients and actions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

import attrs

from cp_thirdparty._structuring.converter import member_name
from cp_thirdparty._structuring.strict_input import parse_json, read_input, unknown_member
from cp_thirdparty.enums import ActionOwner, ArtifactLocationType
from cp_thirdparty.models import (
    ActionTypeId,
    Artifact,
    ArtifactCredentials,
    ArtifactLocation,
    EncryptionKey,
    PipelineContext,
    S3Location,
)
from cp_thirdparty.secrets import SecretStr
from cp_thirdparty.testing._assumptions import Assumptions
from cp_thirdparty.testing.actions import Action
from cp_thirdparty.testing.server import LocalCodePipeline

# The arguments of `LocalCodePipeline` that a file may set -> the type of the JSON value; a float may be an integer.
_SETTINGS: Mapping[str, type[float | int | bool]] = {
    **{
        each.name: each.type
        for each in attrs.fields(attrs.resolve_types(Assumptions))
        if each.type in (float, int, bool)
    },
    "verify_signatures": bool,
}

_RULES: Mapping[type, str] = {
    float: "a number of at least 0",
    int: "an integer of at least 1",
    bool: "true or false",
}

_SAMPLE_ACTION_TYPE = ActionTypeId(category="Test", owner="ThirdParty", provider="LocalAction", version="1")


class ScenarioError(ValueError):
    """The file of a scenario cannot be used.  The message is one line and contains no value of the file."""


@attrs.frozen(kw_only=True, weakref_slot=False)
class _Client:
    client_id: str
    client_token: str = attrs.field(repr=False)  # in plain text only while the file is read


@attrs.frozen(kw_only=True, weakref_slot=False)
class _Action:
    action_type_id: ActionTypeId
    client_id: str | None = None
    configuration: Mapping[str, SecretStr] | None = None
    input_artifacts: tuple[Artifact, ...] = ()
    output_artifacts: tuple[Artifact, ...] = ()
    artifact_credentials: ArtifactCredentials | None = None
    encryption_key: EncryptionKey | None = None
    pipeline_context: PipelineContext | None = None


@attrs.frozen(kw_only=True, weakref_slot=False)
class _Content:
    settings: Any = None
    clients: tuple[_Client, ...] = ()
    actions: tuple[_Action, ...] = ()


@attrs.frozen(kw_only=True)
class RunningScenario:
    """The parts of a started scenario that a worker needs: the first client, the first action type, and the actions."""

    client_id: str
    client_token: SecretStr
    action_type_id: ActionTypeId
    actions: tuple[Action, ...]


@attrs.frozen(kw_only=True)
class Scenario:
    """The initial state of a local CodePipeline."""

    settings: Mapping[str, Any]  # arguments of `LocalCodePipeline`
    clients: Mapping[str, SecretStr]  # tokens by client id, at least one
    actions: tuple[_Action, ...]

    @classmethod
    def create_default(cls) -> Scenario:
        """Create a scenario with one generated client and one action of this client."""
        clients = _create_client()
        actions = tuple(
            _Action(
                client_id=client_id,
                action_type_id=_SAMPLE_ACTION_TYPE,
                configuration={"ProjectName": SecretStr("demo"), "ApiKey": SecretStr(token_urlsafe(12))},
                input_artifacts=(_create_artifact("MyApp"),),
                output_artifacts=(_create_artifact("Report"),),
            )
            for client_id in clients
        )
        return cls(settings={}, clients=clients, actions=actions)

    def start(self, service: LocalCodePipeline) -> RunningScenario:
        """Register the clients and start the actions."""
        for client_id, client_token in self.clients.items():
            service.register_client(client_id, client_token)
        started = [
            service.start_action(**{field.name: getattr(action, field.name) for field in attrs.fields(_Action)})
            for action in self.actions
        ]
        client_id, client_token = next(iter(self.clients.items()))
        action_type_id = self.actions[0].action_type_id if self.actions else _SAMPLE_ACTION_TYPE
        return RunningScenario(
            client_id=client_id, client_token=client_token, action_type_id=action_type_id, actions=tuple(started)
        )


def load(path: Path) -> Scenario:
    """
    Read a scenario from a JSON file.

    The file contains one JSON object.  All members are optional:

    * ``settings``: numeric and boolean arguments of `LocalCodePipeline` in camelCase, such as ``"redeliveryDelay": 1``.
    * ``clients``: objects with ``clientId`` and ``clientToken``; without one, a client is generated.
    * ``actions``: objects with ``actionTypeId``, ``clientId`` unless the owner is ``Custom``, and, as in
      CodePipeline's JSON, ``configuration`` (strings by key), ``inputArtifacts``, ``outputArtifacts``,
      ``artifactCredentials``, ``encryptionKey``, ``pipelineContext``.

    Raises:
        ScenarioError: The file cannot be read, is not JSON, or does not have this form.  The error names the
            unknown members.  If there are none, it names all other problems.
    """
    scenario, problems = _read(path)
    if scenario is None:
        # Raised here, because the frames of `_read` contain secrets of the file.
        raise ScenarioError(f"{path}: {'; '.join(problems)}")
    return scenario


def _read(path: Path) -> tuple[Scenario | None, list[str]]:
    try:
        document, problem = parse_json(path.read_bytes())
    except OSError as error:
        return None, [f"cannot be read: {error.strerror}"]
    if problem is None and not isinstance(document, dict):
        problem = "must be a JSON object"
    if problem is not None:
        return None, [problem]
    content, problems = read_input(document, _Content, allow_null=True)
    settings: Any = document.get("settings")
    settings = {} if settings is None else settings
    problems = (*_settings_problems(settings), *problems)
    if content is not None:
        problems = (*problems, *_client_problems(content))
    if content is None or problems:
        return None, list(problems)
    argument_names = {member_name(name): name for name in _SETTINGS}
    clients = {client.client_id: SecretStr(client.client_token) for client in content.clients}
    settings = {argument_names[name]: value for name, value in settings.items()}
    return Scenario(settings=settings, clients=clients or _create_client(), actions=content.actions), []


def _client_problems(content: _Content) -> Iterator[str]:
    known: set[str] = set()
    for index, client in enumerate(content.clients):
        if client.client_id in known:
            yield f"clients[{index}].clientId: is given more than once"
        known.add(client.client_id)
    for index, action in enumerate(content.actions):
        if action.action_type_id.owner == ActionOwner.CUSTOM:
            if action.client_id is not None:
                yield f"actions[{index}].clientId: must not be given for a custom action"
        elif action.client_id not in known:
            yield f"actions[{index}].clientId: must be the clientId of one of the clients"


def _settings_problems(settings: object) -> Iterator[str]:
    if not isinstance(settings, dict):
        yield "settings: must be an object"
        return
    known = {member_name(name): kind for name, kind in _SETTINGS.items()}
    for name, value in settings.items():
        if name not in known:
            yield f"settings: {unknown_member(name, list(known))}"
        elif not _is_valid_setting(value, known[name]):
            yield f"settings.{name}: must be {_RULES[known[name]]}"


def _is_valid_setting(value: object, kind: type[float | int | bool]) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, kind)) and value >= (1 if kind is int else 0)


def _create_artifact(name: str) -> Artifact:
    place = S3Location(bucket_name="codepipeline-us-east-1-1", object_key=f"demo-pipeline/{name}/demo.zip")
    return Artifact(name=name, location=ArtifactLocation(type=ArtifactLocationType.S3, s3_location=place))


def _create_client() -> dict[str, SecretStr]:
    return {str(uuid.uuid4()): SecretStr(token_urlsafe(24))}
