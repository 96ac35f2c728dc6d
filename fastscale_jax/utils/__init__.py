"""What has nothing to do with networks: files, processors, compiling, errors."""
