"""The command line and the tour: above `workbench` and `compare`, the only one to import both."""
