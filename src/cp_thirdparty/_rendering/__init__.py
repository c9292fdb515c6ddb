"""How models are shown in terminals, in Jupyter and by rich."""
