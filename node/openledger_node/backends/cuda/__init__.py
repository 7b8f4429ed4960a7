"""The accelerated GPU path of torch_lora: Triton kernels over paged keys and values, and adapters at exact ranks."""
