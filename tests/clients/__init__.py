"""One test for each package that takes our estimators."""
