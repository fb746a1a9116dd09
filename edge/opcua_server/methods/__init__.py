"""What can be called: recipes of pipelines, self-tests of models."""
