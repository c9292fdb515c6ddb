"""The DynamoDB table of a journal: its keys, its requests and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cp_thirdparty._base.text import show
from cp_thirdparty._core.failure_frames import FailureFrames
from cp_thirdparty._core.sessions import prepare
from cp_thirdparty.exceptions import JournalError

_T = TypeVar("_T")

Item = dict[str, Any]
"""An item as Python values: strings, integers and floats.  Another value keeps DynamoDB's own form."""

PARTITION: Final = "pk"
SORT: Final = "sk"
EXPIRY: Final = "expires_at"

# The partition of unfinished jobs and leases, which a worker reads to find jobs, and the partition of finished jobs.
OPEN: Final = "open"
DONE: Final = "done"

# Maximum number of items of a `BatchWriteItem` (API reference).
_BATCH: Final = 25

# A request that hangs must end long before the lease of a worker.
_CONFIG: Final = Config(
    connect_timeout=2,
    read_timeout=4,
    max_pool_connections=50,
    retries={"mode": "standard", "total_max_attempts": 4},
    user_agent_extra="cp-thirdparty",
)

_FOREIGN: Final = "the response is not from DynamoDB"
_CONDITION_FAILED: Final = "ConditionalCheckFailedException"


def create_client(session: botocore.session.Session | None = None, region_name: str | None = None) -> Any:
    """
    Create a client of DynamoDB.

    Args:
        session: A new session; ``None`` for one with the credentials of the environment.
        region_name: The region; ``None`` for the region of the session.
    """
    session = botocore.session.Session() if session is None else session
    prepare(session)
    return session.create_client("dynamodb", region_name=region_name, config=_CONFIG)


class Table:
    """
    The requests of a journal.  Thread-safe.

    Args:
        client: A client of botocore or boto3 for DynamoDB.
        name: The table.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def put(self, item: Item, condition: str = "", **values: Any) -> bool:
        """
        Write an item; return ``False`` if the condition does not hold.

        Args:
            item: The item, with its keys.  Attributes with the value ``None`` are left out.
            condition: DynamoDB's condition, with attributes as ``#name`` and values as ``:name``.
            values: The values of the condition.
        """
        return self._write(self._client.put_item, {"Item": _encode(item)}, condition, values)

    def delete(self, item: Item, condition: str, **values: Any) -> bool:
        """Delete an item; return ``False`` if the condition does not hold."""
        key = _encode({name: item[name] for name in (PARTITION, SORT)})
        return self._write(self._client.delete_item, {"Key": key}, condition, values)

    def query(self, partition: str, *, before: str | None = None) -> Iterator[Item]:
        """
        Yield the items of a partition in the order of their sort keys, read consistently.

        Args:
            partition: The partition key.
            before: Only items whose sort key is less; ``None`` for all.
        """
        condition, values = f"{PARTITION} = :partition", {"partition": partition}
        if before is not None:
            condition, values = f"{condition} AND {SORT} < :before", {**values, "before": before}
        request: dict[str, Any] = {
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {f":{name}": value for name, value in _encode(values).items()},
            "ConsistentRead": True,
        }
        last: str | None = None
        while True:
            page = self._call(self._client.query, "read", TableName=self._name, **request)
            items, previous = self._read(page, "read", _decode_page), last
            yield from items
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
            last = self._read(page, "read", lambda page: _string(page["LastEvaluatedKey"][SORT]["S"]))
            if previous is not None and last <= previous:
                raise self._error("read", f"{_FOREIGN} (its pages have no end)")

    def delete_all(self, items: Sequence[Item]) -> list[Item]:
        """Delete items without a condition; return the deleted items, which are fewer if requests are throttled."""
        deleted: list[Item] = []
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]
            keys = [_encode({name: item[name] for name in (PARTITION, SORT)}) for item in batch]
            requests = {self._name: [{"DeleteRequest": {"Key": key}} for key in keys]}
            response = self._call(self._client.batch_write_item, "written", RequestItems=requests)
            kept = self._read(response, "written", self._find_unprocessed)
            deleted += [item for item, key in zip(batch, keys, strict=True) if key not in kept]
        return deleted

    def _write(self, method: Any, request: dict[str, Any], condition: str, values: Mapping[str, Any]) -> bool:
        if condition:
            names = {part: part[1:] for part in condition.replace("(", " ").replace(")", " ").split() if part[0] == "#"}
            encoded = {f":{name}": value for name, value in _encode(values).items()}
            request = {
                **request,
                "ConditionExpression": condition,
                "ExpressionAttributeNames": names,
                **({"ExpressionAttributeValues": encoded} if encoded else {}),
            }
        return self._call(method, "written", TableName=self._name, **request) is not None

    def _find_unprocessed(self, response: Mapping[str, Any]) -> list[Any]:
        return [request["DeleteRequest"]["Key"] for request in response["UnprocessedItems"].get(self._name, ())]

    def _read(self, response: Mapping[str, Any], what: str, read: Callable[[Mapping[str, Any]], _T]) -> _T:
        """Return the value that a function reads from a response; raise if the response is not from DynamoDB."""
        try:
            return read(response)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            reason = type(error).__name__
        raise self._error(what, f"{_FOREIGN} ({reason})")

    def _call(self, method: Callable[..., Any], what: str, **request: Any) -> Any:
        """Return the response, or ``None`` if a condition does not hold."""
        try:
            response = method(**request)
        except ClientError as error:
            reason = show(error.response.get("Error", {}).get("Code", type(error).__name__))
        except BotoCoreError as error:
            reason = type(error).__name__
        except Exception as error:  # noqa: BLE001 - botocore raises errors of Python for some responses of proxies
            name = type(error).__name__
            reason = f"{_FOREIGN} ({name})" if FailureFrames.from_failure(error).is_reading() else name
        else:
            # botocore treats the page of a proxy as a success without content.
            if response.get("ResponseMetadata", {}).get("RequestId"):
                return response
            reason = "a response without a request id is not from DynamoDB"
        if reason == _CONDITION_FAILED:
            return None
        raise self._error(what, reason)

    def _error(self, what: str, reason: str) -> JournalError:
        return JournalError(f"the journal's table {show(self._name)} cannot be {what}: {reason}")


class _Foreign(dict[str, Any]):
    """A value that no journal writes, in DynamoDB's own form, so that it is written unchanged."""

    def __hash__(self) -> int:  # type: ignore[override] # values are looked up in sets
        return hash(tuple(self))


def _encode(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _encode_value(value) for name, value in values.items() if value is not None}


def _encode_value(value: Any) -> dict[str, Any]:
    if isinstance(value, _Foreign):
        return value
    return {"S": value} if isinstance(value, str) else {"N": repr(value)}


def _decode_page(page: Mapping[str, Any]) -> list[Item]:
    items = [{name: _decode_value(value) for name, value in item.items()} for item in page["Items"]]
    for item in items:
        _string(item[SORT])
    return items


def _decode_value(value: Mapping[str, Any]) -> Any:
    if "S" in value:
        return _string(value["S"])
    if "N" in value:
        number = float(_string(value["N"]))
        if not math.isfinite(number):
            raise ValueError
        number = int(number) if number.is_integer() else number
        # DynamoDB keeps more digits than a float has.  A condition with fewer digits would never hold.
        if Decimal(value["N"]) == Decimal(repr(number)):
            return number
    return _Foreign(value)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
