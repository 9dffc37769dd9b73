"""Architecture -> `torch.nn.Module`."""
