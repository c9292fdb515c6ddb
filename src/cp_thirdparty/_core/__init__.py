"""The parts of a call: operations, sending, delivery, guard, deadline, errors, redaction."""
