"""
The command line.

It has the operations of ``aws codepipeline`` for jobs, and masks secrets in the output by default.
"""
