"""What the programs of Kubernetes can be told: the settings of directory, injector and installation."""
