"""What writes codes: vLLM in process, a vLLM server, transformers, n-gram, uniform."""
