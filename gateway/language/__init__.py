"""What a connector or mapping file may say. No I/O beyond reading the file, no Kafka, no HTTP."""
