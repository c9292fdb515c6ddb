"""The job worker: CodePipeline accepts exactly one result for every job that the worker acknowledges."""

from cp_thirdparty.worker._processes import ProcessPerJob, processes
from cp_thirdparty.worker.dynamodb_journal import DynamoDBJournal, dynamodb_table
from cp_thirdparty.worker.events import EventHook, JobEvent, JobEventName, WorkerMetrics
from cp_thirdparty.worker.health import WorkerHealth, WorkerState
from cp_thirdparty.worker.job import Job
from cp_thirdparty.worker.journal import (
    FinishedOutcome,
    IndexedJournal,
    JobScope,
    Journal,
    JournalEntry,
    JournalState,
    LeasedJournal,
    MemoryJournal,
    Recovered,
    SetAside,
)
from cp_thirdparty.worker.lambda_handler import LambdaHandler
from cp_thirdparty.worker.outcomes import (
    Gone,
    HandedBack,
    LostRace,
    Outcome,
    Rejected,
    Released,
    Reported,
    Uncertain,
    Unsent,
)
from cp_thirdparty.worker.policy import journal_policy, lambda_policy, worker_policy
from cp_thirdparty.worker.processor import JobProcessor
from cp_thirdparty.worker.results import Continued, Result, Succeeded
from cp_thirdparty.worker.runner import ArtifactsFactory, Handler
from cp_thirdparty.worker.sqlite_journal import SqliteJournal
from cp_thirdparty.worker.token_sources import EnvironmentTokens, SecretsManagerTokens
from cp_thirdparty.worker.tokens import ClientTokens, RefreshingTokens
from cp_thirdparty.worker.worker import JobWorker

__all__ = [
    "ArtifactsFactory",
    "ClientTokens",
    "Continued",
    "DynamoDBJournal",
    "EnvironmentTokens",
    "EventHook",
    "FinishedOutcome",
    "Gone",
    "HandedBack",
    "Handler",
    "IndexedJournal",
    "Job",
    "JobEvent",
    "JobEventName",
    "JobProcessor",
    "JobScope",
    "JobWorker",
    "Journal",
    "JournalEntry",
    "JournalState",
    "LambdaHandler",
    "LeasedJournal",
    "LostRace",
    "MemoryJournal",
    "Outcome",
    "ProcessPerJob",
    "Recovered",
    "RefreshingTokens",
    "Rejected",
    "Released",
    "Reported",
    "Result",
    "SecretsManagerTokens",
    "SetAside",
    "SqliteJournal",
    "Succeeded",
    "Uncertain",
    "Unsent",
    "WorkerHealth",
    "WorkerMetrics",
    "WorkerState",
    "dynamodb_table",
    "journal_policy",
    "lambda_policy",
    "processes",
    "worker_policy",
]
