"""What all tests share; helpers beside this file are imported by their names."""

pytest_plugins = ["both", "pytester", "seaweed"]
