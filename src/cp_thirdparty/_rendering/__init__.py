"""Show models in terminals, in Jupyter and with rich."""
