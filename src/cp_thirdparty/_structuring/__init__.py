"""How documents, configurations and states become objects: the one cattrs converter and the checks around it."""
