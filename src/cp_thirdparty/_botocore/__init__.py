"""What touches botocore's insides, one small file for each concern, tested with every supported generation of it."""
