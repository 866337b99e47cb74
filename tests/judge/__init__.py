"""An independent judge: it reads the record of a run and the rows that it left, and finds every broken promise.

It shares no code with the program, and uses the standard library alone (PostgreSQL is read by psycopg). Who runs the
program, as processes or as a simulation, writes the record of `record.py`:

    from judge import Did, Received, Said, Terms, judge
    findings = judge(entries, "notifier.db", Terms())
    assert not findings, "\\n".join(map(str, findings))
"""

from judge.case import Case, Finding
from judge.database import Rows
from judge.record import Asked, Did, Entry, Received, RecordError, Said, entries, line, parse, read, write
from judge.terms import EndpointTerms, Terms
from judge.verdict import judge, verdict

__all__ = [
    "Asked",
    "Case",
    "Did",
    "EndpointTerms",
    "Entry",
    "Finding",
    "Received",
    "RecordError",
    "Rows",
    "Said",
    "Terms",
    "entries",
    "judge",
    "line",
    "parse",
    "read",
    "verdict",
    "write",
]
