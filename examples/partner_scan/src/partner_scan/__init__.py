"""The job worker of ExampleScan for AWS CodePipeline."""
