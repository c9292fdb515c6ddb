"""One call and everything around it: operations, sending, delivery, guard, deadline, errors, redaction."""
