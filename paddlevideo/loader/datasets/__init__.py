"""Lists and folders of samples; classes are found by their YAML name through the registry."""
